//! A file or a block device of this machine as a device that reads while the caller computes.
//!
//! In: a path. Out: [`FileDevice`], and [`Traffic`] of what it read. Knows nothing of what the blocks hold.
//!
//! Reads go past the page cache (`O_DIRECT`) where the file system can: what is read comes from the device, and
//! what was read takes no memory but the caller's. A thread reads while the caller computes; where the kernel's
//! commands come as they did before, it reads on before it is asked: see [`super::ahead`].

use super::ahead::{Ahead, Place};
use super::open::{Opened, read_at};
use crate::machine::pages::PageBlocks;
use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, OutOfRange, WriteDevice,
};
use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What was read from a device, and what it took by this machine's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Reads that the caller asked for.
    pub reads: u64,
    /// Bytes that it asked for.
    pub bytes: u64,
    /// Bytes that the device was asked for: whole sectors, and what was read ahead, wanted or not.
    pub device_bytes: u64,
    /// Time in which the caller had nothing to do but to wait.
    pub waited: Duration,
}

impl Traffic {
    /// What happened between `earlier` and now.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            bytes: self.bytes - earlier.bytes,
            device_bytes: self.device_bytes - earlier.device_bytes,
            waited: self.waited - earlier.waited,
        }
    }
}

/// Why a file could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// The system says so.
    Io(io::Error),
    /// It ended although it was longer when it was opened.
    Ended {
        /// First block of the read.
        start: BlockIdx,
    },
    /// The blocks are not all in it.
    OutOfRange(OutOfRange),
    /// It was opened to be read.
    ReadOnly,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Ended { start } => {
                write!(f, "it ends before block {}, and was longer when it was opened", start.0)
            }
            Self::OutOfRange(error) => error.fmt(f),
            Self::ReadOnly => f.write_str("it is open for reading only"),
        }
    }
}

impl std::error::Error for FileError {}

impl DeviceError for FileError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(error) => match error.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => ErrorKind::Timeout,
                io::ErrorKind::InvalidData => ErrorKind::Corrupted,
                _ if error.raw_os_error() == Some(NO_MEDIUM) => ErrorKind::NoCard,
                _ => ErrorKind::Other,
            },
            Self::Ended { .. } | Self::OutOfRange(_) => ErrorKind::OutOfRange,
            Self::ReadOnly => ErrorKind::Other,
        }
    }
}

/// `ENODEV` of Linux: the card was pulled.
const NO_MEDIUM: i32 = 19;

/// A [`BlockDevice`] over a file or a block device, only read; block 0 is its first 512 bytes.
pub struct FileDevice {
    opened: Arc<Opened>,
    /// Where its block 0 is, and how many there are.
    first: BlockIdx,
    blocks: BlockCount,
    bounce: PageBlocks,
    thread: ThreadPool,
    ahead: Ahead,
    traffic: Rc<Cell<Traffic>>,
}

impl FileDevice {
    /// Opens the file or the block device at `path`, past the page cache where that can be done; `direct`: whether
    /// to try.
    ///
    /// # Errors
    /// When it is not there, is a folder, may not be read, or does not consist of blocks.
    pub fn open(path: &Path, direct: bool) -> Result<Self> {
        Self::new(Opened::at(path, direct)?)
    }

