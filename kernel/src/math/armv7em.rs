//! Cortex-M4, M7 and every core with the DSP extension, ARMv7-A in either state: two products an
//! instruction.
//!
//! In: a row and a packed vector. Out: their dot product. The vector is packed as 16-bit numbers in
//! the order in which `sxtb16` takes the bytes out of a word: 0 and 2, then 1 and 3. `smlad` adds both
//! products of a pair.

#[cfg(ripple_isa = "armv7em")]
use super::thumb2;

/// Two words for each four numbers, behind one that is not used.
pub fn pack(x: &[i8], words: &mut [u32]) {
    let words = words.get_mut(1..).unwrap_or_default();
    let (words, _) = words.as_chunks_mut::<2>();
    let (x, rest) = x.as_chunks::<4>();
    let mut last = [0; 4];
    crate::slices::copy(&mut last, rest);
    for ([even, odd], x) in words.iter_mut().zip(x.iter().chain([&last])) {
        let [x0, x1, x2, x3] = x.map(|x| x as u32);
        *even = x2 << 16 | x0 & 0xFFFF;
        *odd = x3 << 16 | x1 & 0xFFFF;
    }
}

/// Number `j` of a packed vector.
pub fn element(words: &[u32], j: usize) -> i8 {
    let word = words.get(1 + 2 * (j / 4) + j % 2).copied().unwrap_or(0);
    (word >> (16 * (j / 2 % 2))) as i8
}

#[cfg(ripple_isa = "armv7em")]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn dot(row: &[i8], words: &[u32]) -> i32 {
    if !row.len().is_multiple_of(64) {
        return dot_with_rest(row, words);
    }
    // SAFETY: `row` starts on a word boundary and has a multiple of four bytes, and `words` has one
    // word and two for each four of them: `Packed` checks both.
    unsafe { add_blocks(0, words.as_ptr().add(1), row.len(), row.as_ptr()) }
}

/// What 64 does not divide is at the end, and added first. Not inlined, so that callers stay small.
#[cfg(ripple_isa = "armv7em")]
#[inline(never)]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
fn dot_with_rest(row: &[i8], words: &[u32]) -> i32 {
    let rest = row.len() % 64;
    let whole = row.len() - rest;
    // SAFETY: as in `dot`; `rest` is not 0, and the numbers before it take half as many words.
    unsafe {
        let (row, x) = (row.as_ptr(), words.as_ptr().add(1));
        let sum = add_rest(0, x.add(whole / 2), rest, row.add(whole));
        add_blocks(sum, x, whole, row)
    }
}

/// Where the first group's words are in a packed vector.
#[cfg(all(any(feature = "q4", feature = "grouped"), ripple_isa = "armv7em"))]
pub const FIRST_WORD: usize = 1;
/// Words of 32 numbers.
#[cfg(all(any(feature = "q4", feature = "grouped"), ripple_isa = "armv7em"))]
pub const GROUP_WORDS: usize = 16;

/// Dot product of a group of 32 numbers of 4 bits with as many of a packed vector.
///
/// The pairs are where `smlad` wants them already. At the top of a halfword a number is 4096 times
/// itself, with its sign.
#[cfg(all(feature = "q4", ripple_isa = "armv7em"))]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn dot_group(group: &[u8; 16], x: &[u32; GROUP_WORDS]) -> i32 {
    // SAFETY: reads the 16 bytes of `group` and the words of `x`.
    unsafe { dot_group_words(group.as_ptr(), x.as_ptr()) }
}

/// Instructions for 32 numbers: 4 (2 loads, 4 `and`, 4 `smlad`) + 7 = 47.
#[cfg(all(feature = "q4", ripple_isa = "armv7em"))]
#[unsafe(naked)]
#[allow(unsafe_code, reason = "assembly")]
unsafe extern "C" fn dot_group_words(group: *const u8, x: *const u32) -> i32 {
    core::arch::naked_asm!(
        // r0 group, which may lie anywhere, r1 numbers, r2 sum, r3-r4 weights, r5-r8 numbers, r12 mask.
        "push {{r4-r8, lr}}",
        "movw r12, #0xF000",
        "movt r12, #0xF000",
        "mov r2, #0",
        ".rept 4",
        "ldr r4, [r0], #4",
        "ldm r1!, {{r5-r8}}",
        "and r3, r12, r4, lsl #12",
        "smlad r2, r3, r5, r2",
        "and r3, r12, r4, lsl #4",
        "smlad r2, r3, r6, r2",
        "and r3, r12, r4, lsl #8",
        "smlad r2, r3, r7, r2",
        "and r3, r12, r4",
        "smlad r2, r3, r8, r2",
        ".endr",
        "asr r0, r2, #12",
        "pop {{r4-r8, pc}}",
    )
}

