//! The loops on rows in 4 bits: see [`groups`](crate::math::nibbles).
//!
//! In: rows, packed vectors, sums. Out: products in units of the smallest scale, or sums moved on. 8 is added to each
//! weight, so that it has no sign; 8 times a group's sum, which is packed with it, is taken off its products.
#![allow(unsafe_code, reason = "instructions that not every processor has")]

use super::halves::widen;
use super::loops::Products;
use crate::math::nibbles::{BYTES, GROUP, Groups, fixed};
use crate::slices;
use core::arch::x86_64::*;

/// Groups that are summed together.
const BLOCK: usize = 8;

/// `sum_j w_j x_j` of each vector, in units of 2^-24: exact, so in any order. All vectors are packed from as many
/// numbers.
///
/// # Safety
/// The processor has AVX2 and what the products need.
#[target_feature(enable = "avx2")]
pub unsafe fn dots<P: Products, const N: usize>(row: Groups<'_>, xs: [&[u32]; N]) -> [i64; N] {
    let mut vectors = [Vector { groups: &[], last: &[], sums: &[] }; N];
    for (vector, words) in vectors.iter_mut().zip(&xs) {
        *vector = Vector::of(words);
    }
    let whole = vectors.iter().fold(row.scales.len().min(row.numbers.len()), |least, x| {
        least.min(x.groups.len()).min(x.sums.len())
    });
    let mut sums = [_mm256_setzero_si256(); N];
    let mut done = 0;
    while done < whole && BLOCK <= whole {
        // The last block may begin with groups that have been summed: their scales become 0.
        let first = done.min(whole - BLOCK);
        let (Some(numbers), Some(scales)) = (row.numbers.get(first..), row.scales.get(first..))
        else {
            break;
        };
        let (Some(numbers), Some(scales)) = (numbers.first_chunk(), scales.first_chunk()) else {
            break;
        };
        let scales = fixed_of(scales, done - first);
        let weights = weights_of(numbers);
        for (sum, x) in sums.iter_mut().zip(&vectors) {
            let (groups, of_groups) = (x.groups.get(first..), x.sums.get(first..));
            let groups = groups.and_then(|groups| groups.first_chunk::<BLOCK>());
            let of_groups = of_groups.and_then(|sums| sums.first_chunk::<BLOCK>());
            let (Some(groups), Some(of_groups)) = (groups, of_groups) else { break };
            // SAFETY: the processor has what the products need; the loads are of eight words each.
            let (products, of_groups) = unsafe {
                let mut products = [_mm256_setzero_si256(); BLOCK];
                for ((product, weights), x) in products.iter_mut().zip(&weights).zip(groups) {
                    *product = P::of_small(*weights, _mm256_loadu_si256(x.as_ptr().cast()));
                }
                (products, _mm256_loadu_si256(of_groups.as_ptr().cast()))
            };
            let dots = _mm256_sub_epi32(sums_of(products), _mm256_slli_epi32::<3>(of_groups));
            let odd =
                _mm256_mul_epi32(_mm256_srli_epi64::<32>(dots), _mm256_srli_epi64::<32>(scales));
            let both = _mm256_add_epi64(_mm256_mul_epi32(dots, scales), odd);
            *sum = _mm256_add_epi64(*sum, both);
        }
        done = first + BLOCK;
    }
    let mut out = [0; N];
    for ((out, sum), x) in out.iter_mut().zip(sums).zip(&vectors) {
        // SAFETY: the processor has what the products need.
        let rest = unsafe { rest::<P>(row, x, done) };
        *out = sum_of(sum).wrapping_add(rest);
    }
    out
}

/// A packed vector.
#[derive(Clone, Copy)]
struct Vector<'a> {
    groups: &'a [[u32; 8]],
    /// What no whole group has.
    last: &'a [u32],
    /// Of each group.
    sums: &'a [u32],
}

