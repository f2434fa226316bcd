//! The notation: expressions as text, read and written.
//!
//! ```text
//! # A convolution, and what becomes of its result.
//! input  A[7, 7, 16] pad 1, 1, 0
//! weight K[3, 3, 8, 16]
//! T[h: 7, w: 7, f: 8] = sum c: 16, r: 3, s: 3 . A[h + r - 1, w + s - 1, c] * K[r, s, f, c]
//! O[h: 7, w: 7, f: 8] = relu(T[h, w, f])
//! ```
//!
//! A line declares a tensor or defines one. `input` comes with every run, `weight` is the same in all of
//! them; `pad` says how far outside of each dimension a tensor may be read, where it is 0: one number for
//! both ends, or `1:2` for one zero before and two behind. A definition names its dimensions with their
//! extents, `h: 7` or `h: -1..6`; then what it adds up, and a body of `+`, `-`, `*`, numbers, `relu(..)`,
//! `tanh(..)`, `square(..)` and tensors. An index is a sum of iterators with factors, and of quotients and
//! remainders by a number: `(h + r - 1) / 2`, `m % 4`, both as division rounds down. What is defined can be
//! read by the lines after it; the last one is the result.

mod parse;
mod print;

pub use parse::{NotationError, parse};
pub use print::{declaration, definition_of, print, print_network, print_state};
