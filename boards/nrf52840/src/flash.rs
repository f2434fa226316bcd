//! The external flash as a device: its controller's DMA fills the blocks while the core computes.
//!
//! In: embassy's QSPI driver, polled by `ripple_hal::Polled`, no executor. Out: [`Flash`]. Knows
//! nothing of what is in it.

use embassy_nrf::qspi::{Error, Qspi};
use ripple_hal::{
    AsyncBlockDevice, BLOCK_BYTES, Block, BlockCount, BlockIdx, DeviceError, ErrorKind, OutOfRange,
};

/// Bytes of the MX25R6435F on an nRF52840-DK.
pub const BYTES: u32 = 8 * 1024 * 1024;

const BLOCKS: BlockCount = BlockCount::for_bytes(BYTES as u64);

/// Instructions and registers of the MX25R6435F: its datasheet, chapters 9 and 10.
mod chip {
    pub const READ_STATUS: u8 = 0x05;
    pub const WRITING: u8 = 1 << 0;
    pub const WRITE_STATUS: u8 = 0x01;
    pub const QUAD_ENABLE: u8 = 1 << 6;
    pub const READ_CONFIGURATION: u8 = 0x15;
    pub const HIGH_PERFORMANCE: u8 = 1 << 1;
}

/// The flash, from its first byte on.
pub struct Flash {
    controller: Qspi<'static>,
}

/// Why the flash did not do what it was asked.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FlashError {
    /// The driver.
    Driver(Error),
    /// The flash does not get done with writing its registers, or there is none.
    Busy,
    /// The blocks are not all in the flash.
    OutOfRange(OutOfRange),
}

impl DeviceError for FlashError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Driver(_) => ErrorKind::Other,
            Self::Busy => ErrorKind::Timeout,
            Self::OutOfRange(error) => error.kind(),
        }
    }
}

impl Flash {
    /// The flash on `controller`, switched to four data lines and to what the data sheet calls high
    /// performance: in its other mode it is not specified for much more than the 32 MHz here.
    ///
    /// Both are kept without power, so this writes only to a chip that is fresh.
    ///
    /// # Errors
    /// When the driver refuses, and when the flash does not get done.
    pub fn new(mut controller: Qspi<'static>) -> Result<Self, FlashError> {
        let mut status = [0];
        let mut configuration = [0; 2];
        let mut ask = |instruction, sent: &[u8], got: &mut [u8]| {
            controller
                .blocking_custom_instruction(instruction, sent, got)
                .map_err(FlashError::Driver)
        };
        ask(chip::READ_STATUS, &[], &mut status)?;
        ask(chip::READ_CONFIGURATION, &[], &mut configuration)?;
        let ([status], [first, second]) = (status, configuration);
        if status & chip::QUAD_ENABLE == 0 || second & chip::HIGH_PERFORMANCE == 0 {
            let set = [status | chip::QUAD_ENABLE, first, second | chip::HIGH_PERFORMANCE];
            ask(chip::WRITE_STATUS, &set, &mut [])?;
        }
        // 30 ms at most, says the data sheet; at a microsecond and more each, these are longer.
        for _ in 0..100_000 {
            let mut status = [0];
            ask(chip::READ_STATUS, &[], &mut status)?;
            let [status] = status;
            if status & chip::WRITING == 0 {
                return Ok(Self { controller });
            }
        }
        Err(FlashError::Busy)
    }
}

impl AsyncBlockDevice for Flash {
    type Error = FlashError;

    async fn block_count(&mut self) -> Result<BlockCount, FlashError> {
        Ok(BLOCKS)
    }

    /// The first poll starts the transfer; to drop the future waits for its end.
    async fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), FlashError> {
        OutOfRange::check(start, dst, BLOCKS).map_err(FlashError::OutOfRange)?;
        // A block is aligned for words, as the controller asks; and it lies in RAM, as all that can
        // be written does here.
        let address = start.0.saturating_mul(BLOCK_BYTES as u32);
        self.controller.read(address, Block::bytes_mut(dst)).await.map_err(FlashError::Driver)
    }
}
