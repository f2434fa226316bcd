//! The loops on vectors of `f16`, eight of them at once: see [`halves`](crate::math::halves).
//!
//! In: vectors at equal distances, floats. Out: floats, with the bits of the portable loops: each sum adds the same
//! numbers in the same order, without fused operations.
#![allow(unsafe_code, reason = "instructions that not every processor has")]

use crate::math::halves::{HalfRows, plain_add};
use core::arch::x86_64::*;

/// Rows that are multiplied at once.
const ROWS: usize = 8;

/// See [`half_dots`](crate::math::half_dots).
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn dots(x: &[f32], rows: HalfRows<'_>, out: &mut [f32]) {
    let columns = rows.columns.min(x.len()) & !3;
    let mut coming = rows.iter();
    for out in out.chunks_mut(ROWS) {
        let Some(first) = coming.next() else { break };
        // Beyond the last row, the first of these again.
        let mut some = [first.as_ptr(); ROWS];
        let mut count = 1;
        for place in some.iter_mut().take(out.len()).skip(1) {
            let Some(row) = coming.next() else { break };
            *place = row.as_ptr();
            count += 1;
        }
        let [r0, r1, r2, r3, r4, r5, r6, r7] = some;
        let pairs = [(r0, r1), (r2, r3), (r4, r5), (r6, r7)];
        let mut sums = [_mm256_setzero_ps(); ROWS / 2];
        for at in (0..columns).step_by(4) {
            // SAFETY: `x` and every row have `at + 4` numbers.
            unsafe {
                let x = _mm_loadu_ps(x.as_ptr().add(at));
                let x = _mm256_set_m128(x, x);
                for (sum, (a, b)) in sums.iter_mut().zip(&pairs) {
                    let both = _mm_unpacklo_epi64(
                        _mm_loadl_epi64(a.add(at).cast()),
                        _mm_loadl_epi64(b.add(at).cast()),
                    );
                    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(x, widen(both)));
                }
            }
        }
        let [a, b, c, d] = sums;
        // The even rows in the low half, the odd ones in the high half.
        let all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        let (even, odd) = (_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
        let mut found = [0.0; ROWS];
        // SAFETY: two stores of four numbers in eight.
        unsafe {
            _mm_storeu_ps(found.as_mut_ptr(), _mm_unpacklo_ps(even, odd));
            _mm_storeu_ps(found.as_mut_ptr().add(4), _mm_unpackhi_ps(even, odd));
        }
        out.iter_mut().zip(found).take(count).for_each(|(out, found)| *out = found);
    }
}

/// See [`add_halves`](crate::math::add_halves).
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn add(out: &mut [f32], weights: &[f32], rows: HalfRows<'_>) {
    let columns = rows.columns.min(out.len());
    let mut done = 0;
    while done + 64 <= columns {
        // SAFETY: AVX2, and so many columns.
        unsafe { add_some::<8>(out, weights, rows, done) };
        done += 64;
    }
    while done + 8 <= columns {
        // SAFETY: AVX2, and so many columns.
        unsafe { add_some::<1>(out, weights, rows, done) };
        done += 8;
    }
    let rest = HalfRows {
        cells: rows.cells.get(done..).unwrap_or(&[]),
        stride: rows.stride,
        columns: columns - done,
    };
    plain_add(out.get_mut(done..columns).unwrap_or_default(), weights, rest);
}

/// The columns from `from` on, eight times `N`, which stay in registers.
///
/// # Safety
/// AVX2; `out` and the rows have so many columns.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_some<const N: usize>(
    out: &mut [f32],
    weights: &[f32],
    rows: HalfRows<'_>,
    from: usize,
) {
    let mut sums = [_mm256_setzero_ps(); N];
    // SAFETY: of the caller; loads and stores need no alignment.
    unsafe {
        let place = out.as_mut_ptr().add(from);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = _mm256_loadu_ps(place.add(8 * i));
        }
        for (weight, row) in weights.iter().zip(rows.iter()) {
            let weight = _mm256_set1_ps(*weight);
            let row = row.as_ptr().add(from);
            for (i, sum) in sums.iter_mut().enumerate() {
                let eight = widen(_mm_loadu_si128(row.add(8 * i).cast()));
                *sum = _mm256_add_ps(*sum, _mm256_mul_ps(weight, eight));
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            _mm256_storeu_ps(place.add(8 * i), *sum);
        }
    }
}

/// [`half_to_f32`](crate::math::half_to_f32) of eight numbers, what is no number too: `vcvtph2ps` gives others there.
#[inline]
#[target_feature(enable = "avx2")]
pub fn widen(halves: __m128i) -> __m256 {
    let moved = _mm256_slli_epi32::<13>(_mm256_cvtepi16_epi32(halves));
    // The sign, and the bits of the magnitude.
    let bits = _mm256_and_si256(moved, _mm256_set1_epi32(0x8FFF_E000_u32 as i32));
    let scale = _mm256_set1_ps(f32::from_bits((127 + 112) << 23));
    _mm256_mul_ps(_mm256_castsi256_ps(bits), scale)
}
