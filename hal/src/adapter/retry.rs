//! A device that tries again.
//!
//! In: a device and a number of attempts. Out: [`Retry`], which fails only when they all did.
//! Knows nothing of the errors but whether they are transient.

use crate::{Block, BlockCount, BlockDevice, BlockIdx, DeviceError, WriteDevice};

/// A device that repeats calls that failed with a transient error, at once and a few times.
#[derive(Clone, Debug)]
pub struct Retry<D> {
    device: D,
    attempts: u32,
    retries: u64,
}

impl<D: BlockDevice> Retry<D> {
    /// Wraps `device`. A call is attempted at most `attempts` times, and once if that is 0.
    pub const fn new(device: D, attempts: u32) -> Self {
        Self { device, attempts, retries: 0 }
    }

    /// How many attempts were repetitions.
    pub const fn retries(&self) -> u64 {
        self.retries
    }

    /// Gives the device back.
    pub fn into_inner(self) -> D {
        self.device
    }

    /// Calls until success, a lasting error or the last attempt.
    fn attempt<T>(
        &mut self,
        mut call: impl FnMut(&mut D) -> Result<T, D::Error>,
    ) -> Result<T, D::Error> {
        let mut left = self.attempts.max(1);
        loop {
            let error = match call(&mut self.device) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            left -= 1;
            if left == 0 || !error.kind().is_transient() {
                return Err(error);
            }
            self.retries = self.retries.saturating_add(1);
        }
    }
}

impl<D: BlockDevice> BlockDevice for Retry<D> {
    type Error = D::Error;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        self.attempt(D::block_count)
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        self.attempt(|device| device.read(start, dst))
    }

    /// As the trait says; `work` runs at most once, and exactly once if the call succeeds.
    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        // An attempt that fails may or may not have run the work. What it gave is kept out here, so
        // that a later attempt reads only.
        let mut todo = Some(work);
        let mut done = None;
        // Goes round once: a device can only make its `Ok(())` from running what it was given.
        loop {
            let mut run = || {
                if let Some(work) = todo.take() {
                    done = Some(work());
                }
            };
            self.attempt(|device| device.read_while(start, dst, &mut run))?;
            if let Some(result) = done.take() {
                return Ok(result);
            }
        }
    }

    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), Self::Error> {
        self.attempt(|device| device.stay_open(gap))
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        self.device.goes_on()
    }
}

impl<D: WriteDevice> WriteDevice for Retry<D> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error> {
        self.attempt(|device| device.write(start, src))
    }
}
