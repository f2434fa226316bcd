//! Ripple on Arm's MPS3 with the AN547 image (Cortex-M55), as QEMU emulates it.
//!
//! The card is the file `card.img`, over semihosting, for this machine has no SD slot; its reads take
//! as long as those of an SD card on a 4-bit bus at 50 MHz (the preset `sdio-hs`).
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use panic_semihosting as _;
use ripple_app::{Port, Raw, board::MPS3_AN547 as BOARD};
use ripple_cortex_m::cmsdk::Uart;
use ripple_cortex_m::{file::HostFile, paced::Paced, ram, sse::Counter, stop, stop_with};
use ripple_hal::Micros;

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

const HZ: u32 = 32_000_000;

#[entry]
fn main() -> ! {
    ram::paint();
    // SAFETY: UART 0 and the counter of this machine; taken once, here.
    let (console, clock) = unsafe { (Uart::new(0x4930_3000, HZ), Counter::start(HZ)) };
    let Ok(file) = HostFile::open(c"card.img") else { stop_with(2) };
    let (memory, desk) = ripple_app::lend!(PLAN, BOARD.line);
    let card = Paced::new(file, &clock, Micros(400), 20);
    let port = Port { board: &BOARD, console, clock: &clock, ram: ram::used };
    ripple_app::run(port, Raw(card), MAPPED, memory, desk, &BOARD.options);
    stop()
}
