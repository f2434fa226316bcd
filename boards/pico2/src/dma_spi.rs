//! A SPI bus that transfers by DMA.
//!
//! In: an SPI controller and two DMA channels. Out: [`DmaSpi`], both the blocking `SpiBus`, for
//! commands of a few bytes, and the async one, whose transfers in place run by themselves. Knows
//! nothing of cards.
//!
//! The memory of a transfer is borrowed, and the borrow ends with the future: one that is forgotten
//! (`core::mem::forget`) would leave the DMA writing to memory that is no longer its. No type can forbid that,
//! and a buffer of its own would cost a copy and the overlap of long reads, so the constructor asks for the
//! promise that it does not happen.

use core::future::poll_fn;
use core::marker::PhantomData;
use core::task::Poll;
use embedded_hal::spi::{Error, ErrorKind, ErrorType, SpiBus};
use rp235x_hal::dma::bidirectional::{Config, Transfer};
use rp235x_hal::dma::{CH0, CH1, Channel, ReadTarget, WriteTarget};
use rp235x_hal::fugit::HertzU32;
use rp235x_hal::spi::{Enabled, Spi, SpiDevice, ValidSpiPinout};

type Channels = (Channel<CH0>, Channel<CH1>);

/// A transfer of the DMA: from memory, through the controller, to memory.
type ThroughSpi<D, P> = Transfer<Channel<CH0>, Channel<CH1>, Lent, Spi<Enabled, D, P, 8>, Lent>;

/// An SPI controller whose transfers in place go by DMA: channel 0 sends, channel 1 receives.
pub struct DmaSpi<D: SpiDevice, P: ValidSpiPinout<D>> {
    /// Nothing while a transfer has them.
    parts: Option<(Spi<Enabled, D, P, 8>, Channels)>,
    peripheral_clock: HertzU32,
}

/// A transfer was forgotten, neither finished nor dropped, and took the controller with it.
#[derive(Clone, Copy, Debug)]
pub struct Forgotten;

impl Error for Forgotten {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl<D: SpiDevice, P: ValidSpiPinout<D>> DmaSpi<D, P> {
    /// A bus of `spi`, which runs on a clock of `peripheral_clock`.
    ///
    /// # Safety
    /// Every future of a transfer in place, and whatever holds one, is polled to its end or dropped, and never
    /// forgotten: `ripple_hal::Polled` does so with the futures of the device that it owns.
    #[allow(unsafe_code, reason = "the DMA of this board")]
    pub unsafe fn new(
        spi: Spi<Enabled, D, P, 8>,
        channels: Channels,
        peripheral_clock: HertzU32,
    ) -> Self {
        Self { parts: Some((spi, channels)), peripheral_clock }
    }

    /// Sets the bus clock to at most `hertz`.
    pub fn set_clock(&mut self, hertz: u32) {
        if let Some((spi, _)) = &mut self.parts {
            spi.set_baudrate(self.peripheral_clock, HertzU32::from_raw(hertz));
        }
    }

    fn spi(&mut self) -> Result<&mut Spi<Enabled, D, P, 8>, Forgotten> {
        self.parts.as_mut().map(|(spi, _)| spi).ok_or(Forgotten)
    }
}

impl<D: SpiDevice, P: ValidSpiPinout<D>> ErrorType for DmaSpi<D, P> {
    type Error = Forgotten;
}

fn infallible<T>(result: Result<T, core::convert::Infallible>) -> Result<T, Forgotten> {
    result.map_err(|never| match never {})
}

impl<D: SpiDevice, P: ValidSpiPinout<D>> SpiBus for DmaSpi<D, P> {
    fn read(&mut self, words: &mut [u8]) -> Result<(), Forgotten> {
        infallible(self.spi()?.read(words))
    }

    fn write(&mut self, words: &[u8]) -> Result<(), Forgotten> {
        infallible(self.spi()?.write(words))
    }

    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Forgotten> {
        infallible(self.spi()?.transfer(read, write))
    }

    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Forgotten> {
        infallible(self.spi()?.transfer_in_place(words))
    }

