//! Calibration at boot: times a few reads and gives what reads cost on this card.
//!
//! In: a device, a clock, a buffer, the time it may take. Out: a [`Calibration`].
//! Knows nothing of what is on the card or what it is read for.

use super::{Calibration, CostPoint, MAX_POINTS};
use crate::{Block, BlockCount, BlockDevice, BlockIdx, Clock, Micros};
use core::fmt;

/// Timed reads of one size: at least, at most. With seven, one rare delay is told from the rest;
/// with 96 a read of 5 us is known to 1 % from a clock that counts whole microseconds.
const LEAST_READS: usize = 7;
const MOST_READS: usize = 96;

/// Why a device was not calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CalibrateError<E> {
    /// The device failed.
    Device {
        /// First block of the read, or 0 if the device did not tell its size.
        at: BlockIdx,
        /// The device's error.
        source: E,
    },
    /// Fewer than two blocks can be read at once: access and transfer time cannot be told apart.
    TooSmall {
        /// Blocks of the buffer.
        scratch: BlockCount,
        /// Blocks of the device.
        device: BlockCount,
    },
    /// The clock did not move while this many reads were done: it stands still, or the device is
    /// memory and needs no calibration.
    NoTime {
        /// How many.
        reads: u32,
    },
}

impl<E: fmt::Display> fmt::Display for CalibrateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { at, source } => write!(f, "read at block {}: {source}", at.0),
            Self::TooSmall { scratch, device } => write!(
                f,
                "a buffer of {} blocks and a device of {}; expected at least 2 of both",
                scratch.0, device.0
            ),
            Self::NoTime { reads } => write!(f, "the clock did not move during {reads} reads"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for CalibrateError<E> {}

/// Times reads of 1, 2, 4 .. `scratch.len()` blocks (at most 2048) all over `device`, and fits what a
/// read costs.
///
/// The reads are scattered, always over the same places, so that a card that favours sequential ones
/// shows its other side. Per size it takes the mean of what is near the faster half: delays that up to half
/// of the reads meet (housekeeping of the card, a thread that had to wait for its core) do not count, and the
/// clock's rounding averages out.
///
/// `scratch` is lent for the call; the staging memory will do. Sizes that the kernel reads later are
/// best inside it. With 32 blocks and more the bandwidth of SD cards is well visible.
///
/// Each size has an equal share of `budget`, and at least 7 reads of each are done, at most 96. So it
/// takes no longer than `budget` or 7 reads of each size, whichever is longer, and one read each: with
/// `scratch` of 64 blocks 0.27 s on a card over SPI, less on faster ones. 100 ms is a good budget. A
/// clock that runs wild can cost no more than the 96 reads.
///
/// ```
/// use ripple_hal::{Block, BlockCount, BlockDevice, Clock, Micros, Slice, calibrate};
/// # use ripple_hal::{BlockIdx, ErrorKind};
/// # use core::cell::Cell;
/// # struct Timer(Cell<u64>);
/// # impl Clock for Timer { fn now(&self) -> Micros { Micros(self.0.get()) } }
/// # struct Card<'a>(Slice<'a>, &'a Timer);
/// # impl BlockDevice for Card<'_> {
/// #     type Error = ErrorKind;
/// #     fn block_count(&mut self) -> Result<BlockCount, ErrorKind> { self.0.block_count() }
/// #     fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
/// #         self.1.0.set(self.1.0.get() + 410 + 25 * dst.len() as u64);
/// #         self.0.read(start, dst)
/// #     }
/// # }
/// # let bytes = vec![0; 64 * 512];
/// # let timer = Timer(Cell::new(0));
/// # let mut card = Card(Slice::new(&bytes), &timer);
/// // At boot: `card` is the board's device, which needs 410 us and 25 us a block, `timer` its clock.
/// let mut staging = [Block::ZERO; 32];
/// let calibration = calibrate(&mut card, &timer, &mut staging, Micros(100_000)).unwrap();
///
/// assert!(calibration.t0_ns().abs_diff(410_000) < 1000);
/// assert!(calibration.bytes_per_second().abs_diff(20_480_000) < 100_000);
/// // For `Options::collapse`, or later `Decoder::set_collapse_gap`.
/// assert_eq!(calibration.collapse_gap(), BlockCount(16));
/// ```
///
/// # Errors
/// When a read fails, when only one block can be read at once, when no time passes.
pub fn calibrate<D: BlockDevice, C: Clock>(
    device: &mut D,
    clock: &C,
    scratch: &mut [Block],
    budget: Micros,
) -> Result<Calibration, CalibrateError<D::Error>> {
    let whole = |source| CalibrateError::Device { at: BlockIdx(0), source };
    let blocks = device.block_count().map_err(whole)?;
    let most = scratch.len().min(blocks.0 as usize).min(1 << (MAX_POINTS - 1));
    if most < 2 {
        let scratch = BlockCount(u32::try_from(scratch.len()).unwrap_or(u32::MAX));
        return Err(CalibrateError::TooSmall { scratch, device: blocks });
    }
    let begun = clock.now();
    let mut reads = Reads { device, clock, blocks, random: 0, done: 0 };
    // The first read may wake the card.
    reads.time(scratch.get_mut(..1).unwrap_or_default())?;

    let sizes = 1 + usize::BITS - (most - 1).leading_zeros();
    let share = Micros(budget.0 / sizes as u64);
    let mut points = [CostPoint { blocks: BlockCount(0), ns: 0 }; MAX_POINTS];
    let mut waits_first = false;
    for (point, doubled) in points.iter_mut().zip(0..sizes) {
        let size = most.min(1 << doubled);
        let dst = scratch.get_mut(..size).unwrap_or_default();
        let (ns, first) = reads.mean_ns(dst, share)?;
        *point = CostPoint { blocks: BlockCount(size as u32), ns };
        // The longest read is the last: it shows best what the device did before the work.
        waits_first = first;
    }
    let points = points.get_mut(..sizes as usize).unwrap_or_default();
    if points.iter().all(|point| point.ns == 0) {
        return Err(CalibrateError::NoTime { reads: reads.done });
    }
    let done = reads.done;
    let mut calibration = Calibration::fit(points);
    calibration.overlaps = !waits_first;
    calibration.reads = done;
    calibration.took = clock.now().since(begun);
    Ok(calibration)
}

/// A device being read all over.
struct Reads<'a, D, C> {
    device: &'a mut D,
    clock: &'a C,
    blocks: BlockCount,
    random: u64,
    done: u32,
}

