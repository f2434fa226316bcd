//! x86-64, with the vector instructions that the processor turns out to have.
//!
//! In: rows and packed vectors. Out: the numbers of [`scalar`], from the loops of the [`Arm`] in use. A packed
//! vector is the vector, and behind it are its sums: the same for every arm, so that an arm can be changed at
//! any time.
//!
//! ```text
//! numbers, with zeroes to whole words | sum of each 32 of them | ... | sum of all, in the last word
//! ```
//!
//! `vpdpbusd` multiplies bytes without a sign with bytes that have one. So 128 is added to each weight, which is
//! one exclusive-or, and 128 times the sum of the vector is taken off the result.

mod arm;
pub mod carryless;
#[cfg(feature = "q4")]
mod grouped;
mod halves;
mod loops;
#[cfg(test)]
mod tests;

use super::halves::{HalfRows, plain_add, plain_dots};
#[cfg(feature = "q4")]
use super::nibbles::{self, Groups};
use super::scalar;
pub use arm::Arm;
use loops::{Avx2, Evex, Vex};
use zerocopy::{FromBytes, IntoBytes};

/// Vectors that are multiplied with a row at once.
pub const TOGETHER: usize = 8;

/// Where the first group's words are in a packed vector.
#[cfg(any(feature = "q4", feature = "grouped"))]
pub const FIRST_WORD: usize = 0;
/// Words of 32 numbers.
#[cfg(any(feature = "q4", feature = "grouped"))]
pub const GROUP_WORDS: usize = 8;

/// The numbers, and their sums.
pub fn pack(x: &[i8], words: &mut [u32]) {
    let Some((all, words)) = words.split_last_mut() else { return };
    let (numbers, sums) = words.split_at_mut_checked(x.len().div_ceil(4)).unwrap_or_default();
    let bytes = numbers.as_mut_bytes();
    let (bytes, rest) = bytes.split_at_mut_checked(x.len()).unwrap_or_default();
    bytes.iter_mut().zip(x).for_each(|(byte, &x)| *byte = x as u8);
    rest.iter_mut().for_each(|byte| *byte = 0);
    let mut total = 0;
    for (place, group) in sums.iter_mut().zip(x.chunks(32)) {
        let sum: i32 = group.iter().map(|&x| i32::from(x)).sum();
        *place = sum as u32;
        total += sum;
    }
    *all = total as u32;
}

/// Number `j` of a packed vector.
pub fn element(words: &[u32], j: usize) -> i8 {
    numbers(words).get(j).copied().unwrap_or(0)
}

/// All numbers of a packed vector, and what follows them.
#[inline]
pub fn numbers(words: &[u32]) -> &[i8] {
    <[i8]>::ref_from_bytes(words.as_bytes()).unwrap_or(&[])
}

/// `row . x`, for as many numbers as both have.
#[inline]
pub fn dot(row: &[i8], words: &[u32]) -> i32 {
    dot_with(Arm::used(), row, words)
}

#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
fn dot_with(arm: Arm, row: &[i8], words: &[u32]) -> i32 {
    match arm {
        Arm::Portable => scalar::dot(row, numbers(words)),
        // SAFETY: an arm is in use only where the processor has what it needs.
        Arm::Avx2 => unsafe { loops::dot::<Avx2>(row, words) },
        // SAFETY: as above.
        Arm::AvxVnni => unsafe { loops::dot::<Vex>(row, words) },
        // SAFETY: as above.
        Arm::Avx512Vnni => unsafe { loops::dot::<Evex>(row, words) },
    }
}

/// `row . x` for each of several vectors, all packed from as many numbers as the row has.
#[inline]
pub fn dots(row: &[i8], xs: [&[u32]; TOGETHER]) -> [i32; TOGETHER] {
    dots_with(Arm::used(), row, xs)
}

#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
fn dots_with(arm: Arm, row: &[i8], xs: [&[u32]; TOGETHER]) -> [i32; TOGETHER] {
    match arm {
        Arm::Portable => xs.map(|words| scalar::dot(row, numbers(words))),
        // SAFETY: an arm is in use only where the processor has what it needs.
        Arm::Avx2 => unsafe { loops::dots::<Avx2>(row, xs) },
        // SAFETY: as above.
        Arm::AvxVnni => unsafe { loops::dots::<Vex>(row, xs) },
        // SAFETY: as above.
        Arm::Avx512Vnni => unsafe { loops::dots::<Evex>(row, xs) },
    }
}

/// `sum_g m_g n_g (q . p)_g`: see [`grouped`](super::grouped). As many groups as all of them have.
#[cfg(feature = "grouped")]
#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
pub fn dot_groups(row: &[[i8; 32]], m: &[u8], x: &[[u32; GROUP_WORDS]], n: &[u32]) -> i64 {
    match Arm::used() {
        Arm::Portable => row.iter().zip(m).zip(x).zip(n).fold(0, |sum, (((q, &m), p), &n)| {
            let both = i64::from(m) * i64::from(n & 0xFFFF);
            sum + i64::from(scalar::dot(q, numbers(p))) * both
        }),
        // SAFETY: an arm is in use only where the processor has what it needs, and each of these has AVX2.
        Arm::Avx2 | Arm::AvxVnni | Arm::Avx512Vnni => unsafe { loops::dot_groups(row, m, x, n) },
    }
}

