//! Vectors of `f16` at equal distances, as keys and values are kept: their products with one vector, and their
//! sum.
//!
//! In: such vectors, floats. Out: floats, in one order of adding, whatever is computed at once. Knows nothing of
//! attention.

use super::scalar::half_to_f32;

/// `(rows, columns)`, a row `stride` numbers after the one before it; the last one may end with its columns.
#[derive(Clone, Copy)]
pub struct HalfRows<'a> {
    /// All of them, and what lies between.
    pub cells: &'a [u16],
    /// From a row to the next, at least `columns`.
    pub stride: usize,
    /// Numbers of a row.
    pub columns: usize,
}

impl<'a> HalfRows<'a> {
    /// Rows that are there as a whole.
    #[inline]
    pub fn count(self) -> usize {
        let before = self.cells.len().saturating_sub(self.columns);
        if self.cells.len() < self.columns { 0 } else { 1 + before / self.stride.max(1) }
    }

    /// Each row, those that are there as a whole.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = &'a [u16]> {
        self.cells.chunks(self.stride.max(1)).map_while(move |row| row.get(..self.columns))
    }
}

/// `out_t = x . row_t`, in four interleaved partial sums added as `(s0 + s1) + (s2 + s3)`, a row after the other; what
/// four do not divide is left out. `x`: `(columns,)`.
pub(super) fn plain_dots(x: &[f32], rows: HalfRows<'_>, out: &mut [f32]) {
    for (out, row) in out.iter_mut().zip(rows.iter()) {
        *out = half_dot(x, row);
    }
}

/// The product of one.
#[inline]
pub(super) fn half_dot(x: &[f32], row: &[u16]) -> f32 {
    let mut sums = [0.0f32; 4];
    for (x, row) in x.chunks_exact(4).zip(row.chunks_exact(4)) {
        for (sum, (x, w)) in sums.iter_mut().zip(x.iter().zip(row)) {
            *sum += x * half_to_f32(*w);
        }
    }
    let [s0, s1, s2, s3] = sums;
    (s0 + s1) + (s2 + s3)
}

/// `out += weight_t * row_t` for each row, in order. `out`: `(columns,)`.
pub(super) fn plain_add(out: &mut [f32], weights: &[f32], rows: HalfRows<'_>) {
    for (weight, row) in weights.iter().zip(rows.iter()) {
        for (out, w) in out.iter_mut().zip(row) {
            *out += weight * half_to_f32(*w);
        }
    }
}
