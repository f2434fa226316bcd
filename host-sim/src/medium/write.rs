//! Writing a planned card so that it opens when, and only when, all of it is there and right.
//!
//! In: a [`CardBlocks`], a [`Medium`]. Out: the card, written and read back. Knows nothing of files,
//! devices or layouts.
//!
//! An image opens by its first block, which is found through block 0. So, each step on the medium
//! before the next begins:
//!
//! 1. block 0 is erased: whatever was on the card before is not found any more;
//! 2. the block where the image's first one will be is erased: there may be an old image's;
//! 3. all else is written, block 0 too: an image is found, and does not open;
//! 4. all of it is read back and compared;
//! 5. the image's first block is written, read back and compared.
//!
//! A block is written whole or not at all, by any card. Power may fail at any time, and what was
//! not synchronised yet may be lost in part and in any order.

use super::layout::CardBlocks;
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockIdx};
use std::io;
use std::time::{Duration, Instant};

/// Blocks written or read at once: 1 MiB.
const CHUNK: u32 = 2048;

/// Something a card is written to.
pub trait Medium {
    /// Writes blocks from `start` on; they may not be on the medium before [`sync`](Self::sync).
    ///
    /// # Errors
    /// When the medium fails.
    fn write(&mut self, start: BlockIdx, blocks: &[Block]) -> io::Result<()>;

    /// Reads blocks from `start` on.
    ///
    /// # Errors
    /// When the medium fails.
    fn read(&mut self, start: BlockIdx, blocks: &mut [Block]) -> io::Result<()>;

    /// Returns when all that was written is on the medium. What is read afterwards comes from
    /// there, not from memory.
    ///
    /// # Errors
    /// When the medium fails.
    fn sync(&mut self) -> io::Result<()>;
}

/// Why a card could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The medium failed.
    #[error("block {block} could not be {action}")]
    Io {
        /// First block of the attempt.
        block: u32,
        /// What was attempted.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The medium did not confirm that it has what was written.
    #[error("what was written could not be synchronised")]
    Sync(#[source] io::Error),
    /// A block reads back different.
    #[error(
        "block {block}: wrote {wrote:#04x} as byte {byte} and read {read:#04x} back; the card is \
         faulty, or smaller than it says: use another"
    )]
    Mismatch {
        /// Which block.
        block: u32,
        /// The first byte that differs.
        byte: usize,
        /// What it should be.
        wrote: u8,
        /// What it is.
        read: u8,
    },
}

/// What is being done to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is written.
    Write,
    /// It is read back and compared.
    Verify,
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Blocks written, and read back.
    pub blocks: BlockCount,
    /// How long writing took, with synchronising.
    pub write: Duration,
    /// How long reading back took.
    pub verify: Duration,
}

/// Writes the card and verifies it; `progress` is told of blocks done.
///
/// # Errors
/// When the medium fails or does not hold what was written. An image that opens on it then is whole:
/// the old one, if not even block 0 could be erased, or the new one, if only the last confirmation
/// is missing.
pub fn write(
    medium: &mut impl Medium,
    card: &CardBlocks<'_>,
    progress: &mut dyn FnMut(Phase, u32),
) -> Result<Written, WriteError> {
    let first = card.image_start();
    let started = Instant::now();
    put(medium, BlockIdx(0), &[Block::ZERO])?;
    sync(medium)?;
    put(medium, first, &[Block::ZERO])?;
    sync(medium)?;
    for (start, blocks) in chunks(card) {
        put(medium, start, &blocks)?;
        progress(Phase::Write, blocks.len() as u32);
    }
    sync(medium)?;
    let written = Instant::now();

    for (start, blocks) in chunks(card) {
        verify(medium, start, &blocks)?;
        progress(Phase::Verify, blocks.len() as u32);
    }
    let blocks = [card.block(first)];
    put(medium, first, &blocks)?;
    sync(medium)?;
    verify(medium, first, &blocks).inspect_err(|_| {
        // Whatever is there now, it must not be taken for the image.
        let _ = put(medium, first, &[Block::ZERO]).and_then(|()| sync(medium));
    })?;
    Ok(Written {
        blocks: card.end() - BlockIdx(0),
        write: written - started,
        verify: written.elapsed(),
    })
}

/// All of the card, a piece at a time, without the image's first block.
fn chunks<'p>(card: &'p CardBlocks<'_>) -> impl Iterator<Item = (BlockIdx, Vec<Block>)> + 'p {
    (0..card.end().0).step_by(CHUNK as usize).map(|start| {
        let end = card.end().0.min(start.saturating_add(CHUNK));
        let block = |at| {
            let at = BlockIdx(at);
            if at == card.image_start() { Block::ZERO } else { card.block(at) }
        };
        (BlockIdx(start), (start..end).map(block).collect())
    })
}

fn put(medium: &mut impl Medium, start: BlockIdx, blocks: &[Block]) -> Result<(), WriteError> {
    medium.write(start, blocks).map_err(|source| WriteError::Io {
        block: start.0,
        action: "written",
        source,
    })
}

fn sync(medium: &mut impl Medium) -> Result<(), WriteError> {
    medium.sync().map_err(WriteError::Sync)
}

fn verify(medium: &mut impl Medium, start: BlockIdx, wrote: &[Block]) -> Result<(), WriteError> {
    let mut read = vec![Block::ZERO; wrote.len()];
    medium.read(start, &mut read).map_err(|source| WriteError::Io {
        block: start.0,
        action: "read back",
        source,
    })?;
    let mut bytes = Block::bytes(wrote).iter().zip(Block::bytes(&read)).enumerate();
    match bytes.find(|(_, (wrote, read))| wrote != read) {
        None => Ok(()),
        Some((at, (&wrote, &read))) => Err(WriteError::Mismatch {
            block: start.0 + (at / BLOCK_BYTES) as u32,
            byte: at % BLOCK_BYTES,
            wrote,
            read,
        }),
    }
}
