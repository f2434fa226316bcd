//! How rows in 4 bits are kept: groups of 32 numbers with a scale each.
//!
//! In: such a row, or floats. Out: its numbers and scales, or a row. Knows nothing of what they are multiplied with.
//!
//! ```text
//! w_j = scale_(j / 32) * q_j,  -8 <= q_j <= 7
//! byte k of a word of 8 numbers: q_k in the low half, q_(4 + k) in the high one, two's complement
//! ```
//!
//! Masking a word gives four numbers that follow one another, and the pairs that a multiplication of halfwords
//! takes.

use super::{quant, scalar::half_to_f32};
use half::f16;

/// Numbers that share a scale.
pub const GROUP: usize = 32;
/// Bytes of a group.
pub const BYTES: usize = GROUP / 2;

/// Scales are below 2^7 in magnitude: [`fixed`] of one, times a group's dot product, summed over
/// the longest row stays within 64 bits.
const LARGEST_SHIFT: u32 = 20;
const _: () = assert!((2047u64 << LARGEST_SHIFT) * (32 * 8 * 127) < (1 << 63) / (16384 / 32));

/// A row of `scales.len()` groups.
#[derive(Clone, Copy)]
pub struct Groups<'a> {
    /// `f16`, little-endian: one a group.
    pub scales: &'a [[u8; 2]],
    /// As many groups; zeroes beyond the row's last number.
    pub numbers: &'a [[u8; BYTES]],
}

impl<'a> Groups<'a> {
    /// Each group's scale, as the bits of an `f16`, and numbers.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = (u16, &'a [u8; BYTES])> {
        self.scales.iter().map(|scale| u16::from_le_bytes(*scale)).zip(self.numbers)
    }

    /// The scale of the largest magnitude, as its bits without the sign.
    #[inline]
    pub fn largest_scale(self) -> u16 {
        self.iter().fold(0, |most, (scale, _)| most.max(scale & 0x7FFF))
    }

    /// Calls `out(j, w_j)` for each number, those beyond the row's last included.
    #[inline]
    pub fn for_each(self, mut out: impl FnMut(usize, f32)) {
        for (i, (scale, numbers)) in self.iter().enumerate() {
            let scale = half_to_f32(scale);
            for (j, q) in unpack(numbers).into_iter().enumerate() {
                out(GROUP * i + j, f32::from(q) * scale);
            }
        }
    }
}

/// A scale as a multiple of 2^-24. What is 2^7 or more, infinity or NaN becomes less: it is never
/// stored.
#[inline]
pub fn fixed(half: u16) -> i32 {
    let (exponent, fraction) = (u32::from(half >> 10 & 0x1F), i32::from(half & 0x3FF));
    let magnitude = match exponent.checked_sub(1) {
        None => fraction,
        Some(shift) => (fraction | 0x400) << shift.min(LARGEST_SHIFT),
    };
    if half >> 15 == 0 { magnitude } else { -magnitude }
}

/// The numbers of a group, on a word boundary, as the inner loops want rows.
#[inline]
pub fn unpack(numbers: &[u8; BYTES]) -> [i8; GROUP] {
    const LOW: u32 = 0x0F0F_0F0F;
    // Four numbers of 0 to 15 to two's complement: no carry crosses a byte.
    let signed = |q: u32| ((q ^ 0x0808_0808) + 0x7878_7878) ^ 0x8080_8080;
    let mut out = [0; GROUP / 4];
    let (words, _) = numbers.as_chunks::<4>();
    let (pairs, _) = out.as_chunks_mut::<2>();
    for ([low, high], word) in pairs.iter_mut().zip(words) {
        let word = u32::from_le_bytes(*word);
        *low = signed(word & LOW).to_le();
        *high = signed(word >> 4 & LOW).to_le();
    }
    zerocopy::transmute!(out)
}

/// Writes up to 32 numbers as a group and returns their scale: of a row of steps about the largest
/// magnitude, the one that leaves the smallest squared error.
///
/// Offline only. The largest number may become -8, the scale is then of the other sign; between the
/// steps that are tried the best scale for each rounding follows from least squares.
pub fn quantise(x: &[f32], out: &mut [u8; BYTES]) -> f16 {
    let most = x.iter().fold(0.0f32, |most, x| if x.abs() > most.abs() { *x } else { most });
    let mut best = (f32::INFINITY, f16::ZERO);
    for tenths in -90i16..=-70 {
        let step = most / (f32::from(tenths) / 10.0);
        let (xq, qq) = x.iter().fold((0.0, 0.0), |(xq, qq), x| {
            let q = nearest(*x, step) as f32;
            (xq + x * q, qq + q * q)
        });
        for step in [step, if qq > 0.0 { xq / qq } else { 0.0 }] {
            let scale = f16::from_f32(step.clamp(-LARGEST, LARGEST));
            let error = x.iter().fold(0.0, |sum, x| {
                let off = x - scale.to_f32() * nearest(*x, scale.to_f32()) as f32;
                sum + off * off
            });
            if error < best.0 {
                best = (error, scale);
            }
        }
    }
    let (_, scale) = best;
    let number = |j: usize| {
        let q = x.get(j).map_or(0, |x| nearest(*x, scale.to_f32()));
        q as u8 & 0xF
    };
    for (at, byte) in out.iter_mut().enumerate() {
        let first = at / 4 * 8 + at % 4;
        *byte = number(first) | number(first + 4) << 4;
    }
    scale
}

/// The largest scale: see [`fixed`].
const LARGEST: f32 = 127.0;

/// `x / step`, rounded, as a number of 4 bits.
fn nearest(x: f32, step: f32) -> i32 {
    if step == 0.0 { 0 } else { quant::round(x / step).clamp(-8, 7) }
}