/// `acc_j += coefficient * q_j` for a group of 32 numbers of 4 bits, wrapping.
///
/// As [`axpy`]: a number at the top of a halfword, times a coefficient moved up by four bits, is 2^16
/// times what is wanted, and `smlaw` drops these bits.
#[cfg(all(feature = "q4", ripple_isa = "armv7em"))]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn axpy_group(acc: &mut [i32; 32], coefficient: i32, group: &[u8; 16]) {
    let moved = coefficient << 4;
    if moved >> 4 == coefficient {
        // SAFETY: reads the 16 bytes of `group`, and has `acc` to itself.
        unsafe { axpy_group_words(acc.as_mut_ptr(), moved, group.as_ptr()) }
    } else {
        thumb2::axpy(acc, coefficient, &super::nibbles::unpack(group));
    }
}

/// Instructions for 32 numbers: 4 (3 loads and stores, 4 `and`, 8 `smlaw`) + 4 = 64.
#[cfg(all(feature = "q4", ripple_isa = "armv7em"))]
#[unsafe(naked)]
#[allow(unsafe_code, reason = "assembly")]
unsafe extern "C" fn axpy_group_words(acc: *mut i32, coefficient: i32, group: *const u8) {
    core::arch::naked_asm!(
        // r0 sums, r1 coefficient, r2 group, which may lie anywhere, r3 weights, r4-r11 sums, r12 mask,
        // lr pairs.
        "push {{r4-r11, lr}}",
        "movw r12, #0xF000",
        "movt r12, #0xF000",
        ".rept 4",
        "ldr r3, [r2], #4",
        "ldm r0, {{r4-r11}}",
        "and lr, r12, r3, lsl #12",
        "smlawb r4, r1, lr, r4",
        "smlawt r6, r1, lr, r6",
        "and lr, r12, r3, lsl #4",
        "smlawb r5, r1, lr, r5",
        "smlawt r7, r1, lr, r7",
        "and lr, r12, r3, lsl #8",
        "smlawb r8, r1, lr, r8",
        "smlawt r10, r1, lr, r10",
        "and lr, r12, r3",
        "smlawb r9, r1, lr, r9",
        "smlawt r11, r1, lr, r11",
        "stm r0!, {{r4-r11}}",
        ".endr",
        "pop {{r4-r11, pc}}",
    )
}

/// `sum_g m_g n_g (q . p)_g`: see [`grouped`](super::grouped). As many groups as all of them have; rows on a word
/// boundary.
#[cfg(all(feature = "grouped", ripple_isa = "armv7em"))]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn dot_groups(row: &[[i8; 32]], m: &[u8], x: &[[u32; GROUP_WORDS]], n: &[u32]) -> i64 {
    let count = row.len().min(m.len()).min(x.len()).min(n.len());
    if count == 0 {
        return 0;
    }
    // SAFETY: reads `count` groups, of which there is one, of each; `row` is where the caller says.
    unsafe { dot_grouped(row.as_ptr(), x.as_ptr(), m.as_ptr(), n.as_ptr(), count) }
}

