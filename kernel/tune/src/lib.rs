//! Trains low-rank adapters of models larger than RAM, in a static arena, without an allocator.
//!
//! The frozen base stays on its card, quantised as it was packed; gradients flow through the same rows. A step
//! reads each row of attention once forward and once backward, each neuron that is active anywhere as often,
//! and the head once in all. What is kept of the forward pass is chosen in [`Arms`]: more memory, more
//! arithmetic, or, where that is said, a little loss.
//!
//! A crate, not a feature of the kernel: it needs of it only an image, its records
//! ([`Reader`](ripple_kernel::read::reader::Reader)) and its arithmetic, and firmware that does not learn
//! does not compile it.
//!
//! # Same bits everywhere
//!
//! Sums have one order, without fused operations, and exponentials, logarithms and roots are `libm`'s: the same
//! image, text and seed give the same adapters to the last bit on every target, whatever is mapped, in
//! whatever collapse gap it is read. With [`Arms::EXACT`] they are also those of [`Arms::TILED`], which keeps
//! all and multiplies zeroes too.
//!
//! # Sources
//!
//! Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; Wang et al., "LeMo: Enabling Less
//! Token Involvement for More Context Fine-tuning", arXiv 2501.09767, for leaving tokens out. The exact arms
//! are this project's: a ReLU network's backward pass needs only what was active.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod activation;
mod adapter;
mod arms;
mod attend;
mod attention;
mod check;
mod columns;
mod embed;
mod error;
mod ffn;
mod guide;
mod layer;
mod loss;
mod model;
mod neurons;
mod norm;
mod optimise;
mod options;
mod plan;
mod random;
mod real;
mod region;
mod select;
mod shape;
mod slots;
mod space;
mod spill;
mod steps;
mod tape;
mod tuner;
mod vector;

pub use arms::{
    Arms, AttentionTape, Choice, ColumnScore, Columns, Elimination, FfnTape, InputTape, Keep,
    LossTape, Store,
};
pub use error::{TuneError, TuneOpenError};
pub use guide::Look;
pub use optimise::{Rate, Schedule};
pub use options::{Gradients, Optimiser, TuneOptions};
pub use plan::{TuneMemory, TunePlan};
pub use real::Real;
pub use region::TuneRegion;
pub use ripple_kernel::adapter::{Target, Targets};
pub use slots::{AdapterSlots, LoadError, SaveError};
pub use steps::Step;
pub use tuner::Tuner;
