//! A device whose calibration follows the card.
//!
//! In: a device, a clock, the calibration from boot. Out: [`Tuned`], the same device, and the
//! calibration as of now. Knows nothing of who sets the collapse gap from it.

use crate::cost::MAX_NS;
use crate::{Block, BlockCount, BlockDevice, BlockIdx, Calibration, Clock, Micros};
use core::cell::Cell;

/// 1.0 as a fixed-point number.
const ONE: i64 = 1 << 24;

/// Reads are forgotten exponentially: one of this power of two of reads ago weighs `1/e`. A token is
/// a few hundred reads.
const MEMORY_BITS: u32 = 8;

/// Most that access and transfer can be off the calibration: 16 times either way. And from each other,
/// which is what moves the gap, 8 times.
const MOST_SCALE: i64 = 16 * ONE;
const LEAST_SCALE: i64 = ONE / 16;
const MOST_APART: i64 = 8;

/// Added to the variance of `share`: with sizes that differ less than this tells apart, access and
/// transfer are scaled by the same factor, and the gap stays.
const RIDGE: i64 = ONE / 2048;

/// How the card has changed since its calibration: `T(n) = access * t0 + transfer * n / BW`.
///
/// Divided by the calibrated `T0(n)`, that is a line in the share `u = t0 / T0(n)` of access in a
/// read: `y = T(n) / T0(n) = transfer + (access - transfer) u`. So four exponentially forgotten
/// moments of `u` and `y` are all there is to keep, relative errors weigh the same at every size, and
/// where all reads are of one size the line stays level: both factors are then the same, and their
/// ratio, which is the gap, is the calibration's.
#[derive(Clone, Copy, Debug)]
struct Drift {
    mean_share: i64,
    mean_ratio: i64,
    variance: i64,
    covariance: i64,
    samples: u64,
}

impl Drift {
    /// The calibration counts as a memory full of reads of many sizes, none of them off: without their
    /// variance the first rare delay would tilt the line at will.
    const NONE: Self =
        Self { mean_share: ONE, mean_ratio: ONE, variance: ONE / 64, covariance: 0, samples: 0 };

    /// The factors of access and of transfer.
    fn scales(&self) -> (i64, i64) {
        // `/` and `clamp` can panic, and that they do not is beyond what the compiler sees.
        let slope = (self.covariance * ONE).checked_div(self.variance + RIDGE).unwrap_or(0);
        let slope = slope.clamp(-MOST_SCALE, MOST_SCALE);
        let transfer = self.mean_ratio - product(slope, self.mean_share);
        let within = |scale: i64| scale.clamp(LEAST_SCALE, MOST_SCALE);
        let access = within(transfer + slope);
        (access, within(transfer).max(access / MOST_APART).min(access * MOST_APART))
    }

    /// What `y` should be where access has the share `u`.
    fn expected_ratio(&self, share: i64) -> i64 {
        let (access, transfer) = self.scales();
        product(access, share) + product(transfer, ONE - share)
    }

    /// Takes in one read. More than twice or less than half of what was expected counts as twice or
    /// half: a rare delay moves little, and a card that did become much slower is followed all the
    /// same, in more reads.
    fn record(&mut self, share: i64, ratio: i64) {
        let expected = self.expected_ratio(share);
        let ratio = ratio.max(expected / 2).min(expected * 2);
        if self.samples == 0 {
            self.mean_share = share;
        }
        self.samples = self.samples.saturating_add(1);
        // West, "Updating mean and variance estimates", 1979, with a fixed weight for the newest.
        let (off_share, off_ratio) = (share - self.mean_share, ratio - self.mean_ratio);
        self.mean_share += off_share >> MEMORY_BITS;
        self.mean_ratio += off_ratio >> MEMORY_BITS;
        let faded = |moment: i64, new: i64| {
            let sum = moment + (new >> MEMORY_BITS);
            sum - (sum >> MEMORY_BITS)
        };
        self.variance = faded(self.variance, product(off_share, off_share));
        self.covariance = faded(self.covariance, product(off_share, off_ratio));
    }
}

/// Product of two fixed-point numbers, both below 64.
const fn product(a: i64, b: i64) -> i64 {
    a * b / ONE
}

/// A device that times its reads, and so knows what they cost now: cards slow down when they are warm
/// or busy with themselves.
///
/// Between tokens the application sets the gap anew:
/// `decoder.set_collapse_gap(decoder.device_mut().calibration().gap())`.
///
/// What is learnt from a [`read_while`](BlockDevice::read_while) depends on
/// [`Calibration::overlaps`]. A device that reads first and works then took what is left when the work
/// is subtracted. One that overlaps took the whole call if the caller had to wait after the work, and
/// is otherwise known only not to have taken longer: that is used when it is less than was expected,
/// and else nothing is learnt. Where the transfer is always hidden behind the work the calibration
/// therefore stays as it was; what a gap costs is hidden there as well.
#[derive(Clone, Debug)]
pub struct Tuned<D, C> {
    device: D,
    clock: C,
    base: Calibration,
    drift: Drift,
}

