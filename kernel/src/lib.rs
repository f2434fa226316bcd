//! Runs language models larger than RAM from block storage, without an allocator.
//!
//! A model's FFN neurons lie on an SD card or eMMC as *bundles*, ordered so that neurons that fire
//! together lie together. For every token and layer the *predictor* says which are active, the
//! *cache* which of them are in memory, the *plan* merges the rest into few long *extents*, and
//! *fetch* reads one extent while the neurons of the one before it are computed.
//!
//! ```text
//! predictor -> cache -> plan -> fetch -> ffn -> layer -> decode -> token
//! ```
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | neuron bundle | the rows of one FFN neuron, stored together: gate, up, down; or up, down |
//! | active set | the neurons of a layer that are not zero for this token, ascending |
//! | pass | one run through the layers, for one or more consecutive positions |
//! | chunk | the tokens of a pass |
//! | draft | tokens that may come next; a pass verifies them all at once |
//! | attention sinks | the first positions of a text, kept when later ones are evicted |
//! | predictor | finds the active set before the bundles are read |
//! | placement | the order of the neurons on the card; decided offline, by co-activation |
//! | slot | a neuron's place in that order; on the board, its only name |
//! | extent | consecutive blocks read with one command |
//! | collapse gap | most unwanted blocks that are read through instead of starting a new command |
//! | page | copies of the bundles that one token is likely to need in a layer, likeliest first |
//! | staging | where reads arrive: two halves, one filled while the other is used |
//! | hot prefix | the first slots of each layer, held in memory for good |
//! | admission | which missed bundles enter the dynamic part of the cache |
//! | mapped prefix | the first bytes of the image, where they can be addressed as memory |
//!
//! # Same bits everywhere
//!
//! Logits do not depend on the cache, the collapse gap, the mapped prefix, the device or the core:
//! weights meet activations in integers, neurons are summed in integers ([`math::accumulate`]), and
//! what is left in floating point has one order.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

mod active;
mod attention;
mod bundles;
pub mod cache;
pub mod config;
pub mod decode;
pub mod error;
mod fetch;
mod ffn;
pub mod image;
mod kv;
mod layer;
pub mod math;
pub mod memory;
pub mod plan;
pub mod predictor;
pub mod probe;
pub mod region;
pub mod replay;
mod row;
pub mod sample;
pub mod speculate;
#[cfg(feature = "spill")]
mod spill;
pub mod stop;
pub mod tokenizer;

pub use config::{ConfigError, Ffn, ModelConfig, Norm, Position};
#[cfg(feature = "spill")]
pub use decode::SpillError;
pub use decode::{Decoder, RestoreError, SlideError, Usage};
pub use error::{OpenError, StepError};
pub use fetch::Collapse;
pub use kv::KvKind;
pub use memory::{Memory, MemoryPlan, Options};
pub use probe::{Probe, Stage};
pub use region::{MemoryError, Region};
pub use speculate::Speculation;
