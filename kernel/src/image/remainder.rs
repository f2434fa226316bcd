//! The check of a record: the remainder of its bits by a polynomial, a word at a time and without a table.
//!
//! In: what the record is, and its words. Out: a CRC of 32 bits, or of 16 where a record has no room for
//! more. Knows nothing of where they are stored.
//!
//! The words are a polynomial over GF(2), the lowest bit of the first word its highest coefficient. They
//! are multiplied by x^32 and divided by
//!
//! ```text
//! G = x^32 + x^6 + x^4 + x^2 + x + 1 = A * B
//! A = x^16 + x^15 + x^13 + x^10 + x^9 + x^3 + x + 1 = (x + 1) * (x^2 + x + 1) * (irreducible, of degree 13)
//! ```
//!
//! G is that sparse so that a word takes eight exclusive-ors with a shift, for which a Cortex-M has one
//! instruction each, and no table. It was searched for: of the sparse ones whose remainder gives a good CRC of
//! 16 bits too, by A, it has the longest records in which five flipped bits are noticed. **Always noticed** are
//!
//! | | 32 bits | 16 bits |
//! |---|---|---|
//! | up to three flipped bits | in records of any size | up to 3,067 bytes |
//! | five | up to 348 bytes | |
//! | an odd number, and a burst as long as the check | any | any |
//!
//! Of other damage one in 2^32, or 2^16, passes; of an even number of flips, twice that
//! (`tests/tests/kernel/record_check.rs` counts it).
//!
//! A power of two of a polynomial over GF(2) has the powers of its terms: `G^4 = x^128 + x^24 + x^16 + x^8 + x^4 + 1`
//! is as sparse, and what is left by it has the same remainder by G. So where registers have 64 bits four words are
//! divided at once, three times as fast; with products of polynomials (x86-64) up to eleven times.
//!
//! The identity is where division begins, which is linear: a record read as another one differs by the
//! remainder of the difference of their identities, whatever it holds. With 32 bits it never passes.

#[cfg(ripple_isa = "x86")]
use crate::math::carryless::{self, Powers};

/// A, its lowest coefficient in the highest bit, as in a remainder.
const A: u32 = 0x1_A60B_u32.reverse_bits();

/// Powers of x by G.
#[cfg(ripple_isa = "x86")]
const POWERS: Powers = Powers { one: [power(191), power(127)], four: [power(575), power(511)] };

/// `x^exponent mod G` in the upper half of 64 bits, for an exponent of 31 or more.
#[cfg(ripple_isa = "x86")]
const fn power(exponent: u32) -> u64 {
    // x^31 has the lowest bit; x^32 is what G has beside it.
    let (mut rest, mut at) = (1u32, 31);
    while at < exponent {
        let over = if rest & 1 != 0 { 0b101_0111u32.reverse_bits() } else { 0 };
        (rest, at) = (rest >> 1 ^ over, at + 1);
    }
    (rest as u64) << 32
}

/// What is left of the words so far.
#[derive(Clone, Copy)]
pub(super) struct Remainder(u32);

impl Remainder {
    /// Starts with what the record is.
    #[inline]
    pub const fn new(identity: u32) -> Self {
        Self(identity)
    }

    /// Goes on by a word: `(remainder + word) * x^32 mod G`.
    #[inline]
    #[must_use]
    pub const fn after(self, word: u32) -> Self {
        let sum = self.0 ^ word;
        // What overflows in the multiplication by x^6 and less is folded once.
        let folded = sum ^ sum << 26 ^ sum << 28 ^ sum << 30 ^ sum << 31;
        Self(folded ^ folded >> 1 ^ folded >> 2 ^ folded >> 4 ^ folded >> 6)
    }

    /// Goes on by the words in `bytes`, as [`after`](Self::after) does by each; bytes behind the last are left out.
    #[inline]
    #[must_use]
    pub fn after_words(self, bytes: &[u8]) -> Self {
        // Four words at once are slower than each for itself where a register holds one.
        let long = if usize::BITS < 64 { 0 } else { bytes.len() / 16 * 16 };
        let (long, rest) = bytes.split_at_checked(long).unwrap_or_default();
        self.after_blocks(long.as_chunks().0).after_each(rest)
    }

    fn after_each(self, bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks();
        words.iter().fold(self, |rest, &word| rest.after(u32::from_le_bytes(word)))
    }

    fn after_blocks(self, blocks: &[[u8; 16]]) -> Self {
        #[cfg(ripple_isa = "x86")]
        if let Some(block) = carryless::fold(self.0, blocks, &POWERS) {
            return Self(0).after_each(&block);
        }
        self.after_each_block(blocks)
    }

    /// Divides by `G^4`, the last block by G.
    fn after_each_block(self, blocks: &[[u8; 16]]) -> Self {
        let Some((last, blocks)) = blocks.split_last() else { return self };
        let rest = blocks.iter().fold(u128::from(self.0), |rest, &block| {
            let sum = rest ^ u128::from_le_bytes(block);
            let folded = sum ^ sum << 104 ^ sum << 112 ^ sum << 120 ^ sum << 124;
            folded ^ folded >> 4 ^ folded >> 8 ^ folded >> 16 ^ folded >> 24
        });
        Self(0).after_each(&(rest ^ u128::from_le_bytes(*last)).to_le_bytes())
    }

