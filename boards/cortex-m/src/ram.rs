//! How much RAM was used: statics by the linker's symbols, stack by paint.
//!
//! `paint` fills what lies between the statics and the stack pointer; `used` looks how far up the
//! paint is gone. The linker script of `cortex-m-rt` puts the stack at the top of RAM and nothing
//! between it and the statics, unless `memory.x` sets `_stack_start` and `_stack_end`.

use core::ptr::{addr_of, read_volatile, write_volatile};
use ripple_app::Ram;

const PAINT: u32 = 0xDEAD_BEEF;
/// Left alone below the stack pointer: what `paint` itself may push.
const MARGIN: usize = 64;

unsafe extern "C" {
    static __sdata: u32;
    static __sheap: u32;
    static _stack_end: u32;
    static _stack_start: u32;
}

/// The lowest the stack may come.
fn bottom() -> usize {
    addr_of!(_stack_end) as usize
}

/// Fills the unused stack.
pub fn paint() {
    let top = cortex_m::register::msp::read() as usize - MARGIN;
    let mut at = bottom();
    while at < top {
        // SAFETY: between the end of the stack and the stack pointer nothing is in use, and it is RAM.
        unsafe { write_volatile(at as *mut u32, PAINT) };
        at += 4;
    }
}

/// The most RAM that was used since `paint`.
pub fn used() -> Ram {
    let top = addr_of!(_stack_start) as usize;
    let mut at = bottom();
    // SAFETY: as in `paint`; below the top of the stack all is RAM.
    while at < top && unsafe { read_volatile(at as *const u32) } == PAINT {
        at += 4;
    }
    Ram {
        statics: (addr_of!(__sheap) as usize - addr_of!(__sdata) as usize) as u32,
        stack: (top - at) as u32,
        stack_size: (top - bottom()) as u32,
    }
}
