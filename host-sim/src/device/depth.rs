//! What reads cost where several are under way.
//!
//! In: a device. Out: [`AtDepth`]: access time and bandwidth as each of several reads at once sees them. Knows nothing of
//! what is read for.

use super::clock::SystemClock;
use super::file::{FileDevice, FileError};
use super::readers::AT_ONCE;
use crate::machine::pages::PageBlocks;
use anyhow::Result;
use ripple_hal::{
    BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, CalibrateError, Calibration, Coming,
    Micros, calibrate,
};

/// The longest read that is timed, in blocks.
const TIMED: usize = 512;
/// Time for timing.
const BUDGET: Micros = Micros(200_000);

/// What a read costs where as many are under way as the device has.
#[derive(Clone, Copy, Debug)]
pub struct AtDepth {
    /// As if all of them were one read: `T(n) = t0 + n / BW` for all of them, `n` bytes each.
    together: Calibration,
}

impl AtDepth {
    /// Reads under way.
    pub const fn at_once(&self) -> usize {
        AT_ONCE
    }

    /// Time that one more read takes, in microseconds, beside that of its bytes.
    pub fn t0_us(&self) -> f64 {
        self.together.t0_ns() as f64 / 1e3 / AT_ONCE as f64
    }

    /// Megabytes a second of all of them together.
    pub fn mb_per_s(&self) -> f64 {
        self.together.bytes_per_second() as f64 / 1e6 * AT_ONCE as f64
    }

    /// The gap that is worth reading through: what a read takes, in bytes that take as long. With several under way
    /// that is far less than with one, whose access time nothing hides.
    pub fn collapse_gap(&self) -> BlockCount {
        // (t0 / many) * (BW * many).
        self.together.collapse_gap()
    }

    /// Whether the device reads while the caller computes.
    pub const fn overlaps(&self) -> bool {
        self.together.overlaps()
    }

    /// How many reads calibrating took.
    pub const fn reads(&self) -> u32 {
        self.together.reads() * AT_ONCE as u32
    }

    /// How long.
    pub const fn took(&self) -> Micros {
        self.together.took()
    }
}

/// Times reads with as many under way as the device has; nothing where they take no time. Nothing is read ahead
/// afterwards.
///
/// # Errors
/// When the device fails.
pub fn calibrate_at_depth(device: &mut FileDevice) -> Result<Option<AtDepth>> {
    let mut scratch = PageBlocks::new(TIMED);
    // Room for all of them, and as much in the lane that is not used.
    device.read_ahead(4 * AT_ONCE * TIMED * BLOCK_BYTES, BlockCount(0));
    let mut together = Together(device);
    let found = calibrate(&mut together, &SystemClock::new(), scratch.blocks_mut(), BUDGET);
    device.read_ahead(0, BlockCount(0));
    match found {
        Ok(together) => Ok(Some(AtDepth { together })),
        Err(CalibrateError::Device { source, .. }) => Err(source.into()),
        Err(_) => Ok(None),
    }
}

/// A device whose reads are each as many at once, all over it.
struct Together<'a>(&'a mut FileDevice);

impl BlockDevice for Together<'_> {
    type Error = FileError;

    fn block_count(&mut self) -> Result<BlockCount, FileError> {
        self.0.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), FileError> {
        self.read_while(start, dst, || ())
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, FileError> {
        let count = dst.len() as u32;
        let places = self.0.block_count()?.0.saturating_sub(count) + 1;
        // As far from each other as the device is long.
        let step = u64::from(places) / AT_ONCE as u64;
        let each = (0..AT_ONCE as u64)
            .map(|at| BlockIdx(((u64::from(start.0) + at * step) % u64::from(places)) as u32));
        for at in each.clone() {
            self.0.will_read(at, BlockCount(count), Coming::Next);
        }
        let done = work();
        for at in each {
            self.0.read(at, dst)?;
        }
        Ok(done)
    }
}
