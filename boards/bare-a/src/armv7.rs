//! Cortex-A7 in A32: start-up, exceptions, translation table, timer and cache instructions.
//!
//! In: the first instruction after reset, in supervisor mode. Out: the same mode with MMU, caches and
//! floating point. Source: Arm Architecture Reference Manual ARMv7-A and ARMv7-R (DDI 0406).

#![allow(unsafe_code, reason = "instructions that Rust has no other name for")]

use core::arch::{asm, global_asm};
use core::fmt;

global_asm!(include_str!("armv7.s"), options(raw));

/// Bytes that one entry of the table maps.
const SECTION_BYTES: u64 = 1 << 20;
const SECTIONS: usize = 4096;

/// The memory map of the whole 4 GiB, in sections of 1 MiB: the short-descriptor format, level 1.
#[repr(C, align(16384))]
pub struct TranslationTable([u32; SECTIONS]);

impl TranslationTable {
    /// `bytes` of RAM from `start` on, cached; everything else is devices.
    ///
    /// # Panics
    /// When they are not whole sections; at compile time, for a static.
    pub const fn new(start: u64, bytes: u64) -> Self {
        assert!(start.is_multiple_of(SECTION_BYTES) && bytes.is_multiple_of(SECTION_BYTES));
        /// A section with full access; domain 0.
        const SECTION: u32 = 2 | 3 << 10;
        /// TEX 1, C, B: write-back, write-allocate; shareable.
        const NORMAL: u32 = SECTION | 1 << 12 | 1 << 3 | 1 << 2 | 1 << 16;
        /// TEX 0, B: a shareable device; never executed.
        const DEVICE: u32 = SECTION | 1 << 2 | 1 << 4;
        let mut entries = [0; SECTIONS];
        let mut i = 0;
        while i < SECTIONS {
            let address = i as u64 * SECTION_BYTES;
            let ram = address >= start && address - start < bytes;
            #[allow(clippy::indexing_slicing, reason = "i < SECTIONS; no iterators in const fn")]
            {
                entries[i] = address as u32 | if ram { NORMAL } else { DEVICE };
            }
            i += 1;
        }
        Self(entries)
    }
}

/// The mode that the program was started in, from the status register; it stays in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct StartedIn(u32);

impl fmt::Display for StartedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mode {:#x}", self.0 & 0x1F)
    }
}

/// An exception, as the vector found it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Exception {
    vector: u32,
    data_status: u32,
    data_address: u32,
    instruction_status: u32,
    return_address: u32,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vector, data_status, data_address, instruction_status, return_address } = self;
        write!(
            f,
            "exception {vector:#x} before {return_address:#x}: data fault {data_status:#x} at \
             {data_address:#x}, instruction fault {instruction_status:#x}"
        )
    }
}

pub fn counter() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads CNTPCT. The barrier keeps it from being read ahead of its turn.
    unsafe {
        asm!("isb", "mrrc p15, 0, {}, {}, c14", out(reg) low, out(reg) high, options(nostack));
    }
    (high as u64) << 32 | low as u64
}

pub fn frequency() -> u32 {
    let hz: u32;
    // SAFETY: reads CNTFRQ.
    unsafe { asm!("mrc p15, 0, {}, c14, c0, 0", out(reg) hz, options(nomem, nostack)) };
    hz
}

pub fn clean_and_invalidate_line(address: usize) {
    // SAFETY: DCCIMVAC writes a line back and drops it: memory holds the same afterwards.
    unsafe { asm!("mcr p15, 0, {}, c7, c14, 1", in(reg) address, options(nostack)) };
}

pub fn barrier() {
    // SAFETY: waits for earlier accesses.
    unsafe { asm!("dsb sy", options(nostack)) };
}
