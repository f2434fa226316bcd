//! Portable inner loops: the oracle every faster version is compared with.
//!
//! In: equally long slices. Out: a number, or an accumulator moved on. A longer slice is cut to the
//! shorter one, so no length can make these panic.

/// Integer dot product `sum_j a_j * b_j`.
///
/// Cannot overflow below 133,144 elements; [`ModelConfig::check`](crate::config::ModelConfig::check)
/// allows 16,384.
///
/// In blocks of sixteen: on x86-64 that is `pmaddwd`, 12 ns for 64 elements where the plain loop
/// takes 22 (bench `decode`, whole model: 1.3 times the tokens a second). Not `#[inline]`: compiled
/// into a crate that uses the kernel, the blocks become calls, five times the instructions.
pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    fn plain(a: &[i8], b: &[i8]) -> i32 {
        a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
    }
    let len = a.len().min(b.len());
    let (a, b) = (a.get(..len).unwrap_or(&[]), b.get(..len).unwrap_or(&[]));
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let blocks: i32 = a.iter().zip(b).map(|(a, b)| plain(a, b)).sum();
    blocks + plain(a_rest, b_rest)
}

/// `acc_j += coefficient * row_j`.
///
/// The caller bounds `sum |coefficient|` so that `acc` cannot overflow; see
/// [`Accumulator`](super::accumulate::Accumulator).
#[inline]
pub fn axpy(acc: &mut [i32], coefficient: i32, row: &[i8]) {
    for (acc, &w) in acc.iter_mut().zip(row) {
        *acc = acc.wrapping_add(coefficient.wrapping_mul(i32::from(w)));
    }
}

/// Dot product of floats in four interleaved partial sums, added as `(s0 + s1) + (s2 + s3)`.
///
/// Four sums because a vector unit has four lanes: the order is fixed, and so are the bits.
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 4];
    for (a, b) in a.chunks_exact(4).zip(b.chunks_exact(4)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let tail = a.len().min(b.len()) & !3;
    for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b).skip(tail)) {
        *sum += a * b;
    }
    let [s0, s1, s2, s3] = sums;
    (s0 + s1) + (s2 + s3)
}

/// `f16` to `f32`, exactly, for finite numbers.
///
/// The bits of an `f16`, moved into place, are an `f32` that is 2^112 too small; subnormals come
/// right by themselves. Four instructions without a branch, where `half` calls a function.
/// Infinity and NaN become large numbers: what is stored here never holds them.
#[inline]
pub fn half_to_f32(half: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = f32::from_bits((u32::from(half) & 0x7FFF) << 13) * SCALE;
    f32::from_bits(magnitude.to_bits() | (u32::from(half) & 0x8000) << 16)
}

/// How many of the bits of `a` and `b` are equal: XNOR and population count.
#[inline]
pub fn matching_signs(a: &[u32], b: &[[u8; 4]]) -> u32 {
    a.iter().zip(b).map(|(&a, &b)| (!(a ^ u32::from_le_bytes(b))).count_ones()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn dot_f32_adds_in_the_documented_order() {
        let a = [1.0e8, 1.0, -1.0e8, 3.0, 5.0, 7.0];
        let b = [1.0; 6];
        let expected = ((1.0e8f32 + 5.0) + (1.0 + 7.0)) + (-1.0e8 + 3.0);
        assert_eq!(dot_f32(&a, &b).to_bits(), expected.to_bits());
    }

    #[test]
    fn every_finite_half_converts_exactly() {
        for bits in (0..=u16::MAX).step_by(if cfg!(miri) { 97 } else { 1 }) {
            let half = half::f16::from_bits(bits);
            if half.is_finite() {
                assert_eq!(half_to_f32(bits).to_bits(), half.to_f32().to_bits(), "{bits:#x}");
            }
        }
    }

    #[test]
    fn dot_is_the_plain_sum_at_every_length() {
        for n in 0..70usize {
            let value = |i: usize| (i * 89 % 255) as i32 - 127;
            let (a, b): (std::vec::Vec<i8>, std::vec::Vec<i8>) =
                (0..n).map(|i| (value(i) as i8, value(i + 7) as i8)).unzip();
            let expected: i32 = (0..n).map(|i| value(i) * value(i + 7)).sum();
            assert_eq!(dot(&a, &b), expected, "{n}");
            let half: i32 = (0..n / 2).map(|i| value(i) * value(i + 7)).sum();
            assert_eq!((dot(&a[..n / 2], &b), dot(&a, &b[..n / 2])), (half, half), "{n} by half");
        }
    }

    #[test]
    fn matching_signs_counts_equal_bits() {
        assert_eq!(matching_signs(&[0b1010], &[0b1000u32.to_le_bytes()]), 31);
    }
}
