//! Cortex-M3 and every Armv7-M or Armv8-M Mainline core without the DSP extension: two products a
//! multiplication.
//!
//! In: a row and a packed vector. Out: their dot product. A word of four weights `b0 b1 b2 b3` is cut
//! into `b0 + 2^24 b3` and `b2 + 2^24 b1`, one instruction each; the vector is packed as
//! `x3 + 2^24 x0` and `x1 + 2^24 x2`. The product of the first two is
//!
//! ```text
//! b0 x3  +  2^24 (b0 x0 + b3 x3)  +  2^48 b3 x0
//! ```
//!
//! and `smlal` adds such products into 64 bits. What is wanted is the sum in the middle, bits 24 to
//! 47: as long as the lower sum and the middle one stay within 24 bits each, both signed, they do not
//! touch; the upper one may wrap. `b0` and `b2` come out of the mask without a sign, so `eor` makes
//! them `b + 128` first, and the packed vector begins with what that adds to the whole, negative.

#[cfg(ripple_isa = "armv7m")]
pub use super::thumb2::axpy;

/// Words of a row after which the middle sum is taken out.
const FOLD: u32 = 80;

// The largest of the lower sum, which has two products of an unsigned byte and a number a word, and
// of the middle one, which has two products of a signed byte besides. (A damaged weight may be -128.)
const _: () = assert!(FOLD * 2 * 255 * 127 < 1 << 23);
const _: () = assert!(FOLD * 2 * (255 + 128) * 127 < 1 << 23);
const _: () = assert!(FOLD.is_multiple_of(8));

/// The two words for each four numbers, behind what the offset of the weights must be corrected by.
pub fn pack(x: &[i8], words: &mut [u32]) {
    let Some((correction, words)) = words.split_first_mut() else { return };
    let (words, _) = words.as_chunks_mut::<2>();
    let (x, rest) = x.as_chunks::<4>();
    let mut last = [0; 4];
    crate::slices::copy(&mut last, rest);
    let mut sum = 0;
    for ([outer, inner], x) in words.iter_mut().zip(x.iter().chain([&last])) {
        let [x0, x1, x2, x3] = x.map(i32::from);
        *outer = (x0 << 24).wrapping_add(x3) as u32;
        *inner = (x2 << 24).wrapping_add(x1) as u32;
        sum += x0 + x2;
    }
    *correction = (-128 * sum) as u32;
}

/// Number `j` of a packed vector.
pub fn element(words: &[u32], j: usize) -> i8 {
    let word = words.get(1 + 2 * (j / 4) + usize::from(j % 4 == 1 || j % 4 == 2));
    let word = word.copied().unwrap_or(0);
    let low = word as i8;
    if j % 2 == 1 { low } else { (word.wrapping_sub(low as u32) >> 24) as i8 }
}

#[cfg(ripple_isa = "armv7m")]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn dot(row: &[i8], words: &[u32]) -> i32 {
    // SAFETY: `row` starts on a word boundary and has a multiple of four bytes, and `words` has one
    // word and two for each four of them: `Packed` checks both.
    unsafe { dot_words(row.as_ptr(), words.as_ptr(), row.len()) }
}

