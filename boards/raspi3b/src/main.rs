//! Ripple on this board: the main loop on its devices.
#![no_std]
#![no_main]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ripple_app::board::RASPI3B as BOARD;
use ripple_app::{Fat, Port, Ram, Spilling};
use ripple_bare_a::{MemoryFigures, StartedIn, exit};
use ripple_kernel::image::FILE_NAME;
use ripple_raspi3b::Board;

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

#[allow(unsafe_code, reason = "the symbol that the start-up code calls")]
#[unsafe(no_mangle)]
extern "C" fn board_main(_: StartedIn) -> ! {
    let Some(Board { card, clock, console }) = Board::take() else { exit(1) };
    let (memory, desk) = ripple_app::lend!(PLAN, BOARD.line);
    let port = Port { board: &BOARD, console, clock, ram };
    let storage = Spilling(Fat::new(card, FILE_NAME));
    ripple_app::run(port, storage, MAPPED, memory, desk, &BOARD.options);
    exit(0)
}

/// The most RAM that was used so far, the front of the image not among it.
fn ram() -> Ram {
    let figures = MemoryFigures::new();
    Ram {
        statics: (figures.data + figures.bss) as u32,
        stack: figures.stack_used as u32,
        stack_size: figures.stack as u32,
    }
}
