//! Images that are by whom they should be, on a card that nobody trusts.
//!
//! In: a device, and a public key in the firmware. Out: [`Signed`], a device that gives only blocks that the
//! holder of the secret key signed, at the places where they were signed. Knows nothing of what they hold.
//!
//! ```text
//! image | leaves: a digest of each block of the image | tops: a digest of each group of leaves | statement
//! ```
//!
//! The statement is the last block. It is signed (Ed25519) and holds the digest of the tops, which stay in RAM:
//! 32 bytes for each `512 * group` bytes of leaves. A block that is read is hashed (BLAKE3) and compared with
//! its leaf; leaves are read a group at a time, compared with their top, and kept in a few frames. So what a
//! card gives is compared each time it gives it, and a card that changes its contents after
//! [`open`](Signed::open) gets an error and not a block.
//!
//! ```
//! use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, Slice};
//! use ripple_signed::{Room, Shape, Signed, SignedError, public_key, sign};
//!
//! // Where images are made: forty blocks, and what is signed of them behind them.
//! let secret = [7; 32];
//! let shape = Shape { image: BlockCount(40), group: BlockCount(2) };
//! let mut card = vec![1; 40 * BLOCK_BYTES];
//! let mut tail = vec![0; shape.tail().bytes() as usize];
//! sign(&card, shape, 3, &secret, &mut tail);
//! card.extend(&tail);
//!
//! // On the board.
//! let key = public_key(&secret);
//! let (mut tops, mut frames, mut held) = ([Block::ZERO; 1], [Block::ZERO; 4], [0; 2]);
//! let room = Room { tops: &mut tops, frames: &mut frames, held: &mut held };
//! let blocks = shape.blocks().unwrap();
//! let mut device = Signed::open(Slice::new(&card), blocks, &key, 3, room).unwrap();
//! let mut block = [Block::ZERO];
//! device.read(BlockIdx(20), &mut block).unwrap();
//!
//! // A card that has changed a byte since.
//! card[20 * BLOCK_BYTES] ^= 1;
//! let (mut tops, mut frames, mut held) = ([Block::ZERO; 1], [Block::ZERO; 4], [0; 2]);
//! let room = Room { tops: &mut tops, frames: &mut frames, held: &mut held };
//! let mut device = Signed::open(Slice::new(&card), blocks, &key, 3, room).unwrap();
//! let error = device.read(BlockIdx(20), &mut block).unwrap_err();
//! assert_eq!(error, SignedError::Differs { block: BlockIdx(20) });
//! ```
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod device;
mod error;
mod shape;
mod sign;
mod statement;

pub use device::{Room, Signed};
pub use error::{Lent, OpenError, SignedError};
pub use shape::{DIGEST_BYTES, Shape};
pub use sign::{public_key, sign};
