//! The unit of storage: a 512-byte block, its address and a count of blocks.
//!
//! In: nothing. Out: types whose arithmetic cannot be mixed up. Knows nothing of devices.

use core::ops::{Add, AddAssign, Sub};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes in a block. SD (SDHC and later) and eMMC transfer nothing else.
pub const BLOCK_BYTES: usize = 512;

/// One block of storage, aligned for DMA.
///
/// 64 bytes is the data cache line of a Cortex-A7 and a Cortex-A53 (32 on a Cortex-M7), the longest of
/// the cores this runs on: a buffer of blocks never shares a line with anything else, so invalidating
/// it is always safe.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Block(pub [u8; BLOCK_BYTES]);

const _: () = assert!(size_of::<Block>() == BLOCK_BYTES);

impl Block {
    /// A block of zeroes, for static buffers.
    pub const ZERO: Self = Self([0; BLOCK_BYTES]);

    /// The bytes of consecutive blocks, without a copy.
    pub fn bytes(blocks: &[Self]) -> &[u8] {
        blocks.as_bytes()
    }

    /// The bytes of consecutive blocks, to fill, without a copy.
    pub fn bytes_mut(blocks: &mut [Self]) -> &mut [u8] {
        blocks.as_mut_bytes()
    }
}

/// Address of a block on a device: its number, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BlockIdx(pub u32);

/// A number of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BlockCount(pub u32);

impl BlockCount {
    /// The fewest blocks that hold `bytes`; saturates at `u32::MAX` blocks (2 TiB).
    pub const fn for_bytes(bytes: u64) -> Self {
        let blocks = bytes.div_ceil(BLOCK_BYTES as u64);
        Self(if blocks > u32::MAX as u64 { u32::MAX } else { blocks as u32 })
    }

    /// How many bytes these blocks hold.
    pub const fn bytes(self) -> u64 {
        self.0 as u64 * BLOCK_BYTES as u64
    }
}

/// Addresses saturate: one past 2 TiB is refused by every device, never wrapped onto block 0.
impl Add<BlockCount> for BlockIdx {
    type Output = Self;

    fn add(self, count: BlockCount) -> Self {
        Self(self.0.saturating_add(count.0))
    }
}

impl Sub for BlockIdx {
    type Output = BlockCount;

    /// Blocks from `earlier` to `self`; 0 if `earlier` is not earlier.
    fn sub(self, earlier: Self) -> BlockCount {
        BlockCount(self.0.saturating_sub(earlier.0))
    }
}

impl Add for BlockCount {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

impl AddAssign for BlockCount {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_up_to_whole_blocks() {
        assert_eq!(BlockCount::for_bytes(0), BlockCount(0));
        assert_eq!(BlockCount::for_bytes(1), BlockCount(1));
        assert_eq!(BlockCount::for_bytes(512), BlockCount(1));
        assert_eq!(BlockCount::for_bytes(513), BlockCount(2));
    }

    #[test]
    fn addresses_saturate_instead_of_wrapping() {
        assert_eq!(BlockIdx(u32::MAX) + BlockCount(1), BlockIdx(u32::MAX));
        assert_eq!(BlockIdx(3) - BlockIdx(5), BlockCount(0));
    }
}
