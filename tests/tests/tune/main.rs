//! Learning: gradients, the memory and the reads of a step, and that it learns.

mod account;
mod blocks;
mod common;
mod exact;
mod gradients;
mod inference;
mod memory;
mod reads;
mod sampled;
mod slots;
mod spill;
