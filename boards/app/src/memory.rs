//! The statics a board lends, sized by its memory plan.
//!
//! In: a plan, the longest prompt. Out: the kernel's [`Memory`](ripple_kernel::Memory) and the main
//! loop's own [`Desk`]. Knows nothing of where the linker puts them.

use ripple_hal::Block;

/// What the main loop itself works on.
pub struct Desk<'m> {
    /// The line being typed.
    pub line: &'m mut [u8],
    /// Its tokens: one more than `line` has bytes.
    pub ids: &'m mut [u32],
    /// One block, to look whether the card is back and still the same.
    pub block: &'m mut [Block; 1],
}

/// Bytes of a [`Desk`] for prompts of `line` bytes.
pub const fn desk_bytes(line: usize) -> usize {
    line + 4 * (line + 1) + size_of::<Block>()
}

/// Lends static memory of exactly the size of `$plan`, a constant [`MemoryPlan`], and a [`Desk`] for
/// prompts of `$line` bytes: `(Memory<'static>, Desk)`.
///
/// [`MemoryPlan`]: ripple_kernel::MemoryPlan
///
/// # Panics
/// When it is run twice: the memory is lent already.
#[macro_export]
macro_rules! lend {
    ($plan:expr, $line:expr) => {{
        use $crate::reexport::hal::Block;
        use $crate::reexport::kernel::{Memory, MemoryPlan};
        use $crate::reexport::static_cell::ConstStaticCell;
        const LENT: MemoryPlan = $plan;
        static WORK: ConstStaticCell<[u32; LENT.work]> = ConstStaticCell::new([0; LENT.work]);
        static STAGING: ConstStaticCell<[Block; LENT.staging]> =
            ConstStaticCell::new([Block::ZERO; LENT.staging]);
        static CACHE: ConstStaticCell<[u32; LENT.cache]> = ConstStaticCell::new([0; LENT.cache]);
        static INDEX: ConstStaticCell<[u32; LENT.index]> = ConstStaticCell::new([0; LENT.index]);
        static KV: ConstStaticCell<[u32; LENT.kv]> = ConstStaticCell::new([0; LENT.kv]);
        static LINE: ConstStaticCell<[u8; $line]> = ConstStaticCell::new([0; $line]);
        static IDS: ConstStaticCell<[u32; $line + 1]> = ConstStaticCell::new([0; $line + 1]);
        static BLOCK: ConstStaticCell<[Block; 1]> = ConstStaticCell::new([Block::ZERO]);
        let memory = Memory {
            work: WORK.take(),
            staging: STAGING.take(),
            cache: CACHE.take(),
            index: INDEX.take(),
            kv: KV.take(),
        };
        let desk = $crate::Desk { line: LINE.take(), ids: IDS.take(), block: BLOCK.take() };
        (memory, desk)
    }};
}
