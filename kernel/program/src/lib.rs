//! Runs derived tensor programs on the board: small networks whose weights are streamed from a card.
//!
//! A *program* is what `ripple derive NETWORK --board BOARD -o NAME.plan` writes: a front, which is mapped or
//! read into memory, and tables of rows behind it. Its steps are the kernel's own operators (rows of weights,
//! each read once and multiplied with the vectors of all positions; windows over a sequence; filters over an
//! image) and generated ones: affine nests of at most eight loops, which copy, add up, and bring sums back
//! to 8 bits.
//!
//! ```
//! use ripple_hal::{Block, BlockDevice, BlockIdx};
//! use ripple_program::{Program, front_blocks};
//! use std::error::Error;
//!
//! /// Runs the program on `device` over `input`; its first output, as bytes.
//! fn run<D>(mut device: D, input: &[u8]) -> Result<Vec<u8>, Box<dyn Error>>
//! where
//!     D: BlockDevice<Error: Error + 'static>,
//! {
//!     let mut first = Block::ZERO;
//!     device.read(BlockIdx(0), core::slice::from_mut(&mut first))?;
//!     let mut front = vec![Block::ZERO; front_blocks(&first)?.0 as usize];
//!     device.read(BlockIdx(0), &mut front)?;
//!     let program = Program::open(Block::bytes(&front))?;
//!     // Memory to the byte; with a front in flash these are constants.
//!     let (mut arena, mut staging) = (vec![0u32; program.arena], vec![Block::ZERO; program.staging]);
//!     let port = program.input(0).ok_or("no input")?;
//!     let bytes = zerocopy::IntoBytes::as_mut_bytes(arena.as_mut_slice());
//!     bytes[port.at..][..input.len()].copy_from_slice(input);
//!     program.run(device, &mut arena, &mut staging)?;
//!     let port = program.output(0).ok_or("no output")?;
//!     Ok(zerocopy::IntoBytes::as_bytes(arena.as_slice())[port.at..].to_vec())
//! }
//!
//! let error = run(ripple_hal::Slice::new(&[b'?'; 512]), &[]).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     r#"not a program: it begins with "????????", expected "RIPPLAN\n"; ripple derive -o NAME.plan writes one"#
//! );
//! ```
//!
//! # What holds
//!
//! Sums are integers, so a program gives the same bits on every core, with every device and staging. What is
//! not understood is refused when a program is opened, with its step; every row of weights has a check of its
//! own, and no bytes make this panic. A program uses its whole arena and no more.
//!
//! # Numbers
//!
//! Weights and what is multiplied with them are 8 bits, from -127 to 127; sums are 32 bits. Between layers
//! sums become 8 bits again: integers times a factor, shifted right, rounded up from the half; or, where a
//! network was one of real numbers, as floats times a factor, rounded away from zero from the half. Both are
//! cut at -127 and 127. Whoever writes a program says which, and keeps sums within 32 bits.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod check;
pub mod code;
mod error;
mod nest;
mod number;
mod operator;
mod program;
mod run;
mod sizes;
mod stream;
mod words;

pub use error::{Lent, ProgramError, RunError, Text};
pub use operator::packed_words;
pub use program::{Form, Port, Program, front_blocks};
pub use run::Ran;
pub use stream::{row_identity, row_layout};
