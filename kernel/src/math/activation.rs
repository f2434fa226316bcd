//! What a neuron's first-layer output becomes, and whether the neuron is active.
//!
//! In: a number, the layer's threshold. Out: the number that the neuron is multiplied by. `libm`'s
//! exponential everywhere, so every target gives the same bits.

use crate::config::Activation;

/// `act(x)`, if that makes the neuron active: `x` above `threshold`, for ReLU (which is then `x`) and its
/// kin; `act(x)` further from 0 than `threshold`, for the others (Lee et al., "CATS", 2024). Below 0 all
/// neurons are active.
#[inline]
pub fn coefficient(activation: Activation, threshold: f32, x: f32) -> Option<f32> {
    // Without the feature none is: the compiler drops it.
    if cfg!(feature = "gated") && activation.lossy() {
        let y = gated(activation, x);
        return (y.abs() > threshold).then_some(y);
    }
    let squared = cfg!(feature = "gated") && matches!(activation, Activation::ReluSquared);
    (x > threshold).then_some(if squared { x * x } else { x })
}

/// What the coefficient of a gated neuron is multiplied with, `up`: where that is rectified too, no less
/// than 0.
#[inline]
pub fn factor(activation: Activation, up: f32) -> f32 {
    if cfg!(feature = "gated") && matches!(activation, Activation::ReluBoth) && up < 0.0 {
        0.0
    } else {
        up
    }
}

/// `x * sigmoid(s)`: `s` is `x` in SiLU, and in GELU `2 sqrt(2 / pi) (x + 0.044715 x^3)`, for
/// `1 + tanh(z) = 2 sigmoid(2 z)`.
#[inline(never)]
fn gated(activation: Activation, x: f32) -> f32 {
    let s = match activation {
        Activation::GeluTanh => 1.595_769 * (x + 0.044_715 * (x * x * x)),
        _ => x,
    };
    x / (1.0 + libm::expf(-s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_are_those_of_the_papers() {
        for i in (-800..=800).step_by(if cfg!(miri) { 80 } else { 1 }) {
            let x = i as f32 / 50.0;
            let wide = f64::from(x);
            let silu = wide / (1.0 + libm::exp(-wide));
            let z = (2.0 / core::f64::consts::PI).sqrt() * (wide + 0.044715 * wide * wide * wide);
            let gelu = 0.5 * wide * (1.0 + libm::tanh(z));
            for (activation, expected) in [(Activation::Silu, silu), (Activation::GeluTanh, gelu)] {
                let found = coefficient(activation, -1.0, x).unwrap();
                let error = (f64::from(found) - expected).abs();
                assert!(error <= 1e-6 * wide.abs().max(1e-3), "{activation:?} {x}: {found}");
            }
        }
    }

    #[test]
    fn a_neuron_is_active_beyond_the_threshold_on_either_side() {
        let silu = |threshold, x| coefficient(Activation::Silu, threshold, x).is_some();
        assert!(silu(0.2, -1.2) && silu(0.2, 1.0));
        assert!(!silu(0.2, 0.1) && !silu(0.2, -8.0));
        assert!(silu(-1.0, 0.0));
        // Far out: 0 or x, never infinite or no number.
        for activation in [Activation::Silu, Activation::GeluTanh] {
            assert_eq!(coefficient(activation, -1.0, -1e30), Some(0.0));
            assert_eq!(coefficient(activation, -1.0, 1e10), Some(1e10));
        }
        assert_eq!(coefficient(Activation::Relu, 0.5, 0.5), None);
        assert_eq!(coefficient(Activation::Relu, 0.5, 0.6), Some(0.6));
    }

    #[test]
    fn what_is_like_relu_has_zeros() {
        for activation in [Activation::Relu, Activation::ReluSquared, Activation::ReluBoth] {
            assert!(!activation.lossy());
            assert_eq!(coefficient(activation, 0.0, -1.0), None);
            assert_eq!(coefficient(activation, 0.0, 0.0), None);
        }
        assert_eq!(coefficient(Activation::ReluSquared, 0.0, 3.0), Some(9.0));
        assert_eq!(coefficient(Activation::ReluBoth, 0.0, 3.0), Some(3.0));
        assert_eq!(factor(Activation::ReluBoth, -2.0), 0.0);
        assert_eq!(factor(Activation::ReluBoth, 2.0), 2.0);
        assert_eq!(factor(Activation::Relu, -2.0), -2.0);
    }
}
