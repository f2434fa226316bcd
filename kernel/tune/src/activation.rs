//! What a neuron's first-layer output becomes, and its slope there.
//!
//! In: a number, the layer's threshold. Out: the coefficient and its derivative. Where inference leaves a
//! neuron out, it is left out here: what is trained is what runs.

use crate::real::Real;
use ripple_kernel::Activation;

/// `act(x)` and `act'(x)`, if that makes the neuron active: see
/// [`coefficient`](ripple_kernel::math::activation::coefficient). The threshold itself has no slope.
#[inline]
pub(crate) fn active<R: Real>(activation: Activation, threshold: R, x: R) -> Option<(R, R)> {
    let (y, slope) = slope(activation, x);
    // ReLU's is `x` itself, and asks for no magnitude.
    let size = if activation.lossy() && y < R::ZERO { -y } else { y };
    (size > threshold).then_some((y, slope))
}

/// `act(x)` and `act'(x)` of a neuron that is active.
#[inline]
pub(crate) fn slope<R: Real>(activation: Activation, x: R) -> (R, R) {
    if activation.lossy() { gated(activation, x) } else { (x, R::ONE) }
}

/// `x sigmoid(s)`, and `sigmoid(s) + x sigmoid(s) (1 - sigmoid(s)) s'`.
fn gated<R: Real>(activation: Activation, x: R) -> (R, R) {
    let (s, slope) = match activation {
        Activation::GeluTanh => {
            // 2 sqrt(2 / pi), and its product with 0.044715.
            let (a, b) = (R::wide(1.595_769_121_605_730_8), R::wide(0.071_354_816_272_600_25));
            (x * (a + b * x * x), a + R::wide(3.0) * b * x * x)
        }
        _ => (x, R::ONE),
    };
    let sigmoid = R::ONE / (R::ONE + (-s).exp());
    (x * sigmoid, sigmoid + x * sigmoid * (R::ONE - sigmoid) * slope)
}
