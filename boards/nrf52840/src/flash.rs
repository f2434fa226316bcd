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

/// Instructions and registers of the MX25R6435F: its data sheet, chapters 9 and 10.
mod chip {
    pub const READ_IDENTITY: u8 = 0x9F;
    /// Macronix, MX25R, 64 Mbit.
    pub const IDENTITY: [u8; 3] = [0xC2, 0x28, 0x17];
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
    /// Whether it is known to be the chip that it should be, and set up.
    ready: bool,
}

/// Why the flash did not do what it was asked.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FlashError {
    /// The driver.
    Driver(Error),
    /// It is another chip, or none.
    Unknown,
    /// The flash does not get done with writing its registers.
    Busy,
    /// The blocks are not all in the flash.
    OutOfRange(OutOfRange),
}

impl DeviceError for FlashError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Driver(_) | Self::Unknown => ErrorKind::Other,
            Self::Busy => ErrorKind::Timeout,
            Self::OutOfRange(error) => error.kind(),
        }
    }
}

impl Flash {
    /// The flash on `controller`, which is set up when it is first used.
    pub const fn new(controller: Qspi<'static>) -> Self {
        Self { controller, ready: false }
    }

    /// Sends an instruction that takes as many bytes as it gives, or either.
    fn ask(&mut self, instruction: u8, sent: &[u8], got: &mut [u8]) -> Result<(), FlashError> {
        self.controller
            .blocking_custom_instruction(instruction, sent, got)
            .map_err(FlashError::Driver)
    }

    /// Switches the flash to four data lines and to what the data sheet calls high performance: in
    /// its other mode four lines are not specified for the 32 MHz here.
    ///
    /// Both are kept without power, so this writes only to a chip that is fresh.
    fn set_up(&mut self) -> Result<(), FlashError> {
        if self.ready {
            return Ok(());
        }
        let mut identity = [0; 3];
        self.ask(chip::READ_IDENTITY, &[], &mut identity)?;
        if identity != chip::IDENTITY {
            return Err(FlashError::Unknown);
        }
        let (mut status, mut configuration) = ([0], [0; 2]);
        self.ask(chip::READ_STATUS, &[], &mut status)?;
        self.ask(chip::READ_CONFIGURATION, &[], &mut configuration)?;
        let ([status], [first, second]) = (status, configuration);
        if status & chip::QUAD_ENABLE == 0 || second & chip::HIGH_PERFORMANCE == 0 {
            let set = [status | chip::QUAD_ENABLE, first, second | chip::HIGH_PERFORMANCE];
            self.ask(chip::WRITE_STATUS, &set, &mut [])?;
        }
        // 30 ms at most, says the data sheet; at a microsecond and more each, these are longer.
        for _ in 0..100_000 {
            let mut status = [0];
            self.ask(chip::READ_STATUS, &[], &mut status)?;
            let [status] = status;
            if status & chip::WRITING == 0 {
                self.ready = true;
                return Ok(());
            }
        }
        Err(FlashError::Busy)
    }
}

// The controller transfers whole words, to where words may lie, and counts the bytes in 18 bits.
const _: () = assert!(align_of::<Block>().is_multiple_of(4) && BLOCK_BYTES.is_multiple_of(4));
const MOST_BLOCKS: usize = ((1 << 18) - 1) / BLOCK_BYTES;

impl AsyncBlockDevice for Flash {
    type Error = FlashError;

    async fn block_count(&mut self) -> Result<BlockCount, FlashError> {
        self.set_up().map(|()| BLOCKS)
    }

    /// The first poll starts the transfer; to drop the future waits for its end, which is sure to
    /// come: the controller clocks so many bytes in, whatever answers.
    async fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), FlashError> {
        OutOfRange::check(start, dst, BLOCKS).map_err(FlashError::OutOfRange)?;
        self.set_up()?;
        let mut at = start;
        for piece in dst.chunks_mut(MOST_BLOCKS) {
            let address = at.0.saturating_mul(BLOCK_BYTES as u32);
            let bytes = Block::bytes_mut(piece);
            // It lies in RAM, as all that can be written does here.
            self.controller.read(address, bytes).await.map_err(FlashError::Driver)?;
            at = at + BlockCount(MOST_BLOCKS as u32);
        }
        Ok(())
    }
}
