//! The buffer for fronts of pages that are read together: those of one token, layer after layer.
//!
//! In: blocks that are lent, what was read into them. Out: whether blocks of the card are there. Knows nothing of
//! what fronts hold.

use ripple_hal::{Block, BlockCount, BlockIdx};

/// Which blocks of the card the buffer holds, from its front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub start: BlockIdx,
    pub blocks: BlockCount,
}

/// The buffer.
pub(crate) struct Fronts<'a> {
    pub blocks: &'a mut [Block],
    pub held: &'a mut Held,
}

impl Held {
    /// Whether it holds `blocks` from `start` on, all of them.
    pub fn has(&self, start: BlockIdx, blocks: BlockCount) -> bool {
        let end = start.0.saturating_add(blocks.0);
        start >= self.start && end <= self.start.0.saturating_add(self.blocks.0)
    }
}