/// Instructions for 32 numbers: 4 (2 loads + 2 `eor`, 4 `and`, 4 `smlal`) + 2 = 50.
#[cfg(ripple_isa = "armv7m")]
#[unsafe(naked)]
#[allow(unsafe_code, reason = "assembly")]
unsafe extern "C" fn dot_words(row: *const i8, words: *const u32, len: usize) -> i32 {
    core::arch::naked_asm!(
        ".macro ripple_group w, x0, x1",
        "eor \\w, \\w, #0x00800080",
        "and r5, r4, \\w",
        "smlal r6, r7, r5, \\x0",
        "and \\w, r4, \\w, ror #16",
        "smlal r6, r7, \\w, \\x1",
        ".endm",
        // r0 row, r1 words, r2 words of the row left, r3 those of them before the next fold, r4 mask,
        // r5 scratch, r7:r6 sums, r8-r9 weights, r10-r12 and lr numbers. On the stack, the result.
        "ldr r3, [r1], #4",
        "push {{r3-r11, lr}}",
        "lsr r2, r2, #2",
        "movw r4, #0x00FF",
        "movt r4, #0xFF00",
        "2:",
        "mov r3, r2",
        "cmp r2, #{fold}",
        "it hi",
        "movhi r3, #{fold}",
        "sub r2, r2, r3",
        // Half a unit of the middle sum, so that a negative lower one does not borrow from it.
        "mov r6, #0x800000",
        "mov r7, #0",
        "subs r3, r3, #8",
        "blo 4f",
        "3:",
        ".rept 4",
        "ldm r0!, {{r8, r9}}",
        "ldm r1!, {{r10, r11, r12, lr}}",
        "ripple_group r8, r10, r11",
        "ripple_group r9, r12, lr",
        ".endr",
        "subs r3, r3, #8",
        "bhs 3b",
        "4:",
        "adds r3, r3, #8",
        "beq 6f",
        "5:",
        "ldr r8, [r0], #4",
        "ldm r1!, {{r10, r11}}",
        "ripple_group r8, r10, r11",
        "subs r3, r3, #1",
        "bne 5b",
        "6:",
        // Bits 24 to 47 to the top, then down with their sign.
        "lsr r6, r6, #16",
        "orr r6, r6, r7, lsl #16",
        "ldr r3, [sp]",
        "add r3, r3, r6, asr #8",
        "str r3, [sp]",
        "cmp r2, #0",
        "bne 2b",
        "mov r0, r3",
        "pop {{r3-r11, pc}}",
        ".purgem ripple_group",
        fold = const FOLD,
    )
}

/// What the offset of the weights of a group adds to their sum, as [`pack`] has it for a whole vector: its 128th,
/// in the lower 16 bits.
#[cfg(all(feature = "grouped", ripple_isa = "armv7m"))]
pub fn correction(numbers: &[i8]) -> u32 {
    numbers.iter().step_by(2).map(|&x| i32::from(x)).sum::<i32>() as u32
}

/// `sum_g m_g n_g (q . p)_g`: see [`grouped`](super::grouped). As many groups as all of them have; rows on a word
/// boundary.
#[cfg(all(feature = "grouped", ripple_isa = "armv7m"))]
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

/// As [`dot_words`], a group at a time. Instructions for one: 8 (2 loads, `eor`, 2 `and`, 2 `smlal`) + 13 = 69.
#[cfg(all(feature = "grouped", ripple_isa = "armv7m"))]
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
        // r0 row, r1 numbers, r2 multipliers of the row, r3 infos, r4 mask, r5 scratch, r7:r6 a group's sums, r8
        // weights, r9-r10 numbers, r12:r11 the sum, lr where the infos end.
        "push {{r4-r11, lr}}",
        "ldr lr, [sp, #36]",
        "add lr, r3, lr, lsl #2",
        "movw r4, #0x00FF",
        "movt r4, #0xFF00",
        "mov r11, #0",
        "mov r12, #0",
        "2:",
        // Half a unit of the middle sum, so that a negative lower one does not borrow from it.
        "mov r6, #0x800000",
        "mov r7, #0",
        ".rept 8",
        "ldr r8, [r0], #4",
        "ldm r1!, {{r9, r10}}",
        "eor r8, r8, #0x00800080",
        "and r5, r4, r8",
        "smlal r6, r7, r5, r9",
        "and r8, r4, r8, ror #16",
        "smlal r6, r7, r8, r10",
        ".endr",
        // Bits 24 to 47 to the top, then down with their sign.
        "lsr r6, r6, #16",
        "orr r6, r6, r7, lsl #16",
        "asr r6, r6, #8",
        "ldrsh r5, [r3, #2]",
        "sub r6, r6, r5, lsl #7",
        "ldrh r5, [r3], #4",
        "ldrb r7, [r2], #1",
        "mul r5, r5, r7",
        "smlal r11, r12, r5, r6",
        "cmp r3, lr",
        "bne 2b",
        "mov r0, r11",
        "mov r1, r12",
        "pop {{r4-r11, pc}}",
    )
}

/// Where the first group's words are in a packed vector.
#[cfg(all(any(feature = "q4", feature = "grouped"), any(ripple_isa = "armv7m", test)))]
pub const FIRST_WORD: usize = 1;
/// Words of 32 numbers.
#[cfg(all(any(feature = "q4", feature = "grouped"), any(ripple_isa = "armv7m", test)))]
pub const GROUP_WORDS: usize = 16;

