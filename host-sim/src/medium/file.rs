//! A file or a block device of this computer as a [`Medium`], and as a [`BlockDevice`].
//!
//! In: an open file. Out: blocks written to it and read from it. Knows nothing of what they hold.

use super::write::Medium;
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, OutOfRange};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// An open file or block device.
pub struct FileMedium<'f> {
    file: &'f File,
}

impl<'f> FileMedium<'f> {
    /// Uses `file`, which is as long as the card.
    pub fn new(file: &'f File) -> Self {
        Self { file }
    }

    fn seek(&mut self, to: BlockIdx) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(BlockCount(to.0).bytes())).map(|_| ())
    }
}

impl Medium for FileMedium<'_> {
    fn write(&mut self, start: BlockIdx, blocks: &[Block]) -> io::Result<()> {
        self.seek(start)?;
        self.file.write_all(Block::bytes(blocks))
    }

    fn read(&mut self, start: BlockIdx, blocks: &mut [Block]) -> io::Result<()> {
        self.seek(start)?;
        self.file.read_exact(Block::bytes_mut(blocks))
    }

    /// On Linux also drops the pages that the system keeps of the file: after `fsync` they are
    /// clean, so all of them go, and the next read comes from the medium. (`O_DIRECT` would do the
    /// same, for buffers aligned to what the device asks; not every file system has it.) Elsewhere
    /// what is read back may come from memory. What a card reader keeps to itself nobody can drop.
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(self.file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }
}

/// Whole blocks alone: what is left of a file that does not end with one cannot be read.
impl BlockDevice for FileMedium<'_> {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        let end = self.file.seek(SeekFrom::End(0)).map_err(|_| ErrorKind::Other)?;
        Ok(BlockCount::for_bytes(end - end % BLOCK_BYTES as u64))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        let blocks = self.block_count()?;
        OutOfRange::check(start, dst, blocks).map_err(|_| ErrorKind::OutOfRange)?;
        Medium::read(self, start, dst).map_err(|_| ErrorKind::Other)
    }
}
