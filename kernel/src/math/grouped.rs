//! Rows and inputs in 8 bits, of which each group of 32 numbers has a multiplier of its own.
//!
//! In: such a row, and a packed vector with its groups, or an accumulator. Out: a dot product, or the sum moved
//! on, in integers. Knows nothing of records.
//!
//! ```text
//! w_j = scale / 256 * m_(j / 32) * q_j,  0 <= m <= 255
//! x_j = unit * n_(j / 32) * p_j,         0 <= n <= 65535
//! w . x = scale / 256 * unit * sum_g m_g n_g (q . p)_g
//! ```
//!
//! One scale for a whole vector spends its steps on the largest number; real models have a few that are a
//! hundred times the others. What is summed is an integer, so the order does not matter; it is rounded once.

use super::{Packed, isa, quant};
use crate::slices;

/// Numbers that share a multiplier.
pub const GROUP: usize = 32;
/// What the multipliers of a row are fractions of.
pub const WHOLE: f32 = 256.0;
/// The largest multiplier of an input.
const MOST: u32 = u16::MAX as u32;
/// Below this magnitude a vector is zero: its unit would lose bits.
const LEAST: f32 = 1.0e-30;

// The longest row of damaged weights, at the largest multipliers, stays within 64 bits; what a group is
// multiplied with stays within 31.
const _: () = assert!((32 * 127 * 128) * 255 * (MOST as u64) < (1 << 63) / (16384 / 32));
const _: () = assert!(255 * MOST < 1 << 31);

/// Multipliers of a row that has one scale alone.
pub const ONES: [u8; 16384 / GROUP] = [1; 16384 / GROUP];

/// The multiplier of a group of an input, which is its lower half. What stands above, the instruction set knows.
#[inline]
pub const fn multiplier(info: u32) -> i32 {
    (info & MOST) as i32
}

/// Dot products of whole groups, each times its multipliers.
#[cfg(any(ripple_isa = "portable", ripple_isa = "neon"))]
#[inline]
fn dot_groups(row: &[[i8; GROUP]], m: &[u8], x: &[[u32; isa::GROUP_WORDS]], n: &[u32]) -> i64 {
    let groups = row.iter().zip(m).zip(x).zip(n);
    groups.fold(0, |sum, (((q, &m), p), &n)| {
        let both = i32::from(m) * multiplier(n);
        sum + i64::from(super::scalar::dot(q, isa::numbers(p))) * i64::from(both)
    })
}
#[cfg(not(any(ripple_isa = "portable", ripple_isa = "neon")))]
use isa::dot_groups;

/// Adds whole groups of a row to as many sums, each times its part of the coefficient.
#[cfg(not(any(ripple_isa = "armv7em", ripple_isa = "mve")))]
#[inline]
fn axpy_groups(acc: &mut [[i32; GROUP]], coefficient: i32, row: &[[i8; GROUP]], m: &[u8]) {
    for ((acc, row), &m) in acc.iter_mut().zip(row).zip(m) {
        super::axpy(acc, part(coefficient, m), row);
    }
}
#[cfg(any(ripple_isa = "armv7em", ripple_isa = "mve"))]
use isa::axpy_groups;

/// What is kept of a group of an input: its multiplier, and what the instruction set wants of its numbers.
#[inline]
pub fn info(multiplier: u32, numbers: &[i8]) -> u32 {
    #[cfg(not(ripple_isa = "armv7m"))]
    let above = {
        let _ = numbers;
        0
    };
    #[cfg(ripple_isa = "armv7m")]
    let above = isa::correction(numbers);
    multiplier | above << 16
}

/// Words of the groups of an input of `len` numbers.
pub const fn groups(len: u32) -> u32 {
    len.div_ceil(GROUP as u32)
}

