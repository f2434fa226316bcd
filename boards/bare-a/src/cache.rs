//! The data cache, line by line, for memory that a DMA controller writes.
//!
//! In: blocks. Out: memory and cache that agree about them. Does nothing visible in QEMU.

use crate::arch::{barrier, clean_and_invalidate_line};
use ripple_hal::Block;

/// Of the level 1 and level 2 caches of Cortex-A7 and Cortex-A53.
const LINE_BYTES: usize = 64;
const _: () = assert!(align_of::<Block>() >= LINE_BYTES);

/// Writes the lines of `blocks` back and drops them, and waits until that is done.
///
/// Before a DMA it leaves no line that could be written back on top of it; after one it drops what was
/// fetched on speculation. None is dirty then, since nothing else has written `blocks` meanwhile.
pub fn clean_and_invalidate(blocks: &[Block]) {
    let start = blocks.as_ptr().expose_provenance();
    barrier();
    for line in (start..start + size_of_val(blocks)).step_by(LINE_BYTES) {
        clean_and_invalidate_line(line);
    }
    barrier();
}
