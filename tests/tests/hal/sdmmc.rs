//! A card behind `embedded-sdmmc`'s trait.

use crate::common::{fill, noise};
use embedded_sdmmc::{
    Block as SdBlock, BlockCount as SdCount, BlockDevice as SdDevice, BlockIdx as SdIdx,
    SdCardError,
};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, Card, CardError, DeviceError, ErrorKind, WriteDevice,
};
use std::cell::{Cell, RefCell};

#[derive(Default)]
struct Mock {
    bytes: Vec<u8>,
    written: RefCell<Vec<(u32, Vec<u8>)>>,
    commands: RefCell<Vec<(u32, usize)>>,
    fails: Cell<Option<fn() -> SdCardError>>,
    recovered: Cell<u32>,
}

impl SdDevice for Mock {
    type Error = SdCardError;

    fn read(&self, blocks: &mut [SdBlock], start: SdIdx) -> Result<(), SdCardError> {
        self.commands.borrow_mut().push((start.0, blocks.len()));
        if let Some(error) = self.fails.get() {
            return Err(error());
        }
        for (block, at) in blocks.iter_mut().zip(start.0 as usize..) {
            block.contents.copy_from_slice(&self.bytes[at * 512..][..512]);
        }
        Ok(())
    }

    fn write(&self, blocks: &[SdBlock], start: SdIdx) -> Result<(), SdCardError> {
        if let Some(error) = self.fails.get() {
            return Err(error());
        }
        let bytes = blocks.iter().flat_map(|block| block.contents).collect();
        self.written.borrow_mut().push((start.0, bytes));
        Ok(())
    }

    fn num_blocks(&self) -> Result<SdCount, SdCardError> {
        self.fails.get().map_or(Ok(SdCount((self.bytes.len() / 512) as u32)), |e| Err(e()))
    }
}

#[test]
fn many_blocks_are_one_command_and_arrive_in_place() {
    let bytes = noise(64 * 512, 5);
    let mut card = Card::new(Mock { bytes: bytes.clone(), ..Mock::default() });
    assert_eq!(card.block_count().unwrap(), BlockCount(64));
    for (start, count) in [(0, 64), (7, 1), (63, 1), (10, 32)] {
        let mut read = vec![Block::ZERO; count];
        let mut expected = read.clone();
        card.read(BlockIdx(start), &mut read).unwrap();
        fill(&bytes, BlockIdx(start), &mut expected);
        assert_eq!(Block::bytes(&read), Block::bytes(&expected));
    }
    card.read(BlockIdx(3), &mut []).unwrap();
    assert_eq!(*card.get_ref().commands.borrow(), [(0, 64), (7, 1), (63, 1), (10, 32)]);
}

#[test]
fn many_blocks_are_written_with_one_command() {
    let mut card = Card::new(Mock { bytes: vec![0; 64 * 512], ..Mock::default() });
    let mut src = vec![Block::ZERO; 5];
    Block::bytes_mut(&mut src).copy_from_slice(&noise(5 * 512, 8));
    card.write(BlockIdx(7), &src).unwrap();
    card.write(BlockIdx(9), &[]).unwrap();
    assert_eq!(*card.get_ref().written.borrow(), [(7, Block::bytes(&src).to_vec())]);
}

#[test]
fn errors_of_the_spi_driver_have_their_kind() {
    let kinds: [(fn() -> SdCardError, ErrorKind); 7] = [
        // A refused block: a wrong CRC is among the reasons.
        (|| SdCardError::WriteError, ErrorKind::Corrupted),
        (|| SdCardError::TimeoutReadBuffer, ErrorKind::Timeout),
        (|| SdCardError::TimeoutWaitNotBusy, ErrorKind::Timeout),
        (|| SdCardError::CrcError(1, 2), ErrorKind::Corrupted),
        (|| SdCardError::ReadError, ErrorKind::Corrupted),
        (|| SdCardError::CardNotFound, ErrorKind::NoCard),
        (|| SdCardError::Transport, ErrorKind::Other),
    ];
    for (error, kind) in kinds {
        let mut card = Card::new(Mock { fails: Cell::new(Some(error)), ..Mock::default() });
        assert_eq!(card.block_count().unwrap_err().kind(), kind);
        assert_eq!(card.read(BlockIdx(0), &mut [Block::ZERO]).unwrap_err().kind(), kind);
        assert_eq!(card.write(BlockIdx(0), &[Block::ZERO]).unwrap_err().kind(), kind);
    }
    let foreign = CardError(std::io::Error::from(std::io::ErrorKind::TimedOut));
    assert_eq!(foreign.kind(), ErrorKind::Other);
}

#[test]
fn recovery_runs_after_each_failure_and_only_then() {
    let mock = Mock { bytes: noise(1024, 1), ..Mock::default() };
    let mut card = Card::with_recovery(mock, |m| m.recovered.set(m.recovered.get() + 1));
    card.read(BlockIdx(0), &mut [Block::ZERO; 2]).unwrap();
    assert_eq!(card.get_ref().recovered.get(), 0);
    card.get_ref().fails.set(Some(|| SdCardError::TimeoutReadBuffer));
    card.read(BlockIdx(0), &mut [Block::ZERO; 2]).unwrap_err();
    card.block_count().unwrap_err();
    assert_eq!(card.get_ref().recovered.get(), 2);
}
