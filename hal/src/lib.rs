//! Storage and clock as the Ripple kernel sees them: three small traits, and adapters over them.
//!
//! In: whatever a board has (an SD card over SPI, an eMMC behind DMA, a file, a memory-mapped
//! flash). Out: [`BlockDevice`], the one way the kernel reads. Knows nothing of models or weights.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod block;
mod clock;
mod device;

pub use block::{BLOCK_BYTES, Block, BlockCount, BlockIdx};
pub use clock::{Clock, Micros};
pub use device::{BlockDevice, DeviceError, ErrorKind};
