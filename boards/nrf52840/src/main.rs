//! Ripple on an nRF52840-DK: an nRF52840, 256 KiB of RAM, 1 MiB of flash.
//!
//! The front of the image is in that flash; the FFN is read from 8 MiB of external flash on QSPI,
//! where the image begins at address 0. The README says how it gets there.
#![no_std]
#![no_main]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod console;
mod flash;

use console::Console;
use embassy_nrf::buffered_uarte::{self, BufferedUarte};
use embassy_nrf::config::{Config, HfclkSource, LfclkSource};
use embassy_nrf::qspi::{self, Qspi};
use embassy_nrf::{bind_interrupts, peripherals, uarte};
use embassy_time::Instant;
use flash::Flash;
#[cfg(not(feature = "defmt"))]
use panic_halt as _;
use ripple_app::{Port, Raw, board::NRF52840 as BOARD};
use ripple_cortex_m::{ram, serial::Serial};
use ripple_hal::{Micros, Polled};
use static_cell::ConstStaticCell;
#[cfg(feature = "defmt")]
use {defmt_rtt as _, panic_probe as _};

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

bind_interrupts!(
    /// Which driver answers which interrupt.
    struct Irqs {
        QSPI => qspi::InterruptHandler<peripherals::QSPI>;
        UARTE0 => buffered_uarte::InterruptHandler<peripherals::UARTE0>;
    }
);

/// Microseconds since reset; 30.5 of them a tick.
struct BoardClock;

impl ripple_hal::Clock for BoardClock {
    fn now(&self) -> Micros {
        Micros(Instant::now().as_micros())
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    ram::paint();
    start();
    loop {
        cortex_m::asm::wfi();
    }
}

/// Brings the board up and runs the main loop; returns when there is no more to do.
fn start() -> Option<()> {
    let mut config = Config::default();
    // The crystal: a UART and calibration want a better clock than the internal one.
    config.hfclk_source = HfclkSource::ExternalXtal;
    // And so does what tells the time.
    config.lfclk_source = LfclkSource::ExternalXtal;
    let p = embassy_nrf::init(config);

    static SENT: ConstStaticCell<[u8; 256]> = ConstStaticCell::new([0; 256]);
    static RECEIVED: ConstStaticCell<[u8; 256]> = ConstStaticCell::new([0; 256]);
    // 115200 8N1.
    let console = BufferedUarte::new(
        p.UARTE0,
        p.TIMER0,
        p.PPI_CH0,
        p.PPI_CH1,
        p.PPI_GROUP0,
        p.P0_08,
        p.P0_06,
        Irqs,
        uarte::Config::default(),
        RECEIVED.try_take()?,
        SENT.try_take()?,
    );

    let mut config = qspi::Config::default();
    config.capacity = flash::BYTES;
    config.frequency = qspi::Frequency::M32;
    config.read_opcode = qspi::ReadOpcode::Read4io;
    // Deselected for 62.5 ns between two reads; the default is 5 us.
    config.sck_delay = 1;
    let controller =
        Qspi::new(p.QSPI, Irqs, p.P0_19, p.P0_17, p.P0_20, p.P0_21, p.P0_22, p.P0_23, config);
    let flash = Flash::new(controller);

    let (memory, desk) = ripple_app::lend!(PLAN, BOARD.line);
    let console = Serial(Console(console));
    let port = Port { board: &BOARD, console, clock: BoardClock, ram: ram::used };
    ripple_app::run(port, Raw(Polled::new(flash)), MAPPED, memory, desk, &BOARD.options);
    Some(())
}
