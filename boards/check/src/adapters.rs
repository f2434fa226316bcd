//! The adapters over a device, and the devices that are no card.

use crate::io::{self, Device, give, word};
use core::fmt;
use core::future::poll_fn;
use core::task::Poll;
use embedded_io::{ErrorType, Read, Seek, SeekFrom, Write};
use ripple_hal::{
    AsyncBlockDevice, AsyncWriteDevice, Block, BlockCount, BlockDevice, BlockIdx, ErrorKind,
    Faults, Faulty, Polled, RawPartition, Retry, Slice, Stream, WriteDevice,
};

/// All of them.
#[inline(never)]
pub fn run() {
    let mut retry = Retry::new(Device, word());
    io::written(&mut retry);
    give(retry.retries() as u32);
    io::device(retry.into_inner());

    let faults = Faults {
        seed: word().into(),
        timeout: word() as u16,
        corrupted: word() as u16,
        no_card: word() as u16,
        out_of_range: word() as u16,
        other: word() as u16,
        silent: word() as u16,
        fail_at: Some((word().into(), ErrorKind::Other)),
        cut: io::coin().then(|| word().into()),
    };
    let mut faulty = Faulty::new(Device, faults);
    io::written(&mut faulty);
    give((faulty.reads() + faulty.injected() + faulty.written()) as u32);

    io::written(Polled::new(Driver));
    io::written(Polled::with_idle(Driver, || give(0)));
    io::device(Slice::new(io::bytes()));

    if let Ok(mut partition) = RawPartition::find(Device, &mut [Block::ZERO]) {
        io::written(&mut partition);
        give(partition.place().start.0);
        io::written(partition.into_inner());
    }

    let mut stream = Stream::new(File);
    io::written(&mut stream);
    give(stream.byte_count().map_or(1, |bytes| bytes as u32));
}

struct Driver;

#[allow(refining_impl_trait, reason = "as `async fn` does")]
impl AsyncBlockDevice for Driver {
    type Error = ErrorKind;

    fn block_count(&mut self) -> impl Future<Output = Result<BlockCount, ErrorKind>> {
        poll_fn(|_| poll(|| Device.block_count()))
    }

    fn read(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
    ) -> impl Future<Output = Result<(), ErrorKind>> {
        poll_fn(move |_| poll(|| Device.read(start, dst)))
    }
}

#[allow(refining_impl_trait, reason = "as `async fn` does")]
impl AsyncWriteDevice for Driver {
    fn write(
        &mut self,
        start: BlockIdx,
        src: &[Block],
    ) -> impl Future<Output = Result<(), ErrorKind>> {
        poll_fn(move |_| poll(|| Device.write(start, src)))
    }
}

/// Not an `async fn`: the ones that the compiler makes panic when they are polled once too often.
fn poll<T>(done: impl FnOnce() -> T) -> Poll<T> {
    if io::coin() { Poll::Pending } else { Poll::Ready(done()) }
}

/// A file, as semihosting has it.
struct File;

#[derive(Debug)]
struct FileError;

impl fmt::Display for FileError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl core::error::Error for FileError {}

impl embedded_io::Error for FileError {
    fn kind(&self) -> embedded_io::ErrorKind {
        match word() {
            0 => embedded_io::ErrorKind::TimedOut,
            _ => embedded_io::ErrorKind::Other,
        }
    }
}

impl ErrorType for File {
    type Error = FileError;
}

impl Read for File {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, FileError> {
        out.iter_mut().for_each(|byte| *byte = word() as u8);
        if io::coin() { Err(FileError) } else { Ok(word() as usize) }
    }
}

impl Write for File {
    fn write(&mut self, _: &[u8]) -> Result<usize, FileError> {
        if io::coin() { Err(FileError) } else { Ok(word() as usize) }
    }

    fn flush(&mut self) -> Result<(), FileError> {
        if io::coin() { Err(FileError) } else { Ok(()) }
    }
}

impl Seek for File {
    fn seek(&mut self, _: SeekFrom) -> Result<u64, FileError> {
        if io::coin() { Err(FileError) } else { Ok(word().into()) }
    }
}