    /// The remainder by G.
    #[inline]
    pub const fn wide(self) -> u32 {
        self.0
    }

    /// The remainder by A, in the lower 16 bits.
    #[inline]
    pub fn narrow(self) -> u32 {
        let divided = (0..16).fold(self.0, |rest, bit| match rest >> bit & 1 {
            0 => rest,
            _ => rest ^ A >> (15 - bit),
        });
        divided >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    const G: u64 = 1 << 32 | 1 << 6 | 1 << 4 | 1 << 2 | 1 << 1 | 1;
    const A: u64 = 0x1_A60B;

    /// The remainder of `words * x^32` by a polynomial of `degree`, bit by bit.
    fn naive(words: &[u32], by: u64, degree: u32) -> u64 {
        let bits = words.iter().chain(&[0]).flat_map(|word| (0..32).map(move |i| word >> i & 1));
        bits.fold(0, |rest, bit| {
            let rest = rest << 1 | u64::from(bit);
            if rest >> degree & 1 != 0 { rest ^ by } else { rest }
        })
    }

    #[test]
    fn it_is_the_remainder_of_long_division() {
        let mut words = Vec::new();
        let mut word = 0x1234_5677u32;
        for _ in 0..if cfg!(miri) { 9 } else { 40 } {
            word = word.wrapping_mul(0x9E37_79B1) ^ word >> 13;
            words.push(word);
            let first = Remainder::new(words[0] ^ 0x55).after(0x55);
            let rest = words[1..].iter().fold(first, |rest, &word| rest.after(word));
            assert_eq!(rest.wide(), (naive(&words, G, 32) as u32).reverse_bits());
            let narrow = naive(&words, A, 16) as u16;
            assert_eq!(rest.narrow(), narrow.reverse_bits().into());
        }
    }

    #[test]
    fn many_words_at_once_are_as_each() {
        let bytes: Vec<u8> =
            (0..1200u32).map(|i| (i.wrapping_mul(0x9E37_79B1) >> 11) as u8).collect();
        let start = Remainder::new(0x8765_4321);
        for len in (0..bytes.len()).step_by(if cfg!(miri) { 332 } else { 4 }) {
            let bytes = &bytes[..len];
            let each = start.after_each(bytes).wide();
            assert_eq!(start.after_words(bytes).wide(), each, "{len} bytes");
            let (blocks, rest) = bytes.as_chunks();
            assert_eq!(start.after_each_block(blocks).after_each(rest).wide(), each, "{len} bytes");
        }
    }

    /// The powers of x by a polynomial of `degree`.
    fn powers(by: u64, degree: u32) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(1u64), move |power| {
            let power = power << 1;
            Some(if power >> degree & 1 != 0 { power ^ by } else { power })
        })
    }

    /// Flipped bits pass where their polynomial is a multiple. One of odd weight is none, for x + 1 divides both;
    /// 1 + x^n is one where x^n = 1.
    #[test]
    fn up_to_three_flipped_bits_are_noticed() {
        assert!(G.count_ones().is_multiple_of(2) && A.count_ones().is_multiple_of(2));
        // Data, and 32 zeroes that it is multiplied by, in which the check stands.
        let bits = |bytes: usize| 8 * bytes + 32;
        let first = powers(A, 16).skip(1).position(|power| power == 1);
        assert_eq!(first, Some(24_573 - 1));
        assert!(bits(3_067) <= 24_573 && bits(3_068) > 24_573);
        // Longer than any record; the order of x is that of its factors, 65,535 * 8,191.
        let longest = if cfg!(miri) { 1 << 6 } else { 1 << 18 };
        assert!(powers(G, 32).take(bits(longest)).skip(1).all(|power| power != 1));
    }

    /// The lowest multiple of weight 4: `1 + x^a = x^b + x^c`.
    #[test]
    #[cfg_attr(miri, ignore = "minutes of arithmetic in which Miri has nothing to look for")]
    fn five_flipped_bits_are_noticed_in_short_records() {
        let powers: Vec<u64> = powers(G, 32).take(2_822).collect();
        let mut with_one: Vec<(u64, usize)> =
            powers.iter().enumerate().skip(1).map(|(a, power)| (power ^ 1, a)).collect();
        with_one.sort_unstable();
        let found = |b: usize, c: usize| {
            let sum = powers[b] ^ powers[c];
            let from = with_one.partition_point(|(other, _)| *other < sum);
            with_one[from..]
                .iter()
                .take_while(|(other, _)| *other == sum)
                .any(|(_, a)| *a < c && *a != b)
        };
        let lowest = (2..powers.len()).find(|&c| (1..c).any(|b| found(b, c)));
        assert_eq!(lowest, Some(2_821));
        // A record of 348 bytes and its check are no longer than that.
        assert!(lowest >= Some(8 * 348 + 32));
    }
}
