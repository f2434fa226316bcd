//! An SD card on a SPI bus with DMA: a whole read is one command and, mostly, one transfer.
//!
//! In: a bus that transfers by DMA, a chip select. Out: [`SpiCard`], an [`AsyncWriteDevice`].
//! Knows nothing of file systems, and nothing of the DMA controller: that is the bus's.
//!
//! `embedded-sdmmc` brings the card up. It reads with the core waiting at every byte in front of a
//! block, so its reads cannot overlap with anything. Here the bus clocks as many bytes out of
//! the card as the read is long, at once and straight into its memory: the silence while the card
//! looks for the block, the blocks, and what frames them. Then the data is moved together, and what
//! is missing at the end for the bytes that were none is transferred in the same way.
//!
//! SD Specifications, Part 1, "Physical Layer Simplified Specification" 9.00, chapter 7.

mod frames;
mod read;
mod write;

use super::sdmmc::CardError;
use crate::{
    AsyncBlockDevice, AsyncWriteDevice, BLOCK_BYTES, Block, BlockCount, BlockIdx, DeviceError,
    ErrorKind, OutOfRange,
};
use core::fmt;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::{self, Error, SpiBus};
use embedded_hal_async::spi::SpiBus as DmaBus;
use embedded_hal_bus::spi::ExclusiveDevice;
use embedded_sdmmc::sdcard::spi::{AcquireOpts, SdCard};
use embedded_sdmmc::{BlockDevice as SdDevice, SdCardError, embedded_sdmmc_types::sdcard};
use frames::FrameFault;

/// Clock while a card is brought up, at most.
const FIRST_HERTZ: u32 = 400_000;

/// Bytes without data before a card is given up: 100 ms at 25 MHz, as the specification allows.
const MOST_SILENCE: usize = 312_500;

/// Of CMD12, which ends a read.
const STOP: u8 = 12;

/// A card on a SPI bus of its own.
///
/// `B` is the bus with both its traits: the blocking one for commands of a few bytes, the async one
/// for the data. `set_clock` sets its frequency to at most so many hertz.
#[derive(Debug)]
pub struct SpiCard<B, S, W> {
    bus: B,
    select: S,
    delay: W,
    set_clock: fn(&mut B, u32),
    hertz: u32,
    /// Nothing until the card is up, and again while data is sent: after a read or a write that failed or
    /// was dropped in the middle, only starting over is sure to be understood.
    up: Option<Up>,
    /// Across how many blocks a read goes on with the command of the one before; nothing for never.
    gap: Option<BlockCount>,
    /// The block that the open command would send next. The card stays selected meanwhile.
    open: Option<BlockIdx>,
}

/// A card that waits for commands.
#[derive(Clone, Copy, Debug)]
struct Up {
    blocks: BlockCount,
    /// What a block's number is multiplied with: 512 on cards of up to 2 GB.
    step: u32,
}

/// Why a card on a SPI bus did not do what it was asked.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum SpiCardError {
    /// The card could not be brought up.
    Acquire(SdCardError),
    /// The bus or the chip select failed.
    Bus(spi::ErrorKind),
    /// The card refused a command, or gave no answer.
    Refused {
        /// The command's number.
        command: u8,
        /// Its answer, R1; 0xFF if there was none.
        answer: u8,
    },
    /// The card sent an error instead of a block.
    Read {
        /// The data error token: bit 3 out of range, bit 2 ECC, bit 1 controller, bit 0 other.
        token: u8,
    },
    /// A block arrived damaged.
    Crc {
        /// What the card sent behind it.
        expected: u16,
        /// That of the data that arrived.
        found: u16,
    },
    /// The card did not accept a block that was written to it.
    Write {
        /// Its answer, the data response: 0x0B in the low five bits for a wrong CRC, 0x0D for a failed
        /// write; 0xFF if there was none.
        answer: u8,
    },
    /// The card accepted all blocks and then reported that it could not keep one.
    Lost {
        /// Its status, R2: bit 7 out of range, bit 5 write-protected, bit 4 ECC, bits 3 and 2 the
        /// controller or unknown, bits 1 and 0 locked.
        status: u16,
    },
    /// The card sent nothing, or was busy, for longer than the specification allows.
    Silent,
    /// The blocks are not all on the card.
    OutOfRange(OutOfRange),
}

