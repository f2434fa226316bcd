//! Access to registers by address.

use core::ptr::{read_volatile, write_volatile};

/// Reads the register at `address`.
///
/// # Safety
/// There is one, and reading it breaks nobody's invariant.
pub unsafe fn read(address: usize) -> u32 {
    // SAFETY: as promised by the caller.
    unsafe { read_volatile(address as *const u32) }
}

/// Writes the register at `address`.
///
/// # Safety
/// There is one, and writing `value` there breaks nobody's invariant.
pub unsafe fn write(address: usize, value: u32) {
    // SAFETY: as promised by the caller.
    unsafe { write_volatile(address as *mut u32, value) }
}

/// Sets `bits` in the register at `address`.
///
/// # Safety
/// As [`write`].
pub unsafe fn set(address: usize, bits: u32) {
    // SAFETY: as promised by the caller.
    unsafe { write(address, read(address) | bits) }
}
