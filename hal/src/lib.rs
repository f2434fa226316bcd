//! Storage and clock as the Ripple kernel sees them: three small traits, and adapters over them.
//!
//! In: whatever a board has (an SD card over SPI, an eMMC behind DMA, a file, a memory-mapped
//! flash). Out: [`BlockDevice`], the one way the kernel reads. Knows nothing of models or weights.
//! No allocation, no `std`, and no panic: `boards/check` in the repository links everything here and
//! fails if one can be reached.
//!
//! | to read from | use |
//! |---|---|
//! | bytes in memory | [`Slice`] |
//! | a file, or one over semihosting | [`Stream`] |
//! | a card driven by `embedded-sdmmc` | `Card` (feature `sdmmc`) |
//! | a card on a SPI bus with DMA | `SpiCard` (feature `spi-card`), in a [`Polled`] |
//! | a file on a card with FAT16 or FAT32 | [`FatFile`], then [`ExtentDevice`] |
//! | a partition without a file system | [`RawPartition`] |
//! | an async driver | [`Polled`] |
//!
//! Cards, partitions, files and the adapters are written as well where what is under them is a
//! [`WriteDevice`]. [`calibrate`] times a card at boot and gives the collapse gap, [`Retry`] tries again
//! and [`Faulty`] fails on purpose; they nest.
//!
//! # Units
//!
//! Storage is counted in blocks of [`BLOCK_BYTES`] = 512 bytes: [`BlockIdx`] is a place,
//! [`BlockCount`] a length, [`Block`] the bytes, aligned for DMA. Time is in [`Micros`]. Sums saturate:
//! an address past the end is refused by the device, never wrapped onto block 0.
//!
//! # Errors
//!
//! Every device has an error type of its own, with the detail; [`DeviceError::kind`] makes an
//! [`ErrorKind`] of it, which says whether reading again has a chance.
//!
//! # A device of your own
//!
//! One required read; [`read_while`](BlockDevice::read_while) is overridden where a transfer runs
//! beside the core.
//!
//! ```
//! use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, Retry, Slice};
//!
//! /// A device whose every second read times out.
//! struct Flaky<D> {
//!     inner: D,
//!     reads: u32,
//! }
//!
//! impl<D: BlockDevice<Error = ErrorKind>> BlockDevice for Flaky<D> {
//!     type Error = ErrorKind;
//!
//!     fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
//!         self.inner.block_count()
//!     }
//!
//!     fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
//!         self.reads += 1;
//!         if self.reads % 2 == 1 {
//!             return Err(ErrorKind::Timeout);
//!         }
//!         self.inner.read(start, dst)
//!     }
//! }
//!
//! let bytes = [7; 1000];
//! let mut blocks = [Block::ZERO; 2];
//! let mut device = Flaky { inner: Slice::new(&bytes), reads: 0 };
//! assert_eq!(device.read(BlockIdx(0), &mut blocks), Err(ErrorKind::Timeout));
//!
//! // An adapter is a device too.
//! let mut device = Retry::new(device, 3);
//! assert_eq!(device.block_count(), Ok(BlockCount(2)));
//! assert_eq!(device.read(BlockIdx(0), &mut blocks), Ok(()));
//! assert_eq!(Block::bytes(&blocks)[998..1002], [7, 7, 0, 0]);
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `sdmmc` | `Card`: a card behind the block device of `embedded-sdmmc`. |
//! | `spi-card` | `SpiCard`: a card on a SPI bus with DMA, whose reads overlap with what is computed. |
//! | `defmt` | `defmt::Format` on every public error and number. |
//!
//! None is on by default. They only add, and no result changes with them.
//!
//! # Minimum supported Rust version
//!
//! Rust 1.88, for let chains (`if let .. && ..`). Raising it is a minor version.
//! How far that is tested: clippy's `incompatible_msrv` is denied, so nothing of `core` that is newer is
//! used, and no dependency declares a newer one. No build with 1.88 itself is part of the tests yet.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Tests say `unwrap` and index.
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

#[cfg(test)]
extern crate std;

mod adapter;
mod block;
mod clock;
mod cost;
mod device;
mod driver;
mod volume;

pub use adapter::{Faults, Faulty, FaultyError, Polled, Retry};
pub use block::{BLOCK_BYTES, Block, BlockCount, BlockIdx};
pub use clock::{Clock, Micros};
pub use cost::{CalibrateError, Calibration, calibrate};
pub use device::{
    AsyncBlockDevice, AsyncWriteDevice, BlockDevice, Coming, DeviceError, ErrorKind, OutOfRange,
    WriteDevice,
};
#[cfg(feature = "sdmmc")]
pub use driver::{Card, CardError};
pub use driver::{Slice, Stream, StreamError};
#[cfg(feature = "spi-card")]
pub use driver::{SpiCard, SpiCardError};
pub use volume::{
    ExtentDevice, ExtentError, Extents, FatError, FatFile, FileExtent, Partition, PartitionError,
    PartitionTable, RawPartition, is_fat_name,
};