impl DeviceError for SpiCardError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Acquire(error) => CardError(*error).kind(),
            Self::Bus(_) => ErrorKind::Other,
            Self::Refused { answer: 0xFF, .. }
            | Self::Write { answer: 0xFF }
            | Self::Lost { status: 0xFF00.. }
            | Self::Silent => ErrorKind::Timeout,
            // The card may have heard another command.
            Self::Refused { .. } => ErrorKind::Corrupted,
            Self::Read { token } if token & 8 != 0 => ErrorKind::OutOfRange,
            Self::Read { .. } | Self::Crc { .. } => ErrorKind::Corrupted,
            Self::Write { answer } if answer & 0x1F == 0x0B => ErrorKind::Corrupted,
            Self::Lost { status } if status & 0x80 != 0 => ErrorKind::OutOfRange,
            Self::Write { .. } | Self::Lost { .. } => ErrorKind::Other,
            Self::OutOfRange(error) => error.kind(),
        }
    }
}

impl fmt::Display for SpiCardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquire(error) => write!(f, "the card does not come up: {error}"),
            Self::Bus(error) => write!(f, "the SPI bus: {error}"),
            Self::Refused { command, answer: 0xFF } => write!(f, "no answer to CMD{command}"),
            Self::Refused { command, answer } => {
                write!(f, "the card answers CMD{command} with {answer:#04x}")
            }
            Self::Read { token } => write!(f, "the card sends error {token:#04x} for a block"),
            Self::Crc { expected, found } => {
                write!(f, "a block has the CRC {found:#06x}, expected {expected:#06x}")
            }
            Self::Write { answer } => write!(f, "the card answers a block with {answer:#04x}"),
            Self::Lost { status } => write!(f, "the card's status after a write is {status:#06x}"),
            Self::Silent => f.write_str("the card sends no data, or stays busy"),
            Self::OutOfRange(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SpiCardError {}

/// By way of `Debug`, as `CardError`.
#[cfg(feature = "defmt")]
impl defmt::Format for SpiCardError {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Debug2Format(self));
    }
}

impl From<FrameFault> for SpiCardError {
    fn from(fault: FrameFault) -> Self {
        match fault {
            FrameFault::Token(token) => Self::Read { token },
            FrameFault::Crc { expected, found } => Self::Crc { expected, found },
        }
    }
}

fn bus_error(error: impl Error) -> SpiCardError {
    SpiCardError::Bus(error.kind())
}

fn select_error<E>(_: E) -> SpiCardError {
    SpiCardError::Bus(spi::ErrorKind::ChipSelectFault)
}

