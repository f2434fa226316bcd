//! An image in memory as a device: memory-mapped flash, PSRAM, or bytes compiled in.
//!
//! In: bytes. Out: a [`BlockDevice`] that copies from them. The last block is filled up with zeroes.

use crate::{
    BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, OutOfRange,
};

/// A [`BlockDevice`] over bytes in memory; a last block that they do not fill is padded with zeroes.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    bytes: &'a [u8],
}

impl<'a> Slice<'a> {
    /// A device that holds `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }
}

impl BlockDevice for Slice<'_> {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        Ok(BlockCount::for_bytes(self.bytes.len() as u64))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        let blocks = BlockCount::for_bytes(self.bytes.len() as u64);
        OutOfRange::check(start, dst, blocks).map_err(|e| e.kind())?;
        let mut source = self.bytes.get(start.0 as usize * BLOCK_BYTES..).unwrap_or(&[]).iter();
        for byte in Block::bytes_mut(dst) {
            *byte = source.next().copied().unwrap_or(0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_is_filled_up_and_the_end_is_the_end() {
        let bytes = [7u8; 700];
        let mut device = Slice::new(&bytes);
        assert_eq!(device.block_count(), Ok(BlockCount(2)));
        let mut blocks = [Block([1; BLOCK_BYTES]); 2];
        device.read(BlockIdx(0), &mut blocks).unwrap();
        assert!(blocks[0].0 == [7; BLOCK_BYTES] && blocks[1].0[187..188] == [7]);
        assert!(blocks[1].0[188..] == [0; 324]);
        assert_eq!(device.read(BlockIdx(1), &mut blocks), Err(ErrorKind::OutOfRange));
        assert_eq!(device.read(BlockIdx(9), &mut []), Ok(()));
    }
}
