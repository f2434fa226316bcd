//! An SD card or an eMMC behind a standard SD host controller (SDHCI), as a block device.
//!
//! In: the controller's [`Registers`] and a clock. Out: [`Sdhci`], a [`BlockDevice`] that is
//! written too. Knows nothing of boards, file systems, or what the blocks hold.
//!
//! A read is one command, CMD17 or CMD18 with automatic CMD12, straight into the caller's blocks: by
//! programmed I/O, or by the controller's DMA (SDMA) where [`Registers::begin_dma`] offers it; then
//! [`BlockDevice::read_while`] computes while the controller writes. Where the device is to
//! [stay open](BlockDevice::stay_open), a read by programmed I/O is a CMD18 without a count, which reads further on
//! go on with; CMD12 ends it.
//!
//! A write is one command, CMD24 or CMD25 with automatic CMD12, straight from the caller's blocks: by
//! programmed I/O, or by SDMA where [`Registers::begin_dma_from`] offers it; then CMD13 until the card has
//! it.
//!
//! Sources: SD Host Controller Simplified Specification 3.00; SD Physical Layer Simplified
//! Specification 6.00; JEDEC JESD84-B51 (eMMC).
//!
//! [`BlockDevice`]: ripple_hal::BlockDevice
//! [`BlockDevice::read_while`]: ripple_hal::BlockDevice::read_while
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod card;
mod command;
mod device;
mod error;
mod host;
mod registers;
mod transfer;

pub use device::{Media, Options, Sdhci};
pub use error::SdhciError;
pub use registers::{Mmio, Registers};
