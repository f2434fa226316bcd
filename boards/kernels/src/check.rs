//! The loops of this instruction set against the portable ones.
//!
//! In: memory. Out: how many cases were compared. Panics at the first that differs.

use crate::random;
use ripple_kernel::math::grouped;
use ripple_kernel::math::groups::{self, BYTES, GROUP, Groups};
use ripple_kernel::math::{self, Packed, scalar};
use zerocopy::{FromBytes, IntoBytes};

/// What rows and vectors are filled with. -128 is no weight that a packer writes, but a damaged record
/// may hold it.
const FILLS: [(i8, i8); 7] =
    [(127, 127), (-127, 127), (127, -127), (-127, -127), (-128, 127), (-128, -127), (-1, 1)];
/// Lengths beyond the ones that are all tried.
const LONG: [usize; 12] = [316, 320, 324, 640, 644, 768, 1000, 1024, 2047, 4096, 11008, 16384];
/// Coefficients of a scaled row: ordinary ones and the ends, where sums wrap.
const COEFFICIENTS: [i32; 6] = [1, -1, 104_857, -7_340_033, i32::MAX, i32::MIN];

/// Every length to 300 and [`LONG`], at every alignment of the row, with random numbers and [`FILLS`].
pub fn all(weights: &mut [i8], x: &mut [i8], room: &mut [u32], sums: &mut [i32]) -> u32 {
    let mut cases = 0;
    for fill in 0..=2 * FILLS.len() {
        match FILLS.get(fill / 2) {
            None => {
                random::fill(weights, 3);
                random::fill(x, 4);
            }
            Some(&(w, number)) => {
                // The same everywhere; then with the signs of the numbers in turn.
                weights[..x.len() + 3].fill(w);
                let sign = |j| if fill % 2 == 1 && j % 3 == 0 { -1 } else { 1 };
                x.iter_mut().enumerate().for_each(|(j, x)| *x = sign(j) * number);
            }
        }
        for len in (0..=300).chain(LONG) {
            let x = &x[..len];
            let packed = Packed::new(x, room);
            for offset in 0..4 {
                let row = &weights[offset..offset + len];
                let (found, expected) = (math::dot(row, packed), scalar::dot(row, x));
                assert_eq!(found, expected, "dot: {len} at {offset}, fill {fill}");
                let shorter = &row[..len / 2];
                let (found, expected) = (math::dot(shorter, packed), scalar::dot(shorter, x));
                assert_eq!(found, expected, "dot: {len} by half at {offset}, fill {fill}");
                let coefficient = COEFFICIENTS[(len + offset) % COEFFICIENTS.len()];
                axpy(sums, row, coefficient);
                in_groups(row, x, packed, sums, coefficient);
                cases += 5;
            }
            cases += four_bits(weights, x, packed, &mut sums[..len]);
        }
    }
    cases
}

/// One more number in the accumulator than in the row, to see that it is left alone.
fn axpy(sums: &mut [i32], row: &[i8], coefficient: i32) {
    let len = row.len() + usize::from(row.len() < sums.len() / 2);
    let (found, expected) = sums.split_at_mut(sums.len() / 2);
    let (found, expected) = (&mut found[..len], &mut expected[..len]);
    for (j, (found, expected)) in found.iter_mut().zip(expected.iter_mut()).enumerate() {
        *found = (j as i32).wrapping_mul(0x0101_0101);
        *expected = *found;
    }
    math::axpy(found, coefficient, row);
    scalar::axpy(expected, coefficient, row);
    assert!(found == expected, "axpy: {} by {coefficient}", row.len());
}

/// Multipliers of the groups of the longest row.
pub static MULTIPLIERS: [u8; 16384 / GROUP] = {
    let mut multipliers = [0; 16384 / GROUP];
    let mut i = 0;
    while i < multipliers.len() {
        multipliers[i] = if i % 7 == 0 { 255 } else { (i * 97) as u8 };
        i += 1;
    }
    multipliers
};

