//! An input vector as this core's dot product wants it, packed once and used with many rows.
//!
//! In: 8-bit numbers. Out: [`Packed`], and its [`dot`] with a row. What a packed vector looks like is
//! known to the file of the instruction set alone; it takes the same room on every target, so that a
//! memory plan does too.

use super::isa;

/// A vector of 8-bit numbers, packed; zeroes make its length a multiple of four.
#[derive(Clone, Copy)]
pub struct Packed<'a> {
    /// One word and two for each four numbers, or none.
    words: &'a [u32],
}

impl<'a> Packed<'a> {
    /// Words that `len` numbers take: two bytes each, in groups of four, and one word.
    pub const fn words(len: u32) -> u32 {
        1 + 2 * len.div_ceil(4)
    }

    /// Packs `x` into `room`; nothing of it, if there is not enough.
    ///
    /// `x`: magnitudes at most 127, as [`quantise`](super::quant::quantise) writes them. With a -128
    /// in it, products may differ from core to core.
    pub fn new(x: &[i8], room: &'a mut [u32]) -> Self {
        let words = room.get_mut(..Self::words(x.len() as u32) as usize).unwrap_or_default();
        isa::pack(x, words);
        Self { words }
    }

    /// A vector of `len` numbers that was packed into `words` before; of none, if those are too few.
    #[inline]
    pub fn of(words: &'a [u32], len: usize) -> Self {
        Self::all(words.get(..Self::words(len as u32) as usize).unwrap_or(&[]))
    }

    /// The vector that was packed into `words` before, which are as many as it takes, or none.
    #[inline]
    pub(crate) fn all(words: &'a [u32]) -> Self {
        Self { words }
    }

    /// The words of each whole group of 32 numbers, and those of the rest.
    #[cfg(any(feature = "q4", feature = "grouped"))]
    #[inline]
    pub(super) fn groups(self) -> (&'a [[u32; isa::GROUP_WORDS]], &'a [u32]) {
        self.words.get(isa::FIRST_WORD..).unwrap_or(&[]).as_chunks()
    }

    /// What the instruction set's file made of it.
    #[cfg(all(feature = "q4", ripple_isa = "x86"))]
    #[inline]
    pub(super) fn words_of(self) -> &'a [u32] {
        self.words
    }

    /// Numbers, with the zeroes.
    fn len(self) -> usize {
        2 * self.words.len().saturating_sub(1)
    }
}

/// Integer dot product `sum_j row_j * x_j`: the same number as [`scalar::dot`](super::scalar::dot).
///
/// A longer one of the two is cut. Fast when they are equally long, a multiple of four, and `row`
/// lies on a word boundary, as the rows of records do. Cannot overflow below 131,072 elements.
#[inline]
pub fn dot(row: &[i8], x: Packed<'_>) -> i32 {
    // Two words for each four numbers and one more; without words, never true.
    let whole = row.len() + 2 == 2 * x.words.len();
    if whole && row.as_ptr().addr().is_multiple_of(4) {
        isa::dot(row, x.words)
    } else {
        one_by_one(row, x.words)
    }
}

/// [`dot`] with each of several vectors, packed from as many numbers.
#[cfg(ripple_isa = "x86")]
#[inline]
pub fn dots(row: &[i8], xs: [Packed<'_>; isa::TOGETHER]) -> [i32; isa::TOGETHER] {
    if xs.iter().all(|x| row.len() + 2 == 2 * x.words.len()) {
        isa::dots(row, xs.map(|x| x.words))
    } else {
        xs.map(|x| dot(row, x))
    }
}

#[cold]
#[inline(never)]
fn one_by_one(row: &[i8], x: &[u32]) -> i32 {
    let len = row.len().min(Packed { words: x }.len());
    let x = (0..len).map(|j| isa::element(x, j));
    row.iter().zip(x).map(|(&w, x)| i32::from(w) * i32::from(x)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::scalar;
    use super::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn any_length_and_alignment_gives_the_oracles_number() {
        let value = |i: usize| (i * 89 % 255) as i32 - 127;
        let x: Vec<i8> = (0..300).map(|i| value(i) as i8).collect();
        let weights: Vec<i8> = (0..310).map(|i| value(i * 7 + 3) as i8).collect();
        let mut room = vec![0; Packed::words(300) as usize];
        for len in (0..=300).step_by(if cfg!(miri) { 43 } else { 1 }) {
            let packed = Packed::new(&x[..len], &mut room);
            for (start, end) in [(0, len), (1, len + 1), (3, len + 9), (2, 2 + len / 2)] {
                let row = &weights[start..end];
                assert_eq!(dot(row, packed), scalar::dot(row, &x[..len]), "{start}..{end}");
            }
        }
    }

    #[test]
    fn too_little_room_gives_a_vector_of_nothing() {
        assert_eq!(dot(&[1; 4], Packed::new(&[1; 4], &mut [0; 2])), 0);
        assert_eq!(dot(&[1; 4], Packed::of(&[0; 2], 4)), 0);
    }
}
