//! Markers in the instruction stream, by which an emulator's plugin counts instructions by region.
//!
//! In: nothing. Out: one instruction each, a NOP on silicon: `dbg #n` on ARMv7 and later in Thumb or
//! ARM state, `hint #(80 + n)` on AArch64 (80 to 95 are taken by no extension, and a hint that is not
//! taken is a NOP). Nothing on other targets. What they mean is in `boards/count`.
//!
//! Memory accesses stay on the side of a marker on which they are written.
#![no_std]

/// What follows is region `N`, 1 to 13.
#[inline(always)]
pub fn region<const N: u8>() {
    const { assert!(N >= 1 && N <= 13, "regions are 1 to 13") };
    mark::<N>();
}

/// What follows is the card driver, until [`leave_driver`].
#[inline(always)]
pub fn enter_driver() {
    mark::<14>();
}

/// What follows is what was before [`enter_driver`].
#[inline(always)]
pub fn leave_driver() {
    mark::<15>();
}

#[inline(always)]
#[allow(unsafe_code, reason = "an instruction that Rust has no name for")]
fn mark<const N: u8>() {
    #[cfg(target_arch = "arm")]
    // SAFETY: a hint; changes neither registers nor memory.
    unsafe {
        core::arch::asm!("dbg #{}", const N, options(nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint; changes neither registers nor memory.
    unsafe {
        core::arch::asm!("hint #{}", const 80 + N, options(nostack, preserves_flags));
    }
}