/// `sum_g m_g n_g (q . p)_g`, exact.
///
/// `row`, `x`: equally long; `multipliers`, `infos`: one for each group of them. What is missing of one of them is
/// left out.
///
/// Not inlined: rows with one scale, beside which it stands, would pay for its registers.
#[inline(never)]
pub fn dot(row: &[i8], multipliers: &[u8], x: Packed<'_>, infos: &[u32]) -> i64 {
    let (whole, x_rest) = x.groups();
    let (numbers, rest) = row.as_chunks::<GROUP>();
    let count = whole.len().min(numbers.len()).min(multipliers.len()).min(infos.len());
    let (Some(head), Some(x), Some(m), Some(n)) =
        (numbers.get(..count), whole.get(..count), multipliers.get(..count), infos.get(..count))
    else {
        return 0;
    };
    let sum = if row.as_ptr().addr().is_multiple_of(4) {
        dot_groups(head, m, x, n)
    } else {
        unaligned(head, m, x, n)
    };
    match (multipliers.get(count), infos.get(count)) {
        (Some(&m), Some(&n)) if !rest.is_empty() && count == numbers.len() => {
            let (mut q, mut p) = (Aligned([0; GROUP]), [0; isa::GROUP_WORDS]);
            slices::copy(&mut q.0, rest);
            // Where a vector takes less than its room, what is behind it meets weights of zero.
            slices::copy(&mut p, whole.get(count).map_or(x_rest, |words| words));
            sum + dot_groups(&[q.0], &[m], &[p], &[n])
        }
        _ => sum,
    }
}

/// A group on a word boundary, as the inner loops want rows.
#[derive(Clone, Copy)]
#[repr(align(4))]
struct Aligned([i8; GROUP]);

#[cold]
#[inline(never)]
fn unaligned(row: &[[i8; GROUP]], m: &[u8], x: &[[u32; isa::GROUP_WORDS]], n: &[u32]) -> i64 {
    let groups = row.iter().zip(m).zip(x).zip(n);
    groups.fold(0, |sum, (((q, &m), &p), &n)| {
        let q = Aligned(*q);
        sum + dot_groups(core::array::from_ref(&q.0), &[m], &[p], &[n])
    })
}

/// What a group's multiplier makes of a coefficient: `coefficient * m / 256`, rounded.
#[inline]
pub const fn part(coefficient: i32, multiplier: u8) -> i32 {
    ((coefficient as i64 * multiplier as i64 + 128) >> 8) as i32
}

/// `acc_j += part(coefficient, m_(j / 32)) * q_j`, wrapping.
#[inline]
pub fn axpy(acc: &mut [i32], coefficient: i32, row: &[i8], multipliers: &[u8]) {
    let (sums, rest) = acc.as_chunks_mut::<GROUP>();
    let (numbers, row_rest) = row.as_chunks::<GROUP>();
    let count = sums.len().min(numbers.len()).min(multipliers.len());
    if let (Some(sums), Some(numbers), Some(multipliers)) =
        (sums.get_mut(..count), numbers.get(..count), multipliers.get(..count))
    {
        axpy_groups(sums, coefficient, numbers, multipliers);
    }
    if let Some(&m) = multipliers.get(count) {
        super::axpy(rest, part(coefficient, m), row_rest);
    }
}

/// Writes `x` in groups and returns the unit: `x_j = unit * n_(j / 32) * out_j`, nearly.
///
/// `x`, `out`: equally long; `infos`: one for each group. No group's largest number is cut off. A vector of zeroes,
/// or one that is not finite, gives unit 0.
pub fn quantise(x: &[f32], out: &mut [i8], infos: &mut [u32]) -> f32 {
    let most = quant::max_abs(x);
    if !(LEAST..f32::INFINITY).contains(&most) {
        out.iter_mut().for_each(|q| *q = 0);
        infos.iter_mut().for_each(|info| *info = 0);
        return 0.0;
    }
    let per_number = MOST as f32 / most;
    let unit = most / (127 * MOST) as f32;
    for ((x, out), place) in x.chunks(GROUP).zip(out.chunks_mut(GROUP)).zip(infos) {
        // Rounded up.
        let multiplier = ((quant::max_abs(x) * per_number) as u32 + 1).min(MOST);
        let inverse = 1.0 / (unit * multiplier as f32);
        for (q, x) in out.iter_mut().zip(x) {
            *q = quant::round(x * inverse).clamp(-127, 127) as i8;
        }
        *place = info(multiplier, out);
    }
    unit
}

