//! The check of a record: the remainder of its bits by a polynomial, a word at a time and without a table.
//!
//! In: what the record is, and its words. Out: a CRC of 32 bits, or of 16 where a record has no room for
//! more. Knows nothing of where they are stored.
//!
//! The words are a polynomial over GF(2), the lowest bit of the first word its highest coefficient. They
//! are multiplied by x^32 and divided by
//!
//! ```text
//! G = x^32 + x^4 + x^2 + 1 = A^2,  A = x^16 + x^2 + x + 1 = (x + 1) * (primitive, of degree 15)
//! ```
//!
//! G is that sparse so that a word takes four exclusive-ors with a shift, for which a Cortex-M has one
//! instruction each: two more than multiplying and mixing. The remainder by A is one of the remainder by
//! G. Both have the factor x + 1, and x has the orders 65,534 and 32,767: **up to three flipped bits are
//! always noticed**, in records of up to 8,187 bytes (32 bits) and 4,091 bytes (16 bits), and so are all odd
//! numbers of them and every burst of up to 32 or 16 bits. Of an even number of flips from four on about one
//! in 2^31, or 2^15, passes (`tests/tests/kernel/record_check.rs`).
//!
//! The identity is where division begins, which is linear: a record read as another one differs by the
//! remainder of the difference of their identities, whatever it holds. With 32 bits it never passes.

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
        // What overflows in the multiplication by x^4 and x^2 is folded once.
        let folded = sum ^ sum << 28 ^ sum << 30;
        Self(folded ^ folded >> 2 ^ folded >> 4)
    }

    /// The remainder by G.
    #[inline]
    pub const fn wide(self) -> u32 {
        self.0
    }

    /// The remainder by A, in the lower 16 bits.
    #[inline]
    pub const fn narrow(self) -> u32 {
        let high = self.0 & 0xFFFF;
        let folded = (high ^ high << 14 ^ high << 15) & 0xFFFF;
        self.0 >> 16 ^ folded ^ folded >> 1 ^ folded >> 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    const G: u64 = 1 << 32 | 1 << 4 | 1 << 2 | 1;
    const A: u64 = 1 << 16 | 1 << 2 | 1 << 1 | 1;

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
        for _ in 0..40 {
            word = word.wrapping_mul(0x9E37_79B1) ^ word >> 13;
            words.push(word);
            let first = Remainder::new(words[0] ^ 0x55).after(0x55);
            let rest = words[1..].iter().fold(first, |rest, &word| rest.after(word));
            assert_eq!(rest.wide(), (naive(&words, G, 32) as u32).reverse_bits());
            let narrow = naive(&words, A, 16) as u16;
            assert_eq!(rest.narrow(), narrow.reverse_bits().into());
        }
    }

    /// The smallest n with x^n = 1.
    fn order(of: u64, degree: u32) -> u32 {
        let mut power = 1u64;
        for n in 1.. {
            power <<= 1;
            if power >> degree & 1 != 0 {
                power ^= of;
            }
            if power == 1 {
                return n;
            }
        }
        0
    }

    /// An odd number of flipped bits is a polynomial of odd weight, which x + 1 does not divide; two, n
    /// apart, are divided where n is a multiple of the order.
    #[test]
    fn up_to_three_flipped_bits_are_noticed_in_records_of_so_many_bytes() {
        assert!(G.count_ones() % 2 == 0 && A.count_ones() % 2 == 0);
        // Data, 32 zeroes that it is multiplied by, in which the check stands.
        assert_eq!((order(G, 32), order(A, 16)), (65_534, 32_767));
        assert!(8 * 8_187 + 32 <= 65_534 && 8 * 4_091 + 32 <= 32_767);
    }
}
