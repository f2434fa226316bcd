//! Memory for a decoder on the host: the board's statics, as vectors of exactly the planned size.

use ripple_hal::Block;
use ripple_kernel::{Memory, MemoryPlan};

/// Owns the regions that a decoder borrows.
pub struct HostMemory {
    work: Vec<u32>,
    staging: Vec<Block>,
    cache: Vec<u32>,
    index: Vec<u32>,
    kv: Vec<u32>,
}

impl HostMemory {
    /// Allocates what `plan` asks for, to the word.
    pub fn new(plan: &MemoryPlan) -> Self {
        Self {
            work: vec![0; plan.work],
            staging: vec![Block::ZERO; plan.staging],
            cache: vec![0; plan.cache],
            index: vec![0; plan.index],
            kv: vec![0; plan.kv],
        }
    }

    /// Keys and values, as a decoder has left them.
    pub fn kv(&self) -> &[u32] {
        &self.kv
    }

    /// Lends all of it.
    pub fn lend(&mut self) -> Memory<'_> {
        Memory {
            work: &mut self.work,
            staging: &mut self.staging,
            cache: &mut self.cache,
            index: &mut self.index,
            kv: &mut self.kv,
        }
    }
}
