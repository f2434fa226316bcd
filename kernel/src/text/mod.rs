//! Text: from bytes to tokens and back, which token comes next, and where a text stops.
//!
//! Knows nothing of models, storage or memory.

pub mod sample;
pub mod stop;
pub mod stream;
pub mod tokenizer;

pub use stream::{End, TextStream};
