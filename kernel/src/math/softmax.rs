//! Softmax in place.

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
