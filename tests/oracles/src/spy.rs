//! Devices and probes that remember what they were asked.

use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, Slice};
use ripple_kernel::read::collapse::Extent;
use ripple_kernel::{Probe, Stage};

/// An image that remembers its reads, and is as unkind as the contract allows: `work` runs while
/// the buffer holds garbage.
pub struct SpyDevice<'a> {
    inner: Slice<'a>,
    /// First block and blocks of each read, in order.
    pub reads: Vec<(u32, u32)>,
    /// Fail the reads with these numbers, counted from 0.
    pub fail: Vec<usize>,
    /// Run `work` before the transfer, over garbage, instead of after it.
    pub overlapped: bool,
    /// Stay open behind every read.
    pub open: bool,
}

impl<'a> SpyDevice<'a> {
    /// A device that holds `image`.
    pub fn new(image: &'a [u8]) -> Self {
        let (reads, fail) = (Vec::new(), Vec::new());
        Self { inner: Slice::new(image), reads, fail, overlapped: true, open: false }
    }
}

impl BlockDevice for SpyDevice<'_> {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        self.inner.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        let number = self.reads.len();
        self.reads.push((start.0, dst.len() as u32));
        if self.fail.contains(&number) {
            dst.fill(Block([0xA5; 512]));
            return Err(ErrorKind::Timeout);
        }
        self.inner.read(start, dst)
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        let &(start, blocks) = self.reads.last().filter(|_| self.open)?;
        Some(BlockIdx(start + blocks))
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, ErrorKind> {
        if self.overlapped {
            dst.fill(Block([0x5A; 512]));
            let result = work();
            self.read(start, dst)?;
            Ok(result)
        } else {
            self.read(start, dst)?;
            Ok(work())
        }
    }
}

/// Remembers the active sets, the hits and misses of each layer of each token, and the extents.
#[derive(Default)]
pub struct SpyProbe {
    /// Layer, position and active set, in order.
    pub active: Vec<(u32, u32, Vec<u16>)>,
    /// Layer, hits, misses, in order.
    pub lookups: Vec<(u32, u32, u32)>,
    /// Stage and blocks of each extent, in order.
    pub extents: Vec<(Stage, u32)>,
}

impl Probe for SpyProbe {
    fn active(&mut self, layer: u32, position: u32, slots: &[u16]) {
        self.active.push((layer, position, slots.to_vec()));
    }

    fn lookup(&mut self, layer: u32, hits: u32, misses: u32) {
        self.lookups.push((layer, hits, misses));
    }

    fn extent(&mut self, stage: Stage, extent: &Extent) {
        self.extents.push((stage, extent.blocks.0));
    }
}
