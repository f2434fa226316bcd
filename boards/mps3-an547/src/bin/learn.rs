//! Ripple learns on Arm's MPS3 with the AN547 image (Cortex-M55), as QEMU emulates it.
//!
//! The card is the file `card.img`, over semihosting, as for the main firmware; the adapters are saved
//! behind the image in it. The text is typed.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use panic_semihosting as _;
use ripple_app::learn::learn;
use ripple_app::reexport::static_cell::StaticCell;
use ripple_app::{Port, Raw, board::MPS3_AN547 as BOARD};
use ripple_cortex_m::cmsdk::Uart;
use ripple_cortex_m::{file::HostFile, paced::Paced, ram, sse::Counter, stop, stop_with};
use ripple_hal::Micros;

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

const HZ: u32 = 32_000_000;
/// Most tokens of a text.
const TEXT_TOKENS: usize = 4096;

static CLOCK: StaticCell<Counter> = StaticCell::new();

#[entry]
fn main() -> ! {
    ram::paint();
    // SAFETY: UART 0 and the counter of this machine; taken once, here.
    let (console, clock) = unsafe { (Uart::new(0x4930_3000, HZ), Counter::start(HZ)) };
    let clock: &'static _ = CLOCK.init(clock);
    let Ok(file) = HostFile::open_to_write(c"card.img") else { stop_with(2) };
    let memory = ripple_app::lend_to_learn!(LEARN, BOARD.line, TEXT_TOKENS);
    let card = Paced::new(file, clock, Micros(400), 20);
    let port = Port { board: &BOARD, console, clock, ram: ram::used };
    learn(port, Raw(card), MAPPED, memory, LESSON);
    stop()
}