impl<D: BlockDevice, C: Clock> Reads<'_, D, C> {
    /// Fills `dst`, which is no longer than the device, from somewhere: the time in microseconds, and
    /// how much of it passed before work could begin.
    fn time(&mut self, dst: &mut [Block]) -> Result<(u32, u32), CalibrateError<D::Error>> {
        let places = self.blocks.0.saturating_sub(dst.len() as u32) as u64 + 1;
        let at = BlockIdx((((self.random() >> 32) * places) >> 32) as u32);
        let clock = self.clock;
        let before = clock.now();
        // As the kernel reads: a driver may do it in another way than `read`.
        let began = self.device.read_while(at, dst, || clock.now());
        let began = began.map_err(|source| CalibrateError::Device { at, source })?;
        let us = |moment: Micros| u32::try_from(moment.since(before).0).unwrap_or(u32::MAX);
        self.done += 1;
        Ok((us(clock.now()), us(began)))
    }

    /// Mean time of a read that fills `dst`, and whether the device waited for it before the work.
    fn mean_ns(
        &mut self,
        dst: &mut [Block],
        share: Micros,
    ) -> Result<(u64, bool), CalibrateError<D::Error>> {
        let mut times = [0u32; MOST_READS];
        let mut total = 0u64;
        let (mut count, mut waited) = (0, 0i32);
        for time in &mut times {
            let (took, led) = self.time(dst)?;
            *time = took;
            total += took as u64;
            count += 1;
            // Most of it: after the work a device that waits first has only to return. Counted read by read,
            // so that one long delay says nothing.
            let waits = led as u64 * 8 >= took as u64 * 7;
            if took > 0 {
                waited += if waits { 1 } else { -1 };
            }
            if count >= LEAST_READS && total >= share.0 {
                break;
            }
        }
        Ok((typical_ns(times.get(..count).unwrap_or_default()), waited >= 0))
    }

    /// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// The mean in nanoseconds of the microseconds in `times`, without those far out.
///
/// The mean, since a median of whole microseconds is off by up to one, and a mean of reads in a row
/// only by one in all of them. Far out is what is three times as far from the second quarter as that is
/// wide, after Tukey's outer fences ("Exploratory data analysis", 1977), which begin at the third quartile:
/// a host with other work to do delays more than a quarter of the reads. And a microsecond either side,
/// which is the clock's.
fn typical_ns(times: &[u32]) -> u64 {
    let quartile = |part| smallest(times, times.len().saturating_sub(1) * part / 4) as u64;
    let (lower, upper) = (quartile(1), quartile(2));
    let fence = 3 * upper.saturating_sub(lower) + 1;
    // A clock so coarse that most reads take no time on it: all its steps count.
    let far_out = if upper == 0 { u64::MAX } else { upper + fence };
    let (mut sum, mut count) = (0u64, 0u64);
    for &time in times.iter() {
        let time = time as u64;
        if time + fence >= lower && time <= far_out {
            sum += time;
            count += 1;
        }
    }
    sum * 1000 / count.max(1)
}

/// The one that `before` others come before when sorted. The library's sorts can panic.
fn smallest(times: &[u32], before: usize) -> u32 {
    let below = |limit| times.iter().filter(|time| **time < limit).count();
    times.iter().copied().filter(|time| below(*time) <= before).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_delays_are_left_out_and_rounding_averages_out() {
        assert_eq!(typical_ns(&[100, 101, 100, 101, 2100, 100, 101, 101]), 100_571);
        assert_eq!(typical_ns(&[5, 5, 5, 6, 5, 5, 5, 5, 0, 3000]), 5125);
        // Half of them were delayed, and by how much says nothing.
        assert_eq!(typical_ns(&[200, 300, 201, 9000, 200, 300, 201, 500]), 200_500);
        assert_eq!(typical_ns(&[200, 210, 220, 230, 9000, 7000, 8000]), 215_000);
        // A clock with a step of 1 ms.
        assert_eq!(typical_ns(&[0, 0, 0, 0, 1000, 0, 0, 0]), 125_000);
        assert_eq!(typical_ns(&[u32::MAX; 96]), u32::MAX as u64 * 1000);
        assert_eq!(typical_ns(&[]), 0);
    }
}