    pub(super) fn new(opened: Opened) -> Result<Self> {
        let thread = ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "reader".to_owned());
        let thread = thread.build().context("no thread for reading")?;
        let opened = Arc::new(opened);
        let ahead = Ahead::new(opened.clone(), 0)?;
        let blocks = BlockCount::for_bytes(opened.bytes());
        let traffic = Rc::default();
        let first = BlockIdx(0);
        Ok(Self { opened, first, blocks, bounce: PageBlocks::default(), thread, ahead, traffic })
    }

    /// Reads on before the caller asks, with so many bytes of memory; 0 for no such reads, which is how it begins.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn read_ahead(&mut self, bytes: usize) -> Result<()> {
        self.ahead = Ahead::new(self.opened.clone(), bytes)?;
        Ok(())
    }

    /// The same, of which only `blocks` are seen, from `first` on: a file on it, or a partition.
    #[must_use]
    pub fn within(self, first: BlockIdx, blocks: BlockCount) -> Self {
        let first = self.first + (first - BlockIdx(0));
        Self { first, blocks: blocks.min(self.blocks), ..self }
    }

    /// What is read through: the device's sectors, and whether the page cache is passed by.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// A handle to what was read since it was opened.
    pub fn traffic(&self) -> Rc<Cell<Traffic>> {
        self.traffic.clone()
    }

    /// Fills `dst` from `start` on while `work` runs; the bytes that went over the bus.
    fn transfer<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> (io::Result<u64>, R, Duration) {
        let place = Place { start: start.0, blocks: dst.len() as u32 };
        if let Some(mut coming) = self.ahead.take(place) {
            // It is there, or on its way: whatever comes after it goes on its way too.
            let more = self.ahead.plan(place);
            let done = work();
            let idle = Instant::now();
            let read = coming.wait().map(|bytes| {
                Block::bytes_mut(dst).copy_from_slice(bytes);
                more
            });
            self.ahead.give_back(coming);
            return (read, done, idle.elapsed());
        }
        let more = self.ahead.plan(place);
        let (opened, bounce) = (&*self.opened, &mut self.bounce);
        let mut read = Ok(0);
        let (done, idle) = self.thread.in_place_scope(|scope| {
            scope.spawn(|_| read = read_blocks(opened, bounce, start, dst));
            let done = work();
            (done, Instant::now())
        });
        (read.map(|bytes| bytes + more), done, idle.elapsed())
    }
}

/// Fills `dst` from block `start` on with whole sectors; the bytes of these.
fn read_blocks(
    opened: &Opened,
    bounce: &mut PageBlocks,
    start: BlockIdx,
    dst: &mut [Block],
) -> io::Result<u64> {
    let (from, dst) = (BlockCount(start.0).bytes(), Block::bytes_mut(dst));
    let (sector, memory) = (opened.sector() as u64, opened.memory_align());
    let first = from - from % sector;
    let end = (from + dst.len() as u64).next_multiple_of(sector);
    let whole = (end - first) as usize;
    if whole == dst.len() && (dst.as_ptr() as usize).is_multiple_of(memory) {
        read_at(opened, dst, from, dst.len())?;
        return Ok(whole as u64);
    }
    let skipped = (from - first) as usize;
    let bytes = bounce.at_least(whole);
    read_at(opened, bytes, first, skipped + dst.len())?;
    dst.copy_from_slice(&bytes[skipped..skipped + dst.len()]);
    Ok(whole as u64)
}

impl BlockDevice for FileDevice {
    type Error = FileError;

    fn block_count(&mut self) -> Result<BlockCount, FileError> {
        Ok(self.blocks)
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), FileError> {
        self.read_while(start, dst, || ())
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, FileError> {
        OutOfRange::check(start, dst, self.blocks).map_err(FileError::OutOfRange)?;
        if dst.is_empty() {
            return Ok(work());
        }
        let bytes = size_of_val(dst) as u64;
        let at = self.first + (start - BlockIdx(0));
        let (read, done, waited) = self.transfer(at, dst, work);
        let device_bytes = read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => FileError::Ended { start },
            _ => FileError::Io(error),
        })?;
        let Traffic { reads, bytes: before, device_bytes: whole, waited: idle } =
            self.traffic.get();
        self.traffic.set(Traffic {
            reads: reads + 1,
            bytes: before + bytes,
            device_bytes: whole + device_bytes,
            waited: idle + waited,
        });
        Ok(done)
    }
}

