//! Ripple inside an async application on a Raspberry Pi Pico 2: one of several tasks.
//!
//! The model is polled between layers: `Pass::layer`, then a yield. A second task blinks
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
use ripple_app::board::PICO2_EMBASSY as BOARD;
use ripple_app::{Command, Desk, Event, Failed, Fat, Identity, Input, Mounted, Storage};
use ripple_hal::{BlockDevice, DeviceError, ErrorKind, Micros, Polled, SpiCard, calibrate};
use ripple_kernel::image::FILE_NAME;
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::{Decoder, Memory, OpenError};
use static_cell::ConstStaticCell;
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
    // The card drives MISO only while it is selected; the driver takes the pull-up away.
    embassy_rp::pac::PADS_BANK0.gpio(16).modify(|pad| pad.set_pue(true));
    let select = Output::new(p.PIN_17, Level::High);
    let card = SpiCard::new(bus, select, Delay, Spi::set_frequency, CARD_HERTZ);
    let mut storage = Fat::new(Polled::new(card), FILE_NAME);

    console.say(Event::Start { board: BOARD.name }).await;
    let (mut memory, mut desk) = ripple_app::lend!(PLAN, BOARD.line);
    let mut waiting = false;
    loop {
        match serve(&mut console, &mut storage, &mut memory, &mut desk, waiting).await {
            Closed::Lost => waiting = false,
            Closed::Failed(Some(ErrorKind::NoCard)) => {
                if !waiting {
                    console.say(Event::Waiting).await;
                }
                waiting = true;
                Timer::after_secs(1).await;
            }
            Closed::Failed(_) => {
                waiting = false;
                console.say(Event::Note("press Enter to try again")).await;
                _ = console.line(desk.line).await;
            }
        }
    }
}

/// Why the image has to be mounted again.
enum Closed {
    /// The card failed, or is another one.
    Lost,
    /// It could not be opened: the kind of the device's error, if it was one.
    Failed(Option<ErrorKind>),
}

/// Mounts and opens the image, then answers prompts, a line each, until the card fails for good. What is
/// wrong is said; another missing card is not worth a word while one is being waited for.
async fn serve(
    console: &mut Console,
    storage: &mut Fat<Card>,
    memory: &mut Memory<'static>,
    desk: &mut Desk<'static>,
    waiting: bool,
) -> Closed {
    let Mounted { mut device, pieces } = match storage.mount(memory.staging) {
        Ok(mounted) => mounted,
        Err(error) => {
            let kind = error.kind();
            if !(waiting && kind == ErrorKind::NoCard) {
                console.say(Event::Fault { doing: "mount", error: &error }).await;
            }
            return Closed::Failed(Some(kind));
        }
    };
    let mut identity = match Identity::of(&mut device, desk.block) {
        Ok(identity) => identity,
        Err(error) => {
            let kind = error.kind();
            console.say(Event::Fault { doing: "open", error: &kind }).await;
            return Closed::Failed(Some(kind));
        }
    };
    let calibration = calibrate(&mut device, &BoardClock, memory.staging, CALIBRATION);
    let memory = Memory {
        work: &mut *memory.work,
        staging: &mut *memory.staging,
        cache: &mut *memory.cache,
        index: &mut *memory.index,
        kv: &mut *memory.kv,
    };
    let mut decoder = match Decoder::open(device, MAPPED, memory, &BOARD.options, ()) {
        Ok(decoder) => decoder,
        Err(error) => {
            let error = error.kinds();
            console.say(Event::Fault { doing: "open", error: &error }).await;
            return Closed::Failed(match error {
                OpenError::Device { source, .. } => Some(source),
                _ => None,
            });
        }
    };
    let header = *decoder.header();
    let (context, mapped) = (decoder.context(), MAPPED.len());
    let model = &header.geometry.config;
    console.say(Event::Open { model, context, mapped, blocks: header.blocks, pieces }).await;
    console.say(Event::Plan(&decoder.plan())).await;
    if let Ok(calibration) = calibration {
        console.say(Event::Card(&calibration)).await;
        let gap = calibration.collapse_gap();
        decoder.set_collapse_gap(gap);
        // Once calibrated: with a command open, no access time would have been found.
        if let Err(error) = decoder.device_mut().stay_open(Some(gap)) {
            let kind = error.kind();
            console.say(Event::Fault { doing: "open", error: &kind }).await;
            return Closed::Failed(Some(kind));
        }
    }
    let Some(Ok(tokenizer)) = decoder.image().tokenizer().map(Tokenizer::parse) else {
        console.say(Event::Note("the image has no tokenizer in its front")).await;
        return Closed::Failed(None);
    };
    loop {
        console.write(b"> ").await;
        match console.line(desk.line).await {
            Input::Prompt(text) => {
                let (ids, clock) = (&mut *desk.ids, &BoardClock);
                let told =
                    story::tell(&mut decoder, &mut identity, &tokenizer, text, ids, console, clock);
                if told.await == Err(Failed::Lost) {
                    return Closed::Lost;
                }
            }
            Input::Command(Command::Gap(gap)) => decoder.set_collapse_gap(gap),
            Input::Command(_) | Input::Unusable => {
                console.say(Event::Note("a text to go on from, or /gap BLOCKS")).await;
            }
            Input::End => {}
        }
    }
}