impl<'a> Vector<'a> {
    #[inline]
    fn of(words: &'a [u32]) -> Self {
        let numbers = words.len().saturating_sub(1) / 2;
        let (numbers, sums) = words.split_at_checked(numbers).unwrap_or_default();
        let (groups, last) = numbers.as_chunks();
        Self { groups, last, sums }
    }
}

/// The products of the groups from `first` on, one by one.
///
/// # Safety
/// As [`dots`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn rest<P: Products>(row: Groups<'_>, x: &Vector<'_>, first: usize) -> i64 {
    let mut last = [0; 8];
    slices::copy(&mut last, x.last);
    let whole = x.groups.get(first..).unwrap_or(&[]).iter();
    let groups = whole.chain((!x.last.is_empty()).then_some(&last));
    let groups = groups.zip(x.sums.get(first..).unwrap_or(&[]));
    let row = Groups {
        scales: row.scales.get(first..).unwrap_or(&[]),
        numbers: row.numbers.get(first..).unwrap_or(&[]),
    };
    let mut total = 0i64;
    for ((scale, numbers), (x, sum)) in row.iter().zip(groups) {
        // SAFETY: the processor has what the products need; the load is of eight words.
        let products =
            unsafe { P::of_small(weights(numbers), _mm256_loadu_si256(x.as_ptr().cast())) };
        let four = _mm_add_epi32(
            _mm256_castsi256_si128(products),
            _mm256_extracti128_si256::<1>(products),
        );
        let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
        let one = _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)));
        let dot = one - 8 * *sum as i32;
        total = total.wrapping_add(i64::from(dot) * i64::from(fixed(scale)));
    }
    total
}

/// The weights of a group, 8 added to each.
#[inline]
#[target_feature(enable = "avx2")]
fn weights(numbers: &[u8; BYTES]) -> __m256i {
    // SAFETY: a load of 16 bytes, which needs no alignment.
    let bytes = unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(numbers.as_ptr().cast())) };
    let halves = _mm256_srlv_epi32(bytes, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    let halves = _mm256_and_si256(halves, _mm256_set1_epi8(0x0F));
    let weights = _mm256_xor_si256(halves, _mm256_set1_epi8(8));
    // The low halves are every other word of the vector, the high halves those between.
    _mm256_permutevar8x32_epi32(weights, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// Those of eight groups.
#[inline]
#[target_feature(enable = "avx2")]
fn weights_of(numbers: &[[u8; BYTES]; BLOCK]) -> [__m256i; BLOCK] {
    numbers.each_ref().map(|numbers| weights(numbers))
}

/// [`fixed`] of eight scales, the first `skipped` of which become 0.
#[inline]
#[target_feature(enable = "avx2")]
fn fixed_of(scales: &[[u8; 2]; BLOCK], skipped: usize) -> __m256i {
    // SAFETY: a load of 16 bytes, which needs no alignment.
    let halves = unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(scales.as_ptr().cast())) };
    let exponent = _mm256_and_si256(_mm256_srli_epi32::<10>(halves), _mm256_set1_epi32(0x1F));
    let fraction = _mm256_and_si256(halves, _mm256_set1_epi32(0x3FF));
    let shift = _mm256_sub_epi32(exponent, _mm256_set1_epi32(1));
    let shift = _mm256_min_epi32(shift, _mm256_set1_epi32(20));
    let normal = _mm256_sllv_epi32(_mm256_or_si256(fraction, _mm256_set1_epi32(0x400)), shift);
    let small = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
    let magnitude = _mm256_blendv_epi8(normal, fraction, small);
    let sign = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_srli_epi32::<15>(halves));
    let fixed = _mm256_sub_epi32(_mm256_xor_si256(magnitude, sign), sign);
    if skipped == 0 {
        return fixed;
    }
    let number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(skipped as i32), number), fixed)
}

