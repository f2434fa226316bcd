//! An SD host controller: by programmed I/O, and where its registers say so by DMA.

use crate::io::{self, Timer, coin, give, word};
use ripple_hal::Block;
use ripple_sdhci::{Media, Options, Registers, Sdhci};

struct Controller;

impl Registers for Controller {
    fn read(&self, offset: usize) -> u32 {
        give(offset as u32);
        word()
    }

    fn write(&mut self, offset: usize, value: u32) {
        give(offset as u32 + value);
    }

    fn begin_dma(&mut self, dst: &mut [Block]) -> Option<u32> {
        give(dst.len() as u32);
        coin().then(word)
    }

    fn end_dma(&mut self, dst: &mut [Block]) {
        dst.iter().for_each(|block| give(block.0[0].into()));
    }

    fn begin_dma_from(&mut self, src: &[Block]) -> Option<u32> {
        src.iter().for_each(|block| give(block.0[0].into()));
        coin().then(word)
    }

    fn end_dma_from(&mut self, src: &[Block]) {
        give(src.len() as u32);
    }
}

/// All of the driver.
#[inline(never)]
pub fn run() {
    let media = if coin() { Media::Sd } else { Media::Emmc };
    let options = Options { media, base_hz: word(), detects_card: coin() };
    let mut card = Sdhci::new(Controller, Timer, options);
    io::written(&mut card);
    card.registers().write(0, 0);
}
