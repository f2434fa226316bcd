//! The statics that a board lends to learn with, and what a story has of them.
//!
//! In: a [`LearnPlan`](super::LearnPlan), the longest line, how many tokens of a text. Out:
//! [`LearnMemory`]. Knows nothing of where the linker puts it.

use super::lesson::StoryWords;
use ripple_hal::Block;
use ripple_kernel::Memory;
use zerocopy::{FromBytes, IntoBytes};

/// Blocks of scratch: what adapters are written by.
pub const SCRATCH: usize = 8;

/// Memory to learn with, and to tell stories with.
pub struct LearnMemory<'m> {
    /// Words of 8 bytes: what the tuner has, then the decoder; the text while it is encoded.
    pub arena: &'m mut [u64],
    /// Where reads arrive.
    pub staging: &'m mut [Block],
    /// What adapters are written by.
    pub scratch: &'m mut [Block; SCRATCH],
    /// The line being typed.
    pub line: &'m mut [u8],
    /// Tokens of a text, or of a prompt.
    pub ids: &'m mut [u32],
    /// One block, to look whether the card is still the same.
    pub block: &'m mut [Block; 1],
}

/// What a story has of it.
pub(super) struct StoryMemory<'m> {
    pub decoder: Memory<'m>,
    pub file: &'m mut [u32],
    pub inner: &'m mut [f32],
}

/// Takes a story's memory from the front of `arena`; pieces are empty where it is too short, which the
/// decoder says.
pub(super) fn story<'m>(
    arena: &'m mut [u64],
    staging: &'m mut [Block],
    words: &StoryWords,
) -> StoryMemory<'m> {
    let mut rest = <[u32]>::mut_from_bytes(arena.as_mut_bytes()).unwrap_or_default();
    let mut take = |count: usize| {
        let all = core::mem::take(&mut rest);
        let (taken, left) = all.split_at_mut_checked(count).unwrap_or_default();
        rest = left;
        taken
    };
    let StoryWords { work, cache, index, kv, file, inner } = *words;
    let decoder =
        Memory { work: take(work), cache: take(cache), index: take(index), kv: take(kv), staging };
    let file = take(file);
    let inner = <[f32]>::mut_from_bytes(take(inner).as_mut_bytes()).unwrap_or_default();
    StoryMemory { decoder, file, inner }
}

/// Lends static memory of exactly the size of `$plan`, a constant [`LearnPlan`](crate::learn::LearnPlan), with
/// lines of `$line` bytes and texts of `$ids` tokens: [`LearnMemory<'static>`](crate::learn::LearnMemory).
///
/// # Panics
/// When it is run twice: the memory is lent already.
#[macro_export]
macro_rules! lend_to_learn {
    ($plan:expr, $line:expr, $ids:expr) => {{
        use $crate::learn::{LearnMemory, LearnPlan, SCRATCH};
        use $crate::reexport::hal::Block;
        use $crate::reexport::static_cell::ConstStaticCell;
        const LENT: LearnPlan = $plan;
        static ARENA: ConstStaticCell<[u64; LENT.arena]> = ConstStaticCell::new([0; LENT.arena]);
        static STAGING: ConstStaticCell<[Block; LENT.staging]> =
            ConstStaticCell::new([Block::ZERO; LENT.staging]);
        static BLOCKS: ConstStaticCell<[Block; SCRATCH]> =
            ConstStaticCell::new([Block::ZERO; SCRATCH]);
        static LINE: ConstStaticCell<[u8; $line]> = ConstStaticCell::new([0; $line]);
        static IDS: ConstStaticCell<[u32; $ids]> = ConstStaticCell::new([0; $ids]);
        static BLOCK: ConstStaticCell<[Block; 1]> = ConstStaticCell::new([Block::ZERO]);
        LearnMemory {
            arena: ARENA.take(),
            staging: STAGING.take(),
            scratch: BLOCKS.take(),
            line: LINE.take(),
            ids: IDS.take(),
            block: BLOCK.take(),
        }
    }};
}
