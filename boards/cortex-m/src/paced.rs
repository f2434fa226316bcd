//! A device that takes as long as a card would.
//!
//! In: a device that is faster (a file over semihosting takes no time of the board's), a clock, what
//! a card's reads cost. Out: the same bytes, later; work that is done meanwhile counts.

use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, Clock, Micros, WriteDevice};

/// A device whose reads take `t0 + n / BW`.
pub struct Paced<D, C> {
    device: D,
    clock: C,
    t0: Micros,
    bytes_per_us: u64,
}

impl<D: BlockDevice, C: Clock> Paced<D, C> {
    /// Slows `device` down to a read's `t0` and `bytes_per_us`, which is MB/s.
    pub const fn new(device: D, clock: C, t0: Micros, bytes_per_us: u64) -> Self {
        Self { device, clock, t0, bytes_per_us: if bytes_per_us == 0 { 1 } else { bytes_per_us } }
    }
}

impl<D: BlockDevice, C: Clock> BlockDevice for Paced<D, C> {
    type Error = D::Error;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        self.device.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        self.read_while(start, dst, || ())
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        let began = self.clock.now();
        let time = self.t0 + Micros(size_of_val(dst) as u64 / self.bytes_per_us);
        self.device.read(start, dst)?;
        let result = work();
        while self.clock.now().since(began) < time {}
        Ok(result)
    }
}

/// A write takes what a read of its size does; no card is as fast.
impl<D: WriteDevice, C: Clock> WriteDevice for Paced<D, C> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error> {
        let began = self.clock.now();
        let time = self.t0 + Micros(size_of_val(src) as u64 / self.bytes_per_us);
        self.device.write(start, src)?;
        while self.clock.now().since(began) < time {}
        Ok(())
    }
}
