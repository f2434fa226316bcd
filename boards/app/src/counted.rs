//! A device that counts what is read from it, and marks its driver's instructions.
//!
//! In: a device. Out: the same reads, [`Traffic`], and the markers that `boards/count` counts by.

use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, WriteDevice};
use ripple_marks as mark;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Traffic {
    /// Read commands.
    pub reads: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Traffic {
    /// What was read since `earlier`.
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            reads: self.reads.saturating_sub(earlier.reads),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

/// A device that counts its reads.
pub struct Counted<D> {
    device: D,
    traffic: Traffic,
}

impl<D> Counted<D> {
    /// Starts at nothing.
    pub const fn new(device: D) -> Self {
        Self { device, traffic: Traffic { reads: 0, bytes: 0 } }
    }

    /// What was read so far, failed reads among it.
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn count(&mut self, dst: &[Block]) {
        self.traffic.reads += 1;
        self.traffic.bytes += size_of_val(dst) as u64;
    }
}

impl<D: BlockDevice> BlockDevice for Counted<D> {
    type Error = D::Error;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        self.device.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        self.count(dst);
        mark::enter_driver();
        let result = self.device.read(start, dst);
        mark::leave_driver();
        result
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        self.count(dst);
        mark::enter_driver();
        let result = self.device.read_while(start, dst, || {
            mark::leave_driver();
            let done = work();
            mark::enter_driver();
            done
        });
        mark::leave_driver();
        result
    }

    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), Self::Error> {
        self.device.stay_open(gap)
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        self.device.goes_on()
    }
}

/// What is written is not counted: it is none of a token's reads.
impl<D: WriteDevice> WriteDevice for Counted<D> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error> {
        mark::enter_driver();
        let result = self.device.write(start, src);
        mark::leave_driver();
        result
    }
}
