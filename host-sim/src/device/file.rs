//! A file or a block device of this machine as a device that reads while the caller computes.
//!
//! In: a path. Out: [`FileDevice`], and [`Traffic`] of what it read. Knows nothing of what the blocks hold.
//!
//! Reads go past the page cache (`O_DIRECT`) where the file system can: what is read comes from the device, and
//! what was read takes no memory but the caller's and what it gives for reading ahead. Threads read while the caller
//! computes, several pieces at once, and what the caller says it will read before it asks.

use super::open::Opened;
use super::readers::Readers;
use anyhow::Result;
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, Coming, DeviceError, ErrorKind, OutOfRange,
    WriteDevice,
};
use std::cell::Cell;
use std::io;
use std::ops::Range;
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
    readers: Readers,
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
        let opened = Arc::new(opened);
        let readers = Readers::new(opened.clone())?;
        let blocks = BlockCount::for_bytes(opened.bytes());
        Ok(Self { opened, first: BlockIdx(0), blocks, readers, traffic: Rc::default() })
    }

    /// Reads what the caller says it will ask for, with so many bytes of memory; 0 for no such reads, which is how it
    /// begins. `gap`: blocks that take as long as a read.
    pub fn read_ahead(&mut self, bytes: usize, gap: BlockCount) {
        self.readers.set(bytes, gap.0.into());
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

    /// These blocks of what was opened.
    fn range(&self, start: BlockIdx, count: u64) -> Range<u64> {
        let start = u64::from(self.first.0) + u64::from(start.0);
        start..start + count
    }
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
        let parts = self.readers.ask(self.range(start, dst.len() as u64));
        let done = work();
        let idle = Instant::now();
        let device_bytes = self.readers.wait(&parts, dst).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => FileError::Ended { start },
            _ => FileError::Io(error),
        })?;
        let Traffic { reads, bytes: before, waited, .. } = self.traffic.get();
        self.traffic.set(Traffic {
            reads: reads + 1,
            bytes: before + bytes,
            device_bytes,
            waited: waited + idle.elapsed(),
        });
        Ok(done)
    }

    const LOOKS_AHEAD: bool = true;

    fn will_read(&mut self, start: BlockIdx, count: BlockCount, coming: Coming) {
        let blocks = self.range(start, count.0.into());
        self.readers.tell(blocks, coming);
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

    /// What is asked for in a test: first block and blocks.
    type Asked = (u64, u64);

    fn read(device: &mut FileDevice, bytes: &[u8], (start, count): Asked) {
        let mut blocks = vec![Block::ZERO; count as usize];
        device.read(BlockIdx(start as u32), &mut blocks).unwrap();
        let expected = &bytes[512 * start as usize..][..512 * count as usize];
        assert!(Block::bytes(&blocks) == expected, "{start}, {count}");
    }

    #[test]
    fn what_was_told_is_read_once_before_it_is_asked_for() {
        let (path, bytes) = noise(4000);
        for mut device in devices(&path) {
            device.read_ahead(3 << 20, BlockCount(0));
            let sector = (device.opened().sector() as u64).div_ceil(512);
            let tell = |device: &mut FileDevice, (start, count): Asked, coming| {
                device.will_read(BlockIdx(start as u32), BlockCount(count as u32), coming);
            };
            // A table, of which there is more than a chunk, and behind it records here and there.
            tell(&mut device, (8, 1200), Coming::Later);
            let records: Vec<Asked> = (0..40).map(|at| (1600 + 32 * at, 8)).collect();
            while !(8..1208).step_by(64).all(|block| device.readers.is_begun(block)) {
                std::thread::yield_now();
            }
            for start in (8..1208).step_by(100) {
                read(&mut device, &bytes, (start, 100));
            }
            records.iter().for_each(|&record| tell(&mut device, record, Coming::Next));
            records.iter().for_each(|&record| read(&mut device, &bytes, record));
            let blocks = 1200u64.next_multiple_of(sector) + 40 * 8u64.next_multiple_of(sector);
            let traffic = device.traffic().get();
            assert_eq!(traffic.device_bytes, 512 * blocks);
            assert_eq!(traffic.bytes, 512 * (1200 + 40 * 8));
        }
    }

    #[test]
    fn blocks_are_those_of_the_file_whatever_was_told() {
        let (path, bytes) = noise(3000);
        for mut device in devices(&path) {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(6);
            for round in 0..60 {
                if round % 20 == 0 {
                    device.read_ahead([40_000, 300_000, 5_000_000][round / 20], BlockCount(2));
                }
                let all: Vec<Asked> = (0..random.random_range(1..9))
                    .map(|_| (random.random_range(0..2900), random.random_range(1..100)))
                    .collect();
                for &(start, count) in &all {
                    let coming = [Coming::Next, Coming::Later, Coming::SomeLater];
                    let coming = coming[random.random_range(0..3)];
                    // More than there is, now and then.
                    let count = if round % 7 == 0 { 50 * count } else { count };
                    device.will_read(BlockIdx(start as u32), BlockCount(count as u32), coming);
                }
                // What was told, a part of it, and what was not.
                for &(start, count) in &all {
                    match random.random_range(0..4) {
                        0 => read(&mut device, &bytes, (start, count)),
                        1 => read(&mut device, &bytes, (start + count / 2, count - count / 2)),
                        2 => read(&mut device, &bytes, (random.random_range(0..2900), 90)),
                        _ => {}
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_of_which_all_but_a_few_came_are_read_whole_the_next_time() {
        let (path, bytes) = noise(3000);
        let mut device = FileDevice::open(&path, true).unwrap();
        device.read_ahead(3 << 20, BlockCount(2));
        let told = |device: &mut FileDevice| {
            device.read_ahead(3 << 20, BlockCount(2));
            device.will_read(BlockIdx(64), BlockCount(1000), Coming::SomeLater);
        };
        let asked = |device: &mut FileDevice, step: usize| {
            (64..1055).step_by(step).for_each(|start| read(device, &bytes, (start, 9)));
        };
        let none = |device: &FileDevice| !(64..1064).any(|block| device.readers.is_begun(block));
        told(&mut device);
        assert!(none(&device), "nothing is known yet");
        asked(&mut device, 10);
        told(&mut device);
        while !(64..1064).all(|block| device.readers.is_begun(block)) {
            std::thread::yield_now();
        }
        // Of 1000 blocks 90 came, in 10 reads that cost 2 more each.
        asked(&mut device, 100);
        told(&mut device);
        assert!(none(&device), "it does not pay");
        asked(&mut device, 10);
        told(&mut device);
        // What comes is known now: the rest of what would be read whole does not.
        device.will_read(BlockIdx(64), BlockCount(9), Coming::Next);
        assert!(!device.readers.waits_later());
    }

    #[test]
    fn what_is_behind_the_last_whole_sector_is_not_there() {
        let (path, bytes) = noise(203);
        for direct in [true, false] {
            let opened = Opened::at(&path, direct).unwrap().in_whole_sectors(4096);
            assert_eq!((opened.bytes(), opened.lost()), (25 * 4096, 3 * 512));
            let mut device = FileDevice::new(opened).unwrap();
            assert_eq!(device.block_count().unwrap(), BlockCount(200));
            read(&mut device, &bytes, (190, 10));
            let beyond = device.read(BlockIdx(200), &mut [Block::ZERO]).unwrap_err();
            assert_eq!(beyond.kind(), ErrorKind::OutOfRange);
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