/// Instructions for a group: 4 (2 loads, 4 `sxtb16`, 4 `smlad`) + 7 = 47.
#[cfg(all(feature = "grouped", ripple_isa = "armv7em"))]
#[unsafe(naked)]
#[allow(unsafe_code, reason = "assembly")]
unsafe extern "C" fn dot_grouped(
    row: *const [i8; 32],
    x: *const [u32; GROUP_WORDS],
    multipliers: *const u8,
    infos: *const u32,
    count: usize,
) -> i64 {
    core::arch::naked_asm!(
        ".macro ripple_eight first",
        "ldm r0!, {{r4, r5}}",
        "ldm r1!, {{r6-r9}}",
        "sxtb16 lr, r4",
        "\\first",
        "sxtb16 r4, r4, ror #8",
        "smlad r10, r4, r7, r10",
        "sxtb16 lr, r5",
        "smlad r10, lr, r8, r10",
        "sxtb16 r5, r5, ror #8",
        "smlad r10, r5, r9, r10",
        ".endm",
        // r0 row, r1 numbers, r2 multipliers of the row, r3 infos, r4-r5 weights, r6-r9 numbers, r10 a group's
        // sum, r12:r11 the sum, lr scratch. Where the infos end, in the place of the last argument.
        "push {{r4-r11, lr}}",
        "ldr r4, [sp, #36]",
        "add r4, r3, r4, lsl #2",
        "str r4, [sp, #36]",
        "mov r11, #0",
        "mov r12, #0",
        "2:",
        "ripple_eight \"smuad r10, lr, r6\"",
        ".rept 3",
        "ripple_eight \"smlad r10, lr, r6, r10\"",
        ".endr",
        "ldrb r4, [r2], #1",
        "ldrh r5, [r3], #4",
        "mul r4, r4, r5",
        "smlal r11, r12, r4, r10",
        "ldr r5, [sp, #36]",
        "cmp r3, r5",
        "bne 2b",
        "mov r0, r11",
        "mov r1, r12",
        "pop {{r4-r11, pc}}",
        ".purgem ripple_eight",
    )
}

/// `acc_j += part(coefficient, m_(j / 32)) * q_j`, wrapping: see [`grouped`](super::grouped).
///
/// Where the coefficient can be moved up by eight bits, so can each part of it: `smlaw` as in [`axpy`].
#[cfg(all(feature = "grouped", ripple_isa = "armv7em"))]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn axpy_groups(acc: &mut [[i32; 32]], coefficient: i32, row: &[[i8; 32]], m: &[u8]) {
    let count = acc.len().min(row.len()).min(m.len());
    let fits = coefficient << 8 >> 8 == coefficient && row.as_ptr().addr().is_multiple_of(4);
    if fits && count > 0 {
        let (acc, row, m) = (acc.as_mut_ptr(), row.as_ptr(), m.as_ptr());
        // SAFETY: reads `count` groups, of which there is one, of each; both start on a word boundary.
        unsafe { axpy_grouped(acc, coefficient, row, m, count) }
    } else {
        for ((acc, row), &m) in acc.iter_mut().zip(row).zip(m) {
            thumb2::axpy(acc, super::grouped::part(coefficient, m), row);
        }
    }
}

/// Instructions for a group: 2 (1 + 8 loads and stores, 8 `and`, 16 `smlaw`) + 8 = 74.
#[cfg(all(feature = "grouped", ripple_isa = "armv7em"))]
#[unsafe(naked)]
#[allow(unsafe_code, reason = "assembly")]
unsafe extern "C" fn axpy_grouped(
    acc: *mut [i32; 32],
    coefficient: i32,
    row: *const [i8; 32],
    multipliers: *const u8,
    count: usize,
) {
    core::arch::naked_asm!(
        ".macro ripple_group w",
        "ldm r0, {{r8-r11}}",
        "and lr, r12, \\w, lsl #8",
        "smlawb r8, r1, lr, r8",
        "smlawt r10, r1, lr, r10",
        "and \\w, \\w, r12",
        "smlawb r9, r1, \\w, r9",
        "smlawt r11, r1, \\w, r11",
        "stm r0!, {{r8-r11}}",
        ".endm",
        // r0 sums, r1 a part of the coefficient, 2^8 times, r2 row, r3 multipliers, r4-r7 weights, r8-r11 sums,
        // r12 mask, lr scratch. On the stack the coefficient, and, in the place of the last argument, where the
        // multipliers end.
        "push {{r1, r4-r11, lr}}",
        "ldr r4, [sp, #40]",
        "add r4, r3, r4",
        "str r4, [sp, #40]",
        "movw r12, #0xFF00",
        "movt r12, #0xFF00",
        "2:",
        "ldr r1, [sp]",
        "ldrb lr, [r3], #1",
        "mul r1, r1, lr",
        "add r1, r1, #128",
        "bic r1, r1, #255",
        ".rept 2",
        "ldm r2!, {{r4-r7}}",
        "ripple_group r4",
        "ripple_group r5",
        "ripple_group r6",
        "ripple_group r7",
        ".endr",
        "ldr r4, [sp, #40]",
        "cmp r3, r4",
        "bne 2b",
        "pop {{r1, r4-r11, pc}}",
        ".purgem ripple_group",
    )
}

