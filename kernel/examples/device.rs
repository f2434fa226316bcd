//! A block device of one's own, whose reads overlap with what is computed: `device IMAGE`.
//!
//! It reads a file on a second thread while the kernel works, as a board's DMA would.

mod common;

use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind};
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::ExitCode;
use std::thread;

/// A file, and how often it was read.
struct Threaded<'c> {
    file: File,
    reads: &'c Cell<u32>,
    overlapped: &'c Cell<u32>,
}

/// What went wrong, with the detail.
#[derive(Debug)]
struct Failed(io::Error);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Failed {}

impl DeviceError for Failed {
    /// The kernel needs to know no more than whether to try again.
    fn kind(&self) -> ErrorKind {
        match self.0.kind() {
            io::ErrorKind::UnexpectedEof => ErrorKind::OutOfRange,
            io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => ErrorKind::Timeout,
            _ => ErrorKind::Other,
        }
    }
}

fn fill(mut file: &File, start: BlockIdx, dst: &mut [Block]) -> Result<(), Failed> {
    file.seek(SeekFrom::Start(BlockCount(start.0).bytes())).map_err(Failed)?;
    file.read_exact(Block::bytes_mut(dst)).map_err(Failed)
}

impl BlockDevice for Threaded<'_> {
    type Error = Failed;

    fn block_count(&mut self) -> Result<BlockCount, Failed> {
        self.file.metadata().map(|file| BlockCount::for_bytes(file.len())).map_err(Failed)
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Failed> {
        self.reads.set(self.reads.get() + 1);
        fill(&self.file, start, dst)
    }

    // Only this makes reads overlap; without it everything works, one after the other. It must not
    // return, nor unwind, while `dst` can still be written: the scope sees to that.
    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Failed> {
        self.overlapped.set(self.overlapped.get() + 1);
        let file = &self.file;
        thread::scope(|scope| {
            let read = scope.spawn(move || fill(file, start, dst));
            let result = work();
            match read.join() {
                Ok(read) => read.map(|()| result),
                Err(_) => Err(Failed(io::Error::other("the reading thread panicked"))),
            }
        })
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let image = std::env::args().nth(1).ok_or("usage: device IMAGE")?;
    let (reads, overlapped) = (Cell::new(0), Cell::new(0));
    let card = Threaded { file: File::open(&image)?, reads: &reads, overlapped: &overlapped };
    let tokens = common::generate(&image, card, (), 32)?;
    println!("tokens {tokens:?}");
    println!("reads  {} alone, {} while something was computed", reads.get(), overlapped.get());
    Ok(())
}
