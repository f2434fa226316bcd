//! The bus between a driver and the [model](crate::spi_model) of a card.

use crate::spi_model::Sim;
use embedded_hal::spi::{ErrorKind as BusErrorKind, ErrorType, SpiBus};
use ripple_hal::{Polled, SpiCard};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future;
use std::rc::Rc;
use std::task::Poll;

/// The bus and the chip select.
#[derive(Clone)]
pub struct Wire(pub Rc<RefCell<Sim>>);

impl ErrorType for Wire {
    type Error = BusErrorKind;
}

impl SpiBus for Wire {
    fn read(&mut self, _: &mut [u8]) -> Result<(), BusErrorKind> {
        unreachable!("a card that is sent zeroes may take them for a command")
    }
    fn write(&mut self, words: &[u8]) -> Result<(), BusErrorKind> {
        words.iter().for_each(|&word| _ = self.0.borrow_mut().exchange(word));
        Ok(())
    }
    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), BusErrorKind> {
        read.copy_from_slice(write);
        SpiBus::transfer_in_place(self, read)
    }
    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), BusErrorKind> {
        words.iter_mut().for_each(|word| *word = self.0.borrow_mut().exchange(*word));
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BusErrorKind> {
        Ok(())
    }
}

async fn one_poll() {
    let mut begun = false;
    future::poll_fn(|_| {
        if std::mem::replace(&mut begun, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

impl embedded_hal_async::spi::SpiBus for Wire {
    async fn read(&mut self, _: &mut [u8]) -> Result<(), BusErrorKind> {
        unreachable!()
    }
    async fn write(&mut self, words: &[u8]) -> Result<(), BusErrorKind> {
        one_poll().await;
        SpiBus::write(self, words)
    }
    async fn transfer(&mut self, _: &mut [u8], _: &[u8]) -> Result<(), BusErrorKind> {
        unreachable!()
    }
    /// Begins in the first poll and is over in the second, as DMA.
    async fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), BusErrorKind> {
        assert!(words.iter().all(|&word| word == 0xFF));
        self.0.borrow_mut().transfers += 1;
        one_poll().await;
        SpiBus::transfer_in_place(self, words)
    }
    async fn flush(&mut self) -> Result<(), BusErrorKind> {
        Ok(())
    }
}

impl embedded_hal::digital::ErrorType for Wire {
    type Error = Infallible;
}

impl embedded_hal::digital::OutputPin for Wire {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.borrow_mut().selected = true;
        Ok(())
    }
    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.borrow_mut().selected = false;
        Ok(())
    }
}

#[derive(Clone)]
pub struct NoDelay;

impl embedded_hal::delay::DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

pub type Card = Polled<SpiCard<Wire, Wire, NoDelay>>;

pub fn card(bytes: &[u8], high_capacity: bool) -> (Card, Rc<RefCell<Sim>>) {
    let sim = Rc::new(RefCell::new(Sim::new(bytes, high_capacity)));
    let wire = Wire(sim.clone());
    let set_clock = |wire: &mut Wire, hertz| wire.0.borrow_mut().hertz = hertz;
    let card = SpiCard::new(wire.clone(), wire, NoDelay, set_clock, 25_000_000);
    (Polled::new(card), sim)
}
