//! Arithmetic that gives the same bits on every core.
//!
//! Products of weights and activations are integers; sums of neurons are integers; what is left in
//! floating point is done in one fixed order, without fused operations, with `libm` for the
//! transcendental functions. [`scalar`] is portable and is the oracle for the faster integer loops,
//! one file for an instruction set, of which `build.rs` chooses; on x86-64 the processor does, at run time.

pub mod accumulate;
pub mod activation;
#[cfg(feature = "grouped")]
pub mod grouped;
#[cfg(feature = "q4")]
pub mod groups;
#[cfg(ripple_isa = "x86")]
pub mod halves;
mod input;
#[cfg(feature = "q4")]
pub mod nibbles;
pub mod norm;
mod packed;
pub mod quant;
pub mod rope;
pub mod scalar;
pub mod softmax;

#[cfg(any(ripple_isa = "armv7em", test))]
mod armv7em;
#[cfg(any(ripple_isa = "armv7m", test))]
mod armv7m;
#[cfg(ripple_isa = "mve")]
mod mve;
#[cfg(ripple_isa = "neon")]
mod neon;
#[cfg(any(ripple_isa = "portable", ripple_isa = "mve", ripple_isa = "neon"))]
mod portable;
#[cfg(any(ripple_isa = "armv7m", ripple_isa = "armv7em"))]
mod thumb2;
#[cfg(ripple_isa = "x86")]
mod x86;

#[cfg(ripple_isa = "armv7em")]
use armv7em as isa;
#[cfg(ripple_isa = "armv7m")]
use armv7m as isa;
#[cfg(ripple_isa = "mve")]
use mve as isa;
#[cfg(ripple_isa = "neon")]
use neon as isa;
#[cfg(ripple_isa = "portable")]
use portable as isa;
#[cfg(ripple_isa = "x86")]
use x86 as isa;

pub(crate) use input::{Input, Inputs};
pub use isa::axpy;
#[cfg(ripple_isa = "x86")]
pub(crate) use isa::carryless;
#[cfg(ripple_isa = "x86")]
pub use isa::{Arm, TOGETHER, add_halves, half_dots};
#[cfg(ripple_isa = "x86")]
pub use packed::dots;
pub use packed::{Packed, dot};
pub use scalar::{dot_f32, half_to_f32, matching_signs};
