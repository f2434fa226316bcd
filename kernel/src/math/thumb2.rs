//! Scaled rows on cores without vectors: Cortex-M3, M4, M7 and their like.
//!
//! In: an accumulator, a coefficient of 32 bits and a row. Out: the accumulator, moved on. Eight sums
//! are loaded and stored at a time, and `sxtb` takes a weight from its word.

/// `acc_j += coefficient * row_j`, wrapping.
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn axpy(acc: &mut [i32], coefficient: i32, row: &[i8]) {
    let len = acc.len().min(row.len());
    if (row.as_ptr().addr() | len).is_multiple_of(4) {
        // SAFETY: both have `len` elements, a multiple of four; both start on a word boundary.
        unsafe { axpy_words(acc.as_mut_ptr(), coefficient, row.as_ptr(), len) }
    } else {
        super::scalar::axpy(acc, coefficient, row);
    }
}

/// Instructions for 32 numbers: 4 (4 loads and stores + 8 `sxtb` or `asr`, 8 `mla`) + 2 = 82.
#[unsafe(naked)]
#[allow(unsafe_code, reason = "assembly")]
unsafe extern "C" fn axpy_words(acc: *mut i32, coefficient: i32, row: *const i8, len: usize) {
    core::arch::naked_asm!(
        ".macro ripple_group a0, a1, a2, a3",
        "ldr r12, [r2], #4",
        "sxtb lr, r12",
        "mla \\a0, lr, r1, \\a0",
        "sxtb lr, r12, ror #8",
        "mla \\a1, lr, r1, \\a1",
        "sxtb lr, r12, ror #16",
        "mla \\a2, lr, r1, \\a2",
        "asr lr, r12, #24",
        "mla \\a3, lr, r1, \\a3",
        ".endm",
        // r0 sums, r1 coefficient, r2 row, r3 numbers left, r4-r11 eight sums, r12 and lr weights.
        "push {{r4-r11, lr}}",
        "subs r3, r3, #32",
        "blo 3f",
        "2:",
        ".rept 4",
        "ldm r0, {{r4-r11}}",
        "ripple_group r4, r5, r6, r7",
        "ripple_group r8, r9, r10, r11",
        "stm r0!, {{r4-r11}}",
        ".endr",
        "subs r3, r3, #32",
        "bhs 2b",
        "3:",
        "adds r3, r3, #32",
        "beq 5f",
        "4:",
        "ldm r0, {{r4-r7}}",
        "ripple_group r4, r5, r6, r7",
        "stm r0!, {{r4-r7}}",
        "subs r3, r3, #4",
        "bne 4b",
        "5:",
        "pop {{r4-r11, pc}}",
        ".purgem ripple_group",
    )
}
