//! How many blocks of digests an image has, and where they are.
//!
//! In: blocks of an image, and leaves of a group. Out: numbers. Knows nothing of digests' contents.

use core::num::NonZeroU32;
use ripple_hal::{BLOCK_BYTES, BlockCount};

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 32;
/// Digests in a block.
pub(crate) const DIGESTS: u32 = (BLOCK_BYTES / DIGEST_BYTES) as u32;

/// The sizes of a signed image. The leaves are behind the image, the tops behind the leaves, and the statement
/// behind the tops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Blocks of the image: those that are signed.
    pub image: BlockCount,
    /// Blocks of leaves that are read at once and have one top; counted as 1 where it is 0.
    pub group: BlockCount,
}

impl Shape {
    /// Blocks of leaves.
    pub const fn leaves(&self) -> BlockCount {
        BlockCount(self.image.0.div_ceil(DIGESTS))
    }

    /// Blocks of tops: those that stay in RAM.
    pub const fn tops(&self) -> BlockCount {
        let group = if self.group.0 == 0 { 1 } else { self.group.0 };
        BlockCount(self.leaves().0.div_ceil(group).div_ceil(DIGESTS))
    }

    /// Blocks of leaves, tops and statement: what signing adds.
    pub const fn tail(&self) -> BlockCount {
        BlockCount(self.leaves().0 + self.tops().0 + 1)
    }

    /// Blocks of image and tail; `None` where there are more than can be addressed.
    pub const fn blocks(&self) -> Option<BlockCount> {
        match self.image.0.checked_add(self.tail().0) {
            Some(blocks) => Some(BlockCount(blocks)),
            None => None,
        }
    }

    /// Blocks of the image whose leaves are one group; `None` where they are too many for a number.
    pub(crate) fn span(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.group.0.max(1).checked_mul(DIGESTS)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_image_has_sizes() {
        for group in [0, 1, u32::MAX] {
            let shape = Shape { image: BlockCount(u32::MAX), group: BlockCount(group) };
            assert_eq!((shape.leaves(), shape.blocks()), (BlockCount(1 << 28), None));
            assert_eq!(shape.span().is_none(), group == u32::MAX);
        }
        let shape = Shape { image: BlockCount(0xF000_0000), group: BlockCount(4) };
        assert_eq!(shape.tops(), BlockCount(0xF00_0000 / 64));
        assert!(shape.blocks().is_some());
    }
}
