//! Ripple on this board: starts, tells what there is.
//!
//! In: the board's devices. Out: lines on the console, an exit status.
#![no_std]
#![no_main]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::fmt;
use embedded_io::Write;
use ripple_bare_a::{MemoryFigures, StartedIn, exit};
use ripple_hal::BlockDevice;
use ripple_raspi3b::Board;

#[allow(unsafe_code, reason = "the symbol that the start-up code calls")]
#[unsafe(no_mangle)]
extern "C" fn board_main(started_in: StartedIn) -> ! {
    let Some(mut board) = Board::take() else { exit(1) };
    let done = run(&mut board, started_in);
    if let Err(e) = &done {
        let _ = writeln!(board.console, "{e}");
    }
    exit(u8::from(done.is_err()))
}

fn run(board: &mut Board, started_in: StartedIn) -> Result<(), impl fmt::Display + use<>> {
    let figures = MemoryFigures::new();
    let _ = writeln!(board.console, "started in {started_in}, timer {} Hz", board.clock.hz());
    let _ = writeln!(
        board.console,
        "RAM: .data {} + .bss {} bytes, stack {} of {} used",
        figures.data, figures.bss, figures.stack_used, figures.stack
    );
    board.card.block_count().map(|blocks| {
        let _ = writeln!(board.console, "card: {} blocks", blocks.0);
    })
}
