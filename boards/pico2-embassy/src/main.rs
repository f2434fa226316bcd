//! Ripple inside an async application on a Raspberry Pi Pico 2: one of several tasks.
//!
//! The model is polled between layers: `Decoder::forward_layer`, then a yield. A second task blinks
//! the LED meanwhile; it is late by a layer at most. The front of the image is in flash; the FFN is
//! read from the file `RIPPLE.IMG` on an SD card over SPI. The README has the wiring.
#![no_std]
#![no_main]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod console;
mod story;

use console::Console;
use embassy_executor::Spawner;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, SPI0, UART0};
use embassy_rp::spi::{self, Async, Spi};
use embassy_rp::uart::{self, BufferedUart};
use embassy_rp::{bind_interrupts, dma};
use embassy_time::{Delay, Instant, Timer};
#[cfg(not(feature = "defmt"))]
use panic_halt as _;
use ripple_app::{Fat, Storage, board::PICO2_EMBASSY as BOARD};
use ripple_hal::{ExtentError, Micros, Polled, SpiCard, SpiCardError, calibrate};
use ripple_kernel::image::FILE_NAME;
use ripple_kernel::tokenizer::Tokenizer;
use ripple_kernel::{Decoder, Memory};
use static_cell::ConstStaticCell;
use story::Why;
#[cfg(feature = "defmt")]
use {defmt_rtt as _, panic_probe as _};

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

bind_interrupts!(
    /// Which driver answers which interrupt.
    struct Irqs {
        UART0_IRQ => uart::BufferedInterruptHandler<UART0>;
        DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>;
    }
);

/// What every SD card takes.
const CARD_HERTZ: u32 = 25_000_000;

/// Time that calibration may take.
const CALIBRATION: Micros = Micros(100_000);

/// The card: the async driver, polled where the kernel reads, so that the DMA runs meanwhile.
type Card = Polled<SpiCard<Spi<'static, SPI0, Async>, Output<'static>, Delay>>;

/// What its file fails with.
type Fault = ExtentError<SpiCardError>;

/// Microseconds since reset.
struct BoardClock;

impl ripple_hal::Clock for BoardClock {
    fn now(&self) -> Micros {
        Micros(Instant::now().as_micros())
    }
}

/// Shows that the model does not keep the processor to itself.
#[embassy_executor::task]
async fn blink(mut led: Output<'static>) {
    loop {
        led.toggle();
        Timer::after_millis(250).await;
    }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let p = embassy_rp::init(embassy_rp::config::Config::default());
    if let Ok(task) = blink(Output::new(p.PIN_25, Level::Low)) {
        spawner.spawn(task);
    }

    static SENT: ConstStaticCell<[u8; 256]> = ConstStaticCell::new([0; 256]);
    static RECEIVED: ConstStaticCell<[u8; 256]> = ConstStaticCell::new([0; 256]);
    // 115200 8N1.
    let uart = BufferedUart::new(
        p.UART0,
        p.PIN_0,
        p.PIN_1,
        Irqs,
        SENT.take(),
        RECEIVED.take(),
        uart::Config::default(),
    );
    let mut console = Console::new(uart);

    let bus = Spi::new(
        p.SPI0,
        p.PIN_18,
        p.PIN_19,
        p.PIN_16,
        p.DMA_CH0,
        p.DMA_CH1,
        Irqs,
        spi::Config::default(),
    );
    let select = Output::new(p.PIN_17, Level::High);
    let card = SpiCard::new(bus, select, Delay, Spi::set_frequency, CARD_HERTZ);
    let mut storage = Fat::new(Polled::new(card), FILE_NAME);

    let (mut memory, desk) = ripple_app::lend!(PLAN, BOARD.line);
    loop {
        let why = serve(&mut console, &mut storage, &mut memory, desk.line, desk.ids).await;
        console.say(format_args!("{why}: again in a second\r\n")).await;
        Timer::after_secs(1).await;
    }
}

/// Opens the image and answers prompts, a line each, until the card fails for good: why.
async fn serve(
    console: &mut Console,
    storage: &mut Fat<Card>,
    memory: &mut Memory<'static>,
    line: &mut [u8],
    ids: &mut [u32],
) -> Why<Fault> {
    let mut mounted = match storage.mount(memory.staging) {
        Ok(mounted) => mounted,
        Err(error) => return Why::Mount(error),
    };
    let calibration = calibrate(&mut mounted.device, &BoardClock, memory.staging, CALIBRATION);
    let memory = Memory {
        work: &mut *memory.work,
        staging: &mut *memory.staging,
        cache: &mut *memory.cache,
        index: &mut *memory.index,
        kv: &mut *memory.kv,
    };
    let mut decoder = match Decoder::open(mounted.device, MAPPED, memory, &BOARD.options, ()) {
        Ok(decoder) => decoder,
        Err(error) => return Why::Open(error),
    };
    if let Ok(calibration) = calibration {
        decoder.set_collapse_gap(calibration.gap());
    }
    let Some(Ok(tokenizer)) = decoder.image().tokenizer().map(Tokenizer::parse) else {
        return Why::Tokenizer;
    };
    loop {
        console.say(format_args!("> ")).await;
        let text = console.line(line).await;
        let started = Instant::now();
        if let Err(error) = story::tell(&mut decoder, &tokenizer, text, ids, console).await {
            return Why::Step(error);
        }
        let (tokens, took) = (decoder.position(), started.elapsed().as_millis());
        console.say(format_args!("\r\n# {tokens} tokens in {took} ms\r\n")).await;
    }
}
