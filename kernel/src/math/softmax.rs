//! Softmax in place, and what keeps its inputs small.

/// `cap tanh(x / cap)`; `x` where `cap` is 0.
#[inline]
pub fn capped(x: f32, cap: f32) -> f32 {
    if cap == 0.0 { x } else { cap * libm::tanhf(x / cap) }
}

/// `x_i = exp(x_i - max) / sum_j exp(x_j - max)`, summed from first to last.
pub fn softmax(x: &mut [f32]) {
    let max = x.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    let mut sum = 0.0f32;
    for x in x.iter_mut() {
        *x = libm::expf(*x - max);
        sum += *x;
    }
    let factor = 1.0 / sum;
    for x in x.iter_mut() {
        *x *= factor;
    }
}
