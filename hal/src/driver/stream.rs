//! A stream of bytes as a device: a file on a host, or one read over semihosting.
//!
//! In: anything that is `embedded-io` `Read + Seek`. Out: [`Stream`], a [`BlockDevice`]; with `Write`, a
//! [`WriteDevice`].
//! Knows nothing of what the bytes are.

use crate::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, OutOfRange, WriteDevice,
};
use core::fmt;
use embedded_io::{Read, Seek, SeekFrom, Write};

/// A [`BlockDevice`] over a stream that can seek; block 0 is its first 512 bytes.
///
/// A last block that the stream fills only in part is padded with zeroes. The length is asked for
/// once: a stream that shrinks afterwards gives [`StreamError::Ended`]. What can be written is: the blocks there
/// are, the last one whole, and none behind it.
///
/// A stream has nobody else to read it, so [`read_while`](BlockDevice::read_while) reads, and works then. What
/// reads a file beside the work needs a thread: `FileDevice` of the crate `ripple-host-sim`.
#[derive(Debug)]
pub struct Stream<S> {
    source: S,
    bytes: Option<u64>,
}

/// Why a [`Stream`] could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StreamError<E> {
    /// The length could not be found, or the position not be set.
    Seek(E),
    /// The bytes could not be read.
    Read(E),
    /// The bytes could not be written.
    Write(E),
    /// The stream ended although its length promised more.
    Ended {
        /// First block of the read or write that met the end.
        start: BlockIdx,
        /// Bytes that were missing.
        missing: usize,
    },
    /// The blocks are not all in the stream.
    OutOfRange(OutOfRange),
}

impl<E: embedded_io::Error> DeviceError for StreamError<E> {
    fn kind(&self) -> ErrorKind {
        use embedded_io::ErrorKind as Io;
        match self {
            Self::Seek(e) | Self::Read(e) | Self::Write(e) => match e.kind() {
                Io::TimedOut | Io::Interrupted => ErrorKind::Timeout,
                Io::InvalidData => ErrorKind::Corrupted,
                Io::NotFound | Io::NotConnected => ErrorKind::NoCard,
                _ => ErrorKind::Other,
            },
            Self::Ended { .. } | Self::OutOfRange(_) => ErrorKind::OutOfRange,
        }
    }
}

impl<E: fmt::Display> fmt::Display for StreamError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seek(e) => write!(f, "the stream could not seek: {e}"),
            Self::Read(e) => write!(f, "the stream could not be read: {e}"),
            Self::Write(e) => write!(f, "the stream could not be written: {e}"),
            Self::Ended { start, missing } => {
                write!(f, "the stream ended {missing} bytes early, from block {} on", start.0)
            }
            Self::OutOfRange(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for StreamError<E> {}

impl<S: Read + Seek> Stream<S> {
    /// Wraps `source`; nothing is read or sought yet.
    pub const fn new(source: S) -> Self {
        Self { source, bytes: None }
    }

    /// Gives the stream back, at whatever position the last read left it.
    pub fn into_inner(self) -> S {
        self.source
    }

    /// The stream's length in bytes.
    ///
    /// # Errors
    /// When the stream cannot seek to its end.
    pub fn byte_count(&mut self) -> Result<u64, StreamError<S::Error>> {
        if let Some(bytes) = self.bytes {
            return Ok(bytes);
        }
        let bytes = self.source.seek(SeekFrom::End(0)).map_err(StreamError::Seek)?;
        self.bytes = Some(bytes);
        Ok(bytes)
    }
}

impl<S: Read + Seek> BlockDevice for Stream<S> {
    type Error = StreamError<S::Error>;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        Ok(BlockCount::for_bytes(self.byte_count()?))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        if dst.is_empty() {
            return Ok(());
        }
        let bytes = self.byte_count()?;
        OutOfRange::check(start, dst, BlockCount::for_bytes(bytes))
            .map_err(StreamError::OutOfRange)?;
        let from = BlockCount(start.0).bytes();
        self.source.seek(SeekFrom::Start(from)).map_err(StreamError::Seek)?;

        let dst = Block::bytes_mut(dst);
        let stored = usize::try_from(bytes.saturating_sub(from)).unwrap_or(usize::MAX);
        let stored = stored.min(dst.len());
        if let Some(padding) = dst.get_mut(stored..) {
            padding.fill(0);
        }
        let mut rest = dst.get_mut(..stored).unwrap_or_default();
        while !rest.is_empty() {
            match self.source.read(rest).map_err(StreamError::Read)? {
                0 => return Err(StreamError::Ended { start, missing: rest.len() }),
                n => rest = rest.get_mut(n..).unwrap_or_default(),
            }
        }
        Ok(())
    }
}

impl<S: Read + Write + Seek> WriteDevice for Stream<S> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error> {
        if src.is_empty() {
            return Ok(());
        }
        let bytes = self.byte_count()?;
        OutOfRange::check(start, src, BlockCount::for_bytes(bytes))
            .map_err(StreamError::OutOfRange)?;
        let from = BlockCount(start.0).bytes();
        self.source.seek(SeekFrom::Start(from)).map_err(StreamError::Seek)?;
        let mut rest = Block::bytes(src);
        self.bytes = Some(bytes.max(from.saturating_add(rest.len() as u64)));
        while !rest.is_empty() {
            match self.source.write(rest).map_err(StreamError::Write)? {
                0 => return Err(StreamError::Ended { start, missing: rest.len() }),
                n => rest = rest.get(n..).unwrap_or_default(),
            }
        }
        self.source.flush().map_err(StreamError::Write)
    }
}
