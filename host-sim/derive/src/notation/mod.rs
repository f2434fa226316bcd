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
pub use print::{print, print_network, print_state};

use crate::expr::{Kind, Scope, Tensor};
use crate::interpret::{Number, Overflow, interpret};

/// A definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The tensor that it defines, by its place.
    pub tensor: u32,
    /// What it is.
    pub scope: Scope,
}

/// Tensors, and how those that are no inputs and weights are computed, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// Inputs, weights and what is defined. What depends on weights alone is a weight.
    pub tensors: Vec<Tensor>,
    /// The definitions; the last one is the result.
    pub definitions: Vec<Definition>,
}

impl Network {
    /// The numbers of every tensor. `given`: those of inputs and weights; what is defined may be empty.
    ///
    /// # Errors
    /// Where a number does not fit.
    pub fn interpret<N: Number>(&self, mut given: Vec<Vec<N>>) -> Result<Vec<Vec<N>>, Overflow> {
        let shapes: Vec<Vec<i64>> = self.tensors.iter().map(|t| t.shape.clone()).collect();
        for definition in &self.definitions {
            given[definition.tensor as usize] = interpret(&definition.scope, &shapes, &given)?;
        }
        Ok(given)
    }

    /// Adds a tensor that is not defined.
    pub fn declare(&mut self, tensor: Tensor) -> u32 {
        self.tensors.push(tensor);
        self.tensors.len() as u32 - 1
    }

    /// Adds a definition, whose dimensions begin at 0.
    pub fn define(&mut self, name: impl Into<String>, scope: Scope) -> u32 {
        let kind = if scope.is_weight(&self.tensors) { Kind::Weight } else { Kind::Input };
        let shape: Vec<i64> = scope.loops.iter().map(|range| range.len()).collect();
        let tensor = self.declare(Tensor::new(name, kind, &shape));
        self.definitions.push(Definition { tensor, scope });
        tensor
    }
}
