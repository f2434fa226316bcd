//! Blocks of which most are zero: a card before it is written, held in as much memory as it says.
//!
//! In: bytes at places. Out: [`SparseBlocks`], a `BlockDevice`, and a window of it that a file system
//! can be made in. Knows nothing of file systems.

use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, OutOfRange, Partition};
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// The blocks of a card that are not zero.
#[derive(Clone, Default)]
pub(super) struct SparseBlocks {
    blocks: BTreeMap<u32, Block>,
    count: BlockCount,
}

impl SparseBlocks {
    /// `count` blocks of zeroes.
    pub(super) fn new(count: BlockCount) -> Self {
        Self { blocks: BTreeMap::new(), count }
    }

    /// What block `at` holds.
    pub(super) fn get(&self, at: BlockIdx) -> Block {
        self.blocks.get(&at.0).copied().unwrap_or(Block::ZERO)
    }

    /// Makes block `at` hold `block`.
    pub(super) fn set(&mut self, at: BlockIdx, block: Block) {
        if block.0 == [0; BLOCK_BYTES] {
            self.blocks.remove(&at.0);
        } else {
            self.blocks.insert(at.0, block);
        }
    }

    /// The last block that is not zero.
    pub(super) fn last(&self) -> Option<BlockIdx> {
        self.blocks.last_key_value().map(|(&at, _)| BlockIdx(at))
    }

    /// The bytes of `partition`, to read and write.
    pub(super) fn window(&mut self, partition: Partition) -> Window<'_> {
        Window { blocks: self, partition, position: 0 }
    }
}

impl BlockDevice for SparseBlocks {
    type Error = OutOfRange;

    fn block_count(&mut self) -> Result<BlockCount, OutOfRange> {
        Ok(self.count)
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), OutOfRange> {
        OutOfRange::check(start, dst, self.count)?;
        for (at, block) in (start.0..).zip(dst) {
            *block = self.get(BlockIdx(at));
        }
        Ok(())
    }
}

/// A partition of [`SparseBlocks`] as a stream.
pub(super) struct Window<'a> {
    blocks: &'a mut SparseBlocks,
    partition: Partition,
    position: u64,
}

impl Window<'_> {
    fn length(&self) -> u64 {
        self.partition.count.bytes()
    }

    /// Where the next bytes are: a block, a place in it, and how many of `len` there are.
    fn here(&self, len: usize) -> (BlockIdx, usize, usize) {
        let block = self.partition.start + BlockCount((self.position / BLOCK_BYTES as u64) as u32);
        let offset = (self.position % BLOCK_BYTES as u64) as usize;
        let left = usize::try_from(self.length() - self.position).unwrap_or(usize::MAX);
        (block, offset, len.min(BLOCK_BYTES - offset).min(left))
    }
}

impl Read for Window<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let (block, offset, len) = self.here(to.len());
        to[..len].copy_from_slice(&self.blocks.get(block).0[offset..offset + len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let (at, offset, len) = self.here(from.len());
        let mut block = self.blocks.get(at);
        block.0[offset..offset + len].copy_from_slice(&from[..len]);
        self.blocks.set(at, block);
        self.position += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
        };
        let in_window = position.filter(|&at| at <= self.length());
        self.position = in_window.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
