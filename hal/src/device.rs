//! The storage trait: reads of whole blocks, alone or while something else is computed.
//!
//! In: a block address and a buffer. Out: the buffer filled, or a typed error. Knows nothing of what
//! the blocks hold.

use crate::{Block, BlockCount, BlockIdx};

/// What went wrong on a device, coarse enough to decide whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ErrorKind {
    /// No answer in time; the same read may succeed.
    Timeout,
    /// The transfer arrived damaged (bus CRC); the same read may succeed.
    Corrupted,
    /// No card in the slot, or it was pulled; a read succeeds only after it is back.
    NoCard,
    /// The address is beyond the end of the device; it will never succeed.
    OutOfRange,
    /// Anything else the driver reports.
    Other,
}

impl ErrorKind {
    /// Whether the same read, repeated at once, has a chance.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Timeout | Self::Corrupted)
    }
}

/// An error of a [`BlockDevice`].
pub trait DeviceError: core::fmt::Debug {
    /// The kind, for retry decisions; the value itself keeps the detail.
    fn kind(&self) -> ErrorKind;
}

impl core::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no answer in time",
            Self::Corrupted => "the transfer arrived damaged",
            Self::NoCard => "no card",
            Self::OutOfRange => "beyond the end of the device",
            Self::Other => "device error",
        })
    }
}

impl core::error::Error for ErrorKind {}

impl DeviceError for ErrorKind {
    fn kind(&self) -> ErrorKind {
        *self
    }
}

impl DeviceError for core::convert::Infallible {
    fn kind(&self) -> ErrorKind {
        match *self {}
    }
}

/// A read that is not wholly on its device: the blocks asked for and the blocks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OutOfRange {
    /// First block asked for.
    pub start: BlockIdx,
    /// How many were asked for.
    pub count: BlockCount,
    /// How many the device holds.
    pub blocks: BlockCount,
}

impl OutOfRange {
    /// Checks that `dst` blocks from `start` on lie on a device of `blocks` blocks; none always do.
    ///
    /// # Errors
    /// The numbers, when they do not.
    pub fn check(start: BlockIdx, dst: &[Block], blocks: BlockCount) -> Result<(), Self> {
        if dst.is_empty() || start.0 as u64 + dst.len() as u64 <= blocks.0 as u64 {
            return Ok(());
        }
        let count = BlockCount(u32::try_from(dst.len()).unwrap_or(u32::MAX));
        Err(Self { start, count, blocks })
    }
}

impl core::fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { start, count, blocks } = self;
        write!(f, "{} blocks from block {} on a device of {}", count.0, start.0, blocks.0)
    }
}

impl core::error::Error for OutOfRange {}

impl DeviceError for OutOfRange {
    fn kind(&self) -> ErrorKind {
        ErrorKind::OutOfRange
    }
}

/// When a read comes that a device is told of: see [`BlockDevice::will_read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Coming {
    /// Before all that comes later, behind what comes next already.
    Next,
    /// Behind all that it was told of.
    Later,
    /// As `Later`, some of these blocks or all: which, is known only when they come next.
    SomeLater,
}

/// Storage that is read in blocks of 512 bytes.
///
/// # Contract
///
/// The caller: `start + dst.len()` may lie beyond the end; that is an error, never undefined. An
/// empty `dst` reads nothing and succeeds. After an error the contents of `dst` are unspecified and
/// the device is ready for the next call.
///
/// The implementor: a call returns, *or unwinds*, only when the device can no longer write `dst`.
/// Reads of the same block give the same bytes, whatever command they are part of.
pub trait BlockDevice {
    /// What can go wrong.
    type Error: DeviceError;

    /// How many blocks the device holds.
    ///
    /// # Errors
    /// When the device does not answer.
    fn block_count(&mut self) -> Result<BlockCount, Self::Error>;

    /// Fills `dst` with the blocks from `start` on, in one command if the device can.
    ///
    /// # Errors
    /// When the device fails or the blocks are not all on it.
    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error>;

