//! Ripple on Arm's MPS2+ with the AN386 image (Cortex-M4F), as QEMU emulates it.
//!
//! The card is the file `card.img`, over semihosting: this machine has no SD slot.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use panic_semihosting as _;
use ripple_app::{Port, Raw, board::MPS2_AN386 as BOARD};
use ripple_cortex_m::cmsdk::{Timer, Uart};
use ripple_cortex_m::{file::HostFile, ram, stop, stop_with};

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

const HZ: u32 = 25_000_000;

#[entry]
fn main() -> ! {
    ram::paint();
    // SAFETY: UART 0 and timer 0 of this machine; taken once, here.
    let (console, clock) = unsafe { (Uart::new(0x4000_4000, HZ), Timer::new(0x4000_0000, HZ)) };
    let Ok(file) = HostFile::open(c"card.img") else { stop_with(2) };
    let (memory, desk) = ripple_app::lend!(PLAN, BOARD.line);
    let port = Port { board: &BOARD, console, clock, ram: ram::used };
    ripple_app::run(port, Raw(file), MAPPED, memory, desk, &BOARD.options);
    stop()
}
