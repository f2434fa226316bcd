//! A device over an async driver, without an executor.
//!
//! In: a driver whose reads are futures. Out: [`Polled`], a [`BlockDevice`] that overlaps.
//! Knows nothing of interrupts or wakers.

use crate::{
    AsyncBlockDevice, AsyncWriteDevice, Block, BlockCount, BlockDevice, BlockIdx, WriteDevice,
};
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

/// A [`BlockDevice`] over an [`AsyncBlockDevice`]: polls its futures until they are ready.
///
/// The futures get a waker that does nothing, so the driver must make progress by interrupt, by DMA
/// or by being polled. A time-out must come from the driver: without one, a card that never answers
/// is waited for for ever. Each call polls its future to the end or drops it, which a driver may rely on:
/// none is forgotten.
#[derive(Clone, Debug)]
pub struct Polled<A, I = fn()> {
    device: A,
    idle: I,
}

impl<A: AsyncBlockDevice> Polled<A> {
    /// Wraps `device`; spins between two polls.
    pub const fn new(device: A) -> Self {
        Self { device, idle: core::hint::spin_loop }
    }
}

impl<A: AsyncBlockDevice, I: FnMut()> Polled<A, I> {
    /// Wraps `device`; runs `idle` between two polls that found the read unfinished.
    ///
    /// `idle` may feed a watchdog, or sleep until the next interrupt (`wfe`, whose event register
    /// an interrupt between the poll and the sleep has set: no wake-up is lost).
    pub const fn with_idle(device: A, idle: I) -> Self {
        Self { device, idle }
    }

    /// Gives the driver back.
    pub fn into_inner(self) -> A {
        self.device
    }
}

/// Polls `future` once, then runs `work`, then polls on to the end.
///
/// A future that fails in the first poll fails at once, and `work` does not run.
fn poll_around<T, E, R>(
    future: impl Future<Output = Result<T, E>>,
    mut idle: impl FnMut(),
    work: impl FnOnce() -> R,
) -> Result<(T, R), E> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let mut state = future.as_mut().poll(&mut context);
    if let Poll::Ready(Err(error)) = state {
        return Err(error);
    }
    // Should `work` unwind, the future is dropped on the way, which stops the transfer.
    let result = work();
    loop {
        match state {
            Poll::Ready(value) => return Ok((value?, result)),
            Poll::Pending => state = future.as_mut().poll(&mut context),
        }
        if state.is_pending() {
            idle();
        }
    }
}

impl<A: AsyncBlockDevice, I: FnMut()> BlockDevice for Polled<A, I> {
    type Error = A::Error;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        poll_around(self.device.block_count(), &mut self.idle, || ()).map(|(count, ())| count)
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
        if dst.is_empty() {
            return Ok(work());
        }
        let read = self.device.read(start, dst);
        poll_around(read, &mut self.idle, work).map(|((), result)| result)
    }

    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), Self::Error> {
        poll_around(self.device.stay_open(gap), &mut self.idle, || ()).map(|((), ())| ())
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        self.device.goes_on()
    }
}

impl<A: AsyncWriteDevice, I: FnMut()> WriteDevice for Polled<A, I> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error> {
        let write = self.device.write(start, src);
        poll_around(write, &mut self.idle, || ()).map(|((), ())| ())
    }
}
