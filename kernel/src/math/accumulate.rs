//! Sum of scaled rows of 8 or 4 bits, exact and therefore independent of the order of the rows.
//!
//! In: coefficients and rows. Out: floats, once. This is what lets cached neurons be added while
//! the missing ones are still on the bus, whatever the cache held, without changing a single bit.

#[cfg(feature = "grouped")]
use super::grouped;
#[cfg(all(feature = "q4", not(ripple_isa = "x86")))]
use super::groups::axpy_groups;
#[cfg(feature = "q4")]
use super::groups::{GROUP, Groups, unpack};
#[cfg(feature = "q4")]
use super::half_to_f32;
use super::{axpy, quant};

/// Fraction bits of a coefficient in fixed point.
///
/// A coefficient is `h * scale` of a neuron (or `p * scale` of an attended value): typically 0.001
/// to 0.1. Twenty bits resolve 1e-6 and leave a range of 2,048, so no calibration is needed; the
/// error on an output is below 1e-4 for a hundred neurons, a tenth of what 8-bit weights cost.
const FRACTION_BITS: u32 = 20;
const ONE: f32 = (1u32 << FRACTION_BITS) as f32;

/// `sum |coefficient| * 127` must stay below 2^31, so the coefficients may sum to this.
const BUDGET: u32 = (i32::MAX as u32) / 128;

/// Bits of a sum that stay in its narrow half when it is folded.
const LOW_BITS: u32 = 23;
const LOW: i32 = (1 << LOW_BITS) - 1;

// What a fold leaves and what the budget then allows stay within 31 bits together, and so do the
// high halves of the most neurons a model may have, each as large as a coefficient can be.
const _: () = assert!(LOW as u64 + BUDGET as u64 * 127 <= i32::MAX as u64);
const _: () = assert!(65535 * ((((1u64 << 31) * 127) >> LOW_BITS) + 1) <= i32::MAX as u64);

/// `y = sum_i c_i * row_i`, in integers.
pub struct Accumulator<'a> {
    /// `(dim,)` partial sums, 20 fraction bits.
    narrow: &'a mut [i32],
    /// `(dim,)` what was moved out of `narrow` before it could overflow, in units of 2^23.
    high: &'a mut [i32],
    /// What `sum |coefficient|` may still grow by, and whether `high` is in use.
    left: &'a mut u32,
}

/// Set in `left` once `high` is in use.
const FOLDED: u32 = 1 << 31;
const _: () = assert!(BUDGET < FOLDED);

impl<'a> Accumulator<'a> {
    /// Starts at zero. `narrow` and `high`: `(dim,)`, lent for the sum's life, as is `left`.
    pub fn new(narrow: &'a mut [i32], high: &'a mut [i32], left: &'a mut u32) -> Self {
        narrow.iter_mut().for_each(|acc| *acc = 0);
        *left = BUDGET;
        Self { narrow, high, left }
    }

    /// Adds `coefficient * row`, the coefficient rounded to 20 fraction bits.
    ///
    /// `row`: `(dim,)`, magnitudes at most 127.
    pub fn add(&mut self, coefficient: f32, row: &[i8]) {
        let fixed = quant::round(coefficient * ONE);
        let magnitude = fixed.unsigned_abs();
        if magnitude > *self.left & !FOLDED {
            self.fold();
            if magnitude > BUDGET {
                return self.add_wide(fixed, row);
            }
        }
        *self.left -= magnitude;
        axpy(self.narrow, fixed, row);
    }

    /// Adds `coefficient * row`, the coefficient times each scale rounded to 20 fraction bits.
    ///
    /// `row`: `(dim,)`.
    #[cfg(feature = "q4")]
    pub fn add_groups(&mut self, coefficient: f32, row: Groups<'_>) {
        let fixed = |scale| quant::round(coefficient * half_to_f32(scale) * ONE);
        // Rounding keeps the order, so no group's magnitude is larger; and 8 times it is no more than
        // 127 times this.
        let magnitude = fixed(row.largest_scale()).unsigned_abs() / 15 + 1;
        if magnitude > *self.left & !FOLDED {
            self.fold();
            if magnitude > BUDGET {
                for ((scale, numbers), at) in row.iter().zip((0..).step_by(GROUP)) {
                    let narrow = self.narrow.get_mut(at..).unwrap_or_default();
                    let high = self.high.get_mut(at..).unwrap_or_default();
                    let mut sum = Accumulator { narrow, high, left: &mut *self.left };
                    sum.add_wide(fixed(scale), &unpack(numbers));
                }
                return;
            }
        }
        *self.left -= magnitude;
        // Within the budget no coefficient is beyond 15 * 2^24.
        #[cfg(ripple_isa = "x86")]
        super::groups::axpy_scaled(self.narrow, row, coefficient, ONE);
        #[cfg(not(ripple_isa = "x86"))]
        axpy_groups(self.narrow, row, fixed);
    }

