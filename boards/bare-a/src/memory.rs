//! How much memory the program takes, from the linker and from the painted stack.
//!
//! In: `link.x`'s symbols. Out: [`MemoryFigures`].

#![allow(unsafe_code, reason = "the linker's symbols and the stack's paint")]

/// What the start-up code writes all over the stack.
const PAINT: u32 = 0x5AFE_57AC;

unsafe extern "C" {
    static _data_start: u32;
    static _data_end: u32;
    static _bss_start: u32;
    static _bss_end: u32;
    static _stack_bottom: u32;
    static _stack_top: u32;
}

/// Bytes of RAM, besides code and constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFigures {
    /// Statics with a value.
    pub data: usize,
    /// Statics that begin as zeroes.
    pub bss: usize,
    /// The stack.
    pub stack: usize,
    /// The most of it that was in use so far.
    pub stack_used: usize,
}

impl MemoryFigures {
    /// The figures now; looks through the unused part of the stack.
    pub fn new() -> Self {
        let size = |start: *const u32, end: *const u32| end.addr().saturating_sub(start.addr());
        let (bottom, top) = (&raw const _stack_bottom, &raw const _stack_top);
        let stack = size(bottom, top);
        let mut unused = 0;
        // SAFETY: the words from `_stack_bottom` to `_stack_top` are RAM, aligned to 64 bytes; they
        // are only read, as volatile, since the stack is in use.
        while unused < stack && unsafe { bottom.byte_add(unused).read_volatile() } == PAINT {
            unused += size_of::<u32>();
        }
        Self {
            data: size(&raw const _data_start, &raw const _data_end),
            bss: size(&raw const _bss_start, &raw const _bss_end),
            stack,
            stack_used: stack - unused,
        }
    }
}

impl Default for MemoryFigures {
    fn default() -> Self {
        Self::new()
    }
}
