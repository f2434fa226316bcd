//! RMSNorm and LayerNorm, and the way back through them.
//!
//! In: vectors, the norm's weights. Out: the normalised vector; or the gradient of its input.

use crate::real::Real;
use crate::vector::dot;
use ripple_kernel::Norm;

/// A norm's weights: `(dim,)` each, the bias empty where there is none.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub norm: Norm,
    pub eps: f32,
    pub weight: &'a [f32],
    pub bias: &'a [f32],
}

impl Weights<'_> {
    /// The mean that is taken away, and the factor behind it.
    fn moments<R: Real>(&self, x: &[R]) -> (R, R) {
        let n = R::count(x.len());
        let mean = if self.norm == Norm::Layer { sum(x) / n } else { R::ZERO };
        let mut squares = [R::ZERO; 4];
        for x in x.chunks(4) {
            for (square, x) in squares.iter_mut().zip(x) {
                let centred = *x - mean;
                *square += centred * centred;
            }
        }
        let [s0, s1, s2, s3] = squares;
        let variance = ((s0 + s1) + (s2 + s3)) / n;
        (mean, R::ONE / (variance + R::of(self.eps)).sqrt())
    }

    /// `out = (x - mean) factor * weight + bias`; the mean is 0 in RMSNorm.
    pub fn apply<R: Real>(&self, out: &mut [R], x: &[R]) {
        let (mean, factor) = self.moments(x);
        for (out, (x, w)) in out.iter_mut().zip(x.iter().zip(self.weight)) {
            *out = (*x - mean) * factor * R::of(*w);
        }
        for (out, b) in out.iter_mut().zip(self.bias) {
            *out += R::of(*b);
        }
    }

    /// `dx += factor (z - mean z - y mean(z y))` with `y = (x - mean) factor` and `z = weight * dn`;
    /// without the means in RMSNorm, but for that of `z y`. `dn` becomes `z`.
    pub fn backward<R: Real>(&self, dx: &mut [R], x: &[R], dn: &mut [R]) {
        let (mean, factor) = self.moments(x);
        let n = R::count(x.len());
        for (z, w) in dn.iter_mut().zip(self.weight) {
            *z = *z * R::of(*w);
        }
        let mean_z = if self.norm == Norm::Layer { sum(dn) / n } else { R::ZERO };
        let along = (dot(dn, x) - mean * sum(dn)) * factor / n;
        for (dx, (x, z)) in dx.iter_mut().zip(x.iter().zip(dn.iter())) {
            let y = (*x - mean) * factor;
            *dx += factor * (*z - mean_z - y * along);
        }
    }
}

fn sum<R: Real>(x: &[R]) -> R {
    let mut sums = [R::ZERO; 4];
    for x in x.chunks(4) {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += *x;
        }
    }
    let [s0, s1, s2, s3] = sums;
    (s0 + s1) + (s2 + s3)
}
