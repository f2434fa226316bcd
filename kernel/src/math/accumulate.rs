//! Sum of scaled 8-bit rows, exact and therefore independent of the order of the rows.
//!
//! In: coefficients and rows. Out: floats, once. This is what lets cached neurons be added while
//! the missing ones are still on the bus, whatever the cache held, without changing a single bit.

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

/// `y = sum_i c_i * row_i`, in integers.
pub struct Accumulator<'a> {
    /// `(dim,)` partial sums, 20 fraction bits.
    narrow: &'a mut [i32],
    /// `(dim,)` 64-bit sums as (low, high), where `narrow` is emptied before it could overflow.
    wide: &'a mut [[i32; 2]],
    /// What `sum |coefficient|` may still grow by.
    budget: u32,
    folded: bool,
}

impl<'a> Accumulator<'a> {
    /// Starts at zero. `narrow` and `wide`: `(dim,)`, lent for the sum's life.
    pub fn new(narrow: &'a mut [i32], wide: &'a mut [[i32; 2]]) -> Self {
        narrow.iter_mut().for_each(|acc| *acc = 0);
        Self { narrow, wide, budget: BUDGET, folded: false }
    }

    /// Adds `coefficient * row`, the coefficient rounded to 20 fraction bits.
    ///
    /// `row`: `(dim,)`, magnitudes at most 127.
    pub fn add(&mut self, coefficient: f32, row: &[i8]) {
        let fixed = quant::round(coefficient * ONE);
        let magnitude = fixed.unsigned_abs();
        if magnitude > self.budget {
            self.fold();
            if magnitude > BUDGET {
                return self.add_wide(fixed, row);
            }
        }
        self.budget -= magnitude;
        axpy(self.narrow, fixed, row);
    }

    /// Ends the sum: calls `out(y_j)` for each element in order.
    pub fn finish(self, mut out: impl FnMut(usize, f32)) {
        const UNIT: f32 = 1.0 / ONE;
        if self.folded {
            for (j, (&narrow, &wide)) in self.narrow.iter().zip(self.wide.iter()).enumerate() {
                out(j, (join(wide) + i64::from(narrow)) as f32 * UNIT);
            }
        } else {
            for (j, &narrow) in self.narrow.iter().enumerate() {
                out(j, narrow as f32 * UNIT);
            }
        }
    }

    /// Moves the narrow sums into the wide ones; exact, so it may happen at any time.
    #[cold]
    fn fold(&mut self) {
        self.start_wide();
        for (wide, narrow) in self.wide.iter_mut().zip(self.narrow.iter_mut()) {
            *wide = split(join(*wide).wrapping_add(i64::from(*narrow)));
            *narrow = 0;
        }
        self.budget = BUDGET;
    }

    #[cold]
    fn add_wide(&mut self, fixed: i32, row: &[i8]) {
        self.start_wide();
        for (wide, &w) in self.wide.iter_mut().zip(row) {
            *wide = split(join(*wide).wrapping_add(i64::from(fixed) * i64::from(w)));
        }
    }

    fn start_wide(&mut self) {
        if !self.folded {
            self.wide.iter_mut().for_each(|wide| *wide = [0, 0]);
            self.folded = true;
        }
    }
}

fn join([low, high]: [i32; 2]) -> i64 {
    (i64::from(high) << 32) | i64::from(low as u32)
}

fn split(sum: i64) -> [i32; 2] {
    [sum as i32, (sum >> 32) as i32]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(terms: &[(f32, [i8; 2])]) -> [f32; 2] {
        let (mut narrow, mut wide) = ([7; 2], [[7, 7]; 2]);
        let mut acc = Accumulator::new(&mut narrow, &mut wide);
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

    #[test]
    fn absurd_coefficients_saturate() {
        assert_eq!(sum(&[(f32::INFINITY, [1, 0])])[0], 2048.0);
        assert_eq!(sum(&[(f32::NAN, [1, 0])])[0], 0.0);
    }
}
