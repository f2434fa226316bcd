//! Scattered runs of blocks as one device: how a file is read without its file system.
//!
//! In: the runs that hold a file, in file order. Out: [`ExtentDevice`], a [`BlockDevice`] whose
//! block 0 is the file's first. Knows nothing of directories or clusters.

use super::FatFile;
use crate::{
    BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, OutOfRange,
    WriteDevice,
};
use core::fmt;

/// A [`BlockDevice`] over a file's extents: block 0 is the file's first block.
///
/// A read is one command for each extent it touches, so a contiguous file costs what the raw card
/// costs. Bytes of the last block beyond the end of the file read as zero, as in a
/// [`Stream`](crate::Stream).
#[derive(Clone, Debug)]
pub struct ExtentDevice<D, const N: usize> {
    device: D,
    file: FatFile<N>,
}

/// Why a file could not be read or written through its extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ExtentError<E> {
    /// The blocks are not all in the file.
    OutOfRange(OutOfRange),
    /// The device under it failed.
    Device(E),
}

impl<E: DeviceError> DeviceError for ExtentError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange(e) => e.kind(),
            Self::Device(e) => e.kind(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for ExtentError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange(e) => write!(f, "beyond the end of the file: {e}"),
            Self::Device(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for ExtentError<E> {}

impl<D: BlockDevice, const N: usize> ExtentDevice<D, N> {
    /// Reads `file` from `device`, the one it was resolved on.
    ///
    /// The file must stay where it is: whoever writes to the volume meanwhile must leave it alone.
    pub const fn new(device: D, file: FatFile<N>) -> Self {
        Self { device, file }
    }

    /// The file: its extents and its length.
    pub const fn file(&self) -> &FatFile<N> {
        &self.file
    }

    /// Gives the device back.
    pub fn into_inner(self) -> D {
        self.device
    }

    fn check(&self, start: BlockIdx, dst: &[Block]) -> Result<(), ExtentError<D::Error>> {
        OutOfRange::check(start, dst, self.file.blocks()).map_err(ExtentError::OutOfRange)
    }

    /// Reads with one command an extent. `start` and `dst` have been checked.
    fn read_pieces(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), D::Error> {
        let mut rest = dst;
        for run in self.file.extents().from(start) {
            let here = rest.len().min(run.count.0 as usize);
            let Some((piece, after)) = rest.split_at_mut_checked(here) else { break };
            if piece.is_empty() {
                break;
            }
            self.device.read(run.device, piece)?;
            rest = after;
        }
        Ok(())
    }

    /// Zeroes what `dst` holds beyond the end of the file.
    fn pad(&self, start: BlockIdx, dst: &mut [Block]) {
        let stored = self.file.bytes().saturating_sub(BlockCount(start.0).bytes());
        let dst = Block::bytes_mut(dst);
        if let Ok(stored) = usize::try_from(stored)
            && let Some(padding) = dst.get_mut(stored..)
        {
            padding.fill(0);
        }
    }
}

impl<D: BlockDevice, const N: usize> BlockDevice for ExtentDevice<D, N> {
    type Error = ExtentError<D::Error>;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        Ok(self.file.blocks())
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        self.check(start, dst)?;
        self.read_pieces(start, dst).map_err(ExtentError::Device)?;
        self.pad(start, dst);
        Ok(())
    }

    /// As the trait says; a read that crosses extents overlaps `work` with the longest piece.
    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        self.check(start, dst)?;
        let piece = self.longest_piece(start, dst.len());
        let split = dst.split_at_mut_checked(piece.skipped);
        let (before, rest) = split.unwrap_or_default();
        let (during, after) = rest.split_at_mut_checked(piece.count).unwrap_or_default();

        self.read_pieces(start, before).map_err(ExtentError::Device)?;
        let result =
            self.device.read_while(piece.device, during, work).map_err(ExtentError::Device)?;
        let resume = BlockIdx(start.0.saturating_add((piece.skipped + piece.count) as u32));
        self.read_pieces(resume, after).map_err(ExtentError::Device)?;
        self.pad(start, dst);
        Ok(result)
    }

    /// A read that crosses extents goes on with its command where they touch, or nearly do.
    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), Self::Error> {
        self.device.stay_open(gap).map_err(ExtentError::Device)
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        let next = self.device.goes_on()?;
        let mut runs = self.file.extents().as_slice().iter();
        let run = runs.find(|run| run.device <= next && next < run.device + run.count)?;
        Some(run.file + (next - run.device))
    }
}

/// Writes in place, with one command an extent: the file keeps its length and its blocks. A last block
/// that the file fills in part is not written, since it would not read back as it was.
impl<D: WriteDevice, const N: usize> WriteDevice for ExtentDevice<D, N> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error> {
        let whole = BlockCount((self.file.bytes() / BLOCK_BYTES as u64) as u32);
        OutOfRange::check(start, src, whole).map_err(ExtentError::OutOfRange)?;
        let mut rest = src;
        for run in self.file.extents().from(start) {
            let here = rest.len().min(run.count.0 as usize);
            let Some((piece, after)) = rest.split_at_checked(here) else { break };
            if piece.is_empty() {
                break;
            }
            self.device.write(run.device, piece).map_err(ExtentError::Device)?;
            rest = after;
        }
        Ok(())
    }
}

/// The part of a read that lies in one extent.
#[derive(Default)]
struct Piece {
    /// Blocks of the read before it.
    skipped: usize,
    device: BlockIdx,
    count: usize,
}

impl<D: BlockDevice, const N: usize> ExtentDevice<D, N> {
    fn longest_piece(&self, start: BlockIdx, len: usize) -> Piece {
        let mut longest = Piece::default();
        let mut skipped = 0;
        for run in self.file.extents().from(start) {
            let count = (len - skipped).min(run.count.0 as usize);
            if count > longest.count {
                longest = Piece { skipped, device: run.device, count };
            }
            skipped += count;
            if skipped >= len {
                break;
            }
        }
        longest
    }
}
