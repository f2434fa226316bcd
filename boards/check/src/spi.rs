//! A card on a SPI bus with DMA.

use crate::io::{self, coin, give, word};
use core::convert::Infallible;
use core::future::poll_fn;
use core::task::Poll;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::spi::{ErrorKind, ErrorType, SpiBus};
use embedded_hal_async::spi::SpiBus as DmaBus;
use ripple_hal::{Polled, SpiCard};

struct Bus;

impl ErrorType for Bus {
    type Error = ErrorKind;
}

fn outcome() -> Result<(), ErrorKind> {
    if coin() { Ok(()) } else { Err(ErrorKind::Overrun) }
}

fn fill(words: &mut [u8]) -> Result<(), ErrorKind> {
    words.iter_mut().for_each(|byte| *byte = word() as u8);
    outcome()
}

fn take(words: &[u8]) -> Result<(), ErrorKind> {
    words.iter().for_each(|byte| give((*byte).into()));
    outcome()
}

fn poll<T>(done: impl FnOnce() -> T) -> Poll<T> {
    if coin() { Poll::Pending } else { Poll::Ready(done()) }
}

impl SpiBus for Bus {
    fn read(&mut self, words: &mut [u8]) -> Result<(), ErrorKind> {
        fill(words)
    }

    fn write(&mut self, words: &[u8]) -> Result<(), ErrorKind> {
        take(words)
    }

    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), ErrorKind> {
        take(write)?;
        fill(read)
    }

    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), ErrorKind> {
        take(words)?;
        fill(words)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        outcome()
    }
}

#[allow(refining_impl_trait, reason = "as `async fn` does")]
impl DmaBus for Bus {
    fn read(&mut self, words: &mut [u8]) -> impl Future<Output = Result<(), ErrorKind>> {
        poll_fn(move |_| poll(|| fill(words)))
    }

    fn write(&mut self, words: &[u8]) -> impl Future<Output = Result<(), ErrorKind>> {
        poll_fn(move |_| poll(|| take(words)))
    }

    fn transfer(
        &mut self,
        read: &mut [u8],
        write: &[u8],
    ) -> impl Future<Output = Result<(), ErrorKind>> {
        poll_fn(move |_| poll(|| take(write).and_then(|()| fill(read))))
    }

    fn transfer_in_place(
        &mut self,
        words: &mut [u8],
    ) -> impl Future<Output = Result<(), ErrorKind>> {
        poll_fn(move |_| poll(|| fill(words)))
    }

    fn flush(&mut self) -> impl Future<Output = Result<(), ErrorKind>> {
        poll_fn(|_| poll(outcome))
    }
}

/// The chip select, or a wait.
#[derive(Clone)]
struct Pin;

impl digital::ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        give(0);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        give(1);
        Ok(())
    }
}

impl DelayNs for Pin {
    fn delay_ns(&mut self, time: u32) {
        give(time);
    }
}

/// All of the card.
#[inline(never)]
pub fn run() {
    io::written(Polled::new(SpiCard::new(Bus, Pin, Pin, |_, hertz| give(hertz), word())));
}