/// `acc_j += coefficient * row_j`, wrapping.
#[inline]
pub fn axpy(acc: &mut [i32], coefficient: i32, row: &[i8]) {
    axpy_with(Arm::used(), acc, coefficient, row);
}

#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
fn axpy_with(arm: Arm, acc: &mut [i32], coefficient: i32, row: &[i8]) {
    match arm {
        Arm::Portable => scalar::axpy(acc, coefficient, row),
        // SAFETY: an arm is in use only where the processor has what it needs, and each of these has AVX2.
        Arm::Avx2 | Arm::AvxVnni | Arm::Avx512Vnni => unsafe {
            loops::axpy(acc, coefficient, row);
        },
    }
}

/// `row . x` for each of several vectors, all packed from as many numbers, in units of 2^-24; `None` where the arm has
/// no loop for it.
#[cfg(feature = "q4")]
#[inline]
pub fn group_units<const N: usize>(row: Groups<'_>, xs: [&[u32]; N]) -> Option<[i64; N]> {
    group_units_with(Arm::used(), row, xs)
}

#[cfg(feature = "q4")]
#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
fn group_units_with<const N: usize>(
    arm: Arm,
    row: Groups<'_>,
    xs: [&[u32]; N],
) -> Option<[i64; N]> {
    Some(match arm {
        Arm::Portable => return None,
        // SAFETY: an arm is in use only where the processor has what it needs.
        Arm::Avx2 => unsafe { grouped::dots::<Avx2, N>(row, xs) },
        // SAFETY: as above.
        Arm::AvxVnni => unsafe { grouped::dots::<Vex, N>(row, xs) },
        // SAFETY: as above.
        Arm::Avx512Vnni => unsafe { grouped::dots::<Evex, N>(row, xs) },
    })
}

/// `acc_j += coefficient * q_j`, wrapping.
#[cfg(feature = "q4")]
#[inline]
pub fn axpy_group(
    acc: &mut [i32; nibbles::GROUP],
    coefficient: i32,
    numbers: &[u8; nibbles::BYTES],
) {
    axpy_group_with(Arm::used(), acc, coefficient, numbers);
}

#[cfg(feature = "q4")]
#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
fn axpy_group_with(
    arm: Arm,
    acc: &mut [i32; nibbles::GROUP],
    coefficient: i32,
    numbers: &[u8; nibbles::BYTES],
) {
    match arm {
        Arm::Portable => scalar::axpy(acc, coefficient, &nibbles::unpack(numbers)),
        // SAFETY: an arm is in use only where the processor has what it needs, and each of these has AVX2.
        Arm::Avx2 | Arm::AvxVnni | Arm::Avx512Vnni => unsafe {
            grouped::axpy(acc, coefficient, numbers);
        },
    }
}

/// `acc_j += round(factor * scale_(j / 32) * one) * q_j`, wrapping, for the groups that it returns the number of: the
/// first ones. Only where no rounded product is beyond 32 bits.
#[cfg(feature = "q4")]
#[inline]
pub fn axpy_row(acc: &mut [i32], factor: f32, one: f32, row: Groups<'_>) -> usize {
    axpy_row_with(Arm::used(), acc, factor, one, row)
}

#[cfg(feature = "q4")]
#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
fn axpy_row_with(arm: Arm, acc: &mut [i32], factor: f32, one: f32, row: Groups<'_>) -> usize {
    match arm {
        Arm::Portable => 0,
        // SAFETY: an arm is in use only where the processor has what it needs, and each of these has AVX2.
        Arm::Avx2 | Arm::AvxVnni | Arm::Avx512Vnni => unsafe {
            grouped::axpy_row(acc, factor, one, row)
        },
    }
}

/// `out_t = x . row_t`.
#[inline]
pub fn half_dots(x: &[f32], rows: HalfRows<'_>, out: &mut [f32]) {
    half_dots_with(Arm::used(), x, rows, out);
}

#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
fn half_dots_with(arm: Arm, x: &[f32], rows: HalfRows<'_>, out: &mut [f32]) {
    match arm {
        Arm::Portable => plain_dots(x, rows, out),
        // SAFETY: an arm is in use only where the processor has what it needs, and each of these has AVX2.
        Arm::Avx2 | Arm::AvxVnni | Arm::Avx512Vnni => unsafe { halves::dots(x, rows, out) },
    }
}

/// `out += weight_t * row_t` for each row, in order.
#[inline]
pub fn add_halves(out: &mut [f32], weights: &[f32], rows: HalfRows<'_>) {
    add_halves_with(Arm::used(), out, weights, rows);
}

#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
fn add_halves_with(arm: Arm, out: &mut [f32], weights: &[f32], rows: HalfRows<'_>) {
    match arm {
        Arm::Portable => plain_add(out, weights, rows),
        // SAFETY: an arm is in use only where the processor has what it needs, and each of these has AVX2.
        Arm::Avx2 | Arm::AvxVnni | Arm::Avx512Vnni => unsafe { halves::add(out, weights, rows) },
    }
}