/// `acc_j += coefficient * row_j`, wrapping.
///
/// `smlaw` multiplies 32 bits by 16 and drops the lowest 16 of the product: with the coefficient and
/// the weight moved up by eight bits each, those are zeroes. A coefficient that cannot be moved up
/// goes the way of cores without it.
#[cfg(ripple_isa = "armv7em")]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn axpy(acc: &mut [i32], coefficient: i32, row: &[i8]) {
    let moved = coefficient << 8;
    let blocks = acc.len() == row.len() && row.len().is_multiple_of(64) && !row.is_empty();
    if blocks && moved >> 8 == coefficient && row.as_ptr().addr().is_multiple_of(4) {
        // SAFETY: both have as many elements, a multiple of 64; both start on a word boundary.
        unsafe { axpy_blocks(acc.as_mut_ptr(), moved, row.as_ptr(), row.len()) }
    } else {
        axpy_with_rest(acc, coefficient, row);
    }
}

/// As many blocks of 64 as there are, and what is left as on cores without `smlaw`. Not inlined, so
/// that callers stay small.
#[cfg(ripple_isa = "armv7em")]
#[inline(never)]
fn axpy_with_rest(acc: &mut [i32], coefficient: i32, row: &[i8]) {
    let fits = coefficient << 8 >> 8 == coefficient && row.as_ptr().addr().is_multiple_of(4);
    let len = acc.len().min(row.len());
    let whole = if fits { len - len % 64 } else { 0 };
    let (whole_acc, acc) = acc.split_at_mut_checked(whole).unwrap_or_default();
    let (whole_row, row) = row.split_at_checked(whole).unwrap_or_default();
    if whole > 0 {
        axpy(whole_acc, coefficient, whole_row);
    }
    thumb2::axpy(acc, coefficient, row);
}

/// `sum + row . x`, for a multiple of 64 numbers. In this order of arguments, the result is where it
/// must be at the end.
///
/// Instructions for 128 numbers: 8 (3 loads, 8 `sxtb16`, 8 `smlad`) + 2 = 154.
#[cfg(ripple_isa = "armv7em")]
#[unsafe(naked)]
#[allow(unsafe_code, reason = "assembly")]
unsafe extern "C" fn add_blocks(sum: i32, x: *const u32, len: usize, row: *const i8) -> i32 {
    core::arch::naked_asm!(
        ".macro ripple_group w, x0, x1",
        "sxtb16 r12, \\w",
        "smlad r0, r12, \\x0, r0",
        "sxtb16 \\w, \\w, ror #8",
        "smlad r0, \\w, \\x1, r0",
        ".endm",
        // r0 sum, r1 numbers, r2 how many are left, r3 row, r4-r7 weights, r8-r11 numbers, r12 scratch.
        ".macro ripple_blocks count",
        ".rept 4 * \\count",
        "ldm r3!, {{r4-r7}}",
        "ldm r1!, {{r8-r11}}",
        "ripple_group r4, r8, r9",
        "ripple_group r5, r10, r11",
        "ldm r1!, {{r8-r11}}",
        "ripple_group r6, r8, r9",
        "ripple_group r7, r10, r11",
        ".endr",
        "subs r2, r2, #64 * \\count",
        ".endm",
        "push {{r4-r11, lr}}",
        // Bit 6 to the carry: an odd number of blocks.
        "lsls r12, r2, #26",
        "bcc 2f",
        "ripple_blocks 1",
        "bne 3f",
        "pop {{r4-r11, pc}}",
        "2:",
        "cmp r2, #0",
        "beq 4f",
        "3:",
        "ripple_blocks 2",
        "bne 3b",
        "4:",
        "pop {{r4-r11, pc}}",
        ".purgem ripple_blocks",
        ".purgem ripple_group",
    )
}

