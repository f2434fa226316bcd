//! A card behind an `embedded-sdmmc` driver.
//!
//! In: anything that is `embedded_sdmmc::BlockDevice` (its SPI driver `SdCard`, or a board's own).
//! Out: [`Card`], a [`BlockDevice`]. Knows nothing of file systems: see [`FatFile`](crate::FatFile).

use crate::{
    BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, WriteDevice,
};
use core::fmt;
use embedded_sdmmc::{Block as SdBlock, BlockIdx as SdBlockIdx, SdCardError};

/// A [`BlockDevice`] over an `embedded-sdmmc` one; a read is one command, straight into `dst`.
///
/// Of several blocks, that is one CMD18; of one block, CMD17; of writes CMD25 and CMD24.
#[derive(Debug)]
pub struct Card<D> {
    device: D,
    recover: fn(&D),
}

/// The error of an `embedded-sdmmc` device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardError<E>(pub E);

/// By way of `Debug`: the driver's errors are `defmt::Format` only with its feature `defmt-log`,
/// which excludes its default feature, so it is not ours to switch on.
#[cfg(feature = "defmt")]
impl<E: fmt::Debug> defmt::Format for CardError<E> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "CardError({})", defmt::Debug2Format(&self.0));
    }
}

impl<E: core::error::Error + 'static> DeviceError for CardError<E> {
    /// The kind of an [`SdCardError`]; [`ErrorKind::Other`] for any other driver's error.
    fn kind(&self) -> ErrorKind {
        // `Any` and not `Error`: that would link the text of all its errors.
        let error: &dyn core::any::Any = &self.0;
        match error.downcast_ref::<SdCardError>() {
            Some(
                SdCardError::TimeoutReadBuffer
                | SdCardError::TimeoutWaitNotBusy
                | SdCardError::TimeoutCommand(_)
                | SdCardError::TimeoutACommand(_),
            ) => ErrorKind::Timeout,
            Some(SdCardError::CrcError(..) | SdCardError::ReadError | SdCardError::WriteError) => {
                ErrorKind::Corrupted
            }
            Some(SdCardError::CardNotFound) => ErrorKind::NoCard,
            _ => ErrorKind::Other,
        }
    }
}

impl<E: fmt::Display> fmt::Display for CardError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: core::error::Error> core::error::Error for CardError<E> {}

impl<D: embedded_sdmmc::BlockDevice> Card<D> {
    /// Wraps `device`, which is ready for the next command after an error.
    ///
    /// `embedded_sdmmc::SdCard` is not: use [`with_recovery`](Self::with_recovery) there.
    pub const fn new(device: D) -> Self {
        Self { device, recover: |_| {} }
    }

    /// Wraps `device`; `recover` is run after every failed call, to make it ready again.
    ///
    /// For `embedded_sdmmc::SdCard` 0.10 this must be `|card| card.mark_card_uninit()`: a read that
    /// fails inside CMD18 returns without CMD12, so the card goes on sending and would take the
    /// next command for part of that. Starting over (CMD0) is what it understands.
    pub const fn with_recovery(device: D, recover: fn(&D)) -> Self {
        Self { device, recover }
    }

    /// The driver, for what this trait has not: changing the bus speed, say.
    pub const fn get_ref(&self) -> &D {
        &self.device
    }

    /// Gives the driver back.
    pub fn into_inner(self) -> D {
        self.device
    }

    fn checked<T>(&self, result: Result<T, D::Error>) -> Result<T, CardError<D::Error>> {
        result.map_err(|error| {
            (self.recover)(&self.device);
            CardError(error)
        })
    }
}

impl<D: embedded_sdmmc::BlockDevice> BlockDevice for Card<D> {
    type Error = CardError<D::Error>;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        Ok(BlockCount(self.checked(self.device.num_blocks())?.0))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        if dst.is_empty() {
            return Ok(());
        }
        self.checked(self.device.read(driver_blocks_mut(dst), SdBlockIdx(start.0)))
    }
}

impl<D: embedded_sdmmc::BlockDevice> WriteDevice for Card<D> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error> {
        if src.is_empty() {
            return Ok(());
        }
        self.checked(self.device.write(driver_blocks(src), SdBlockIdx(start.0)))
    }
}

// The driver's block is its contents and nothing else, starting at its first byte, no stricter
// aligned than ours. A field added to it fails to compile in `contents_only`.
const _: () = assert!(size_of::<SdBlock>() == BLOCK_BYTES);
const _: () = assert!(core::mem::offset_of!(SdBlock, contents) == 0);
const _: () = assert!(align_of::<SdBlock>() <= align_of::<Block>());
const _: fn(SdBlock) -> [u8; BLOCK_BYTES] = contents_only;
fn contents_only(SdBlock { contents }: SdBlock) -> [u8; BLOCK_BYTES] {
    contents
}

/// The same memory as the driver's blocks, so that it fills `dst` itself and in one command.
///
/// Its type implements no zerocopy trait and its methods take slices of that type only; without
/// the cast every block would need a command or a copy.
#[allow(unsafe_code, reason = "the sanctioned block cast")]
const fn driver_blocks_mut(dst: &mut [Block]) -> &mut [SdBlock] {
    // SAFETY: `SdBlock` is one `[u8; 512]` at offset 0, as asserted above: the same size as
    // `Block`, no stricter alignment, every bit pattern valid in both directions. The pointer and
    // the length come from one slice, borrowed for as long as the result.
    unsafe { core::slice::from_raw_parts_mut(dst.as_mut_ptr().cast(), dst.len()) }
}

/// The same of blocks that are only looked at.
#[allow(unsafe_code, reason = "the sanctioned block cast")]
const fn driver_blocks(src: &[Block]) -> &[SdBlock] {
    // SAFETY: as in `driver_blocks_mut`; shared for as long as the result.
    unsafe { core::slice::from_raw_parts(src.as_ptr().cast(), src.len()) }
}
