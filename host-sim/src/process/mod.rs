//! The process: how a command ends, is interrupted, and writes what it made.
//!
//! In: errors, signals, text and files. Out: exit codes, whole files, progress. Knows nothing of models.

pub mod failure;
pub mod interrupt;
pub mod output;
mod target;
pub(crate) mod terminal;