    fn flush(&mut self) -> Result<(), Forgotten> {
        infallible(self.spi()?.flush())
    }
}

/// Only a transfer in place, which is how a card's blocks arrive, is worth a DMA set-up here.
impl<D: SpiDevice, P: ValidSpiPinout<D>> embedded_hal_async::spi::SpiBus for DmaSpi<D, P> {
    async fn read(&mut self, words: &mut [u8]) -> Result<(), Forgotten> {
        SpiBus::read(self, words)
    }

    async fn write(&mut self, words: &[u8]) -> Result<(), Forgotten> {
        SpiBus::write(self, words)
    }

    async fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Forgotten> {
        SpiBus::transfer(self, read, write)
    }

    /// Started by the first poll. To drop the future waits for the end of the transfer.
    async fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Forgotten> {
        let running = Running::start(&mut self.parts, words)?;
        poll_fn(|_| if running.is_done() { Poll::Ready(Ok(())) } else { Poll::Pending }).await
    }

    async fn flush(&mut self) -> Result<(), Forgotten> {
        SpiBus::flush(self)
    }
}

/// Memory that a transfer sends from and receives into: each byte is sent before its place is
/// written, since the controller cannot receive what it has not clocked out.
struct Lent {
    start: *mut u8,
    len: usize,
}

#[allow(unsafe_code, reason = "the DMA of this board")]
// SAFETY: the address and the length are of memory that is borrowed for as long as `Running` lives, which is
// dropped, as promised to `DmaSpi::new`; and they are always the same.
unsafe impl ReadTarget for Lent {
    type ReceivedWord = u8;

    fn rx_treq() -> Option<u8> {
        None
    }

    fn rx_address_count(&self) -> (u32, u32) {
        (self.start as u32, self.len as u32)
    }

    fn rx_increment(&self) -> bool {
        true
    }
}

#[allow(unsafe_code, reason = "the DMA of this board")]
// SAFETY: as above, and the borrow is a mutable one.
unsafe impl WriteTarget for Lent {
    type TransmittedWord = u8;

    fn tx_treq() -> Option<u8> {
        None
    }

    fn tx_address_count(&mut self) -> (u32, u32) {
        (self.start as u32, self.len as u32)
    }

    fn tx_increment(&self) -> bool {
        true
    }
}

/// A transfer under way. Its drop waits for the end and puts the controller back, so that the
/// borrow of the memory cannot end before the DMA is done with it (see `DmaSpi::new`).
struct Running<'a, D: SpiDevice, P: ValidSpiPinout<D>> {
    transfer: Option<ThroughSpi<D, P>>,
    parts: &'a mut Option<(Spi<Enabled, D, P, 8>, Channels)>,
    /// The memory stays borrowed.
    _words: PhantomData<&'a mut [u8]>,
}

impl<'a, D: SpiDevice, P: ValidSpiPinout<D>> Running<'a, D, P> {
    fn start(
        parts: &'a mut Option<(Spi<Enabled, D, P, 8>, Channels)>,
        words: &'a mut [u8],
    ) -> Result<Self, Forgotten> {
        let (spi, channels) = parts.take().ok_or(Forgotten)?;
        let (start, len) = (words.as_mut_ptr(), words.len());
        let (from, to) = (Lent { start, len }, Lent { start, len });
        let transfer = Some(Config::new(channels, from, spi, to).start());
        Ok(Self { transfer, parts, _words: PhantomData })
    }

    fn is_done(&self) -> bool {
        self.transfer.as_ref().is_none_or(Transfer::is_done)
    }
}

impl<D: SpiDevice, P: ValidSpiPinout<D>> Drop for Running<'_, D, P> {
    fn drop(&mut self) {
        if let Some(transfer) = self.transfer.take() {
            let (channels, _, spi, _) = transfer.wait();
            *self.parts = Some((spi, channels));
        }
    }
}
