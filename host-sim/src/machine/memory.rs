//! Memory for a decoder on the host: the board's statics, as vectors of exactly the planned size.

use super::adapter::{Lent, Saved};
use super::pages::PageBlocks;
use ripple_kernel::adapter::Adapter;
use ripple_kernel::{Memory, MemoryPlan};

/// Owns the regions that a decoder borrows.
pub struct HostMemory {
    work: Vec<u32>,
    staging: PageBlocks,
    cache: Vec<u32>,
    index: Vec<u32>,
    kv: Vec<u32>,
    adapter: Option<Lent>,
}

impl HostMemory {
    /// Allocates what `plan` asks for, to the word.
    pub fn new(plan: &MemoryPlan) -> Self {
        Self {
            work: vec![0; plan.work],
            staging: PageBlocks::new(plan.staging),
            cache: vec![0; plan.cache],
            index: vec![0; plan.index],
            kv: vec![0; plan.kv],
            adapter: None,
        }
    }

    /// Keys and values, as a decoder has left them.
    pub fn kv(&self) -> &[u32] {
        &self.kv
    }

    /// The same, with adapters and what passes of `batch` positions need for them.
    #[must_use]
    pub fn with_adapter(self, saved: Option<&Saved>, batch: u32) -> Self {
        Self { adapter: saved.map(|saved| Lent::new(saved, batch)), ..self }
    }

    /// Lends all of it but the adapters.
    pub fn lend(&mut self) -> Memory<'_> {
        self.lend_all().0
    }

    /// Lends all of it.
    pub(crate) fn lend_all(&mut self) -> (Memory<'_>, Option<Adapter<'_>>) {
        let adapter = self.adapter.as_mut().map(Lent::lend);
        let memory = Memory {
            work: &mut self.work,
            staging: self.staging.blocks_mut(),
            cache: &mut self.cache,
            index: &mut self.index,
            kv: &mut self.kv,
        };
        (memory, adapter)
    }
}
