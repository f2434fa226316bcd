//! Threads that read a file, several pieces at once.
//!
//! In: what a caller asks for, and says that it will. Out: the bytes. What is begun when, [`Lanes`] say.

use super::lanes::{Lanes, Part};
use super::open::{Opened, read_at};
use anyhow::{Context, Result};
use ripple_hal::{BLOCK_BYTES, Block, Coming};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Reads under way at once.
pub(super) const AT_ONCE: usize = 8;

/// See the [module](self).
pub(super) struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    opened: Arc<Opened>,
    state: Mutex<Inner>,
    /// There is something to begin.
    more: Condvar,
    /// Something has ended.
    ended: Condvar,
}

struct Inner {
    lanes: Lanes,
    /// Threads that wait for something to begin.
    idle: usize,
    /// The piece that the caller waits for.
    awaited: Option<u64>,
    closed: bool,
    /// Bytes that were read: whole sectors.
    bytes: u64,
}

impl Readers {
    /// Threads that read `opened`.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new(opened: Arc<Opened>) -> Result<Self> {
        let blocks = opened.bytes() / BLOCK_BYTES as u64;
        let lanes = Lanes::new(blocks, opened.sector());
        let state = Mutex::new(Inner { lanes, idle: 0, awaited: None, closed: false, bytes: 0 });
        let (more, ended) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { opened, state, more, ended });
        let threads = (0..AT_ONCE).map(|at| {
            let shared = shared.clone();
            let named = std::thread::Builder::new().name(format!("reader {at}"));
            named.spawn(move || shared.read())
        });
        let threads = threads.collect::<io::Result<_>>().context("no thread for reading")?;
        Ok(Self { shared, threads })
    }

    /// As [`Lanes::set`].
    pub fn set(&self, bytes: usize, gap: u64) {
        self.shared.lock().lanes.set(bytes, gap);
    }

    /// As [`Lanes::tell`].
    pub fn tell(&self, blocks: Range<u64>, coming: Coming) {
        let mut inner = self.shared.lock();
        inner.lanes.tell(blocks, coming);
        self.shared.wake(&inner);
    }

    /// Has blocks read, if they are not being read already.
    pub fn ask(&self, blocks: Range<u64>) -> Vec<Part> {
        let mut inner = self.shared.lock();
        let parts = inner.lanes.ask(blocks);
        self.shared.wake(&inner);
        parts
    }

    /// Waits for what was [asked](Self::ask), and copies it to `dst`; the bytes that were read from the device so
    /// far.
    ///
    /// # Errors
    /// When a read failed.
    pub fn wait(&self, parts: &[Part], dst: &mut [Block]) -> io::Result<u64> {
        let mut dst = Block::bytes_mut(dst);
        let mut inner = self.shared.lock();
        let mut failed = None;
        for part in parts {
            let (memory, first) = loop {
                match inner.lanes.take(part) {
                    Some(Ok(found)) => break found,
                    Some(Err(error)) => {
                        failed = Some(error);
                        break Default::default();
                    }
                    None => {
                        inner.awaited = Some(part.number);
                        let ended = self.shared.ended.wait(inner);
                        inner = ended.unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            if failed.is_some() {
                break;
            }
            drop(inner);
            let skipped = (part.blocks.start - first) as usize * BLOCK_BYTES;
            let length = (part.blocks.end - part.blocks.start) as usize * BLOCK_BYTES;
            let (now, rest) = dst.split_at_mut(length);
            now.copy_from_slice(&memory.bytes()[skipped..skipped + length]);
            dst = rest;
            inner = self.shared.lock();
            inner.lanes.put(part.number, memory);
        }
        inner.lanes.asked_and_answered();
        // What was taken has made room.
        self.shared.wake(&inner);
        failed.map_or(Ok(inner.bytes), Err)
    }

    #[cfg(test)]
    pub fn waits_later(&self) -> bool {
        self.shared.lock().lanes.waits_later()
    }

    #[cfg(test)]
    pub fn is_begun(&self, block: u64) -> bool {
        self.shared.lock().lanes.is_begun(block)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.more.notify_all();
        for thread in self.threads.drain(..) {
            // It has panicked otherwise, and said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a thread; each that finds something to begin wakes one more.
    fn wake(&self, inner: &Inner) {
        if inner.idle > 0 && inner.lanes.has_more() {
            self.more.notify_one();
        }
    }

    /// Reads until the device is closed.
    fn read(&self) {
        let mut inner = self.lock();
        while !inner.closed {
            let Some(mut job) = inner.lanes.begin() else {
                inner.idle += 1;
                inner = self.more.wait(inner).unwrap_or_else(PoisonError::into_inner);
                inner.idle -= 1;
                continue;
            };
            self.wake(&inner);
            drop(inner);
            let sector = self.opened.sector() as u64;
            let (start, end) = (job.blocks.start * 512, job.blocks.end * 512);
            let first = start - start % sector;
            let whole = end.next_multiple_of(sector) - first;
            let mut memory = job.memory();
            let bytes = memory.at_least(whole as usize);
            let read = read_at(&self.opened, bytes, first, (end - first) as usize);
            inner = self.lock();
            inner.bytes += if read.is_ok() { whole } else { 0 };
            inner.lanes.end(job.number, memory, read);
            if inner.awaited == Some(job.number) {
                inner.awaited = None;
                self.ended.notify_one();
            }
        }
    }
}
