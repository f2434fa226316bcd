//! A run: text from an image, and what it cost.
//!
//! In: a decoder on some machine, a request. Out: text as it comes, sessions, a report. Knows nothing of
//! how the image was made.

pub mod chat;
pub mod generate;
pub mod measured;
pub mod report;
pub mod session;
