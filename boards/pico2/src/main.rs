//! Ripple on a Raspberry Pi Pico 2: an RP2350, 520 KiB of RAM, 4 MiB of flash.
//!
//! The front of the image is in flash; the FFN is read from the file `RIPPLE.IMG` on an SD card over
//! SPI, formatted as FAT32. The README has the wiring.
#![no_std]
#![no_main]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod dma_spi;

use dma_spi::DmaSpi;
#[cfg(not(feature = "defmt"))]
use panic_halt as _;
use ripple_app::{Fat, Port, board::PICO2 as BOARD};
use ripple_cortex_m::{ram, serial::Serial};
use ripple_hal::{Micros, Polled, SpiCard};
use ripple_kernel::image::FILE_NAME;
use rp235x_hal::clocks::{Clock, init_clocks_and_plls};
use rp235x_hal::dma::DMAExt;
use rp235x_hal::fugit::HertzU32;
use rp235x_hal::gpio::{FunctionSpi, FunctionUart, Pins, PullUp};
use rp235x_hal::timer::{CopyableTimer0, Timer};
use rp235x_hal::uart::{DataBits, StopBits, UartConfig, UartPeripheral};
use rp235x_hal::{Sio, Spi, Watchdog, pac};
#[cfg(feature = "defmt")]
use {defmt_rtt as _, panic_probe as _};

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

/// The crystal of a Pico 2.
const CRYSTAL_HERTZ: u32 = 12_000_000;

/// What every SD card takes.
const CARD_HERTZ: u32 = 25_000_000;

const BAUD: HertzU32 = HertzU32::from_raw(115_200);

/// Tells the boot ROM that this is a program for the Arm cores, in secure state.
#[unsafe(link_section = ".start_block")]
#[used]
#[allow(unsafe_code, reason = "a place that the boot ROM prescribes")]
static IMAGE_DEF: rp235x_hal::block::ImageDef = rp235x_hal::block::ImageDef::secure_exe();

/// The 1 MHz timer.
struct BoardClock(Timer<CopyableTimer0>);

impl ripple_hal::Clock for BoardClock {
    fn now(&self) -> Micros {
        Micros(self.0.get_counter().ticks())
    }
}

#[rp235x_hal::entry]
fn main() -> ! {
    ram::paint();
    start();
    loop {
        cortex_m::asm::wfi();
    }
}

/// Brings the board up and runs the main loop; returns when there is no more to do.
fn start() -> Option<()> {
    let mut pac = pac::Peripherals::take()?;
    let mut watchdog = Watchdog::new(pac.WATCHDOG);
    // 150 MHz.
    let clocks = init_clocks_and_plls(
        CRYSTAL_HERTZ,
        pac.XOSC,
        pac.CLOCKS,
        pac.PLL_SYS,
        pac.PLL_USB,
        &mut pac.RESETS,
        &mut watchdog,
    )
    .ok()?;
    let timer = Timer::new_timer0(pac.TIMER0, &mut pac.RESETS, &clocks);
    let sio = Sio::new(pac.SIO);
    let pins = Pins::new(pac.IO_BANK0, pac.PADS_BANK0, sio.gpio_bank0, &mut pac.RESETS);

    let uart_pins =
        (pins.gpio0.into_function::<FunctionUart>(), pins.gpio1.into_function::<FunctionUart>());
    let console = UartPeripheral::new(pac.UART0, uart_pins, &mut pac.RESETS)
        .enable(
            UartConfig::new(BAUD, DataBits::Eight, None, StopBits::One),
            clocks.peripheral_clock.freq(),
        )
        .ok()?;

    let spi_pins = (
        pins.gpio19.into_function::<FunctionSpi>(),
        // The card drives it only while it is selected.
        pins.gpio16.into_pull_type::<PullUp>().into_function::<FunctionSpi>(),
        pins.gpio18.into_function::<FunctionSpi>(),
    );
    let peripheral_clock = clocks.peripheral_clock.freq();
    let spi = Spi::<_, _, _, 8>::new(pac.SPI0, spi_pins).init(
        &mut pac.RESETS,
        peripheral_clock,
        HertzU32::from_raw(CARD_HERTZ),
        embedded_hal::spi::MODE_0,
    );
    let dma = pac.DMA.split(&mut pac.RESETS);
    #[allow(unsafe_code, reason = "the DMA of this board")]
    // SAFETY: the bus goes into a `Polled`, which keeps no future beyond a call and forgets none.
    let bus = unsafe { DmaSpi::new(spi, (dma.ch0, dma.ch1), peripheral_clock) };
    let select = pins.gpio17.into_push_pull_output();
    let card = SpiCard::new(bus, select, timer, DmaSpi::set_clock, CARD_HERTZ);

    let (memory, desk) = ripple_app::lend!(PLAN, BOARD.line);
    let port =
        Port { board: &BOARD, console: Serial(console), clock: BoardClock(timer), ram: ram::used };
    let storage = Fat::new(Polled::new(card), FILE_NAME);
    ripple_app::run(port, storage, MAPPED, memory, desk, &BOARD.options);
    Some(())
}
