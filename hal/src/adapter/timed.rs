//! A device whose reads are timed.
//!
//! In: a device and a clock. Out: [`Timed`], the same device, and [`Latencies`] of its calls.
//! Knows nothing of why a read was slow.

use crate::{Block, BlockCount, BlockDevice, BlockIdx, Clock, Micros};
use core::cell::Cell;

/// Buckets of a histogram: the last one begins at 2^30 us, about 18 minutes.
const BUCKETS: usize = 32;

/// Counts of durations in buckets that double: 0 us, 1 us, 2-3 us, 4-7 us and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Latencies {
    buckets: [u32; BUCKETS],
    /// How many durations were recorded.
    pub count: u64,
    /// Bytes moved in them.
    pub bytes: u64,
    /// Their sum.
    pub total: Micros,
    /// The longest.
    pub max: Micros,
}

impl Latencies {
    /// Nothing recorded.
    pub const EMPTY: Self =
        Self { buckets: [0; BUCKETS], count: 0, bytes: 0, total: Micros(0), max: Micros(0) };

    /// Adds one duration, in which `bytes` were moved.
    pub fn record(&mut self, took: Micros, bytes: u64) {
        let bucket = (u64::BITS - took.0.leading_zeros()) as usize;
        if let Some(counted) = self.buckets.get_mut(bucket.min(BUCKETS - 1)) {
            *counted = counted.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.total += took;
        self.max = self.max.max(took);
    }

    /// A duration that at least `permille` thousandths of those recorded do not exceed; 0 if none
    /// were recorded.
    ///
    /// It is the upper end of a bucket, so up to twice the true quantile, but never above the
    /// maximum. `quantile(500)` is the median, `quantile(999)` the 99.9th percentile.
    pub fn quantile(&self, permille: u32) -> Micros {
        let wanted = (self.count as u128 * permille.min(1000) as u128).div_ceil(1000).max(1);
        let mut seen = 0;
        for (&counted, bucket) in self.buckets.iter().zip(0u32..) {
            seen += counted as u128;
            if seen >= wanted && bucket + 1 < BUCKETS as u32 {
                return Micros((1 << bucket) - 1).min(self.max);
            }
        }
        self.max
    }

    /// The histogram: the smallest duration of each bucket that is not empty, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (Micros, u32)> + '_ {
        let counted = self.buckets.iter().zip(0u32..).filter(|(counted, _)| **counted > 0);
        counted.map(|(&counted, bucket)| match bucket {
            0 => (Micros(0), counted),
            _ => (Micros(1 << (bucket - 1)), counted),
        })
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// A device that measures what its calls cost the caller. Failed calls are only counted.
#[derive(Clone, Debug)]
pub struct Timed<D, C> {
    device: D,
    clock: C,
    reads: Latencies,
    waits: Latencies,
    failures: u64,
}

impl<D: BlockDevice, C: Clock> Timed<D, C> {
    /// Wraps `device`, nothing measured yet.
    pub const fn new(device: D, clock: C) -> Self {
        Self { device, clock, reads: Latencies::EMPTY, waits: Latencies::EMPTY, failures: 0 }
    }

    /// How long each [`read`](BlockDevice::read) took.
    pub const fn reads(&self) -> &Latencies {
        &self.reads
    }

    /// How much longer than its work each [`read_while`](BlockDevice::read_while) took: what the
    /// transfer cost beyond what it overlapped. On a device without overlap, the whole transfer.
    pub const fn waits(&self) -> &Latencies {
        &self.waits
    }

    /// How many calls failed.
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// Forgets what was measured.
    pub fn reset(&mut self) {
        self.reads = Latencies::EMPTY;
        self.waits = Latencies::EMPTY;
        self.failures = 0;
    }

    /// Gives the device and the clock back.
    pub fn into_inner(self) -> (D, C) {
        (self.device, self.clock)
    }
}

impl<D: BlockDevice, C: Clock> BlockDevice for Timed<D, C> {
    type Error = D::Error;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        self.device.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        let before = self.clock.now();
        let result = self.device.read(start, dst);
        let took = self.clock.now().since(before);
        match result {
            Ok(()) => self.reads.record(took, size_of_val(dst) as u64),
            Err(_) => self.failures += 1,
        }
        result
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        let (clock, worked) = (&self.clock, Cell::new(Micros(0)));
        let before = clock.now();
        let result = self.device.read_while(start, dst, || {
            let before = clock.now();
            let result = work();
            worked.set(clock.now().since(before));
            result
        });
        let took = clock.now().since(before);
        match result {
            Ok(_) => self.waits.record(took.since(worked.get()), size_of_val(dst) as u64),
            Err(_) => self.failures += 1,
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bucket_ends_and_never_above_the_maximum() {
        let mut seen = Latencies::EMPTY;
        assert_eq!(seen.quantile(500), Micros(0));
        for us in [0, 1, 2, 3, 5, 100] {
            seen.record(Micros(us), 512);
        }
        assert_eq!(seen.quantile(0), Micros(0));
        assert_eq!(seen.quantile(500), Micros(3));
        assert_eq!(seen.quantile(800), Micros(7));
        assert_eq!(seen.quantile(1000), Micros(100), "the bucket ends at 127, the maximum is 100");
        assert_eq!((seen.count, seen.bytes, seen.total.0), (6, 6 * 512, 111));
        let buckets: std::vec::Vec<_> = seen.buckets().map(|(us, n)| (us.0, n)).collect();
        assert_eq!(buckets, [(0, 1), (1, 1), (2, 2), (4, 1), (64, 1)]);
    }

    #[test]
    fn the_longest_durations_share_the_last_bucket() {
        let mut seen = Latencies::EMPTY;
        seen.record(Micros(u64::MAX), 0);
        seen.record(Micros(1 << 30), 0);
        assert_eq!(seen.buckets().collect::<std::vec::Vec<_>>(), [(Micros(1 << 30), 2)]);
        assert_eq!(seen.quantile(500), Micros(u64::MAX));
    }
}