/// Dot product of a group of 32 numbers of 4 bits with as many of a packed vector.
///
/// As the rows in 8 bits, but `sbfx` gives the numbers with their signs: nothing to correct.
#[cfg(all(feature = "q4", any(ripple_isa = "armv7m", test)))]
#[inline]
pub fn dot_group(group: &[u8; 16], x: &[u32; GROUP_WORDS]) -> i32 {
    let (words, _) = group.as_chunks::<4>();
    let (x, _) = x.as_chunks::<4>();
    // Half a unit of the middle sum, so that a negative lower one does not borrow from it.
    let mut sums = 0x80_0000i64;
    for (word, x) in words.iter().zip(x) {
        let word = u32::from_le_bytes(*word);
        let number = |low: u32| (word << (28 - low)) as i32 >> 28;
        let pairs = [(0, 24), (16, 8), (4, 28), (20, 12)];
        for ((low, high), x) in pairs.into_iter().zip(x) {
            let pair = number(low).wrapping_add(number(high) << 24);
            sums = sums.wrapping_add(i64::from(pair) * i64::from(*x as i32));
        }
    }
    (sums >> 16) as i32 >> 8
}

#[cfg(test)]
mod tests {
    use super::super::{Packed, scalar};
    use super::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    /// What `dot_words` does, instruction by instruction.
    fn dot_words(row: &[i8], words: &[u32]) -> i32 {
        let mask = 0xFF00_00FFu32;
        let mut result = words[0] as i32;
        let row: Vec<u32> = row
            .as_chunks::<4>()
            .0
            .iter()
            .map(|w| u32::from_le_bytes(w.map(|w| w as u8)) ^ 0x0080_0080)
            .collect();
        for (row, x) in row.chunks(FOLD as usize).zip(words[1..].chunks(2 * FOLD as usize)) {
            let mut sums = 0x80_0000i64;
            for (w, x) in row.iter().zip(x.as_chunks::<2>().0) {
                for (w, x) in [(w & mask, x[0]), (w.rotate_right(16) & mask, x[1])] {
                    sums = sums.wrapping_add(i64::from(w as i32) * i64::from(x as i32));
                }
            }
            result += (sums >> 16) as i32 >> 8;
        }
        result
    }

    fn check(row: &[i8], x: &[i8]) {
        let mut words = vec![0; Packed::words(x.len() as u32) as usize];
        pack(x, &mut words);
        assert_eq!(dot_words(row, &words), scalar::dot(row, x), "{} numbers", x.len());
        for (j, &x) in x.iter().enumerate() {
            assert_eq!(element(&words, j), x, "number {j}");
        }
    }

    #[test]
    fn the_sums_stay_apart_at_the_extremes() {
        // By place in a word: each sum alone at its largest, and all signs against each other.
        for pattern in (0..6usize.pow(4)).step_by(if cfg!(miri) { 2593 } else { 1 }) {
            let value = |i: u32| match pattern / 6usize.pow(i % 4) % 6 {
                0 => (127, 127),
                1 => (-127, 127),
                2 => (127, -127),
                3 => (-128, 127),
                4 => (-128, -127),
                _ => (-1, 0),
            };
            for len in [4, 316, 320, 324, 640] {
                let (row, x): (Vec<i8>, Vec<i8>) = (0..len).map(value).unzip();
                check(&row, &x);
            }
        }
        const LONGEST: usize = if cfg!(miri) { 640 } else { 16384 };
        check(&[-128; LONGEST], &[127; LONGEST]);
    }

    #[test]
    fn every_pair_of_bytes_multiplies() {
        let step = if cfg!(miri) { 85 } else { 1 };
        for w in (i8::MIN..=i8::MAX).step_by(step) {
            for x in (-127..=127).step_by(step) {
                for place in 0..4 {
                    let (mut row, mut vector) = ([-1; 4], [0; 4]);
                    (row[place], vector[place]) = (w, x);
                    check(&row, &vector);
                }
            }
        }
    }

    #[test]
    fn random_vectors_of_every_length_multiply() {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as i8
        };
        for groups in (0..300).step_by(if cfg!(miri) { 97 } else { 1 }) {
            let row: Vec<i8> = (0..4 * groups).map(|_| next()).collect();
            let x: Vec<i8> = (0..4 * groups).map(|_| next().max(-127)).collect();
            check(&row, &x);
        }
    }

    #[cfg(feature = "q4")]
    #[test]
    fn groups_multiply() {
        super::super::groups::tests::check_groups(pack, dot_group, FIRST_WORD);
    }
}