/// Writes what the core keeps of the groups of `x`, with any multipliers.
pub fn infos_of(x: &[i8], infos: &mut [u32]) {
    for (i, (x, info)) in x.chunks(GROUP).zip(infos).enumerate() {
        let multiplier = if i % 5 == 0 { 65_535 } else { (i as u32).wrapping_mul(40_503) & 0xFFFF };
        *info = grouped::info(multiplier, x);
    }
}

/// A row and an input in groups, as a dot product and scaled.
#[inline(never)]
fn in_groups(row: &[i8], x: &[i8], packed: Packed<'_>, sums: &mut [i32], coefficient: i32) {
    let mut infos = [0; 16384 / GROUP];
    infos_of(x, &mut infos);
    let mut expected = 0i64;
    for (((row, x), &m), &n) in row.chunks(GROUP).zip(x.chunks(GROUP)).zip(&MULTIPLIERS).zip(&infos)
    {
        let both = i64::from(m) * i64::from(n & 0xFFFF);
        expected += i64::from(scalar::dot(row, x)) * both;
    }
    let found = grouped::dot(row, &MULTIPLIERS, packed, &infos);
    assert_eq!(found, expected, "dot in groups: {}", x.len());
    let len = row.len();
    let (found, expected) = sums.split_at_mut(sums.len() / 2);
    let (found, expected) = (&mut found[..len], &mut expected[..len]);
    found.fill(7);
    grouped::axpy(found, coefficient, row, &MULTIPLIERS);
    for ((sums, row), &m) in expected.chunks_mut(GROUP).zip(row.chunks(GROUP)).zip(&MULTIPLIERS) {
        sums.fill(7);
        let part = (i64::from(coefficient) * i64::from(m) + 128).div_euclid(256) as i32;
        scalar::axpy(sums, part, row);
    }
    assert!(found == expected, "axpy in groups: {len} by {coefficient}");
}

/// A scale for each group of the longest row: any below 2^7, of both signs.
static SCALES: [[u8; 2]; 16384 / GROUP] = {
    let mut scales = [[0; 2]; 16384 / GROUP];
    let mut i = 0;
    while i < scales.len() {
        let magnitude = (i as u16).wrapping_mul(7919) % 0x5800;
        scales[i] = (magnitude | (i as u16 & 1) << 15).to_le_bytes();
        i += 1;
    }
    scales
};

/// A row in 4 bits of as many numbers as `row` has bytes, a multiple of 32: in the first half of them.
pub fn groups_in(row: &[i8]) -> Groups<'_> {
    let bytes = <[u8]>::ref_from_bytes(row.as_bytes()).unwrap_or(&[]);
    let (numbers, _) = bytes[..row.len() / 2].as_chunks::<BYTES>();
    Groups { scales: &SCALES[..numbers.len()], numbers }
}

/// A row in 4 bits of as many numbers as `x` has, as a dot product and scaled.
fn four_bits(weights: &[i8], x: &[i8], packed: Packed<'_>, sums: &mut [i32]) -> u32 {
    if !x.len().is_multiple_of(GROUP) {
        return 0;
    }
    let row = groups_in(&weights[..x.len()]);
    let mut sum = 0i64;
    for ((scale, numbers), x) in row.iter().zip(x.chunks(GROUP)) {
        // In units of 2^-24, which every scale is a whole number of.
        let scale = (f64::from(math::half_to_f32(scale)) * 16_777_216.0) as i64;
        sum += i64::from(scalar::dot(&groups::unpack(numbers), x)) * scale;
    }
    let (found, expected) = (groups::dot(row, packed), sum as f32 / 16_777_216.0);
    assert_eq!(found, expected, "dot in 4 bits: {}", x.len());
    sums.fill(7);
    groups::axpy_groups(sums, row, |scale| i32::from(scale) - 9999);
    for ((scale, numbers), sums) in row.iter().zip(sums.chunks(GROUP)) {
        let mut expected = [7; GROUP];
        scalar::axpy(&mut expected, i32::from(scale) - 9999, &groups::unpack(numbers));
        assert!(sums == expected, "axpy in 4 bits: {}", x.len());
    }
    2
}
