//! Arithmetic that gives the same bits on every core.
//!
//! Products of weights and activations are integers; sums of neurons are integers; what is left in
//! floating point is done in one fixed order, without fused operations, with `libm` for the
//! transcendental functions. [`scalar`] is portable and is the oracle for any faster version.

pub mod accumulate;
pub mod norm;
pub mod quant;
pub mod rope;
pub mod scalar;
pub mod softmax;

pub use scalar::{axpy, dot, dot_f32, half_to_f32, matching_signs};