    /// Fills `dst` and runs `work`, both at once where the device can; returns when both are done.
    ///
    /// This is how a transfer overlaps with computation: the borrow of `dst` lasts for the call, so
    /// no buffer needs to be `'static`. The provided version reads, then works.
    ///
    /// # Errors
    /// As [`read`](Self::read). `work` may or may not have run then.
    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        self.read(start, dst)?;
        Ok(work())
    }

    /// Has a read go on with the command of the read before it where it can, until told otherwise.
    ///
    /// What makes a read slow on an SD card or an eMMC is its command, not its length. A command for several
    /// blocks delivers the next one for as long as the host asks, so that a read which begins where the last
    /// one ended needs no command of its own; nor does one that begins at most `gap` blocks further on, if the
    /// device clocks what lies between through. `None` ends the command that is open, and each read has its
    /// own from then on, as at the start. Whatever is not such a read ends it too: a read further on or
    /// further back, a write, an error.
    ///
    /// The best gap is [`Calibration::collapse_gap`](crate::Calibration::collapse_gap), found with nothing
    /// open. Only commands and time change, never what is read. The provided version does nothing, which is
    /// right for a device that cannot keep a command open.
    ///
    /// # Errors
    /// When the device fails while it ends a command.
    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), Self::Error> {
        let _ = gap;
        Ok(())
    }

    /// Whether the device makes use of [`will_read`](Self::will_read). Where it does not, the reader spends nothing on
    /// telling it.
    const LOOKS_AHEAD: bool = false;

    /// Says that `count` blocks from `start` on will be read, in reads of any length, in the order in which they are
    /// told: a device that can have several reads under way may begin with these.
    ///
    /// A hint: reads may come that were not told of, and others not at all, nor does the range have to be on the
    /// device. Only time changes, never what is read. The provided version does nothing.
    fn will_read(&mut self, start: BlockIdx, count: BlockCount, coming: Coming) {
        let _ = (start, count, coming);
    }

    /// The block that a read begins with, or begins at most the gap of [`stay_open`](Self::stay_open) behind, if
    /// it is to go on with the command that is open; `None` where the next read has a command of its own.
    ///
    /// What weighs reads against each other asks it. The provided version says `None`, which is right for a
    /// device that cannot keep a command open, and costs no more than a worse choice on one that can.
    fn goes_on(&self) -> Option<BlockIdx> {
        None
    }
}

/// Storage whose reads are futures: what an Embassy or RTIC driver offers.
///
/// # Contract
///
/// As [`BlockDevice`]'s, and: the first poll of a read starts the transfer, and dropping its future
/// stops it. Once the drop is over, the device no longer writes `dst`.
#[allow(async_fn_in_trait, reason = "polled where it is made: no Send bound to name")]
pub trait AsyncBlockDevice {
    /// What can go wrong.
    type Error: DeviceError;

    /// How many blocks the device holds.
    ///
    /// # Errors
    /// When the device does not answer.
    async fn block_count(&mut self) -> Result<BlockCount, Self::Error>;

    /// Fills `dst` with the blocks from `start` on, in one command if the device can.
    ///
    /// # Errors
    /// When the device fails or the blocks are not all on it.
    async fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error>;

    /// As [`BlockDevice::stay_open`].
    ///
    /// # Errors
    /// When the device fails while it ends a command.
    async fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), Self::Error> {
        let _ = gap;
        Ok(())
    }

    /// As [`BlockDevice::goes_on`].
    fn goes_on(&self) -> Option<BlockIdx> {
        None
    }
}

/// Storage that is written as well: for what does not fit in memory, behind what it is read for.
///
/// # Contract
///
/// As [`BlockDevice`]'s, with what was last written in the place of what was read before. What a call
/// that succeeded has written survives a loss of power. After an error each block of the call may hold
/// what it held or what it was to hold, or be damaged where power was lost in its midst; no other block
/// has changed.
pub trait WriteDevice: BlockDevice {
    /// Writes `src` to the blocks from `start` on.
    ///
    /// # Errors
    /// When the device fails or the blocks are not all on it.
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error>;
}

/// Storage whose writes are futures as well.
///
/// # Contract
///
/// As [`AsyncBlockDevice`]'s and [`WriteDevice`]'s. A future that is dropped under way leaves the blocks
/// of `src` as after an error, and no others changed.
#[allow(async_fn_in_trait, reason = "polled where it is made: no Send bound to name")]
pub trait AsyncWriteDevice: AsyncBlockDevice {
    /// Writes `src` to the blocks from `start` on, in one command if the device can.
    ///
    /// # Errors
    /// When the device fails or the blocks are not all on it.
    async fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error>;
}

impl<D: WriteDevice> WriteDevice for &mut D {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error> {
        (**self).write(start, src)
    }
}

impl<D: BlockDevice> BlockDevice for &mut D {
    type Error = D::Error;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        (**self).block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        (**self).read(start, dst)
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        (**self).read_while(start, dst, work)
    }

    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), Self::Error> {
        (**self).stay_open(gap)
    }

    const LOOKS_AHEAD: bool = D::LOOKS_AHEAD;

    fn will_read(&mut self, start: BlockIdx, count: BlockCount, coming: Coming) {
        (**self).will_read(start, count, coming);
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        (**self).goes_on()
    }
}
