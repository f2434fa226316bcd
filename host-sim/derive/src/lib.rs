//! Derives tensor programs for boards that stream their weights from a card.
//!
//! A network is given by its equations, not by operators. From the textbook expression of what it computes,
//! [`rules`] derive others that compute the same; a [`search`] goes through them and matches
//! each with the [operators](library) that the board computes well; a [`plan`] says what the rest costs: copies
//! and sums that are generated, weights that are laid out beforehand, commands and bytes from the card,
//! RAM, instructions. The cheapest is taken, and it is never dearer than the expression as it was given.
//!
//! ```
//! use ripple_derive::library::{Call, Operator};
//! use ripple_derive::machine::{Core, Machine};
//! use ripple_derive::plan::OnMachine;
//! use ripple_derive::search::walk::{Settings, search};
//! use ripple_derive::textbook::{Conv, conv};
//!
//! let board = Machine {
//!     name: "a board".to_owned(),
//!     core: Core::M4,
//!     megahertz: 64.0,
//!     command_ns: 400_000.0,
//!     bytes_per_second: 20e6,
//!     ram: 100 << 10,
//!     staging: 16 << 10,
//! };
//! let shape = Conv {
//!     input: (7, 7),
//!     channels: 64,
//!     filters: 64,
//!     kernel: (3, 3),
//!     stride: 1,
//!     dilation: 1,
//!     padding: (1, 1),
//! };
//! let of = conv(shape);
//! let judge = OnMachine { machine: &board, tensors: &of.tensors, least_work: 1.0 };
//! let settings = Settings { bound: false, ..Settings::of_depth(4) };
//! let outcome =
//!     search(&of.scope, &of.tensors, &Operator::standard(), &judge, settings, &mut |_| {});
//! // A product of all pixels with every tap of every filter, whose results are shifted and added.
//! let product = Call::Matmul { batch: 1, rows: 7 * 7, columns: 3 * 3 * 64, depth: 64 };
//! assert!(outcome.found.iter().any(|found| found.bound.call == product));
//! ```
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | scope | loops, which are the dimensions of its result, sums, and a body |
//! | access | a number of a tensor or an inner scope; outside of it 0 is read |
//! | padding | how far outside of a tensor an access may reach |
//! | focus | the scope that rules are applied to |
//! | call | an operator of the library with its extents |
//! | generated operator | an affine loop nest that copies, or adds up, what no operator computes |
//!
//! # What holds
//!
//! Every rule gives the same numbers, all of them, in integers and modulo a prime (`tests/rules.rs`), and so
//! do paths of rules (`tests/states.rs`) and the derivations that are found (`tests/cases.rs`). Nothing here
//! is computed in floating point but costs.
//!
//! # Source
//!
//! "OLLIE: Derivation-based Tensor Program Optimizer" (Zheng et al., arXiv 2208.02025), for what rules,
//! matching and hybrid search are; costs, the library and the bound are of this project.

pub mod cache;
pub mod check;
pub mod derive;
pub mod emit;
pub mod explain;
pub mod expr;
pub mod fixed;
pub mod index;
pub mod interpret;
pub mod library;
pub mod machine;
pub mod network;
pub mod notation;
pub mod onnx;
pub mod plan;
pub mod rules;
pub mod search;
mod terms;
pub mod textbook;