impl<B, S, W> SpiCard<B, S, W>
where
    B: SpiBus + DmaBus,
    S: OutputPin,
    W: DelayNs + Clone,
{
    /// A card that is brought up when it is first used, and then clocked at up to `hertz`: 25 MHz is
    /// what every card takes.
    pub const fn new(bus: B, select: S, delay: W, set_clock: fn(&mut B, u32), hertz: u32) -> Self {
        Self { bus, select, delay, set_clock, hertz, up: None, gap: None, open: None }
    }

    /// The card, brought up if it is not.
    fn up(&mut self) -> Result<Up, SpiCardError> {
        if let Some(up) = self.up {
            return Ok(up);
        }
        self.open = None;
        (self.set_clock)(&mut self.bus, FIRST_HERTZ);
        self.select.set_high().map_err(select_error)?;
        // At least 74 clocks: the card wakes up.
        SpiBus::write(&mut self.bus, &[0xFF; 10]).map_err(bus_error)?;
        let device = ExclusiveDevice::new(&mut self.bus, &mut self.select, self.delay.clone())
            .map_err(select_error)?;
        // The card refuses a block that was cut off, where a write was dropped under way, by its CRC.
        let options = AcquireOpts { use_crc: true, ..AcquireOpts::default() };
        let card = SdCard::new_with_options(device, self.delay.clone(), options);
        let blocks = SdDevice::num_blocks(&card).map_err(SpiCardError::Acquire)?;
        let step = match card.get_card_type() {
            Some(sdcard::CardType::SdhcSdxc) => 1,
            _ => BLOCK_BYTES as u32,
        };
        (self.set_clock)(&mut self.bus, self.hertz);
        let up = Up { blocks: BlockCount(blocks.0), step };
        self.up = Some(up);
        Ok(up)
    }

    /// The next byte from the card.
    fn byte(&mut self) -> Result<u8, SpiCardError> {
        let mut byte = [0xFF];
        SpiBus::transfer_in_place(&mut self.bus, &mut byte).map_err(bus_error)?;
        let [byte] = byte;
        Ok(byte)
    }

    /// Waits until the card is not busy, for so many bytes at most.
    fn wait(&mut self, bytes: usize) -> Result<(), SpiCardError> {
        for _ in 0..bytes {
            if self.byte()? == 0xFF {
                return Ok(());
            }
        }
        Err(SpiCardError::Silent)
    }

    /// Sends a command to the selected card and returns its R1.
    fn command(&mut self, command: u8, argument: u32) -> Result<u8, SpiCardError> {
        let [a, b, c, d] = argument.to_be_bytes();
        let frame = [0x40 | command, a, b, c, d];
        let crc = [sdcard::crc7(&frame) << 1 | 1];
        SpiBus::write(&mut self.bus, &frame).map_err(bus_error)?;
        SpiBus::write(&mut self.bus, &crc).map_err(bus_error)?;
        if command == STOP {
            // Still of the block that is cut short.
            self.byte()?;
        }
        self.answer(|answer| answer & 0x80 == 0)
    }

    /// The first byte that is an answer, after at most 8 that are not; 0xFF if there is none.
    fn answer(&mut self, is_one: fn(u8) -> bool) -> Result<u8, SpiCardError> {
        for _ in 0..=8 {
            let answer = self.byte()?;
            if is_one(answer) {
                return Ok(answer);
            }
        }
        Ok(0xFF)
    }

    /// Ends what the card was selected for.
    fn release(&mut self) -> Result<(), SpiCardError> {
        self.select.set_high().map_err(select_error)?;
        // Eight clocks more, in which the card lets go of the line.
        self.byte().map(|_| ())
    }
}

impl<B, S, W> AsyncBlockDevice for SpiCard<B, S, W>
where
    B: SpiBus + DmaBus,
    S: OutputPin,
    W: DelayNs + Clone,
{
    type Error = SpiCardError;

    async fn block_count(&mut self) -> Result<BlockCount, SpiCardError> {
        self.up().map(|up| up.blocks)
    }

    async fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), SpiCardError> {
        if dst.is_empty() {
            return Ok(());
        }
        let up = self.up()?;
        OutOfRange::check(start, dst, up.blocks).map_err(SpiCardError::OutOfRange)?;
        self.up = None;
        self.read_blocks(up, start, dst).await?;
        self.up = Some(up);
        Ok(())
    }

    async fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), SpiCardError> {
        self.gap = gap;
        let up = self.up.take();
        self.close()?;
        self.up = up;
        Ok(())
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        self.open
    }
}

impl<B, S, W> AsyncWriteDevice for SpiCard<B, S, W>
where
    B: SpiBus + DmaBus,
    S: OutputPin,
    W: DelayNs + Clone,
{
    async fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), SpiCardError> {
        if src.is_empty() {
            return Ok(());
        }
        let up = self.up()?;
        OutOfRange::check(start, src, up.blocks).map_err(SpiCardError::OutOfRange)?;
        self.up = None;
        self.close()?;
        self.write_blocks(start.0.wrapping_mul(up.step), src).await?;
        self.up = Some(up);
        Ok(())
    }
}
