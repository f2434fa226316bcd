//! Cortex-A53 in AArch64: start-up, exceptions, translation table, timer and cache instructions.
//!
//! In: the first instruction after reset or after the firmware, at EL3, EL2 or EL1. Out: EL1 with MMU,
//! caches and floating point. Source: Arm Architecture Reference Manual for A-profile (DDI 0487).

#![allow(unsafe_code, reason = "instructions that Rust has no other name for")]

use core::arch::{asm, global_asm};
use core::fmt;

global_asm!(include_str!("aarch64.s"), options(raw));

/// Bytes that one entry of the table maps.
const SECTION_BYTES: u64 = 2 << 20;
const SECTIONS: usize = 512;

/// The memory map of the first GiB, in sections of 2 MiB.
///
/// One table of level 2: with 30 bits of address the walk begins there.
#[repr(C, align(4096))]
pub struct TranslationTable([u64; SECTIONS]);

impl TranslationTable {
    /// `bytes` of RAM from `start` on, cached; everything else of the first GiB is devices.
    ///
    /// # Panics
    /// When they are not whole sections; at compile time, for a static.
    pub const fn new(start: u64, bytes: u64) -> Self {
        assert!(start.is_multiple_of(SECTION_BYTES) && bytes.is_multiple_of(SECTION_BYTES));
        /// Valid block, accessed.
        const BLOCK: u64 = 1 | 1 << 10;
        /// MAIR index 0, inner shareable.
        const NORMAL: u64 = BLOCK | 3 << 8;
        /// MAIR index 1, never executed.
        const DEVICE: u64 = BLOCK | 1 << 2 | 3 << 53;
        let mut entries = [0; SECTIONS];
        let mut i = 0;
        while i < SECTIONS {
            let address = i as u64 * SECTION_BYTES;
            let ram = address >= start && address - start < bytes;
            #[allow(clippy::indexing_slicing, reason = "i < SECTIONS; no iterators in const fn")]
            {
                entries[i] = address | if ram { NORMAL } else { DEVICE };
            }
            i += 1;
        }
        Self(entries)
    }
}

/// The exception level that the program was started in; it runs in EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct StartedIn(u64);

impl fmt::Display for StartedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EL{}", self.0 >> 2 & 3)
    }
}

/// An exception, as the vector found it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Exception {
    vector: u64,
    syndrome: u64,
    address: u64,
    instruction: u64,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vector, syndrome, address, instruction } = self;
        write!(
            f,
            "exception {vector:#x} at {instruction:#x}: syndrome {syndrome:#x}, address {address:#x}"
        )
    }
}

pub fn counter() -> u64 {
    let steps: u64;
    // SAFETY: reads a counter. The barrier keeps it from being read ahead of its turn.
    unsafe { asm!("isb", "mrs {}, cntpct_el0", out(reg) steps, options(nostack)) };
    steps
}

pub fn frequency() -> u32 {
    let hz: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) hz, options(nomem, nostack)) };
    hz as u32
}

pub fn clean_and_invalidate_line(address: usize) {
    // SAFETY: writes a line back and drops it: memory holds the same afterwards.
    unsafe { asm!("dc civac, {}", in(reg) address, options(nostack)) };
}

pub fn barrier() {
    // SAFETY: waits for earlier accesses.
    unsafe { asm!("dsb sy", options(nostack)) };
}
