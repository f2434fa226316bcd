//! AArch64 with its vectors (Cortex-A53 and all later): eight products an instruction.
//!
//! In: a row and a vector, packed as it is. Out: their dot product. Loads of bytes need no alignment,
//! also where the compiler must not assume that (`aarch64-unknown-none` is strict about it, and splits
//! wide loads into bytes): hence assembly.

use super::scalar;

#[cfg(any(feature = "q4", feature = "grouped"))]
pub use super::portable::{FIRST_WORD, GROUP_WORDS};
pub use super::portable::{element, numbers, pack};

/// Instructions for 64 numbers: 2 loads, 4 `smull`, 4 `smlal2`, 4 `sadalp`, 2 for the loop.
///
/// Two products of at most 127 x 128 fit 16 bits: see [`Packed::new`](super::Packed::new).
#[inline]
#[allow(unsafe_code, reason = "instructions that the compiler does not choose here")]
pub fn dot(row: &[i8], words: &[u32]) -> i32 {
    let x = numbers(words);
    let len = row.len().min(x.len());
    let (row, row_rest) = row.split_at_checked(len & !63).unwrap_or_default();
    let (x, x_rest) = x.split_at_checked(len & !63).unwrap_or_default();
    let mut sum = scalar::dot(row_rest, x_rest);
    if row.is_empty() {
        return sum;
    }
    let part: i32;
    // SAFETY: both have `row.len()` bytes, a multiple of 64 and not 0.
    unsafe {
        core::arch::asm!(
            "movi v16.4s, #0",
            "movi v17.4s, #0",
            "2:",
            "ld1 {{v0.16b-v3.16b}}, [{row}], #64",
            "ld1 {{v4.16b-v7.16b}}, [{x}], #64",
            "smull v18.8h, v0.8b, v4.8b",
            "smull v19.8h, v1.8b, v5.8b",
            "smull v20.8h, v2.8b, v6.8b",
            "smull v21.8h, v3.8b, v7.8b",
            "smlal2 v18.8h, v0.16b, v4.16b",
            "smlal2 v19.8h, v1.16b, v5.16b",
            "smlal2 v20.8h, v2.16b, v6.16b",
            "smlal2 v21.8h, v3.16b, v7.16b",
            "sadalp v16.4s, v18.8h",
            "sadalp v17.4s, v19.8h",
            "sadalp v16.4s, v20.8h",
            "sadalp v17.4s, v21.8h",
            "subs {left}, {left}, #64",
            "b.ne 2b",
            "add v16.4s, v16.4s, v17.4s",
            "addv s16, v16.4s",
            "fmov {part:w}, s16",
            left = inout(reg) row.len() => _,
            row = inout(reg) row.as_ptr() => _,
            x = inout(reg) x.as_ptr() => _,
            part = out(reg) part,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _, out("v18") _,
            out("v19") _, out("v20") _, out("v21") _,
            options(readonly, nostack),
        );
        sum += part;
    }
    sum
}

/// `acc_j += coefficient * row_j`, wrapping.
///
/// Instructions for 16 numbers: 3 loads and stores, 6 to widen, 4 `mla`, 2 for the loop.
#[inline]
#[allow(unsafe_code, reason = "instructions that the compiler does not choose here")]
pub fn axpy(acc: &mut [i32], coefficient: i32, row: &[i8]) {
    let len = acc.len().min(row.len());
    let (acc, acc_rest) = acc.split_at_mut_checked(len & !15).unwrap_or_default();
    let (row, row_rest) = row.split_at_checked(len & !15).unwrap_or_default();
    scalar::axpy(acc_rest, coefficient, row_rest);
    if row.is_empty() {
        return;
    }
    // SAFETY: both have `row.len()` elements, a multiple of 16 and not 0.
    unsafe {
        core::arch::asm!(
            "dup v16.4s, {coefficient:w}",
            "2:",
            "ld1 {{v0.16b}}, [{row}], #16",
            "ld1 {{v4.4s-v7.4s}}, [{acc}]",
            "sxtl v1.8h, v0.8b",
            "sxtl2 v3.8h, v0.16b",
            "sxtl v0.4s, v1.4h",
            "sxtl2 v1.4s, v1.8h",
            "sxtl v2.4s, v3.4h",
            "sxtl2 v3.4s, v3.8h",
            "mla v4.4s, v0.4s, v16.4s",
            "mla v5.4s, v1.4s, v16.4s",
            "mla v6.4s, v2.4s, v16.4s",
            "mla v7.4s, v3.4s, v16.4s",
            "st1 {{v4.4s-v7.4s}}, [{acc}], #64",
            "subs {left}, {left}, #16",
            "b.ne 2b",
            coefficient = in(reg) coefficient,
            left = inout(reg) row.len() => _,
            row = inout(reg) row.as_ptr() => _,
            acc = inout(reg) acc.as_mut_ptr() => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _, out("v16") _,
            options(nostack),
        );
    }
}
