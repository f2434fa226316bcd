//! Two inner products of small blocks, with one order of additions on every machine.
//!
//! In: rows of numbers. Out: [`dots`], of rows with rows, and [`weighted`], sums of weighted rows. Every
//! result is rounded as [`Reference`](crate::model::reference::Reference) rounds it: products and sums
//! apart (no fused operation), sixteen running sums a dot, the rows of a sum one after another. So it has the
//! same bits with and without AVX2, and in blocks of any size. Knows nothing of models or threads.

#![allow(clippy::needless_range_loop, reason = "several tables are indexed at once")]

/// Running sums of a dot.
const LANES: usize = 16;
/// Vectors that are taken together: four of one side with one of the other, or, where four do not stay in the
/// nearest cache, two with two.
const NEAR: usize = 1536;
/// Results that [`weighted`] makes at once.
pub(super) const SUMS: usize = 4;
/// Columns that [`weighted`] reads of a row at once.
pub(super) const PANEL: usize = 2 * LANES;

/// Sixteen numbers.
type Lanes = [f32; LANES];

/// Rows of `cols` numbers, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub values: &'a [f32],
    pub count: usize,
    pub stride: usize,
    pub cols: usize,
}

impl<'a> Rows<'a> {
    fn row(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.stride..][..self.cols]
    }
}

/// `y[t * stride + i] = w_i . x_t`; the columns of `w` and `x` are as many.
pub(super) fn dots(w: Rows<'_>, x: Rows<'_>, y: &mut [f32], stride: usize) {
    if w.cols <= NEAR { blocks::<1, 4>(w, x, y, stride) } else { blocks::<2, 2>(w, x, y, stride) }
}

fn blocks<const R: usize, const T: usize>(w: Rows<'_>, x: Rows<'_>, y: &mut [f32], stride: usize) {
    let (whole_rows, whole_tokens) = (w.count / R * R, x.count / T * T);
    for t in (0..whole_tokens).step_by(T) {
        for i in (0..whole_rows).step_by(R) {
            block::<R, T>(w, i, x, t, y, stride);
        }
        for i in whole_rows..w.count {
            block::<1, T>(w, i, x, t, y, stride);
        }
    }
    for t in whole_tokens..x.count {
        for i in 0..w.count {
            block::<1, 1>(w, i, x, t, y, stride);
        }
    }
}

