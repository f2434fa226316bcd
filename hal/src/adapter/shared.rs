//! One device, several users: a firmware that logs to the card it infers from.
//!
//! In: a device. Out: [`SharedDevice`], to be put in a static, and [`Shared`] handles to it.
//! Knows nothing of who else holds a handle.

use crate::{Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind};
use core::cell::Cell;
use core::fmt;
use critical_section::Mutex;

/// The place of a device that several handles use in turns.
///
/// A call takes the device out for as long as it lasts and puts it back. Only the taking and the
/// putting back, a move of `D`, are in a critical section: no transfer and no work, so a read of
/// many milliseconds never holds interrupts up. (A device kept inside `Mutex<RefCell<D>>` would
/// have to be read with interrupts off from the first block to the last.) Who comes meanwhile, an
/// interrupt handler, the other core, or the work of a [`read_while`](BlockDevice::read_while), is
/// told [`SharedError::Busy`].
///
/// `D` is moved twice a call, so it should be small: a driver's handle and state, no buffers.
pub struct SharedDevice<D> {
    place: Mutex<Cell<Option<D>>>,
}

impl<D> SharedDevice<D> {
    /// Puts `device` where handles can reach it.
    pub const fn new(device: D) -> Self {
        Self { place: Mutex::new(Cell::new(Some(device))) }
    }

    /// A handle; any number of them may exist.
    pub const fn handle(&self) -> Shared<'_, D> {
        Shared { owner: self }
    }

    /// Gives the device back.
    pub fn into_inner(self) -> Option<D> {
        self.place.into_inner().into_inner()
    }
}

/// A handle to a [`SharedDevice`].
pub struct Shared<'a, D> {
    owner: &'a SharedDevice<D>,
}

impl<D> Clone for Shared<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Shared<'_, D> {}

/// Why a shared device did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SharedError<E> {
    /// Someone else is in the middle of a call. Transient, as [`ErrorKind::Timeout`]: the other
    /// core may retry; an interrupt handler must come back later.
    Busy,
    /// The device failed.
    Device(E),
}

impl<E: DeviceError> DeviceError for SharedError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy => ErrorKind::Timeout,
            Self::Device(e) => e.kind(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for SharedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the device is in use by another handle"),
            Self::Device(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for SharedError<E> {}

/// A device taken out of its place; goes back when dropped, so also when a call unwinds.
struct Loan<'a, D> {
    owner: &'a SharedDevice<D>,
    device: Option<D>,
}

impl<D> Drop for Loan<'_, D> {
    fn drop(&mut self) {
        let device = self.device.take();
        critical_section::with(|cs| self.owner.place.borrow(cs).set(device));
    }
}

impl<D> Shared<'_, D> {
    /// Runs `use_it` with the device, for what a [`BlockDevice`] has not: writing a log, say.
    ///
    /// # Errors
    /// [`SharedError::Busy`] when another call has the device; `use_it` does not run then. Its own
    /// errors are [`SharedError::Device`].
    pub fn with<R, E>(
        &self,
        use_it: impl FnOnce(&mut D) -> Result<R, E>,
    ) -> Result<R, SharedError<E>> {
        let device = critical_section::with(|cs| self.owner.place.borrow(cs).take());
        if device.is_none() {
            return Err(SharedError::Busy);
        }
        let mut loan = Loan { owner: self.owner, device };
        match &mut loan.device {
            Some(device) => use_it(device).map_err(SharedError::Device),
            None => Err(SharedError::Busy),
        }
    }
}

impl<D: BlockDevice> BlockDevice for Shared<'_, D> {
    type Error = SharedError<D::Error>;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        self.with(D::block_count)
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        self.with(|device| device.read(start, dst))
    }

    /// As the trait says; `work` runs outside of any critical section and overlaps if the device
    /// can. A handle used inside of `work` is told [`SharedError::Busy`].
    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        self.with(|device| device.read_while(start, dst, work))
    }
}
