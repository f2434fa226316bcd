//! Writing blocks to the card, and asking it afterwards whether they are there.
//!
//! In: a card that is up and waits for commands. Out: blocks on it. Knows nothing of addresses.
//!
//! SD Specifications, Part 1, "Physical Layer Simplified Specification" 9.00, sections 7.2.4 and 7.3.3.

use super::{MOST_SILENCE, SpiCard, SpiCardError, bus_error, select_error};
use crate::Block;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;
use embedded_hal_async::spi::SpiBus as DmaBus;
use embedded_sdmmc::embedded_sdmmc_types::sdcard::crc16;

const STATUS: u8 = 13;
const WRITE_ONE: u8 = 24;
const WRITE_MANY: u8 = 25;

/// Begins the block of a [`WRITE_ONE`], and each block of a [`WRITE_MANY`]; ends those.
const START_ONE: u8 = 0xFE;
const START_MANY: u8 = 0xFC;
const END_MANY: u8 = 0xFD;

/// Bytes of busy signal before a card is given up: 500 ms at 25 MHz, the longest that the specification
/// allows for a write.
const MOST_BUSY: usize = 5 * MOST_SILENCE;

/// What a card answers to a block of data, in the low five bits.
const ANSWER: u8 = 0x1F;
const ACCEPTED: u8 = 0x05;

impl<B, S, W> SpiCard<B, S, W>
where
    B: SpiBus + DmaBus,
    S: OutputPin,
    W: DelayNs + Clone,
{
    /// Writes `src`, which is not empty and wholly on the card.
    pub(super) async fn write_blocks(
        &mut self,
        address: u32,
        src: &[Block],
    ) -> Result<(), SpiCardError> {
        self.select.set_low().map_err(select_error)?;
        self.wait(MOST_SILENCE)?;
        let (command, start) =
            if src.len() == 1 { (WRITE_ONE, START_ONE) } else { (WRITE_MANY, START_MANY) };
        let answer = self.command(command, address)?;
        if answer != 0 {
            return Err(SpiCardError::Refused { command, answer });
        }
        for block in src {
            // A byte of silence, as the card expects it in front of a block.
            SpiBus::write(&mut self.bus, &[0xFF, start]).map_err(bus_error)?;
            DmaBus::write(&mut self.bus, &block.0).await.map_err(bus_error)?;
            let crc = crc16(&block.0).to_be_bytes();
            SpiBus::write(&mut self.bus, &crc).map_err(bus_error)?;
            let answer = self.answer(|answer| answer != 0xFF)?;
            if answer & ANSWER != ACCEPTED {
                return Err(SpiCardError::Write { answer });
            }
            self.wait(MOST_BUSY)?;
        }
        if command == WRITE_MANY {
            SpiBus::write(&mut self.bus, &[END_MANY, 0xFF]).map_err(bus_error)?;
            self.wait(MOST_BUSY)?;
        }
        // A card may accept a block and find out later that it cannot keep it.
        let status = u16::from_be_bytes([self.command(STATUS, 0)?, self.byte()?]);
        if status != 0 {
            return Err(SpiCardError::Lost { status });
        }
        self.release()
    }
}
