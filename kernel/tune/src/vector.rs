//! Sums over vectors, each in one fixed order, and parts of slices that cannot panic.
//!
//! In: vectors. Out: their products and sums. A number of the image is widened where it is used.

use crate::real::{Factor, Real};

/// `sum_j a_j b_j`: four partial sums, as the kernel's `dot_f32` has them.
#[inline]
pub fn dot<R: Real, A: Factor<R>>(a: &[A], b: &[R]) -> R {
    let mut sums = [R::ZERO; 4];
    let (a, a_rest) = a.as_chunks::<4>();
    let (b, b_rest) = b.as_chunks::<4>();
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a.real() * *b;
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += a.real() * *b;
    }
    let [s0, s1, s2, s3] = sums;
    (s0 + s1) + (s2 + s3)
}

/// `y += c * x`.
#[inline]
pub fn axpy<R: Real, X: Factor<R>>(y: &mut [R], c: R, x: &[X]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += c * x.real();
    }
}

/// `y = x`, as much as both have.
#[inline]
pub fn copy<T: Copy>(y: &mut [T], x: &[T]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = *x);
}

/// Row `i` of rows of `columns`; none where there is no such row, which is a mistake of this crate.
#[inline]
pub fn row<T>(cells: &[T], i: usize, columns: usize) -> &[T] {
    let row = cells.get(i * columns..).and_then(|rest| rest.get(..columns));
    debug_assert!(row.is_some(), "row {i} of {columns} in {}", cells.len());
    row.unwrap_or(&[])
}

/// The same, to write.
#[inline]
pub fn row_mut<T>(cells: &mut [T], i: usize, columns: usize) -> &mut [T] {
    debug_assert!((i + 1) * columns <= cells.len(), "row {i} of {columns} in {}", cells.len());
    cells.get_mut(i * columns..).and_then(|rest| rest.get_mut(..columns)).unwrap_or_default()
}

/// The first `count` of `cells`.
#[inline]
pub fn front<T>(cells: &[T], count: usize) -> &[T] {
    row(cells, 0, count)
}

/// The same, to write.
#[inline]
pub fn front_mut<T>(cells: &mut [T], count: usize) -> &mut [T] {
    row_mut(cells, 0, count)
}

/// One of `cells`; 0 where there is no such, which is a mistake of this crate.
#[inline]
pub fn at<T: Copy + Default>(cells: &[T], i: usize) -> T {
    debug_assert!(i < cells.len(), "{i} of {}", cells.len());
    cells.get(i).copied().unwrap_or_default()
}
