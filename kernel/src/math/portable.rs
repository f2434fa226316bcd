//! No instructions in particular: a packed vector is the vector, and [`scalar`](super::scalar) does
//! the work.

#[cfg(ripple_isa = "portable")]
use super::scalar;
#[cfg(ripple_isa = "portable")]
pub use super::scalar::axpy;
use zerocopy::{FromBytes, IntoBytes};

/// The numbers, and zeroes to a multiple of four.
pub fn pack(x: &[i8], words: &mut [u32]) {
    let (bytes, rest) = words.as_mut_bytes().split_at_mut_checked(x.len()).unwrap_or_default();
    bytes.iter_mut().zip(x).for_each(|(byte, &x)| *byte = x as u8);
    rest.iter_mut().take(3).for_each(|byte| *byte = 0);
}

/// Number `j` of a packed vector.
pub fn element(words: &[u32], j: usize) -> i8 {
    numbers(words).get(j).copied().unwrap_or(0)
}

#[cfg(ripple_isa = "portable")]
#[inline]
pub fn dot(row: &[i8], words: &[u32]) -> i32 {
    scalar::dot(row, numbers(words))
}

/// Where the first group's words are in a packed vector.
#[cfg(any(feature = "q4", feature = "grouped"))]
pub const FIRST_WORD: usize = 0;
/// Words of 32 numbers.
#[cfg(any(feature = "q4", feature = "grouped"))]
pub const GROUP_WORDS: usize = 8;

/// All numbers of a packed vector.
#[inline]
pub fn numbers(words: &[u32]) -> &[i8] {
    <[i8]>::ref_from_bytes(words.as_bytes()).unwrap_or(&[])
}
