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

/// An image with spare blocks behind it that can be written.
#[derive(Clone)]
pub struct WithSpare<B> {
    image: B,
    spare: Vec<Block>,
}

impl<B: Contents> WithSpare<B> {
    /// `image`, and `spare` blocks of zeroes behind it.
    pub fn new(image: B, spare: BlockCount) -> Self {
        Self { image, spare: vec![Block::ZERO; spare.0 as usize] }
    }

    /// Writes the blocks from `start` on: all of them are there, and none is of the image.
    pub(super) fn write(&mut self, start: BlockIdx, src: &[Block]) {
        let at = (start.0 - self.image.blocks().0) as usize;
        self.spare[at..at + src.len()].copy_from_slice(src);
    }

    /// Where the spare blocks begin.
    pub fn spare_at(&self) -> BlockIdx {
        BlockIdx(self.image.blocks().0)
    }
}

impl<B: Contents> Contents for WithSpare<B> {
    fn blocks(&self) -> BlockCount {
        BlockCount(self.image.blocks().0 + self.spare.len() as u32)
    }

    fn copy(&self, start: BlockIdx, dst: &mut [Block]) {
        let image = self.image.blocks().0.saturating_sub(start.0) as usize;
        let (image, spare) = dst.split_at_mut(image.min(dst.len()));
        self.image.copy(start, image);
        let at = (start.0 as usize + image.len()).saturating_sub(self.image.blocks().0 as usize);
        spare.copy_from_slice(&self.spare[at..at + spare.len()]);
    }
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
