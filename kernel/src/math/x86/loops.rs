//! The loops themselves, on vectors of 32 bytes.
//!
//! In: rows, packed vectors. Out: sums of products, exact. What multiplies bytes is a type parameter; all else is
//! AVX2. Callers know that the processor has both.
#![allow(unsafe_code, reason = "instructions that not every processor has")]

use super::TOGETHER;
use core::arch::asm;
use core::arch::x86_64::*;

/// Products of bytes, four added to each of eight sums.
pub trait Products {
    /// Weights, as they are multiplied.
    type Weights: Copy;
    /// What is added to a weight.
    const ADDED: i32;

    /// 32 weights.
    ///
    /// # Safety
    /// The processor has what this needs.
    unsafe fn weights(bytes: __m256i) -> Self::Weights;

    /// `sum_i += w_(4 i) x_(4 i) + .. + w_(4 i + 3) x_(4 i + 3)`.
    ///
    /// # Safety
    /// The processor has what this needs.
    unsafe fn add(sum: __m256i, weights: Self::Weights, x: __m256i) -> __m256i;

    /// The same products, of weights from 0 to 15, alone.
    ///
    /// # Safety
    /// The processor has what this needs.
    #[cfg(feature = "q4")]
    unsafe fn of_small(weights: __m256i, x: __m256i) -> __m256i;
}

/// With AVX2 alone: magnitudes of the weights, times numbers that take their signs.
///
/// `vpmaddubsw` adds two products in 16 bits: at most 128 * 127 each, and 2 * 128 * 127 = 32,512 is less than 2^15.
/// A number is never -128 (see [`Packed::new`](crate::math::Packed::new)), whose sign cannot be changed.
pub struct Avx2;

impl Products for Avx2 {
    type Weights = (__m256i, __m256i);
    const ADDED: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn weights(bytes: __m256i) -> Self::Weights {
        (bytes, _mm256_abs_epi8(bytes))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add(sum: __m256i, (signs, magnitudes): Self::Weights, x: __m256i) -> __m256i {
        let pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(x, signs));
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }

    #[cfg(feature = "q4")]
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn of_small(weights: __m256i, x: __m256i) -> __m256i {
        _mm256_madd_epi16(_mm256_maddubs_epi16(weights, x), _mm256_set1_epi16(1))
    }
}