/// Nothing is ever written: what a model lies on stays as it is.
impl WriteDevice for FileDevice {
    fn write(&mut self, _: BlockIdx, _: &[Block]) -> Result<(), FileError> {
        Err(FileError::ReadOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};

    /// A file of `blocks` random blocks.
    fn noise(blocks: usize) -> (tempfile::TempPath, Vec<u8>) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(4);
        let bytes: Vec<u8> = (0..blocks * 512).map(|_| random.random()).collect();
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&file, &bytes).unwrap();
        (file, bytes)
    }

    /// The devices that `path` can be read as.
    fn devices(path: &Path) -> Vec<FileDevice> {
        let opened = |direct| Opened::at(path, direct).unwrap();
        let as_is = [opened(true), opened(false)];
        // Sectors of a disk that has none shorter.
        let long = [opened(true).with_sector(4096), opened(false).with_sector(4096)];
        as_is.into_iter().chain(long).map(|opened| FileDevice::new(opened).unwrap()).collect()
    }

    #[test]
    fn blocks_are_those_of_the_file_however_they_are_read() {
        let (path, bytes) = noise(203);
        for mut device in devices(&path) {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
            assert_eq!(device.block_count().unwrap(), BlockCount(203));
            let sector = device.opened().sector() as u64;
            let (mut asked, mut whole) = (0, 0);
            for _ in 0..200 {
                let count = random.random_range(1..40);
                let start = random.random_range(0..=203 - count);
                let mut blocks = vec![Block::ZERO; count];
                let at = BlockIdx(start as u32);
                let two = device.read_while(at, &mut blocks, || 1 + 1).unwrap();
                assert_eq!(two, 2);
                assert!(Block::bytes(&blocks) == &bytes[512 * start..512 * (start + count)]);
                let (from, to) = (512 * start as u64, 512 * (start + count) as u64);
                asked += to - from;
                whole += to.next_multiple_of(sector) - (from - from % sector);
            }
            let traffic = device.traffic().get();
            assert_eq!((traffic.reads, traffic.bytes, traffic.device_bytes), (200, asked, whole));
            assert!(matches!(
                device.read(BlockIdx(203), &mut [Block::ZERO]),
                Err(FileError::OutOfRange(_))
            ));
            device.read(BlockIdx(900), &mut []).unwrap();
            assert!(device.write(BlockIdx(0), &[Block::ZERO]).is_err());
            let mut part = device.within(BlockIdx(100), BlockCount(3));
            let mut blocks = [Block::ZERO; 3];
            part.read(BlockIdx(0), &mut blocks).unwrap();
            assert!(Block::bytes(&blocks) == &bytes[512 * 100..512 * 103]);
            assert!(part.read(BlockIdx(1), &mut blocks).is_err());
        }
        assert!(std::fs::read(&path).unwrap() == bytes);
    }

    #[test]
    fn what_comes_again_is_read_before_it_is_asked_for() {
        let (path, bytes) = noise(400);
        for mut device in devices(&path) {
            device.read_ahead(64 * 512).unwrap();
            let mut random = Xoshiro256PlusPlus::seed_from_u64(6);
            let mut found_ahead = 0;
            for pass in 0..12 {
                for table in 0..10 {
                    // A table, whole, and between two some records, which differ.
                    let mut places = vec![(40 * table, 16), (40 * table + 16, 9)];
                    places.push((random.random_range(0..380), 3));
                    for (start, count) in places {
                        let mut blocks = vec![Block::ZERO; count];
                        let at = BlockIdx(start as u32);
                        let place = Place { start: at.0, blocks: count as u32 };
                        found_ahead += u32::from(pass > 3 && device.ahead.is_coming(place));
                        device.read(at, &mut blocks).unwrap();
                        let expected = &bytes[512 * start..512 * (start + count)];
                        assert!(Block::bytes(&blocks) == expected, "pass {pass}, {place:?}");
                    }
                }
            }
            // 8 passes of 20 reads that come again.
            assert!(found_ahead > 120, "{found_ahead} of 160");
            let traffic = device.traffic().get();
            assert!(traffic.device_bytes >= traffic.bytes);
        }
    }

    #[test]
    fn a_file_that_was_cut_short_meanwhile_is_an_error() {
        let (path, _) = noise(64);
        for mut device in devices(&path) {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_len(512 * 32).unwrap();
            let mut blocks = [Block::ZERO; 8];
            let error = device.read(BlockIdx(30), &mut blocks).unwrap_err();
            assert!(matches!(error, FileError::Ended { start: BlockIdx(30) }), "{error}");
            assert_eq!(error.kind(), ErrorKind::OutOfRange);
            device.read(BlockIdx(3), &mut blocks).unwrap();
            file.set_len(512 * 64).unwrap();
        }
    }
}
