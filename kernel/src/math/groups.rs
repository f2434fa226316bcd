//! Rows in 4 bits, as [`nibbles`](super::nibbles) has them, multiplied.
//!
//! In: such a row, and a packed vector or an accumulator. Out: a dot product, or the sum moved on, in integers like
//! those of 8-bit rows. Knows nothing of records.
//!
//! A scale is an `f16`, which is a whole number of 2^-24: a group's integer dot product times its scale is an
//! integer too, and so is their sum, in whatever order.

use super::nibbles::fixed;
#[cfg(not(ripple_isa = "mve"))]
pub use super::nibbles::unpack;
pub use super::nibbles::{BYTES, GROUP, Groups, quantise};
use super::{Packed, axpy, isa};
#[cfg(ripple_isa = "x86")]
use super::{half_to_f32, quant};
use crate::slices;

/// What a dot product counts: `f16`'s smallest number.
const UNIT: f32 = 1.0 / (1u32 << 24) as f32;

/// `sum_j w_j x_j`, exact until it is rounded once, at the end.
///
/// Not inlined: rows of 8 bits, beside which it stands, would pay for its registers.
#[inline(never)]
pub fn dot(row: Groups<'_>, x: Packed<'_>) -> f32 {
    #[cfg(ripple_isa = "x86")]
    if let Some([sum]) = isa::group_units(row, [x.words_of()]) {
        return sum as f32 * UNIT;
    }
    units(row, x) as f32 * UNIT
}

/// [`dot`] with each of several vectors, packed from as many numbers.
#[cfg(ripple_isa = "x86")]
#[inline]
pub fn dots(row: Groups<'_>, xs: [Packed<'_>; isa::TOGETHER]) -> [f32; isa::TOGETHER] {
    let sums = isa::group_units(row, xs.map(Packed::words_of));
    sums.unwrap_or_else(|| xs.map(|x| units(row, x))).map(|sum| sum as f32 * UNIT)
}

/// The sum in units of 2^-24, a group after the other.
#[inline]
pub(super) fn units(row: Groups<'_>, x: Packed<'_>) -> i64 {
    let (whole, rest) = x.groups();
    let mut sum = 0i64;
    let mut groups = row.iter();
    for (x, (scale, numbers)) in whole.iter().zip(&mut groups) {
        sum = sum.wrapping_add(term(scale, numbers, x));
    }
    if let Some((scale, numbers)) = groups.next() {
        let mut last = [0; isa::GROUP_WORDS];
        slices::copy(&mut last, rest);
        sum = sum.wrapping_add(term(scale, numbers, &last));
    }
    sum
}

/// The same of an input whose groups have multipliers, in its unit. Each group's product is rounded to 2^-8,
/// downwards.
///
/// `infos`: as [`grouped`](super::grouped) has them.
#[cfg(feature = "grouped")]
#[inline(never)]
pub fn dot_grouped(row: Groups<'_>, x: Packed<'_>, infos: &[u32]) -> f32 {
    // 32 numbers of 8 times 127, a scale of 31 bits and a multiplier of 16 stay within 63 bits.
    const MOVED: u32 = 16;
    let (whole, rest) = x.groups();
    let mut sum = 0i64;
    let mut groups = row.iter().zip(infos);
    let term = |scale, numbers, x: &[u32; isa::GROUP_WORDS], info: u32| {
        (term(scale, numbers, x) * i64::from(super::grouped::multiplier(info))) >> MOVED
    };
    for (x, ((scale, numbers), &info)) in whole.iter().zip(&mut groups) {
        sum += term(scale, numbers, x, info);
    }
    if let Some(((scale, numbers), &info)) = groups.next() {
        let mut last = [0; isa::GROUP_WORDS];
        slices::copy(&mut last, rest);
        sum += term(scale, numbers, &last, info);
    }
    sum as f32 * (UNIT * (1u32 << MOVED) as f32)
}

