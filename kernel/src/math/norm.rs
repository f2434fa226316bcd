//! RMSNorm and LayerNorm, summed in the fixed order of [`dot_f32`].

use super::dot_f32;

/// `out = x * weight / sqrt(mean(x^2) + eps)`. All `(dim,)`.
///
/// Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
pub fn rms(out: &mut [f32], x: &[f32], weight: &[f32], eps: f32) {
    let factor = 1.0 / libm::sqrtf(dot_f32(x, x) / x.len() as f32 + eps);
    for (out, (x, w)) in out.iter_mut().zip(x.iter().zip(weight)) {
        *out = w * (x * factor);
    }
}

/// [`rms`] of each head of `x` in place, with the same `weight`, `(head_dim,)`, for all.
pub fn heads(x: &mut [f32], weight: &[f32], eps: f32) {
    for head in x.chunks_exact_mut(weight.len().max(1)) {
        let factor = 1.0 / libm::sqrtf(dot_f32(head, head) / head.len() as f32 + eps);
        for (x, w) in head.iter_mut().zip(weight) {
            *x = w * (*x * factor);
        }
    }
}

/// `x / sqrt(mean(x^2) + eps)` in place.
pub fn unit(x: &mut [f32], eps: f32) {
    let factor = 1.0 / libm::sqrtf(dot_f32(x, x) / x.len() as f32 + eps);
    x.iter_mut().for_each(|x| *x *= factor);
}

/// `out = (x - mean) * weight / sqrt(var + eps) + bias`. All `(dim,)`.
///
/// Ba et al., "Layer Normalization", 2016. The variance is that of the centred values: two passes,
/// because `mean(x^2) - mean(x)^2` loses half its digits.
pub fn layer(out: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32], eps: f32) {
    let n = x.len() as f32;
    let mut sums = [0.0f32; 4];
    for x in x.chunks(4) {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += x;
        }
    }
    let [s0, s1, s2, s3] = sums;
    let mean = ((s0 + s1) + (s2 + s3)) / n;
    for (out, x) in out.iter_mut().zip(x) {
        *out = x - mean;
    }
    let factor = 1.0 / libm::sqrtf(dot_f32(out, out) / n + eps);
    for (out, (w, b)) in out.iter_mut().zip(weight.iter().zip(bias)) {
        *out = *out * factor * w + b;
    }
}
