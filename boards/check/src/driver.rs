//! A card behind `embedded-sdmmc`'s own SPI driver, over a bus that is one volatile word.

use crate::io::{coin, give, word};
use core::convert::Infallible;
use embedded_hal::delay::DelayNs;
use embedded_hal::spi::{ErrorType, Operation, SpiDevice};
use embedded_sdmmc::SdCard;
use ripple_hal::Card;

/// The bus.
pub struct Spi;

impl ErrorType for Spi {
    type Error = Infallible;
}

impl SpiDevice for Spi {
    #[inline(never)]
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        for operation in operations {
            match operation {
                Operation::Read(out) | Operation::TransferInPlace(out) => {
                    out.iter_mut().for_each(|byte| *byte = word() as u8);
                }
                Operation::Write(bytes) => bytes.iter().for_each(|byte| give((*byte).into())),
                Operation::Transfer(out, bytes) => {
                    bytes.iter().for_each(|byte| give((*byte).into()));
                    out.iter_mut().for_each(|byte| *byte = word() as u8);
                }
                Operation::DelayNs(ns) => give(*ns),
            }
        }
        Ok(())
    }
}

/// A delay.
pub struct Wait;

impl DelayNs for Wait {
    #[inline(never)]
    fn delay_ns(&mut self, ns: u32) {
        while coin() {
            give(ns);
        }
    }
}

/// The card, made ready again after an error.
pub fn card() -> Card<SdCard<Spi, Wait>> {
    Card::with_recovery(SdCard::new(Spi, Wait), |card| card.mark_card_uninit())
}