#[inline]
fn term(scale: u16, numbers: &[u8; BYTES], x: &[u32; isa::GROUP_WORDS]) -> i64 {
    i64::from(dot_group(numbers, x)) * i64::from(fixed(scale))
}

/// [`axpy_groups`] with `round(factor * scale * one)` of each group's scale, none of which is beyond 32 bits.
#[cfg(ripple_isa = "x86")]
#[inline]
pub(super) fn axpy_scaled(acc: &mut [i32], row: Groups<'_>, factor: f32, one: f32) {
    let done = isa::axpy_row(acc, factor, one, row);
    let acc = acc.get_mut(done * GROUP..).unwrap_or_default();
    let row = Groups {
        scales: row.scales.get(done..).unwrap_or(&[]),
        numbers: row.numbers.get(done..).unwrap_or(&[]),
    };
    axpy_groups(acc, row, |scale| quant::round(factor * half_to_f32(scale) * one));
}

/// `acc_j += c_(j / 32) * q_j`, wrapping, with what `coefficient` makes of a group's scale.
#[inline]
pub fn axpy_groups(acc: &mut [i32], row: Groups<'_>, coefficient: impl Fn(u16) -> i32) {
    let (whole, rest) = acc.as_chunks_mut::<GROUP>();
    let mut groups = row.iter();
    for (acc, (scale, numbers)) in whole.iter_mut().zip(&mut groups) {
        axpy_group(acc, coefficient(scale), numbers);
    }
    if let Some((scale, numbers)) = groups.next() {
        axpy(rest, coefficient(scale), unpack(numbers).get(..rest.len()).unwrap_or(&[]));
    }
}

/// The numbers of a group, on a word boundary, as the inner loops want rows.
#[cfg(ripple_isa = "mve")]
#[inline]
pub fn unpack(numbers: &[u8; BYTES]) -> [i8; GROUP] {
    let mut out = [0; GROUP / 4];
    isa::unpack(numbers, &mut out);
    zerocopy::transmute!(out)
}

#[cfg(not(any(ripple_isa = "portable", ripple_isa = "neon", ripple_isa = "x86")))]
use isa::dot_group;

/// Dot product of a group with as many numbers of a packed vector.
#[cfg(any(ripple_isa = "portable", ripple_isa = "neon", ripple_isa = "x86"))]
#[inline]
fn dot_group(group: &[u8; BYTES], x: &[u32; isa::GROUP_WORDS]) -> i32 {
    super::scalar::dot(&unpack(group), isa::numbers(x))
}

#[cfg(any(ripple_isa = "armv7em", ripple_isa = "x86"))]
use isa::axpy_group;

