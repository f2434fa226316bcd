//! Signs drawn at random, for gradients without a way back.
//!
//! In: numbers, a seed. Out: the numbers moved. Knows nothing of models.

use crate::real::Real;
use ripple_kernel::text::sample::Pcg32;

/// `x += by * s` with the signs of a seed and a step: the same each time they are asked for.
pub(crate) fn along<R: Real>(numbers: &mut [R], by: R, seed: u64, step: u32) {
    let mut random = Pcg32::new(seed, (1 << 32) | u64::from(step));
    for numbers in numbers.chunks_mut(32) {
        let mut signs = random.next_u32();
        for x in numbers {
            *x += if signs & 1 == 0 { by } else { -by };
            signs >>= 1;
        }
    }
}
