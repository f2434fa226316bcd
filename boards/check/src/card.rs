//! A card behind `embedded-sdmmc`'s trait.

use crate::io::{self, word};
use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx, SdCardError};
use ripple_hal::Card;

struct Driver;

impl BlockDevice for Driver {
    type Error = SdCardError;

    fn read(&self, blocks: &mut [Block], start: BlockIdx) -> Result<(), SdCardError> {
        io::give(start.0);
        for byte in blocks.iter_mut().flat_map(|block| &mut block.contents) {
            *byte = word() as u8;
        }
        outcome()
    }

    fn write(&self, blocks: &[Block], _: BlockIdx) -> Result<(), SdCardError> {
        io::give(blocks.len() as u32);
        outcome()
    }

    fn num_blocks(&self) -> Result<BlockCount, SdCardError> {
        outcome().map(|()| BlockCount(word()))
    }
}

fn outcome() -> Result<(), SdCardError> {
    match word() {
        0 => Ok(()),
        1 => Err(SdCardError::CardNotFound),
        2 => Err(SdCardError::TimeoutReadBuffer),
        3 => Err(SdCardError::CrcError(word() as u16, word() as u16)),
        _ => Err(SdCardError::ReadError),
    }
}

/// All of the card.
#[inline(never)]
pub fn run() {
    io::written(Card::new(Driver));
    let mut card = Card::with_recovery(Driver, |_| io::give(1));
    io::written(&mut card);
    let _ = card.get_ref().write(&[], BlockIdx(0));
    let _ = card.into_inner();
}
