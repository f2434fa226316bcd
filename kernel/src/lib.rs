//! Runs language models larger than RAM from block storage, without an allocator.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod config;
pub mod sample;
pub mod tokenizer;
