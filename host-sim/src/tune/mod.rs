//! Adapters: trained on a simulated card, and exchanged with other programs.
//!
//! In: an image, texts. Out: losses, adapters, and what a step took.

pub mod gate;
pub mod guide;
pub mod merge;
pub mod peft;
pub mod threshold;
pub mod train;
