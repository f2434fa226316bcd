//! A device in memory that writes down its commands, and bytes to put there.
#![allow(dead_code, reason = "each test uses a part")]

use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, OutOfRange, WriteDevice};

/// Bytes as a device; the last block is padded with zeroes.
pub struct Ram {
    pub bytes: Vec<u8>,
    /// Every read and write: its first block and how many.
    pub commands: Vec<(u32, usize)>,
}

impl Ram {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, commands: Vec::new() }
    }
}

impl BlockDevice for Ram {
    type Error = OutOfRange;

    fn block_count(&mut self) -> Result<BlockCount, OutOfRange> {
        Ok(BlockCount::for_bytes(self.bytes.len() as u64))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), OutOfRange> {
        OutOfRange::check(start, dst, BlockCount::for_bytes(self.bytes.len() as u64))?;
        self.commands.push((start.0, dst.len()));
        fill(&self.bytes, start, dst);
        Ok(())
    }

    /// Behind the last command, as on a card that stays open.
    fn goes_on(&self) -> Option<BlockIdx> {
        self.commands.last().map(|&(start, count)| BlockIdx(start + count as u32))
    }
}

impl WriteDevice for Ram {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), OutOfRange> {
        OutOfRange::check(start, src, BlockCount::for_bytes(self.bytes.len() as u64))?;
        self.commands.push((start.0, src.len()));
        let from = start.0 as usize * BLOCK_BYTES;
        self.bytes[from..][..size_of_val(src)].copy_from_slice(Block::bytes(src));
        Ok(())
    }
}

/// What blocks from `start` on hold, the naive way.
pub fn fill(bytes: &[u8], start: BlockIdx, dst: &mut [Block]) {
    let from = start.0 as usize * BLOCK_BYTES;
    for (at, byte) in Block::bytes_mut(dst).iter_mut().enumerate() {
        *byte = bytes.get(from + at).copied().unwrap_or(0);
    }
}

/// `len` bytes that differ from their neighbours and from block to block.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}