    /// Adds `coefficient / 256 * m_(j / 32) * row_j`, the coefficient rounded to 20 fraction bits, and so its
    /// product with each multiplier.
    ///
    /// `row`: `(dim,)`, magnitudes at most 127; `multipliers`: one for each group.
    #[cfg(feature = "grouped")]
    pub fn add_multiplied(&mut self, coefficient: f32, row: &[i8], multipliers: &[u8]) {
        let fixed = quant::round(coefficient * ONE);
        // No part of a coefficient is larger than all of it.
        let magnitude = fixed.unsigned_abs();
        if magnitude > *self.left & !FOLDED {
            self.fold();
            if magnitude > BUDGET {
                let groups = row.chunks(grouped::GROUP).zip(multipliers);
                for ((row, &m), at) in groups.zip((0..).step_by(grouped::GROUP)) {
                    let narrow = self.narrow.get_mut(at..).unwrap_or_default();
                    let high = self.high.get_mut(at..).unwrap_or_default();
                    let mut sum = Accumulator { narrow, high, left: &mut *self.left };
                    sum.add_wide(grouped::part(fixed, m), row);
                }
                return;
            }
        }
        *self.left -= magnitude;
        grouped::axpy(self.narrow, fixed, row, multipliers);
    }

    /// Ends the sum: calls `out(y_j)` for each element in order.
    pub fn finish(self, mut out: impl FnMut(usize, f32)) {
        const UNIT: f32 = 1.0 / ONE;
        if *self.left & FOLDED != 0 {
            for (j, (&narrow, &high)) in self.narrow.iter().zip(self.high.iter()).enumerate() {
                out(j, ((i64::from(high) << LOW_BITS) + i64::from(narrow)) as f32 * UNIT);
            }
        } else {
            for (j, &narrow) in self.narrow.iter().enumerate() {
                out(j, narrow as f32 * UNIT);
            }
        }
    }

    /// Moves the narrow sums into the high ones; exact, so it may happen at any time.
    #[cold]
    fn fold(&mut self) {
        if *self.left & FOLDED == 0 {
            self.high.iter_mut().for_each(|high| *high = 0);
        }
        *self.left = BUDGET | FOLDED;
        for (high, narrow) in self.high.iter_mut().zip(self.narrow.iter_mut()) {
            *high = high.wrapping_add(*narrow >> LOW_BITS);
            *narrow &= LOW;
        }
    }

    /// Adds to sums that were just folded what no budget holds.
    #[cold]
    fn add_wide(&mut self, fixed: i32, row: &[i8]) {
        for ((high, narrow), &w) in self.high.iter_mut().zip(self.narrow.iter_mut()).zip(row) {
            let sum = i64::from(*narrow) + i64::from(fixed) * i64::from(w);
            *high = high.wrapping_add((sum >> LOW_BITS) as i32);
            *narrow = sum as i32 & LOW;
        }
    }
}

/// Fraction bits of a sum of squares: what they round away is far below the `eps` of a norm.
const SQUARE_BITS: u32 = 24;

/// Adds `x^2` to the sum of a position, in integers too. `squares`: `(positions, 2)`.
pub fn add_square(squares: &mut [u32], position: usize, x: f32) {
    let square = (x * x * (1 << SQUARE_BITS) as f32) as u64;
    if let Some([low, high]) = squares.as_chunks_mut().0.get_mut(position) {
        let sum = (u64::from(*high) << 32 | u64::from(*low)).saturating_add(square);
        (*low, *high) = (sum as u32, (sum >> 32) as u32);
    }
}

/// The sum of a position.
pub fn square_sum(squares: &[u32], position: usize) -> f32 {
    let [low, high] = squares.as_chunks().0.get(position).copied().unwrap_or_default();
    (u64::from(high) << 32 | u64::from(low)) as f32 * (1.0 / (1 << SQUARE_BITS) as f32)
}

/// An accumulator for each position of a pass.
pub struct Accumulators<'a> {
    dim: usize,
    /// `(positions, dim)`.
    narrow: &'a mut [i32],
    /// `(positions, dim)`.
    high: &'a mut [i32],
    /// `(positions,)`.
    left: &'a mut [u32],
}

impl<'a> Accumulators<'a> {
    /// Starts as many sums as `left` has places, at zero. `narrow` and `high`: `(positions, dim)`.
    pub fn new(
        dim: usize,
        narrow: &'a mut [i32],
        high: &'a mut [i32],
        left: &'a mut [u32],
    ) -> Self {
        narrow.iter_mut().for_each(|acc| *acc = 0);
        left.iter_mut().for_each(|left| *left = BUDGET);
        Self { dim, narrow, high, left }
    }