/// Rows `i..i + R` with rows `t..t + T`.
#[inline(always)]
fn block<const R: usize, const T: usize>(
    w: Rows<'_>,
    i: usize,
    x: Rows<'_>,
    t: usize,
    y: &mut [f32],
    stride: usize,
) {
    let rows: [_; R] = std::array::from_fn(|r| w.row(i + r).as_chunks::<LANES>());
    let tokens: [_; T] = std::array::from_fn(|k| x.row(t + k).as_chunks::<LANES>());
    let mut sums = [[[0.0; LANES]; R]; T];
    run(rows.map(|row| row.0), tokens.map(|token| token.0), &mut sums);
    for k in 0..T {
        let out = &mut y[(t + k) * stride + i..][..R];
        for r in 0..R {
            let rest = rows[r].1.iter().zip(tokens[k].1).map(|(a, b)| a * b).sum::<f32>();
            let lanes = &sums[k][r];
            out[r] = lanes[1..].iter().fold(lanes[0], |sum, lane| sum + lane) + rest;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn run<const R: usize, const T: usize>(
    w: [&[Lanes]; R],
    x: [&[Lanes]; T],
    sums: &mut [[Lanes; R]; T],
) {
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        #[allow(unsafe_code, reason = "vectors of eight numbers, where the processor has them")]
        unsafe {
            avx2::run(w, x, sums);
        }
    } else {
        plain(w, x, sums);
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn run<const R: usize, const T: usize>(
    w: [&[Lanes]; R],
    x: [&[Lanes]; T],
    sums: &mut [[Lanes; R]; T],
) {
    plain(w, x, sums);
}

/// `sums[k][r][l] = sum_j w[r][j][l] * x[k][j][l]`.
fn plain<const R: usize, const T: usize>(
    w: [&[Lanes]; R],
    x: [&[Lanes]; T],
    sums: &mut [[Lanes; R]; T],
) {
    for (sums, x) in sums.iter_mut().zip(x) {
        for (sums, w) in sums.iter_mut().zip(w) {
            for (w, x) in w.iter().zip(x) {
                (0..LANES).for_each(|l| sums[l] += w[l] * x[l]);
            }
        }
    }
}

/// Adds rows to [`SUMS`] results: `out[k] += sum over (n, weights) of weights[k] * rows[n * stride..]`, in the
/// order of `picked`. `out[k]` are as long as the rows.
pub(super) fn weighted(
    picked: &[(u32, [f32; SUMS])],
    rows: &[f32],
    stride: usize,
    out: [&mut [f32]; SUMS],
) {
    let cols = out[0].len();
    let mut out = out;
    let mut at = 0;
    while at + PANEL <= cols {
        let mut sums: [[f32; PANEL]; SUMS] = [[0.0; PANEL]; SUMS];
        for (sums, out) in sums.iter_mut().zip(&out) {
            sums.copy_from_slice(&out[at..at + PANEL]);
        }
        panel(picked, &rows[at..], stride, &mut sums);
        for (sums, out) in sums.iter().zip(&mut out) {
            out[at..at + PANEL].copy_from_slice(sums);
        }
        at += PANEL;
    }
    for (k, out) in out.iter_mut().enumerate() {
        let Some(rest) = out.get_mut(at..cols).filter(|rest| !rest.is_empty()) else { continue };
        for (n, weights) in picked {
            let row = &rows[*n as usize * stride + at..][..rest.len()];
            rest.iter_mut().zip(row).for_each(|(y, x)| *y += weights[k] * x);
        }
    }
}

fn panel(
    picked: &[(u32, [f32; SUMS])],
    rows: &[f32],
    stride: usize,
    sums: &mut [[f32; PANEL]; SUMS],
) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        #[allow(unsafe_code, reason = "vectors of eight numbers, where the processor has them")]
        unsafe {
            avx2::panel(picked, rows, stride, sums);
        }
        return;
    }
    plain_panel(picked, rows, stride, sums);
}

fn plain_panel(
    picked: &[(u32, [f32; SUMS])],
    rows: &[f32],
    stride: usize,
    sums: &mut [[f32; PANEL]; SUMS],
) {
    for (n, weights) in picked {
        let row = &rows[*n as usize * stride..][..PANEL];
        for (sums, weight) in sums.iter_mut().zip(weights) {
            sums.iter_mut().zip(row).for_each(|(y, x)| *y += weight * x);
        }
    }
}

/// The same with vectors of eight.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vectors are loaded from and stored to arrays of their size")]
mod avx2 {
    use super::{LANES, Lanes, PANEL, SUMS};
    use std::arch::x86_64::{
        __m256, _mm256_add_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_storeu_ps,
    };

    const WIDE: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(x: &[f32; WIDE]) -> __m256 {
        // SAFETY: eight numbers are there; no alignment is asked for.
        unsafe { _mm256_loadu_ps(x.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(x: &mut [f32; WIDE], value: __m256) {
        // SAFETY: there is room for eight numbers; no alignment is asked for.
        unsafe { _mm256_storeu_ps(x.as_mut_ptr(), value) }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn run<const R: usize, const T: usize>(
        w: [&[Lanes]; R],
        x: [&[Lanes]; T],
        out: &mut [[Lanes; R]; T],
    ) {
        let chunks = w[0].len();
        let w = w.map(|w| &w.as_flattened().as_chunks::<WIDE>().0[..2 * chunks]);
        let x = x.map(|x| &x.as_flattened().as_chunks::<WIDE>().0[..2 * chunks]);
        let mut sums = [[[_mm256_setzero_ps(); 2]; T]; R];
        for j in 0..chunks {
            for r in 0..R {
                for half in 0..2 {
                    let a = load(&w[r][2 * j + half]);
                    for t in 0..T {
                        let product = _mm256_mul_ps(a, load(&x[t][2 * j + half]));
                        sums[r][t][half] = _mm256_add_ps(sums[r][t][half], product);
                    }
                }
            }
        }
        for r in 0..R {
            for t in 0..T {
                let halves = out[t][r].as_chunks_mut::<WIDE>().0;
                halves.iter_mut().zip(sums[r][t]).for_each(|(half, sum)| store(half, sum));
            }
        }
        const { assert!(LANES == 2 * WIDE) };
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn panel(
        picked: &[(u32, [f32; SUMS])],
        rows: &[f32],
        stride: usize,
        out: &mut [[f32; PANEL]; SUMS],
    ) {
        const PARTS: usize = PANEL / WIDE;
        let mut sums = [[_mm256_setzero_ps(); PARTS]; SUMS];
        for k in 0..SUMS {
            let parts = out[k].as_chunks::<WIDE>().0;
            (0..PARTS).for_each(|v| sums[k][v] = load(&parts[v]));
        }
        for (n, weights) in picked {
            let row = rows[*n as usize * stride..][..PANEL].as_chunks::<WIDE>().0;
            for k in 0..SUMS {
                let weight = _mm256_set1_ps(weights[k]);
                for v in 0..PARTS {
                    let product = _mm256_mul_ps(weight, load(&row[v]));
                    sums[k][v] = _mm256_add_ps(sums[k][v], product);
                }
            }
        }
        for k in 0..SUMS {
            let parts = out[k].as_chunks_mut::<WIDE>().0;
            (0..PARTS).for_each(|v| store(&mut parts[v], sums[k][v]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// As the reference computes it.
    fn naive(a: &[f32], b: &[f32]) -> f32 {
        let whole = a.len() / LANES * LANES;
        let mut lanes = [0.0; LANES];
        (0..whole).for_each(|i| lanes[i % LANES] += a[i] * b[i]);
        let rest: f32 = (whole..a.len()).map(|i| a[i] * b[i]).sum();
        lanes.iter().sum::<f32>() + rest
    }

    #[test]
    fn dots_of_blocks_have_the_bits_of_one_dot() {
        for (rows, tokens, cols) in [(1, 1, 1), (7, 9, 40), (5, 4, 64), (3, 6, 1600), (4, 5, 15)] {
            let (stride, wide) = (cols + 3, rows + 2);
            let (w, x) = (numbers(rows * stride, 1), numbers(tokens * stride, 2));
            let of = |values, count| Rows { values, count, stride, cols };
            let mut y = vec![0.0; tokens * wide];
            dots(of(&w, rows), of(&x, tokens), &mut y, wide);
            for t in 0..tokens {
                for i in 0..rows {
                    let expected = naive(&w[i * stride..][..cols], &x[t * stride..][..cols]);
                    assert_eq!(y[t * wide + i].to_bits(), expected.to_bits(), "{t}, {i}");
                }
                assert_eq!(y[t * wide + rows..][..2], [0.0; 2]);
            }
        }
    }

    #[test]
    fn vectors_of_eight_change_no_bit() {
        let (w, x) = (numbers(320, 3), numbers(640, 4));
        let (w, x) = (w.as_chunks::<LANES>().0, x.as_chunks::<LANES>().0);
        let (w, x) = ([&w[..10], &w[10..]], [&x[..10], &x[10..20]]);
        let (mut one, mut other) = ([[[0.0; LANES]; 2]; 2], [[[0.0; LANES]; 2]; 2]);
        run(w, x, &mut one);
        plain(w, x, &mut other);
        assert_eq!(one, other);
        let rows = numbers(100 * PANEL, 5);
        let picked: Vec<_> =
            (0..100).step_by(3).map(|n| (n, [0.25, n as f32, -1.5, 0.0])).collect();
        let (mut one, mut other) = ([[0.5; PANEL]; SUMS], [[0.5; PANEL]; SUMS]);
        panel(&picked, &rows, PANEL, &mut one);
        plain_panel(&picked, &rows, PANEL, &mut other);
        assert_eq!(one, other);
    }

    #[test]
    fn weighted_rows_are_added_one_after_another() {
        for cols in [1, 16, 32, 40, 70] {
            let rows = numbers(20 * cols, 6);
            let picked = [2, 3, 11, 19].map(|n| (n, [1.5, 0.0, n as f32, -0.3]));
            let mut out = vec![vec![0.125; cols]; SUMS];
            let mut sums = out.iter_mut();
            let parts = [(); SUMS].map(|()| &mut sums.next().unwrap()[..]);
            weighted(&picked, &rows, cols, parts);
            for (k, out) in out.iter().enumerate() {
                let mut expected = vec![0.125; cols];
                for (n, weights) in picked {
                    let row = &rows[n as usize * cols..][..cols];
                    expected.iter_mut().zip(row).for_each(|(y, x)| *y += weights[k] * x);
                }
                assert_eq!(*out, expected);
            }
        }
    }
}
