//! Memory that any device can read into: blocks that begin on a page.
//!
//! In: how many. Out: the blocks. `Block` alone is aligned for a board's DMA; what reads past the page cache
//! wants whole sectors of memory.

use ripple_hal::Block;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What memory, offsets and lengths are aligned to at most: the largest sector of a disk.
pub const PAGE_BYTES: usize = 4096;

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

const _: () = assert!(size_of::<Page>() == PAGE_BYTES && align_of::<Page>() == PAGE_BYTES);

/// Blocks, the first of which begins on a page.
#[derive(Clone, Default)]
pub struct PageBlocks {
    pages: Vec<Page>,
    blocks: usize,
}

impl PageBlocks {
    /// So many blocks of zeroes.
    pub fn new(blocks: usize) -> Self {
        let pages = (blocks * size_of::<Block>()).div_ceil(PAGE_BYTES);
        Self { pages: vec![Page([0; PAGE_BYTES]); pages], blocks }
    }

    /// The blocks.
    pub fn blocks_mut(&mut self) -> &mut [Block] {
        let length = self.blocks * size_of::<Block>();
        let bytes = &mut self.pages.as_mut_slice().as_mut_bytes()[..length];
        // A page's alignment is a multiple of a block's.
        <[Block]>::mut_from_bytes(bytes).unwrap_or_default()
    }

    /// Their bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.pages.as_slice().as_bytes()[..self.blocks * size_of::<Block>()]
    }

    /// At least `bytes` of it, more than before where that is needed; the old contents are lost then.
    pub fn at_least(&mut self, bytes: usize) -> &mut [u8] {
        if self.pages.len() * PAGE_BYTES < bytes {
            *self = Self::new(bytes.div_ceil(PAGE_BYTES) * (PAGE_BYTES / size_of::<Block>()));
        }
        &mut self.pages.as_mut_slice().as_mut_bytes()[..bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_begin_on_a_page_and_are_as_many_as_asked_for() {
        for count in [0, 1, 7, 8, 9, 100] {
            let mut pages = PageBlocks::new(count);
            let blocks = pages.blocks_mut();
            assert_eq!(blocks.len(), count);
            assert_eq!(blocks.as_ptr() as usize % PAGE_BYTES, 0);
            assert_eq!(pages.bytes().len(), 512 * count);
        }
        let mut pages = PageBlocks::default();
        assert_eq!(pages.at_least(4097).len(), 4097);
        assert_eq!(pages.blocks_mut().len(), 16);
    }
}
