//! Ripple learns on this board: from `NOTES.TXT` on its card, or from a text that is typed.
#![no_std]
#![no_main]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ripple_app::board::RASPI3B as BOARD;
use ripple_app::learn::learn;
use ripple_app::{Fat, Port, Ram};
use ripple_bare_a::{MemoryFigures, StartedIn, exit};
use ripple_kernel::image::FILE_NAME;
use ripple_raspi3b::Board;

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

/// Most tokens of a text.
const TEXT_TOKENS: usize = 16 * 1024;

#[allow(unsafe_code, reason = "the symbol that the start-up code calls")]
#[unsafe(no_mangle)]
extern "C" fn board_main(_: StartedIn) -> ! {
    let Some(Board { card, clock, console }) = Board::take() else { exit(1) };
    let memory = ripple_app::lend_to_learn!(LEARN, BOARD.line, TEXT_TOKENS);
    let port = Port { board: &BOARD, console, clock, ram };
    learn(port, Fat::new(card, FILE_NAME), MAPPED, memory, LESSON);
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
