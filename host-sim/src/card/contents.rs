//! What is on a simulated card.
//!
//! In: where a read starts. Out: its blocks. Knows nothing of time.

use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockIdx};

/// The blocks of a card.
pub trait Contents {
    /// How many there are.
    fn blocks(&self) -> BlockCount;

    /// Copies the blocks from `start` on; all of them are there.
    fn copy(&self, start: BlockIdx, dst: &mut [Block]);
}

/// An image: a memory map, an `Arc<[u8]>`, a `Vec<u8>`. A last block that is not full is padded with
/// zeroes.
impl<B: AsRef<[u8]>> Contents for B {
    fn blocks(&self) -> BlockCount {
        BlockCount::for_bytes(self.as_ref().len() as u64)
    }

    fn copy(&self, start: BlockIdx, dst: &mut [Block]) {
        let image = self.as_ref();
        let stored = &image[(start.0 as usize * BLOCK_BYTES).min(image.len())..];
        let to = Block::bytes_mut(dst);
        let len = to.len().min(stored.len());
        to[..len].copy_from_slice(&stored[..len]);
        to[len..].fill(0);
    }
}
