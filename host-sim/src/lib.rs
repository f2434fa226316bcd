//! Offline stages and host simulator of the Ripple inference kernel.
//!
//! The rooms, in the order in which each uses only those before it:
//!
//! | room | what is there |
//! |---|---|
//! | [`process`] | exit codes, Ctrl-C, files that appear whole, progress |
//! | [`model`] | a model in float32, its tokenizer, and the reference forward pass: the truth |
//! | [`import`] | checkpoints of other programs, and the demo models |
//! | [`cost`] | what a read costs on a card |
//! | [`predictor`] | how the board finds active neurons, trained and judged |
//! | [`profile`] | which neurons fire on a text, and which fire together |
//! | [`machine`] | the simulated card and core that the kernel runs on |
//! | [`device`] | the image on a real device, by a real clock |
//! | [`placement`] | the order of the neurons, what is held in RAM, the pages |
//! | [`pack`] | the image |
//! | [`layout`] | what goes where in an image, derived from a model's equations for a board |
//! | [`run`] | text from an image, and what the run cost |
//! | [`tune`] | adapters, trained on the simulated card |
//! | `plot` | numbers, axes, bars and curves, as SVG |
//! | [`mod@bench`] | policies side by side |
//! | [`study`] | one model and one card in depth, and what an image costs in quality |
//! | [`html`] | a study as a page |
//! | [`medium`] | the image on a real card |
//! | [`cli`] | the `ripple` command |

pub mod bench;
pub mod cli;
pub mod cost;
pub mod device;
pub mod html;
pub mod import;
pub mod layout;
pub mod machine;
pub mod medium;
pub mod model;
pub mod pack;
pub mod placement;
pub(crate) mod plot;
pub mod predictor;
pub mod process;
pub mod profile;
pub mod run;
pub mod study;
pub mod tune;
