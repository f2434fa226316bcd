//! Which of the vector instructions this processor has, found out once.
//!
//! In: what `cpuid` says. Out: an arm, the best one or the one that was chosen. Knows nothing of the loops.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Instructions that the loops are written for, from the plainest to the best. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Arm {
    /// What every processor of this target has, as the compiler uses it.
    Portable = 1,
    /// AVX2: 32 bytes at once, products by `vpmaddubsw`; and, as of all below, `pclmulqdq`, which came before.
    Avx2 = 2,
    /// AVX-VNNI: products by `vpdpbusd`.
    AvxVnni = 3,
    /// The same instruction as AVX-512 has it, on vectors of 32 bytes too.
    Avx512Vnni = 4,
}

/// The arm that is used; 0 before it is known.
static USED: AtomicU8 = AtomicU8::new(0);

impl Arm {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::AvxVnni, Self::Avx512Vnni];

    /// The one that the loops use: the best that this processor has, unless another was chosen.
    #[inline]
    pub fn used() -> Self {
        match USED.load(Relaxed) {
            1 => Self::Portable,
            2 => Self::Avx2,
            3 => Self::AvxVnni,
            4 => Self::Avx512Vnni,
            _ => Self::find(),
        }
    }

    /// Has the loops of all threads use this one from now on; `false`, and nothing changes, where the
    /// processor lacks it. Only speed depends on it: for tests and measurements.
    pub fn choose(self) -> bool {
        let there = self.is_there();
        if there {
            USED.store(self as u8, Relaxed);
        }
        there
    }

    #[cold]
    fn find() -> Self {
        let best = Self::ALL.into_iter().rev().find(|arm| arm.is_there());
        let best = best.unwrap_or(Self::Portable);
        USED.store(best as u8, Relaxed);
        best
    }

    /// Whether this processor, and the operating system for its registers, has what the arm needs.
    pub fn is_there(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2(),
            // Intel, "Instruction Set Extensions Programming Reference": leaf 7.1, EAX bit 4.
            Self::AvxVnni => avx2() && leaf(7, 1)[0] >> 4 & 1 != 0,
            // Leaf 7.0: AVX512F and AVX512VL, EBX bits 16 and 31; AVX512_VNNI, ECX bit 11.
            Self::Avx512Vnni => {
                let [_, ebx, ecx] = leaf(7, 0);
                avx2() && keeps(0xE6) && (ebx >> 16 & ebx >> 31 & ecx >> 11) & 1 != 0
            }
        }
    }
}

/// AVX2, which is bit 5 of EBX in leaf 7.0, and PCLMULQDQ, which is bit 1 of ECX in leaf 1.
fn avx2() -> bool {
    keeps(0x06) && (leaf(7, 0)[1] >> 5 & leaf(1, 0)[2] >> 1) & 1 != 0
}

/// Whether the operating system keeps these parts of the state: 0x06 are the registers of AVX, 0xE6 those of
/// AVX-512 too.
#[allow(unsafe_code, reason = "instructions that the compiler does not choose")]
fn keeps(parts: u64) -> bool {
    // XSAVE and OSXSAVE, without which `xgetbv` is no instruction.
    const SAVES: u32 = 0b11 << 26;
    // SAFETY: `xgetbv` is there, and register 0 always is.
    leaf(1, 0)[2] & SAVES == SAVES && unsafe { xcr0() } & parts == parts
}

/// Register 0 of the extended control registers.
///
/// # Safety
/// OSXSAVE.
#[target_feature(enable = "xsave")]
#[allow(unsafe_code, reason = "instructions that the compiler does not choose")]
unsafe fn xcr0() -> u64 {
    // SAFETY: of the caller.
    unsafe { _xgetbv(0) }
}

/// EAX, EBX and ECX of a leaf; zeroes where there is none.
#[allow(unsafe_code, unused_unsafe, reason = "safe in newer compilers alone")]
fn leaf(leaf: u32, sub: u32) -> [u32; 3] {
    // SAFETY: every x86-64 processor has `cpuid`, and leaf 0.
    let (most, found) = unsafe { (__cpuid(0).eax, __cpuid_count(leaf, sub)) };
    if leaf > most { [0; 3] } else { [found.eax, found.ebx, found.ecx] }
}
