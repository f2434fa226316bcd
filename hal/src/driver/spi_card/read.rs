//! Reading blocks from the card, with a command of their own or with the one before.
//!
//! In: a card that is up, or whose last read goes on. Out: blocks, and whether their command is still
//! open. Knows nothing of how a card is brought up.
//!
//! A card that was told to read several blocks sends the next one whenever it is clocked, until it is told
//! to stop: SD Specifications, Part 1, "Physical Layer Simplified Specification" 9.00, section 7.2.3.

use super::frames::Frames;
use super::{MOST_SILENCE, SpiCard, SpiCardError, Up, bus_error, select_error};
use crate::{Block, BlockCount, BlockIdx};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;
use embedded_hal_async::spi::SpiBus as DmaBus;

const STOP: u8 = 12;
const READ_ONE: u8 = 17;
const READ_MANY: u8 = 18;

impl<B, S, W> SpiCard<B, S, W>
where
    B: SpiBus + DmaBus,
    S: OutputPin,
    W: DelayNs + Clone,
{
    /// Reads into `dst`, which is not empty and wholly on the card. Leaves the command open where reads
    /// are to go on with it.
    pub(super) async fn read_blocks(
        &mut self,
        up: Up,
        start: BlockIdx,
        dst: &mut [Block],
    ) -> Result<(), SpiCardError> {
        let next = self.open.take();
        let between = next.filter(|&next| next <= start).map(|next| start - next);
        let command = match between.filter(|&between| Some(between) <= self.gap) {
            Some(between) => {
                self.skip(between, dst).await?;
                READ_MANY
            }
            None => {
                if next.is_some() {
                    self.stop()?;
                }
                let one = dst.len() == 1 && self.gap.is_none();
                let command = if one { READ_ONE } else { READ_MANY };
                self.begin(command, start.0.wrapping_mul(up.step))?;
                command
            }
        };
        self.data(dst).await?;
        let next = start + BlockCount(u32::try_from(dst.len()).unwrap_or(u32::MAX));
        if command == READ_ONE {
            self.release()
        } else if self.gap.is_some() && next.0 < up.blocks.0 {
            self.open = Some(next);
            Ok(())
        } else {
            // A card that is asked for what lies behind its last block complains.
            self.stop()
        }
    }

    /// Ends the command that is open, if one is.
    pub(super) fn close(&mut self) -> Result<(), SpiCardError> {
        match self.open.take() {
            Some(_) => self.stop(),
            None => Ok(()),
        }
    }

    /// Selects the card and has it read.
    fn begin(&mut self, command: u8, address: u32) -> Result<(), SpiCardError> {
        self.select.set_low().map_err(select_error)?;
        self.wait(MOST_SILENCE)?;
        let answer = self.command(command, address)?;
        if answer == 0 { Ok(()) } else { Err(SpiCardError::Refused { command, answer }) }
    }

    /// Clocks the next blocks through `scratch`, which is not empty; they are checked as all are.
    async fn skip(
        &mut self,
        blocks: BlockCount,
        scratch: &mut [Block],
    ) -> Result<(), SpiCardError> {
        let mut left = blocks.0 as usize;
        while left > 0 {
            let here = left.min(scratch.len());
            self.data(scratch.get_mut(..here).unwrap_or_default()).await?;
            left -= here;
        }
        Ok(())
    }

    /// Fills `dst` with the next blocks that the card sends, and takes their CRCs.
    async fn data(&mut self, dst: &mut [Block]) -> Result<(), SpiCardError> {
        let bytes = Block::bytes_mut(dst);
        let mut frames = Frames::new();
        let (mut filled, mut silence) = (0, 0);
        while let Some(rest) = bytes.get_mut(filled..)
            && !rest.is_empty()
        {
            // What is sent while it is received: not a command.
            rest.fill(0xFF);
            DmaBus::transfer_in_place(&mut self.bus, rest).await.map_err(bus_error)?;
            let sent = rest.len();
            let before = filled;
            filled = frames.compact(bytes, before)?;
            silence = if filled > before { 0 } else { silence + sent };
            if silence > MOST_SILENCE {
                return Err(SpiCardError::Silent);
            }
        }
        for _ in 0..frames.unread() {
            let byte = self.byte()?;
            frames.crc(byte, bytes)?;
        }
        Ok(())
    }

    /// Ends a read of several blocks.
    fn stop(&mut self) -> Result<(), SpiCardError> {
        // Its answer may complain of what lies behind the last block: no concern of this read.
        if self.command(STOP, 0)? == 0xFF {
            return Err(SpiCardError::Refused { command: STOP, answer: 0xFF });
        }
        self.wait(MOST_SILENCE)?;
        self.release()
    }
}
