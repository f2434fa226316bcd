//! Storage and clock as the Ripple kernel sees them: three small traits, and adapters over them.
//!
//! In: whatever a board has (an SD card over SPI, an eMMC behind DMA, a file, a memory-mapped
//! flash). Out: [`BlockDevice`], the one way the kernel reads. Knows nothing of models or weights.
//!
//! | to read from | use |
//! |---|---|
//! | a file, or one over semihosting | [`Stream`] |
//! | a card driven by `embedded-sdmmc` | `Card` (feature `sdmmc`) |
//! | a card on a SPI bus with DMA | `SpiCard` (feature `spi-card`), in a [`Polled`] |
//! | a file on a card with FAT16 or FAT32 | [`FatFile`], then [`ExtentDevice`] |
//! | a partition without a file system | [`RawPartition`] |
//! | an async driver | [`Polled`] |
//! | a card that others use too | [`SharedDevice`] |
//!
//! [`calibrate`] times a card at boot and gives the collapse gap, [`Tuned`] keeps it up to date;
//! [`Timed`] measures, [`Retry`] tries again and [`Faulty`] fails on purpose; they nest.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Tests say `unwrap` and index.
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

#[cfg(test)]
extern crate std;

mod adapter;
mod block;
mod calibrate;
mod clock;
mod cost;
mod device;
mod extent;
mod fat;
mod gap;
mod mbr;
mod partition;
#[cfg(feature = "sdmmc")]
mod sdmmc;
mod slice;
#[cfg(feature = "spi-card")]
mod spi_card;
mod stream;

pub use adapter::{
    AsyncBlockDevice, Faults, Faulty, FaultyError, Latencies, Polled, Retry, Shared, SharedDevice,
    SharedError, Timed, Tuned,
};
pub use block::{BLOCK_BYTES, Block, BlockCount, BlockIdx};
pub use calibrate::{CalibrateError, calibrate};
pub use clock::{Clock, Micros};
pub use cost::{Calibration, CostPoint};
pub use device::{BlockDevice, DeviceError, ErrorKind, OutOfRange, WriteDevice};
pub use extent::{ExtentDevice, ExtentError, Extents, FileExtent};
pub use fat::{FatError, FatFile, is_fat_name};
pub use gap::ReadPattern;
pub use mbr::{Partition, PartitionTable};
pub use partition::{PartitionError, RawPartition};
#[cfg(feature = "sdmmc")]
pub use sdmmc::{Card, CardError};
pub use slice::Slice;
#[cfg(feature = "spi-card")]
pub use spi_card::{SpiCard, SpiCardError};
pub use stream::{Stream, StreamError};