    /// The sum of one position; `None` when there is none.
    #[inline]
    pub fn at(&mut self, position: usize) -> Option<Accumulator<'_>> {
        let at = position * self.dim;
        let narrow = self.narrow.get_mut(at..)?.get_mut(..self.dim)?;
        let high = self.high.get_mut(at..)?.get_mut(..self.dim)?;
        Some(Accumulator { narrow, high, left: self.left.get_mut(position)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(terms: &[(f32, [i8; 2])]) -> [f32; 2] {
        let (mut narrow, mut high, mut left) = ([7; 2], [7; 2], 7);
        let mut acc = Accumulator::new(&mut narrow, &mut high, &mut left);
        for (c, row) in terms {
            acc.add(*c, row);
        }
        let mut out = [0.0; 2];
        acc.finish(|j, y| out[j] = y);
        out
    }

    #[test]
    fn small_sums_are_exact() {
        assert_eq!(sum(&[(0.5, [2, -4]), (0.25, [4, 8])]), [2.0, 0.0]);
    }

    #[test]
    fn sums_beyond_32_bits_are_exact_and_ordered_anyhow() {
        let mut terms = [(0.0, [0i8; 2]); 300];
        for (i, term) in terms.iter_mut().enumerate() {
            let c = if i % 3 == 0 { 900.0 } else { 15.5 };
            *term = (c, [127, if i % 2 == 0 { -127 } else { 127 }]);
        }
        let forward = sum(&terms);
        terms.reverse();
        assert_eq!(forward, sum(&terms));
        let expected: f64 = terms.iter().map(|(c, row)| f64::from(*c) * f64::from(row[0])).sum();
        assert_eq!(forward[0], expected as f32);
    }

    #[cfg(feature = "q4")]
    #[test]
    fn groups_add_what_their_numbers_do_one_by_one() {
        use half::f16;
        let scales = [0.5, -0.375, 3.0e-5].map(|scale| f16::from_f32(scale).to_le_bytes());
        let numbers: [[u8; 16]; 3] =
            core::array::from_fn(|g| core::array::from_fn(|k| (g * 77 + k * 41) as u8));
        let row = Groups { scales: &scales, numbers: &numbers };
        // The last leave no budget, and then none that would do.
        let terms = [0.3f32, -1.7, 60.0, 20.1, -400.0, 3000.0, 0.01];
        let mut expected = [0i64; 96];
        for coefficient in terms {
            for (i, (scale, numbers)) in row.iter().enumerate() {
                let fixed = i64::from(quant::round(coefficient * half_to_f32(scale) * ONE));
                for (j, q) in unpack(numbers).into_iter().enumerate() {
                    expected[GROUP * i + j] += fixed * i64::from(q);
                }
            }
        }
        for order in [[0, 1, 2, 3, 4, 5, 6], [5, 0, 4, 1, 6, 3, 2]] {
            let (mut narrow, mut high, mut left) = ([7; 90], [7; 90], 7);
            let mut sum = Accumulator::new(&mut narrow, &mut high, &mut left);
            order.iter().for_each(|&i| sum.add_groups(terms[i], row));
            let mut count = 0;
            sum.finish(|j, y| {
                assert_eq!(y, expected[j] as f32 / ONE, "{j}");
                count += 1;
            });
            assert_eq!(count, 90);
        }
    }

    #[cfg(feature = "grouped")]
    #[test]
    fn multiplied_groups_add_what_their_numbers_do_one_by_one() {
        let row: [i8; 90] = core::array::from_fn(|j| (j * 89 % 255) as u8 as i8);
        let multipliers = [255, 1, 77];
        // The last leave no budget, and then none that would do.
        let terms = [0.3f32, -1.7, 60.0, 14.1, -400.0, 2000.0, 0.01];
        let mut expected = [0i64; 90];
        for coefficient in terms {
            let fixed = i64::from(quant::round(coefficient * ONE));
            for (j, expected) in expected.iter_mut().enumerate() {
                let part = (fixed * i64::from(multipliers[j / 32]) + 128).div_euclid(256);
                *expected += part * i64::from(row[j]);
            }
        }
        for order in [[0, 1, 2, 3, 4, 5, 6], [5, 0, 4, 1, 6, 3, 2]] {
            let (mut narrow, mut high, mut left) = ([7; 90], [7; 90], 7);
            let mut sum = Accumulator::new(&mut narrow, &mut high, &mut left);
            order.iter().for_each(|&i| sum.add_multiplied(terms[i], &row, &multipliers));
            let mut count = 0;
            sum.finish(|j, y| {
                assert_eq!(y, expected[j] as f32 / ONE, "{j}");
                count += 1;
            });
            assert_eq!(count, 90);
        }
    }

    #[test]
    fn absurd_coefficients_saturate() {
        assert_eq!(sum(&[(f32::INFINITY, [1, 0])])[0], 2048.0);
        assert_eq!(sum(&[(f32::NAN, [1, 0])])[0], 0.0);
    }
}