impl<D: BlockDevice, C: Clock> Tuned<D, C> {
    /// Wraps `device`, which was calibrated as `calibration` says.
    pub const fn new(device: D, clock: C, calibration: Calibration) -> Self {
        Self { device, clock, base: calibration, drift: Drift::NONE }
    }

    /// The calibration from boot, with access and transfer as slow as they are now.
    pub fn calibration(&self) -> Calibration {
        let (access, transfer) = self.drift.scales();
        self.base.scaled(access as u64, transfer as u64)
    }

    /// How many reads have told something.
    pub const fn samples(&self) -> u64 {
        self.drift.samples
    }

    /// The device, for what is not a read.
    pub const fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Gives the device and the clock back.
    pub fn into_inner(self) -> (D, C) {
        (self.device, self.clock)
    }

    /// Takes in a read of `blocks` that took `took`, or, if `at_most`, no longer.
    fn record(&mut self, blocks: usize, took: Micros, at_most: bool) {
        let blocks = BlockCount(u32::try_from(blocks).unwrap_or(u32::MAX));
        if blocks.0 == 0 {
            return;
        }
        let calibrated = self.base.cost_ns(blocks).max(1);
        let share = self.base.t0_ns().min(calibrated) * ONE as u64 / calibrated;
        let ns = took.0.saturating_mul(1000).min(MAX_NS - 1);
        let ratio = (ns * ONE as u64 / calibrated).min(4 * MOST_SCALE as u64 - 1) as i64;
        let share = share as i64;
        if !at_most || ratio < self.drift.expected_ratio(share) {
            self.drift.record(share, ratio);
        }
    }
}

impl<D: BlockDevice, C: Clock> BlockDevice for Tuned<D, C> {
    type Error = D::Error;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        self.device.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        let before = self.clock.now();
        self.device.read(start, dst)?;
        self.record(dst.len(), self.clock.now().since(before), false);
        Ok(())
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        let (clock, worked) = (&self.clock, Cell::new((Micros(0), Micros(0))));
        let before = clock.now();
        let result = self.device.read_while(start, dst, || {
            let began = clock.now();
            let result = work();
            worked.set((began, clock.now()));
            result
        })?;
        let after = clock.now();
        let (began, ended) = worked.get();
        let took = after.since(before);
        if self.base.overlaps() {
            // A step of the clock is not a wait.
            let waited = after.since(ended) > Micros(1) || ended.since(began) <= Micros(1);
            self.record(dst.len(), took, !waited);
        } else {
            self.record(dst.len(), took.since(ended.since(began)), false);
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_f64((access, transfer): (i64, i64)) -> (f64, f64) {
        (access as f64 / ONE as f64, transfer as f64 / ONE as f64)
    }

    #[test]
    fn two_sizes_tell_access_from_transfer_and_one_does_not() {
        let mut drift = Drift::NONE;
        for i in 0..4000 {
            let share = if i % 3 == 0 { ONE / 4 } else { ONE * 3 / 4 };
            // Access takes twice as long, transfer as before.
            drift.record(share, ONE + share);
        }
        let (access, transfer) = as_f64(drift.scales());
        assert!(
            (access - 2.0).abs() < 0.03 && (transfer - 1.0).abs() < 0.03,
            "{access} {transfer}"
        );

        let mut drift = Drift::NONE;
        for _ in 0..4000 {
            drift.record(ONE / 3, 3 * ONE);
        }
        let (access, transfer) = as_f64(drift.scales());
        assert!(access == transfer && (access - 3.0).abs() < 0.01, "{access} {transfer}");
    }

    #[test]
    fn the_most_extreme_reads_stay_within_the_numbers() {
        let extremes = [0, 1, ONE - 1, ONE];
        let ratios = [0, 1, ONE, 4 * MOST_SCALE - 1];
        let mut drift = Drift::NONE;
        for i in 0..100_000usize {
            drift.record(extremes[i * 7 / 3 % 4], ratios[i * 5 / 7 % 4]);
            let (access, transfer) = drift.scales();
            assert!((LEAST_SCALE..=MOST_SCALE).contains(&access), "{drift:?}");
            assert!((LEAST_SCALE..=MOST_SCALE).contains(&transfer), "{drift:?}");
            assert!(access <= 8 * transfer + 8 && transfer <= 8 * access);
        }
    }
}
