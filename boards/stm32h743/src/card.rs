//! The SDMMC controller as a device: its DMA fills the blocks while the core computes.
//!
//! In: embassy's driver, polled by `ripple_hal::Polled`, no executor. Out: [`Card`]. A read is one
//! command, however long. Knows nothing of file systems.
//!
//! The DMA does not see the data cache. Lines of the blocks are cleaned and invalidated before it
//! starts, else one that is dirty could be written over what arrived; and again when it is done, for
//! the core may have fetched some of them ahead. A block has its lines for itself.

use cortex_m::peripheral::SCB;
use embassy_stm32::sdmmc::sd::{self, Addressable, CmdBlock, DataBlock, StorageDevice};
use embassy_stm32::sdmmc::{Error, Sdmmc};
use embassy_stm32::time::Hertz;
use ripple_hal::{
    AsyncBlockDevice, BLOCK_BYTES, Block, BlockCount, BlockIdx, DeviceError, ErrorKind, OutOfRange,
};

/// Where SDMMC1's DMA reaches: AXI SRAM. (It also reaches flash, which nobody reads into.)
const REACHED: core::ops::Range<usize> = 0x2400_0000..0x2408_0000;

/// An SD card on the SDMMC controller.
pub struct Card {
    device: StorageDevice<'static, 'static, sd::Card>,
    /// For what is read while the card is brought up; in AXI SRAM, too, and not cached.
    registers: &'static mut CmdBlock,
    clock: Hertz,
    /// The data cache.
    scb: SCB,
    /// Its size, while it waits for commands: not before it is brought up, nor after an error.
    up: Option<BlockCount>,
}

/// Why the card did not do what it was asked.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CardError {
    /// The card could not be brought up.
    Acquire(Error),
    /// A read failed.
    Read(Error),
    /// The blocks are not all on the card.
    OutOfRange(OutOfRange),
    /// The buffer is where the controller's DMA does not reach: on the stack, say.
    Unreachable,
}

impl DeviceError for CardError {
    fn kind(&self) -> ErrorKind {
        match self {
            // The slot has no switch: no card is one that answers nothing.
            Self::Acquire(Error::Timeout) => ErrorKind::NoCard,
            Self::Acquire(error) | Self::Read(error) => match error {
                Error::Timeout | Error::SoftwareTimeout => ErrorKind::Timeout,
                Error::Crc | Error::Underrun => ErrorKind::Corrupted,
                Error::NoCard => ErrorKind::NoCard,
                _ => ErrorKind::Other,
            },
            Self::Unreachable => ErrorKind::Other,
            Self::OutOfRange(error) => error.kind(),
        }
    }
}

impl Card {
    /// A card that is brought up when it is first used, then clocked at up to `clock`.
    pub fn new(
        controller: &'static mut Sdmmc<'static>,
        registers: &'static mut CmdBlock,
        clock: Hertz,
        scb: SCB,
    ) -> Self {
        let device = StorageDevice::new_uninit_sd_card(controller);
        Self { device, registers, clock, scb, up: None }
    }

    /// The card's size; it is brought up if it is not.
    async fn blocks(&mut self) -> Result<BlockCount, CardError> {
        if let Some(blocks) = self.up {
            return Ok(blocks);
        }
        let up = self.device.reacquire(self.registers, self.clock).await;
        up.map_err(CardError::Acquire)?;
        let blocks = BlockCount::for_bytes(self.device.card().size());
        self.up = Some(blocks);
        Ok(blocks)
    }
}

impl AsyncBlockDevice for Card {
    type Error = CardError;

    async fn block_count(&mut self) -> Result<BlockCount, CardError> {
        self.blocks().await
    }

    /// The first poll sends the command, a few microseconds, and the DMA does the rest.
    async fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), CardError> {
        if dst.is_empty() {
            return Ok(());
        }
        let buffer = dst.as_ptr_range();
        if !REACHED.contains(&buffer.start.addr()) || buffer.end.addr() > REACHED.end {
            return Err(CardError::Unreachable);
        }
        let blocks = self.blocks().await?;
        OutOfRange::check(start, dst, blocks).map_err(CardError::OutOfRange)?;
        // Until the end: a read that is dropped on the way leaves the card in the middle of data.
        self.up = None;
        let (address, bytes) = (dst.as_ptr().addr(), size_of_val(dst));
        self.scb.clean_invalidate_dcache_by_address(address, bytes);
        let read = match driver_blocks(dst) {
            [block] => self.device.read_block(start.0, block).await,
            blocks => self.device.read_blocks(start.0, blocks).await,
        };
        // Nothing has written to the blocks but the DMA: no line is dirty, so none is written back.
        self.scb.clean_invalidate_dcache_by_address(address, bytes);
        read.map_err(CardError::Read)?;
        self.up = Some(blocks);
        Ok(())
    }
}

// Lines of a Cortex-M7 are 32 bytes long.
const _: () = assert!(align_of::<Block>().is_multiple_of(32));
// The driver's block is its words and nothing else.
const _: () = assert!(size_of::<DataBlock>() == BLOCK_BYTES);
const _: () = assert!(align_of::<DataBlock>() <= align_of::<Block>());
const _: fn(DataBlock) -> [u32; BLOCK_BYTES / 4] = |DataBlock(words)| words;

/// The same memory as the driver's blocks.
#[allow(unsafe_code, reason = "the sanctioned block cast")]
fn driver_blocks(dst: &mut [Block]) -> &mut [DataBlock] {
    // SAFETY: `DataBlock` is one `[u32; 128]`, as asserted above: the same size as `Block`, no
    // stricter alignment, every bit pattern valid in both directions. The pointer and the length
    // come from one slice, borrowed for as long as the result.
    unsafe { core::slice::from_raw_parts_mut(dst.as_mut_ptr().cast(), dst.len()) }
}
