//! Ripple on the Stellaris LM3S6965 evaluation board: Cortex-M3, 64 KiB of RAM, 256 KiB of flash.
//!
//! The front of the image is in flash; the FFN is read from the file `RIPPLE.IMG` on an SD card over
//! SPI, formatted as FAT32.
#![no_std]
#![no_main]

mod clock;
mod halt;
mod register;
mod spi;
mod uart;
mod vectors;

use cortex_m_rt::entry;
use embedded_sdmmc::sdcard::spi::{AcquireOpts, SdCard};
use ripple_app::{Fat, Port, board::LM3S6965EVB as BOARD};
use ripple_cortex_m::{ram, stop};
use ripple_hal::Card;
use ripple_kernel::image::FILE_NAME;

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

#[entry]
fn main() -> ! {
    ram::paint();
    // SAFETY: the peripherals of this chip, each taken once, here.
    let (clock, console, slot) =
        unsafe { (clock::SysTick::start(), uart::Uart::new(), spi::Slot::new()) };
    let options = AcquireOpts { use_crc: true, acquire_retries: 5 };
    let card = SdCard::new_with_options(slot, clock::Wait, options);
    let card = Card::with_recovery(card, |card| card.mark_card_uninit());
    let (memory, desk) = ripple_app::lend!(PLAN, BOARD.line);
    let port = Port { board: &BOARD, console, clock, ram: ram::used };
    ripple_app::run(port, Fat::new(card, FILE_NAME), MAPPED, memory, desk, &BOARD.options);
    stop()
}