/// `sum + row . x`, for a multiple of 4 numbers, at least 4.
#[cfg(ripple_isa = "armv7em")]
#[unsafe(naked)]
#[allow(unsafe_code, reason = "assembly")]
unsafe extern "C" fn add_rest(sum: i32, x: *const u32, len: usize, row: *const i8) -> i32 {
    core::arch::naked_asm!(
        "push {{r4-r6, lr}}",
        "2:",
        "ldr r12, [r3], #4",
        "ldm r1!, {{r4, r5}}",
        "sxtb16 r6, r12",
        "smlad r0, r6, r4, r0",
        "sxtb16 r6, r12, ror #8",
        "smlad r0, r6, r5, r0",
        "subs r2, r2, #4",
        "bne 2b",
        "pop {{r4-r6, pc}}",
    )
}

/// `acc_j += coefficient / 256 * row_j`, for a multiple of 64 numbers, at least 64.
///
/// Instructions for 64 numbers: 4 (1 + 8 loads and stores, 8 `and`, 16 `smlaw`) + 2 = 134.
#[cfg(ripple_isa = "armv7em")]
#[unsafe(naked)]
#[allow(unsafe_code, reason = "assembly")]
unsafe extern "C" fn axpy_blocks(acc: *mut i32, coefficient: i32, row: *const i8, len: usize) {
    core::arch::naked_asm!(
        ".macro ripple_group w",
        "ldm r0, {{r8-r11}}",
        "and lr, r12, \\w, lsl #8",
        "smlawb r8, r1, lr, r8",
        "smlawt r10, r1, lr, r10",
        "and \\w, \\w, r12",
        "smlawb r9, r1, \\w, r9",
        "smlawt r11, r1, \\w, r11",
        "stm r0!, {{r8-r11}}",
        ".endm",
        // r0 sums, r1 coefficient, r2 row, r3 numbers left, r4-r7 weights, r8-r11 sums, r12 mask, lr
        // scratch.
        "push {{r4-r11, lr}}",
        // No immediate of the ARM state.
        "movw r12, #0xFF00",
        "movt r12, #0xFF00",
        "2:",
        ".rept 4",
        "ldm r2!, {{r4-r7}}",
        "ripple_group r4",
        "ripple_group r5",
        "ripple_group r6",
        "ripple_group r7",
        ".endr",
        "subs r3, r3, #64",
        "bne 2b",
        "pop {{r4-r11, pc}}",
        ".purgem ripple_group",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_of_a_pair_meet_the_bytes_that_sxtb16_takes() {
        let x: [i8; 7] = [1, -127, 127, -1, 0, 5, -6];
        let row: [i8; 8] = [3, -128, 127, 7, 9, -11, 13, 99];
        let mut words = [0; 5];
        pack(&x, &mut words);
        for (j, &x) in x.iter().enumerate() {
            assert_eq!(element(&words, j), x, "number {j}");
        }
        let mut sum = 0;
        for (row, words) in row.as_chunks::<4>().0.iter().zip(words[1..].as_chunks::<2>().0) {
            let row = u32::from_le_bytes(row.map(|w| w as u8));
            for (row, x) in [(row, words[0]), (row.rotate_right(8), words[1])] {
                let product = |shift: u32| (row >> shift) as i8 as i32 * (x >> shift) as i16 as i32;
                sum += product(0) + product(16);
            }
        }
        assert_eq!(sum, super::super::scalar::dot(&row, &x));
    }

    /// What `dot_group_words` does, instruction by instruction.
    #[cfg(feature = "q4")]
    fn dot_group(group: &[u8; 16], x: &[u32; 16]) -> i32 {
        let half = |word: u32, shift: u32| i32::from((word >> shift) as i16);
        let mut sum = 0;
        for (word, x) in group.as_chunks::<4>().0.iter().zip(x.as_chunks::<4>().0) {
            for (shift, x) in [12, 4, 8, 0].into_iter().zip(x) {
                let pair = u32::from_le_bytes(*word) << shift & 0xF000_F000;
                sum += half(pair, 0) * half(*x, 0) + half(pair, 16) * half(*x, 16);
            }
        }
        sum >> 12
    }

    #[cfg(feature = "q4")]
    #[test]
    fn groups_multiply() {
        super::super::groups::tests::check_groups(pack, dot_group, 1);
    }
}
