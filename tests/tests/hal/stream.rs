//! A file read as blocks.

use crate::common::{fill, noise};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, Stream, StreamError,
    WriteDevice,
};
use std::io::{Read, Seek, Write};

/// A std file as `embedded-io` wants it, a few bytes at a time.
struct Std<F>(F);

impl<F> embedded_io::ErrorType for Std<F> {
    type Error = std::io::Error;
}

impl<F: Read> embedded_io::Read for Std<F> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let most = buf.len().min(700);
        self.0.read(&mut buf[..most])
    }
}

impl<F: Seek> embedded_io::Seek for Std<F> {
    fn seek(&mut self, pos: embedded_io::SeekFrom) -> std::io::Result<u64> {
        self.0.seek(pos.into())
    }
}

impl<F: Write> embedded_io::Write for Std<F> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let most = buf.len().min(700);
        self.0.write(&buf[..most])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn every_range_of_a_file_reads_as_its_bytes_and_zeroes() {
    for len in [0, 1, 511, 512, 513, 5 * 512 - 7] {
        let bytes = noise(len, 3);
        let mut device = Stream::new(Std(file(&bytes)));
        let blocks = device.block_count().unwrap();
        assert_eq!(blocks, BlockCount::for_bytes(len as u64));
        assert_eq!(device.byte_count().unwrap(), len as u64);
        for start in 0..=blocks.0 {
            for count in 0..=(blocks.0 - start) as usize {
                let mut read = vec![Block([0xEE; 512]); count];
                let mut expected = read.clone();
                device.read(BlockIdx(start), &mut read).unwrap();
                fill(&bytes, BlockIdx(start), &mut expected);
                assert_eq!(Block::bytes(&read), Block::bytes(&expected), "{start}+{count}");
            }
        }
    }
}

#[test]
fn blocks_beyond_the_end_are_refused() {
    let mut device = Stream::new(Std(file(&noise(1000, 1))));
    let mut two = [Block::ZERO; 2];
    for start in [1, 2, u32::MAX] {
        let error = device.read(BlockIdx(start), &mut two).unwrap_err();
        assert!(matches!(error, StreamError::OutOfRange(e) if e.blocks == BlockCount(2)));
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
    }
    device.read(BlockIdx(0), &mut two).unwrap();
}

#[test]
fn what_is_written_is_read_and_nothing_beyond_the_end() {
    let bytes = noise(5 * 512 - 7, 3);
    let source = file(&bytes);
    let mut device = Stream::new(Std(source.try_clone().unwrap()));
    let new = [Block([0xA5; 512]), Block([0x5A; 512])];
    for start in [4, 5, u32::MAX] {
        let error = device.write(BlockIdx(start), &new).unwrap_err();
        assert!(matches!(error, StreamError::OutOfRange(e) if e.blocks == BlockCount(5)));
    }
    // The last block becomes a whole one.
    for start in [1, 3] {
        device.write(BlockIdx(start), &new).unwrap();
        let mut read = [Block::ZERO; 5];
        device.read(BlockIdx(0), &mut read).unwrap();
        assert_eq!(Block::bytes(&read)[..512], bytes[..512]);
        assert_eq!(Block::bytes(&read)[start as usize * 512..][..1024], *Block::bytes(&new));
    }
    assert_eq!(source.metadata().unwrap().len(), 5 * 512);
}

#[test]
fn a_file_that_shrinks_is_an_error_not_zeroes() {
    let file = file(&noise(2048, 1));
    let mut device = Stream::new(Std(file.try_clone().unwrap()));
    device.block_count().unwrap();
    file.set_len(700).unwrap();
    let error = device.read(BlockIdx(1), &mut [Block::ZERO; 2]).unwrap_err();
    assert!(matches!(error, StreamError::Ended { start: BlockIdx(1), missing: 836 }), "{error}");
}

#[test]
fn a_timed_out_stream_is_transient() {
    struct Slow;
    impl embedded_io::ErrorType for Slow {
        type Error = std::io::Error;
    }
    impl embedded_io::Read for Slow {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::TimedOut.into())
        }
    }
    impl embedded_io::Seek for Slow {
        fn seek(&mut self, _: embedded_io::SeekFrom) -> std::io::Result<u64> {
            Ok(4096)
        }
    }
    let error = Stream::new(Slow).read(BlockIdx(0), &mut [Block::ZERO]).unwrap_err();
    assert!(matches!(error, StreamError::Read(_)));
    assert!(error.kind().is_transient());
}