/// The scale of a row, and, through `put`, the multiplier of each group and the numbers, of which a row's last
/// group may have fewer than 32. Offline only.
///
/// The scale is rounded to `f16`, upwards, so that the largest multiplier reaches the largest number; multipliers
/// are rounded upwards too, so that nothing is cut off.
pub fn quantise_row(
    row: &[f32],
    mut put: impl FnMut(usize, u8, &mut dyn Iterator<Item = i8>),
) -> half::f16 {
    use half::f16;
    let most = quant::max_abs(row);
    let reach = |scale: f16| scale.to_f32() * (255.0 * 127.0 / WHOLE);
    let mut scale = f16::from_f32(most * (WHOLE / (255.0 * 127.0)));
    if reach(scale) < most {
        scale = f16::from_bits(scale.to_bits() + 1);
    }
    let unit = scale.to_f32() / WHOLE;
    for (group, x) in row.chunks(GROUP).enumerate() {
        let largest = quant::max_abs(x);
        let multiplier = match unit > 0.0 {
            true => libm::ceilf(largest / (unit * 127.0)).clamp(0.0, 255.0),
            false => 0.0,
        };
        let step = unit * multiplier;
        let number = |x: &f32| if step > 0.0 { quant::round(x / step).clamp(-127, 127) } else { 0 };
        put(group, multiplier as u8, &mut x.iter().map(|x| number(x) as i8));
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    /// Numbers of the longest row; Miri has a thousandth of the speed.
    const LONGEST: usize = if cfg!(miri) { 256 } else { 16384 };

    fn random(seed: u32) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    /// Numbers of which some are far larger than the others.
    fn outliers(len: usize, next: &mut impl FnMut() -> f32) -> Vec<f32> {
        let size = |j: usize| if j % 45 == 7 { 300.0 } else { 1.0 };
        (0..len).map(|j| size(j) * next() * next()).collect()
    }

    /// `sum_g m_g n_g (q . p)_g`, the slow way.
    fn naive(row: &[i8], multipliers: &[u8], x: &[i8], infos: &[u32]) -> i128 {
        let term = |j: usize| {
            let both = i128::from(multipliers[j / GROUP]) * i128::from(infos[j / GROUP] & 0xFFFF);
            both * i128::from(row[j]) * i128::from(x[j])
        };
        (0..row.len()).map(term).sum()
    }

    fn check(row: &[i8], multipliers: &[u8], x: &[i8], infos: &[u32]) {
        let mut room = vec![u32::MAX; Packed::words(x.len() as u32) as usize];
        let packed = Packed::new(x, &mut room);
        let found = dot(row, multipliers, packed, infos);
        assert_eq!(i128::from(found), naive(row, multipliers, x, infos), "{} numbers", x.len());
    }

    #[test]
    fn dot_is_the_naive_sum_at_every_length_and_alignment() {
        let mut next = random(1);
        for len in (0..=200usize).step_by(if cfg!(miri) { 41 } else { 1 }).chain([1024, LONGEST]) {
            let bytes: Vec<i8> = (0..len + 4).map(|_| (next() * 128.0) as i8).collect();
            let x: Vec<i8> = (0..len).map(|_| (next() * 127.9) as i8).collect();
            let groups = len.div_ceil(GROUP);
            let multipliers: Vec<u8> = (0..groups).map(|_| (next() * 255.0) as i8 as u8).collect();
            let infos: Vec<u32> = (0..groups).map(|_| (next() * 1e9) as i32 as u32).collect();
            for at in 0..4 {
                check(&bytes[at..at + len], &multipliers, &x, &infos);
            }
            check(&bytes[..len], &ONES, &x, &infos);
        }
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        for (w, p) in [(-128i8, 127i8), (-128, -127), (127, 127), (127, -127)] {
            let (row, x) = (vec![w; 16384], vec![p; 16384]);
            check(&row, &[255; 512], &x, &[u32::MAX; 512]);
        }
    }

    #[test]
    fn what_is_missing_is_left_out() {
        let (row, x, infos) = ([3; 64], [2; 64], [1 << 20 | 7; 2]);
        let mut room = vec![0; Packed::words(64) as usize];
        let packed = Packed::new(&x, &mut room);
        assert_eq!(dot(&row, &[1, 1], packed, &infos), 64 * 6 * 7);
        assert_eq!(dot(&row, &[1], packed, &infos), 32 * 6 * 7);
        assert_eq!(dot(&row, &[1, 1], packed, &infos[..1]), 32 * 6 * 7);
        assert_eq!(dot(&row, &[1, 1], packed, &[]), 0);
        assert_eq!(dot(&row[..40], &[1], packed, &infos), 32 * 6 * 7);
    }

    #[test]
    fn axpy_adds_what_the_numbers_do_one_by_one() {
        let mut next = random(2);
        for len in (0..=200usize).step_by(if cfg!(miri) { 41 } else { 1 }).chain([LONGEST / 16]) {
            let row: Vec<i8> = (0..len).map(|_| (next() * 128.0) as i8).collect();
            let multipliers: Vec<u8> =
                (0..len.div_ceil(GROUP)).map(|_| (next() * 255.0) as i8 as u8).collect();
            for coefficient in [1, -104_857, 7_340_033, i32::MAX, i32::MIN] {
                let mut acc = vec![5; len];
                axpy(&mut acc, coefficient, &row, &multipliers);
                for (j, acc) in acc.iter().enumerate() {
                    let whole = i64::from(coefficient) * i64::from(multipliers[j / GROUP]);
                    let part = ((whole as f64 / 256.0) + 0.5).floor() as i32;
                    assert_eq!(
                        *acc,
                        part.wrapping_mul(row[j].into()).wrapping_add(5),
                        "{len}: {j}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_input_is_off_by_no_more_than_half_a_step_of_its_group() {
        let mut next = random(3);
        for round in 0..if cfg!(miri) { 5 } else { 200 } {
            let size = [1e-20, 1.0, 1e20][round % 3];
            let x: Vec<f32> = outliers(4 * round + 4, &mut next).iter().map(|x| size * x).collect();
            let (mut q, mut infos) = (vec![1i8; x.len()], vec![7; x.len().div_ceil(GROUP)]);
            let unit = quantise(&x, &mut q, &mut infos);
            let most = quant::max_abs(&x);
            for ((x, q), info) in x.chunks(GROUP).zip(q.chunks(GROUP)).zip(&infos) {
                let step = f64::from(unit) * f64::from(multiplier(*info));
                let largest = f64::from(quant::max_abs(x));
                // The multiplier is the next whole number: a step is a 65,535th of the largest too long, at most.
                assert!(step * 127.0 <= largest + 1.01 * f64::from(most) / 65_535.0);
                for (x, q) in x.iter().zip(q) {
                    assert!((f64::from(*x) - step * f64::from(*q)).abs() <= 0.5001 * step, "{x}");
                }
            }
        }
    }

    #[test]
    fn a_row_is_off_by_no_more_than_half_a_step_of_its_group() {
        let mut next = random(4);
        for round in 0..if cfg!(miri) { 5 } else { 200 } {
            let size = [1e-3, 1.0, 100.0][round % 3];
            let row: Vec<f32> = outliers(round + 1, &mut next).iter().map(|x| size * x).collect();
            let (mut q, mut multipliers) =
                (vec![0i8; row.len()], vec![0; row.len().div_ceil(GROUP)]);
            let scale = quantise_row(&row, |group, multiplier, numbers| {
                multipliers[group] = multiplier;
                q[group * GROUP..].iter_mut().zip(numbers).for_each(|(q, number)| *q = number);
            });
            let most = quant::max_abs(&row);
            for ((x, q), m) in row.chunks(GROUP).zip(q.chunks(GROUP)).zip(&multipliers) {
                let step = scale.to_f32() / WHOLE * f32::from(*m);
                assert!(step * 127.0 <= quant::max_abs(x) + 1.02 * most / 255.0, "{round}");
                for (x, q) in x.iter().zip(q) {
                    assert!((x - step * f32::from(*q)).abs() <= 0.5001 * step, "{x}");
                }
            }
        }
    }

    #[test]
    fn zeroes_nan_and_infinity_do_not_spread() {
        for x in [[0.0, 0.0], [f32::INFINITY, 1.0], [1e-31, 0.0]] {
            let (mut q, mut infos) = ([1; 2], [1]);
            assert_eq!(quantise(&x, &mut q, &mut infos), 0.0);
            assert_eq!((q, infos), ([0; 2], [0]));
        }
        let (mut q, mut infos) = ([1; 2], [1]);
        let unit = quantise(&[f32::NAN, 1.0], &mut q, &mut infos);
        assert_eq!(q, [0, 127]);
        assert!((unit * multiplier(infos[0]) as f32 * 127.0 - 1.0).abs() < 1e-4);
        let mut seen = (9, 9);
        let scale = quantise_row(&[0.0; 3], |_, m, q| seen = (m, q.map(i32::from).sum()));
        assert_eq!((scale.to_f32(), seen), (0.0, (0, 0)));
    }
}
