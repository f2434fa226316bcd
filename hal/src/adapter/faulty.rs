//! A device that fails on purpose, the same way every time.
//!
//! In: a device, probabilities and a seed. Out: [`Faulty`], which fails or lies that often, and loses power
//! where it is told to. Knows nothing of how its callers cope.

use crate::{
    BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, WriteDevice,
};
use core::fmt;

/// What goes wrong and how often. Probabilities are in 1/65536 of the reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Faults {
    /// Where the sequence of faults starts: equal seeds and equal reads, equal faults.
    pub seed: u64,
    /// Probability of [`ErrorKind::Timeout`].
    pub timeout: u16,
    /// Probability of [`ErrorKind::Corrupted`].
    pub corrupted: u16,
    /// Probability of [`ErrorKind::NoCard`].
    pub no_card: u16,
    /// Probability of [`ErrorKind::OutOfRange`].
    pub out_of_range: u16,
    /// Probability of [`ErrorKind::Other`].
    pub other: u16,
    /// Probability that a read succeeds with one bit of `dst` flipped.
    pub silent: u16,
    /// One read that fails in any case: its number, counted from 0, and how.
    pub fail_at: Option<(u64, ErrorKind)>,
    /// Power fails when as many blocks have been written: half of the next one is new and half of it old, and
    /// nothing succeeds from there on.
    pub cut: Option<u64>,
}

/// A device that fails as [`Faults`] says.
///
/// A failing [`read_while`](BlockDevice::read_while) has run its work in about half of the cases:
/// callers must be right in both.
#[derive(Clone, Debug)]
pub struct Faulty<D> {
    device: D,
    faults: Faults,
    random: u64,
    reads: u64,
    injected: u64,
    written: u64,
    off: bool,
}

/// The error of a [`Faulty`] device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FaultyError<E> {
    /// Made up.
    Injected {
        /// What it pretends to be.
        kind: ErrorKind,
        /// Number of the read, counted from 0.
        read: u64,
    },
    /// The device really failed.
    Device(E),
}

impl<E: DeviceError> DeviceError for FaultyError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Injected { kind, .. } => *kind,
            Self::Device(e) => e.kind(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for FaultyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected { kind, read } => write!(f, "injected at read {read}: {kind:?}"),
            Self::Device(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for FaultyError<E> {}

/// What happens to one read.
enum Fate {
    Fails { error: ErrorKind, after_work: bool },
    Lies { where_: u64 },
    Succeeds,
}

impl<D: BlockDevice> Faulty<D> {
    /// Wraps `device`.
    pub const fn new(device: D, faults: Faults) -> Self {
        let random = faults.seed;
        Self { device, faults, random, reads: 0, injected: 0, written: 0, off: false }
    }

    /// How many reads there were, failed ones included.
    pub const fn reads(&self) -> u64 {
        self.reads
    }

    /// How many faults there were, flipped bits included.
    pub const fn injected(&self) -> u64 {
        self.injected
    }

    /// How many blocks were written whole.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Gives the device back.
    pub fn into_inner(self) -> D {
        self.device
    }

    /// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Draws the next read's fate: two draws a read, whatever becomes of it.
    fn next_fate(&mut self) -> Fate {
        let (roll, detail) = (self.random(), self.random());
        let Faults { timeout, corrupted, no_card, out_of_range, other, silent, fail_at, .. } =
            self.faults;
        let after_work = detail & 1 == 1;
        let read = self.reads;
        self.reads += 1;
        let mut fate = Fate::Succeeds;
        if let Some((at, error)) = fail_at
            && at == read
        {
            fate = Fate::Fails { error, after_work };
        } else {
            // One roll for all: it falls into the range of one fault at most.
            let roll = (roll >> 48) as u32;
            let mut bound = 0;
            let kinds = [
                (timeout, Some(ErrorKind::Timeout)),
                (corrupted, Some(ErrorKind::Corrupted)),
                (no_card, Some(ErrorKind::NoCard)),
                (out_of_range, Some(ErrorKind::OutOfRange)),
                (other, Some(ErrorKind::Other)),
                (silent, None),
            ];
            for (probability, kind) in kinds {
                let lower = bound;
                bound += probability as u32;
                if (lower..bound).contains(&roll) {
                    fate = match kind {
                        Some(error) => Fate::Fails { error, after_work },
                        None => Fate::Lies { where_: detail },
                    };
                }
            }
        }
        if !matches!(fate, Fate::Succeeds) {
            self.injected += 1;
        }
        fate
    }

    fn injected_error(&self, kind: ErrorKind) -> FaultyError<D::Error> {
        FaultyError::Injected { kind, read: self.reads.saturating_sub(1) }
    }
}

/// Flips one bit of `dst`; `where_` is uniform over `u64`.
fn flip_a_bit(dst: &mut [Block], where_: u64) {
    let bytes = Block::bytes_mut(dst);
    let at = (where_ as u128 * bytes.len() as u128) >> 64;
    if let Some(byte) = bytes.get_mut(at as usize) {
        *byte ^= 1 << (where_ & 7);
    }
}

impl<D: BlockDevice> BlockDevice for Faulty<D> {
    type Error = FaultyError<D::Error>;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        self.device.block_count().map_err(FaultyError::Device)
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
        if self.off {
            return Err(self.injected_error(ErrorKind::NoCard));
        }
        let fate = self.next_fate();
        if let Fate::Fails { error, after_work: false } = fate {
            return Err(self.injected_error(error));
        }
        let result = self.device.read_while(start, dst, work).map_err(FaultyError::Device)?;
        match fate {
            Fate::Fails { error, .. } => Err(self.injected_error(error)),
            Fate::Lies { where_ } => {
                flip_a_bit(dst, where_);
                Ok(result)
            }
            Fate::Succeeds => Ok(result),
        }
    }

    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), Self::Error> {
        self.device.stay_open(gap).map_err(FaultyError::Device)
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        self.device.goes_on()
    }
}

impl<D: WriteDevice> WriteDevice for Faulty<D> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error> {
        if self.off {
            return Err(self.injected_error(ErrorKind::NoCard));
        }
        let left = self.faults.cut.map_or(u64::MAX, |cut| cut.saturating_sub(self.written));
        let whole = usize::try_from(left).unwrap_or(usize::MAX);
        let (before, rest) = src.split_at_checked(whole).unwrap_or((src, &[]));
        if !before.is_empty() {
            self.device.write(start, before).map_err(FaultyError::Device)?;
            self.written += before.len() as u64;
        }
        let [new, ..] = rest else { return Ok(()) };
        let (at, mut torn) = (start + BlockCount(before.len() as u32), [Block::ZERO]);
        self.device.read(at, &mut torn).map_err(FaultyError::Device)?;
        let [block] = &mut torn;
        let halves = block.0.iter_mut().zip(new.0).take(BLOCK_BYTES / 2);
        halves.for_each(|(old, new)| *old = new);
        self.device.write(at, &torn).map_err(FaultyError::Device)?;
        self.off = true;
        Err(self.injected_error(ErrorKind::NoCard))
    }
}
