//! Devices over what a board has: bytes in memory, a stream, a card's driver or its bus.

#[cfg(feature = "sdmmc")]
mod sdmmc;
mod slice;
#[cfg(feature = "spi-card")]
mod spi_card;
mod stream;

#[cfg(feature = "sdmmc")]
pub use sdmmc::{Card, CardError};
pub use slice::Slice;
#[cfg(feature = "spi-card")]
pub use spi_card::{SpiCard, SpiCardError};
pub use stream::{Stream, StreamError};