/// `acc_j += coefficient * q_j`, wrapping.
#[cfg(not(any(ripple_isa = "armv7em", ripple_isa = "x86")))]
#[inline]
fn axpy_group(acc: &mut [i32; GROUP], coefficient: i32, numbers: &[u8; BYTES]) {
    axpy(acc, coefficient, &unpack(numbers));
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::quant;
    use super::*;
    use half::f16;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    fn random(seed: u32) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    /// A row of random numbers: scales, and groups.
    fn row(numbers: &[f32]) -> (Vec<[u8; 2]>, Vec<[u8; BYTES]>) {
        let pack = |x: &[f32]| {
            let mut out = [0xFF; BYTES];
            let scale = quantise(x, &mut out);
            (scale.to_le_bytes(), out)
        };
        numbers.chunks(GROUP).map(pack).unzip()
    }

    /// Number `j` of a row, the slow way.
    fn element(row: Groups<'_>, j: usize) -> (f16, i32) {
        let byte = row.numbers[j / GROUP][j % GROUP / 8 * 4 + j % 4];
        let four = if j % 8 < 4 { byte & 0xF } else { byte >> 4 };
        let q = if four < 8 { i32::from(four) } else { i32::from(four) - 16 };
        (f16::from_le_bytes(row.scales[j / GROUP]), q)
    }

    /// Checks an instruction set's dot product of a group.
    pub fn check_groups<const WORDS: usize>(
        pack: impl Fn(&[i8], &mut [u32]),
        dot_group: impl Fn(&[u8; BYTES], &[u32; WORDS]) -> i32,
        first_word: usize,
    ) {
        let mut next = random(3);
        for round in (0..2000).step_by(if cfg!(miri) { 157 } else { 1 }) {
            let byte = |x: f32| (x * 128.0) as i32 as u8;
            let mut group: [u8; BYTES] = core::array::from_fn(|_| byte(next()));
            let mut x: [i8; GROUP] = core::array::from_fn(|_| (next() * 127.9) as i8);
            if round < 16 {
                group = [round as u8 * 0x11; BYTES];
                x = [if round % 2 == 0 { 127 } else { -127 }; GROUP];
            }
            let mut words = vec![0; Packed::words(GROUP as u32) as usize];
            pack(&x, &mut words);
            let words = words[first_word..][..WORDS].try_into().unwrap();
            let naive: i32 =
                unpack(&group).iter().zip(x).map(|(&q, x)| i32::from(q) * i32::from(x)).sum();
            assert_eq!(dot_group(&group, words), naive, "round {round}");
        }
    }

    #[test]
    fn every_finite_scale_is_a_whole_number_of_units() {
        for bits in (0..=u16::MAX).step_by(if cfg!(miri) { 97 } else { 1 }) {
            let scale = f16::from_bits(bits);
            if scale.to_f32().abs() < 128.0 {
                assert_eq!(
                    fixed(bits) as f64,
                    f64::from(scale.to_f32()) * 2f64.powi(24),
                    "{scale}"
                );
            } else {
                assert!(fixed(bits).unsigned_abs() >= 1 << 30, "{scale}");
            }
        }
    }

    #[test]
    fn unpacking_gives_what_the_layout_says() {
        let numbers: [u8; BYTES] = core::array::from_fn(|i| (i * 37 + 11) as u8);
        let (scales, groups) = ([f16::ONE.to_le_bytes()], [numbers]);
        let row = Groups { scales: &scales, numbers: &groups };
        let found = unpack(&numbers);
        for (j, found) in found.into_iter().enumerate() {
            assert_eq!(i32::from(found), element(row, j).1, "number {j}");
        }
    }

    #[test]
    fn dot_and_axpy_are_the_naive_sums_at_every_length() {
        let mut next = random(1);
        for cols in (4..=200).step_by(if cfg!(miri) { 60 } else { 4 }).chain([if cfg!(miri) {
            96
        } else {
            1024
        }]) {
            let weights: Vec<f32> = (0..cols).map(|_| next() * next()).collect();
            let x: Vec<i8> = (0..cols).map(|_| (next() * 127.0) as i8).collect();
            let (scales, numbers) = row(&weights);
            let row = Groups { scales: &scales, numbers: &numbers };
            let mut room = vec![u32::MAX; Packed::words(cols as u32) as usize];
            let packed = Packed::new(&x, &mut room);
            // Every term is a whole number of units, small enough for 53 bits.
            let exact: f64 = (0..cols)
                .map(|j| {
                    let (scale, q) = element(row, j);
                    f64::from(scale.to_f32()) * f64::from(q) * f64::from(x[j])
                })
                .sum();
            assert_eq!(dot(row, packed), exact as f32, "{cols}");

            let mut acc = vec![5; cols];
            axpy_groups(&mut acc, row, |scale| i32::from(scale & 0xFF) - 100);
            for (j, acc) in acc.iter().enumerate() {
                let (scale, q) = element(row, j);
                assert_eq!(*acc, 5 + (i32::from(scale.to_bits() & 0xFF) - 100) * q, "{cols}: {j}");
            }
            row.for_each(|j, w| {
                let (scale, q) = element(row, j);
                assert_eq!(w, scale.to_f32() * q as f32, "{cols}: {j}");
                assert!(j < cols || q == 0, "{cols}: {j} is beyond the row");
            });
        }
    }

    #[cfg(feature = "grouped")]
    #[test]
    fn multipliers_of_the_input_are_those_of_its_groups() {
        let mut next = random(9);
        for cols in (4..=200).step_by(4).chain([16384]) {
            let weights: Vec<f32> = (0..cols).map(|_| next() * next()).collect();
            let x: Vec<i8> = (0..cols).map(|_| (next() * 127.0) as i8).collect();
            let (scales, numbers) = row(&weights);
            let row = Groups { scales: &scales, numbers: &numbers };
            let mut room = vec![u32::MAX; Packed::words(cols as u32) as usize];
            let packed = Packed::new(&x, &mut room);
            let infos: Vec<u32> = scales.iter().map(|_| (next() * 1e9) as i32 as u32).collect();
            let exact: f64 = (0..cols)
                .map(|j| {
                    let (scale, q) = element(row, j);
                    let info = f64::from(infos[j / GROUP] & 0xFFFF);
                    f64::from(scale.to_f32()) * f64::from(q) * f64::from(x[j]) * info
                })
                .sum();
            let off = f64::from(dot_grouped(row, packed, &infos)) - exact;
            // Each group's product is off by a 256th at most, and the sum by its rounding.
            assert!(off.abs() <= scales.len() as f64 / 256.0 + 1e-6 * exact.abs(), "{cols}: {off}");
        }
        let (scales, numbers) = ([[0xFF, 0x57]; 512], [[0x88; BYTES]; 512]);
        let row = Groups { scales: &scales, numbers: &numbers };
        let mut room = vec![0; Packed::words(16384) as usize];
        let found = dot_grouped(row, Packed::new(&[127; 16384], &mut room), &[0xFFFF; 512]);
        let exact = -8.0 * 127.0 * 65535.0 * 16384.0 * f64::from(f16::from_bits(0x57FF).to_f32());
        assert!((f64::from(found) / exact - 1.0).abs() < 1e-6, "{found} of {exact}");
    }

    #[test]
    fn a_group_is_off_by_no_more_than_half_a_step_of_fourteen() {
        let mut next = random(7);
        for round in 0..if cfg!(miri) { 4 } else { 500 } {
            let size = [1e-3, 1.0, 50.0][round % 3];
            let x: [f32; GROUP] = core::array::from_fn(|_| size * next() * next());
            let (scales, numbers) = row(&x);
            let row = Groups { scales: &scales, numbers: &numbers };
            let mut error = 0.0;
            row.for_each(|j, w| error += (x[j] - w) * (x[j] - w));
            // Steps of a seventh of the largest, rounded to 11 bits, are among those tried.
            let bound = quant::max_abs(&x) / 14.0 * 1.002;
            assert!(error <= 32.0 * bound * bound, "{error} of {bound}");
            assert!(error > 0.0);
        }
    }

    #[test]
    fn what_four_bits_hold_comes_back_exactly() {
        let x: [f32; GROUP] = core::array::from_fn(|j| 0.25 * (j as f32 % 16.0 - 8.0));
        let (scales, numbers) = row(&x);
        Groups { scales: &scales, numbers: &numbers }.for_each(|j, w| assert_eq!(w, x[j]));
        let (scales, numbers) = row(&[0.0; 5]);
        Groups { scales: &scales, numbers: &numbers }.for_each(|_, w| assert_eq!(w, 0.0));
        for huge in [1e9, f32::INFINITY, f32::NAN] {
            let (scales, _) = row(&[huge, 1.0]);
            assert!(f16::from_le_bytes(scales[0]).to_f32().abs() < 128.0, "{huge}");
        }
    }
}
