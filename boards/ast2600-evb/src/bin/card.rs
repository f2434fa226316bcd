//! The card check on this board: contents and speed for three sizes of reads.
//!
//! In: the board's devices. Out: lines on the console, an exit status.
#![no_std]
#![no_main]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use embedded_io::Write;
use ripple_ast2600_evb::Board;
use ripple_bare_a::{MemoryFigures, StartedIn, check_card, exit};
use ripple_hal::Block;

#[allow(unsafe_code, reason = "the symbol that the start-up code calls")]
#[unsafe(no_mangle)]
extern "C" fn board_main(started_in: StartedIn) -> ! {
    let Some(Board { mut card, clock, mut console }) = Board::take() else { exit(1) };
    let _ = writeln!(console, "started in {started_in}, timer {} Hz", clock.hz());
    let mut buffer = [Block::ZERO; 128];
    let _ = writeln!(console, "SDMA:");
    let by_dma = check_card(&mut card, &clock, &mut console, &mut buffer);
    let _ = writeln!(console, "programmed I/O:");
    card.registers().set_dma(false);
    let checked = by_dma.and_then(|()| check_card(&mut card, &clock, &mut console, &mut buffer));
    let failed = checked.is_err();
    if let Err(e) = checked {
        let _ = writeln!(console, "{e}");
    }
    let figures = MemoryFigures::new();
    let _ = writeln!(console, "stack: {} of {} bytes", figures.stack_used, figures.stack);
    exit(u8::from(failed))
}
