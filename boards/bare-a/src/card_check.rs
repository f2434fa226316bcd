//! Whether a board reads its card right, and how fast: what to run before a model.
//!
//! In: a device, a clock, a console. Out: lines to compare with the host's `crc32` of the image.

use core::fmt;
use crc::{CRC_32_ISO_HDLC, Crc};
use embedded_io::{Write, WriteFmtError};
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, Clock, DeviceError, ErrorKind};

/// How much is read, from the beginning on.
const BYTES: u64 = 8 << 20;
/// Blocks read at once.
const SIZES: [usize; 3] = [1, 8, 128];

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// What stopped the check.
#[derive(Debug)]
pub enum CheckError<D, W> {
    /// The device failed.
    Device {
        /// First block of the read.
        at: BlockIdx,
        /// Its error.
        source: D,
    },
    /// A block beyond the end was read, or refused with another error than that.
    End(Option<ErrorKind>),
    /// The buffer holds fewer blocks than the longest read.
    Buffer {
        /// How many it must hold.
        needed: BlockCount,
    },
    /// The console failed.
    Console(WriteFmtError<W>),
}

impl<D: fmt::Display, W: fmt::Debug> fmt::Display for CheckError<D, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { at, source } => write!(f, "read at block {}: {source}", at.0),
            Self::End(None) => f.write_str("a block beyond the end was read"),
            Self::End(Some(kind)) => write!(f, "a block beyond the end gave: {kind}"),
            Self::Buffer { needed } => write!(f, "the buffer holds less than {} blocks", needed.0),
            Self::Console(e) => write!(f, "console: {e}"),
        }
    }
}

/// Reads the first 8 MiB of `device` in reads of 1, 8 and 128 blocks, and past its end; prints the
/// CRC-32 (IEEE) and the speed of each size, without the time that the CRC takes.
///
/// # Errors
/// When a read fails, one past the end does not, or the console fails.
pub fn check_card<D: BlockDevice, C: Clock, W: Write>(
    device: &mut D,
    clock: &C,
    console: &mut W,
    buffer: &mut [Block],
) -> Result<(), CheckError<D::Error, W::Error>> {
    let failed = |at| move |source| CheckError::Device { at, source };
    let blocks = device.block_count().map_err(failed(BlockIdx(0)))?;
    writeln!(console, "card: {} blocks", blocks.0).map_err(CheckError::Console)?;
    let all = BlockCount::for_bytes(BYTES).0.min(blocks.0);
    for size in SIZES {
        let needed = BlockCount(size as u32);
        let dst = buffer.get_mut(..size).ok_or(CheckError::Buffer { needed })?;
        let (mut digest, mut took, mut at) = (CRC.digest(), 0, BlockIdx(0));
        while at.0 < all {
            let left = dst.len().min((all - at.0) as usize);
            let dst = dst.get_mut(..left).unwrap_or_default();
            let begun = clock.now();
            device.read(at, dst).map_err(failed(at))?;
            took += clock.now().since(begun).0;
            digest.update(Block::bytes(dst));
            at = at + BlockCount(left as u32);
        }
        let bytes = BlockCount(all).bytes();
        let speed = bytes * 100 / took.max(1);
        let (crc, whole, part) = (digest.finalize(), speed / 100, speed % 100);
        writeln!(console, "x{size}: {bytes} bytes, CRC-32 {crc:08x}, {whole}.{part:02} MB/s")
            .map_err(CheckError::Console)?;
    }
    let past = device.read(BlockIdx(blocks.0), buffer.get_mut(..1).unwrap_or_default());
    match past.map_err(|e| e.kind()) {
        Err(ErrorKind::OutOfRange) => {
            writeln!(console, "past the end: refused").map_err(CheckError::Console)
        }
        other => Err(CheckError::End(other.err())),
    }
}