/// A type for each encoding of `vpdpbusd`, which Rust names in newer versions than this crate asks for.
macro_rules! vnni {
    ($(#[$about:meta])* $name:ident, $instruction:literal) => {
        $(#[$about])*
        pub struct $name;

        impl Products for $name {
            type Weights = __m256i;
            const ADDED: i32 = 128;

            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn weights(bytes: __m256i) -> __m256i {
                _mm256_xor_si256(bytes, _mm256_set1_epi8(-128))
            }

            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn add(mut sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
                // SAFETY: the processor has the instruction, which only uses its operands.
                unsafe {
                    asm!(
                        $instruction,
                        sum = inout(ymm_reg) sum,
                        weights = in(ymm_reg) weights,
                        x = in(ymm_reg) x,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
                sum
            }

            #[cfg(feature = "q4")]
            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn of_small(weights: __m256i, x: __m256i) -> __m256i {
                // SAFETY: of the caller.
                unsafe { Self::add(_mm256_setzero_si256(), weights, x) }
            }
        }
    };
}

vnni! {
    /// AVX-VNNI.
    Vex, "{{vex}} vpdpbusd {sum}, {weights}, {x}"
}
vnni! {
    /// AVX-512 VNNI, on half its registers: the sums of many rows are short, and no processor runs slower for it.
    Evex, "{{evex}} vpdpbusd {sum}, {weights}, {x}"
}

/// `sum_g m_g n_g (q . p)_g`, of as many groups as all of them have.
///
/// # Safety
/// The processor has AVX2.
#[cfg(feature = "grouped")]
#[target_feature(enable = "avx2")]
pub unsafe fn dot_groups(row: &[[i8; 32]], m: &[u8], x: &[[u32; 8]], n: &[u32]) -> i64 {
    let mut sums = _mm256_setzero_si256();
    for (((q, &m), p), &n) in row.iter().zip(m).zip(x).zip(n) {
        let both = i64::from(m) * i64::from(n & 0xFFFF);
        let both = _mm256_set1_epi64x(both);
        // SAFETY: both have 32 bytes, and the processor has AVX2.
        let products = unsafe {
            let (q, p) = (load(q.as_ptr()), load(p.as_ptr().cast()));
            Avx2::add(_mm256_setzero_si256(), Avx2::weights(q), p)
        };
        // Of 64 bits each: those in even places, and those in odd ones.
        let odd = _mm256_srli_epi64::<32>(products);
        sums = _mm256_add_epi64(sums, _mm256_mul_epi32(products, both));
        sums = _mm256_add_epi64(sums, _mm256_mul_epi32(odd, both));
    }
    let mut out = [0i64; 4];
    // SAFETY: a store of as many bytes, which need no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) };
    out.iter().sum()
}

/// `row . x`, in whole words: as many as both have.
///
/// # Safety
/// The processor has AVX2 and what the products need.
#[target_feature(enable = "avx2")]
pub unsafe fn dot<P: Products>(row: &[i8], words: &[u32]) -> i32 {
    let len = (row.len() & !3).min(4 * words.len());
    let (row, x) = (row.as_ptr(), words.as_ptr().cast::<i8>());
    let mut sums = [_mm256_setzero_si256(); 4];
    let mut at = 0;
    // SAFETY: `at + 128`, `at + 32` and the words of the mask are within the `len` bytes that both have.
    unsafe {
        while at + 128 <= len {
            for (i, sum) in sums.iter_mut().enumerate() {
                let at = at + 32 * i;
                *sum = P::add(*sum, P::weights(load(row.add(at))), load(x.add(at)));
            }
            at += 128;
        }
        let [mut sum, ..] = sums;
        while at + 32 <= len {
            sum = P::add(sum, P::weights(load(row.add(at))), load(x.add(at)));
            at += 32;
        }
        if at < len {
            let mask = first_words((len - at) / 4);
            let w = P::weights(load_some(row.add(at), mask));
            sum = P::add(sum, w, load_some(x.add(at), mask));
        }
        let [_, b, c, d] = sums;
        let sum = _mm256_add_epi32(_mm256_add_epi32(sum, b), _mm256_add_epi32(c, d));
        sum_of(sum) - P::ADDED * words.last().map_or(0, |sum| *sum as i32)
    }
}

/// `row . x` of each vector: the weights are loaded once.
///
/// # Safety
/// As [`dot`].
#[target_feature(enable = "avx2")]
pub unsafe fn dots<P: Products>(row: &[i8], xs: [&[u32]; TOGETHER]) -> [i32; TOGETHER] {
    let words = xs.iter().fold(usize::MAX, |least, words| least.min(words.len()));
    let len = (row.len() & !3).min(words.saturating_mul(4));
    let row = row.as_ptr();
    let pointers = xs.map(|words| words.as_ptr().cast::<i8>());
    let mut sums = [_mm256_setzero_si256(); TOGETHER];
    let mut at = 0;
    // SAFETY: as in `dot`; `len` is no more than any vector has.
    unsafe {
        while at + 32 <= len {
            let w = P::weights(load(row.add(at)));
            for (sum, x) in sums.iter_mut().zip(&pointers) {
                *sum = P::add(*sum, w, load(x.add(at)));
            }
            at += 32;
        }
        if at < len {
            let mask = first_words((len - at) / 4);
            let w = P::weights(load_some(row.add(at), mask));
            for (sum, x) in sums.iter_mut().zip(&pointers) {
                *sum = P::add(*sum, w, load_some(x.add(at), mask));
            }
        }
        let mut out = [0; TOGETHER];
        _mm256_storeu_si256(out.as_mut_ptr().cast(), sums_of(sums));
        for (out, words) in out.iter_mut().zip(xs) {
            *out -= P::ADDED * words.last().map_or(0, |sum| *sum as i32);
        }
        out
    }
}

/// `acc_j += coefficient * row_j`, wrapping, for as many numbers as both have.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn axpy(acc: &mut [i32], coefficient: i32, row: &[i8]) {
    let len = acc.len().min(row.len());
    let whole = len & !7;
    let factor = _mm256_set1_epi32(coefficient);
    let (sums, weights) = (acc.as_mut_ptr(), row.as_ptr());
    for at in (0..whole).step_by(8) {
        // SAFETY: both have `at + 8` numbers.
        unsafe {
            let place = sums.add(at).cast::<__m256i>();
            let w = _mm256_cvtepi8_epi32(_mm_loadl_epi64(weights.add(at).cast()));
            let product = _mm256_mullo_epi32(w, factor);
            _mm256_storeu_si256(place, _mm256_add_epi32(_mm256_loadu_si256(place), product));
        }
    }
    let (acc, row) = (acc.get_mut(whole..len), row.get(whole..len));
    crate::math::scalar::axpy(acc.unwrap_or_default(), coefficient, row.unwrap_or_default());
}

/// 32 bytes.
///
/// # Safety
/// They can be read; AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(bytes: *const i8) -> __m256i {
    // SAFETY: of the caller; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.cast()) }
}

/// The words of the mask, and zeroes.
///
/// # Safety
/// They can be read; AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_some(bytes: *const i8, mask: __m256i) -> __m256i {
    // SAFETY: of the caller; words outside the mask are not read.
    unsafe { _mm256_maskload_epi32(bytes.cast(), mask) }
}

/// All ones in the first `count` words of eight.
#[inline]
#[target_feature(enable = "avx2")]
fn first_words(count: usize) -> __m256i {
    let number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), number)
}

/// The sum of eight numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_of(sums: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}

/// The sum of each of eight times eight numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of([a, b, c, d, e, f, g, h]: [__m256i; 8]) -> __m256i {
    let four = |a, b, c, d| _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let (low, high) = (four(a, b, c, d), four(e, f, g, h));
    _mm256_add_epi32(
        _mm256_permute2x128_si256::<0x20>(low, high),
        _mm256_permute2x128_si256::<0x31>(low, high),
    )
}