/// The sum of each of eight times eight numbers of at most 4 * 15 * 127 = 7,620: twice that still fits 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of([a, b, c, d, e, f, g, h]: [__m256i; BLOCK]) -> __m256i {
    let two = |a, b| _mm256_madd_epi16(_mm256_packs_epi32(a, b), _mm256_set1_epi16(1));
    let (low, high) = (two(two(a, b), two(c, d)), two(two(e, f), two(g, h)));
    _mm256_add_epi32(
        _mm256_permute2x128_si256::<0x20>(low, high),
        _mm256_permute2x128_si256::<0x31>(low, high),
    )
}

/// The sum of four numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_of(sums: __m256i) -> i64 {
    let two = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    _mm_cvtsi128_si64(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two)))
}

/// `acc_j += coefficient * q_j`, wrapping.
///
/// # Safety
/// The processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn axpy(acc: &mut [i32; GROUP], coefficient: i32, numbers: &[u8; BYTES]) {
    let eight = _mm256_set1_epi8(8);
    let weights = _mm256_sub_epi8(weights(numbers), eight);
    let factor = _mm256_set1_epi32(coefficient);
    let (low, high) = (_mm256_castsi256_si128(weights), _mm256_extracti128_si256::<1>(weights));
    let eights = [low, _mm_unpackhi_epi64(low, low), high, _mm_unpackhi_epi64(high, high)];
    let (places, _) = acc.as_chunks_mut::<8>();
    for (place, weights) in places.iter_mut().zip(eights) {
        let product = _mm256_mullo_epi32(_mm256_cvtepi8_epi32(weights), factor);
        let place = place.as_mut_ptr().cast();
        // SAFETY: a load and a store of eight numbers, which need no alignment.
        unsafe {
            _mm256_storeu_si256(place, _mm256_add_epi32(_mm256_loadu_si256(place), product));
        }
    }
}

/// `acc_j += round(factor * scale_(j / 32)) * q_j`, wrapping, for whole groups; returns how many those are. Only where
/// no rounded product is beyond 32 bits: a `factor` that is no number counts as 0.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn axpy_row(acc: &mut [i32], factor: f32, one: f32, row: Groups<'_>) -> usize {
    let (acc, _) = acc.as_chunks_mut::<GROUP>();
    let mut done = 0;
    let blocks = acc.chunks_mut(BLOCK).zip(row.numbers.chunks(BLOCK));
    for ((acc, numbers), scales) in blocks.zip(row.scales.chunks(BLOCK)) {
        let mut some = [[0; 2]; BLOCK];
        slices::copy(&mut some, scales);
        // SAFETY: a load of 16 bytes, which needs no alignment.
        let halves = unsafe { _mm_loadu_si128(some.as_ptr().cast()) };
        let scaled = _mm256_mul_ps(_mm256_set1_ps(factor), widen(halves));
        let scaled = _mm256_mul_ps(scaled, _mm256_set1_ps(one));
        // As `quant::round`: half away from zero, and no number is 0. Minus 0 is not less than 0.
        let below = _mm256_cmp_ps::<_CMP_LT_OQ>(scaled, _mm256_setzero_ps());
        let half = _mm256_blendv_ps(_mm256_set1_ps(0.5), _mm256_set1_ps(-0.5), below);
        let rounded = _mm256_cvttps_epi32(_mm256_add_ps(scaled, half));
        let there = _mm256_cmp_ps::<_CMP_ORD_Q>(scaled, scaled);
        let rounded = _mm256_and_si256(rounded, _mm256_castps_si256(there));
        let mut factors = [0; BLOCK];
        // SAFETY: a store of eight numbers, which needs no alignment.
        unsafe { _mm256_storeu_si256(factors.as_mut_ptr().cast(), rounded) };
        for ((acc, numbers), factor) in acc.iter_mut().zip(numbers).zip(factors).take(scales.len())
        {
            // SAFETY: AVX2.
            unsafe { axpy(acc, factor, numbers) };
            done += 1;
        }
    }
    done
}
