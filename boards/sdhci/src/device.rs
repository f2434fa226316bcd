//! The driver as the kernel sees it: starts the card when needed, reads, writes, recovers.
//!
//! In: registers, a clock, [`Options`]. Out: [`Sdhci`], a [`WriteDevice`]. Knows nothing of registers.

use crate::card::{Card, read_command, write_command};
use crate::host::Host;
use crate::transfer::{Lent, part};
use crate::{Registers, SdhciError};
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, Clock, OutOfRange, WriteDevice};

/// What is on the controller's bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// An SD card: SDSC, SDHC or SDXC.
    Sd,
    /// An eMMC, or an MMC card.
    Emmc,
}

/// What the driver must know of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What is on the bus.
    pub media: Media,
    /// The controller's base clock in Hz; 0: as its capabilities register says.
    pub base_hz: u32,
    /// Whether the present state register tells if a card is inserted.
    pub detects_card: bool,
}

/// An SD card or eMMC, read and written by an SD host controller.
///
/// The card is started on the first call, and again on the first one after it was pulled, did not
/// answer, or could not be brought back to order. Every wait has a deadline on `C`, except that a
/// controller which does not stop writing memory when reset is waited for.
#[derive(Debug)]
pub struct Sdhci<R, C> {
    host: Host<R, C>,
    media: Media,
    card: Option<Card>,
    /// Blocks that a read which is open may skip, if reads may go on with one.
    gap: Option<BlockCount>,
    /// The block that the open read sends next.
    open: Option<BlockIdx>,
}

impl<R: Registers, C: Clock> Sdhci<R, C> {
    /// A driver for the controller with these registers; touches nothing yet.
    pub const fn new(registers: R, clock: C, options: Options) -> Self {
        let host = Host::new(registers, clock, options.base_hz, options.detects_card);
        Self { host, media: options.media, card: None, gap: None, open: None }
    }

    /// The controller's registers, for what this driver does not do.
    pub const fn registers(&mut self) -> &mut R {
        &mut self.host.registers
    }

    /// The card, started if it was not or is another.
    fn card(&mut self) -> Result<Card, SdhciError> {
        match self.card {
            Some(card) if !self.host.is_removed() => Ok(card),
            _ => {
                (self.card, self.open) = (None, None);
                let card = Card::start(&mut self.host, self.media)?;
                self.card = Some(card);
                Ok(card)
            }
        }
    }

    /// Takes note of whether the card is in order after `done`.
    fn settle<T>(&mut self, card: Card, done: Result<T, SdhciError>) -> Result<T, SdhciError> {
        let lost = matches!(done, Err(SdhciError::NoCard | SdhciError::Timeout { .. }));
        if done.is_ok() || (!lost && card.recover(&mut self.host)) {
            self.card = Some(card);
        }
        done
    }

    /// Ends the read that is open, if one is.
    fn close(&mut self) -> Result<(), SdhciError> {
        self.open.take().map_or(Ok(()), |_| self.host.abort())
    }

    /// How many blocks lie before `start` in the read that is open, if it is to go on up to there.
    fn skipped(&self, start: BlockIdx) -> Option<BlockCount> {
        let next = self.open.filter(|&next| next <= start)?;
        self.gap.filter(|&gap| start - next <= gap).map(|_| start - next)
    }

    /// Reads with the command that is open, or with one; works meanwhile if the controller writes memory
    /// itself.
    fn read_once<T>(
        &mut self,
        card: Card,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> T,
    ) -> Result<T, SdhciError> {
        let (command, argument) = (read_command(dst.len()), card.argument(start));
        if let Some(skipped) = self.skipped(start) {
            self.open = None;
            return self.read_on(card, start, skipped, dst).map(|()| work());
        }
        self.close()?;
        if let Some(dma) = self.host.start_dma(command, argument, Lent::Into(&mut *dst)) {
            let dma = dma?;
            let done = work();
            dma.finish()?;
            return Ok(done);
        }
        if self.gap.is_some() {
            self.host.open(argument)?;
            return self.read_on(card, start, BlockCount(0), dst).map(|()| work());
        }
        self.host.read_by_copy(command, argument, dst)?;
        Ok(work())
    }

    /// Reads with the command that is open, and leaves it so but at the card's end.
    fn read_on(
        &mut self,
        card: Card,
        start: BlockIdx,
        skipped: BlockCount,
        dst: &mut [Block],
    ) -> Result<(), SdhciError> {
        self.host.read_on(skipped, dst)?;
        let next = start + BlockCount(dst.len() as u32);
        self.open = Some(next);
        if next.0 < card.blocks.0 { Ok(()) } else { self.close() }
    }

    /// Writes with one command; the card has the blocks for good afterwards.
    fn write_once(&mut self, card: Card, start: BlockIdx, src: &[Block]) -> Result<(), SdhciError> {
        let (command, argument) = (write_command(src.len()), card.argument(start));
        let by_dma =
            self.host.start_dma(command, argument, Lent::From(src)).map(|dma| dma?.finish());
        by_dma.unwrap_or_else(|| self.host.write_by_copy(command, argument, src))?;
        card.confirm(&mut self.host)
    }
}

impl<R: Registers, C: Clock> BlockDevice for Sdhci<R, C> {
    type Error = SdhciError;

    fn block_count(&mut self) -> Result<BlockCount, SdhciError> {
        Ok(self.card()?.blocks)
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), SdhciError> {
        self.read_while(start, dst, || ())
    }

    /// With DMA `work` runs while the blocks arrive, up to the next multiple of 512 KiB in memory; what
    /// lies beyond is read when `work` is done.
    fn read_while<T>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> T,
    ) -> Result<T, SdhciError> {
        if dst.is_empty() {
            return Ok(work());
        }
        let card = self.card()?;
        OutOfRange::check(start, dst, card.blocks).map_err(SdhciError::OutOfRange)?;
        // Not known to be in order until the read has succeeded: `work` may unwind.
        self.card = None;
        let (first, mut rest) = dst.split_at_mut(part(dst));
        let mut at = start + BlockCount(first.len() as u32);
        let mut done = self.read_once(card, start, first, work);
        while done.is_ok() && !rest.is_empty() {
            let (next, after) = rest.split_at_mut(part(rest));
            done = done.and_then(|done| self.read_once(card, at, next, || done));
            at = at + BlockCount(next.len() as u32);
            rest = after;
        }
        self.settle(card, done)
    }

    /// Only reads by copy stay open: SDMA stops where its count ends, and no read knows how long the ones
    /// behind it will be.
    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), SdhciError> {
        self.gap = gap;
        let Some(card) = self.card.take() else { return Ok(()) };
        let done = self.close();
        self.settle(card, done)
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        self.open
    }
}

/// Each command's blocks are on the card, and no longer in its buffers alone, when the
/// next is sent.
impl<R: Registers, C: Clock> WriteDevice for Sdhci<R, C> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), SdhciError> {
        if src.is_empty() {
            return Ok(());
        }
        let card = self.card()?;
        OutOfRange::check(start, src, card.blocks).map_err(SdhciError::OutOfRange)?;
        self.card = None;
        let (mut at, mut rest, mut done) = (start, src, self.close());
        while done.is_ok() && !rest.is_empty() {
            let (next, after) = rest.split_at(part(rest));
            done = self.write_once(card, at, next);
            at = at + BlockCount(next.len() as u32);
            rest = after;
        }
        self.settle(card, done)
    }
}
