//! Bytes streamed for their own sake: what an engine reads that knows nothing of sparsity.
//!
//! In: a file, and which of its bytes. Out: the time it takes, beside whatever is computed. Knows nothing of what the
//! bytes are.

use super::open::{Opened, read_at};
use crate::machine::pages::PageBlocks;
use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::ops::Range;

/// Reads under way at once, and bytes of each.
const THREADS: usize = 2;
const CHUNK: u64 = 1 << 20;

/// Reads a file from end to end, as fast as it comes.
pub struct Streamer {
    opened: Opened,
    threads: ThreadPool,
    pages: [PageBlocks; THREADS],
}

impl Streamer {
    /// Of `opened`.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(opened: Opened) -> Result<Self> {
        let threads = ThreadPoolBuilder::new().num_threads(THREADS);
        let threads = threads.thread_name(|at| format!("stream {at}"));
        let threads = threads.build().context("no thread for reading")?;
        Ok(Self { opened, threads, pages: Default::default() })
    }

    /// Reads `bytes`, rounded to whole sectors, in long reads, two at once, while `work` runs; gives how many they
    /// were.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read_while<R>(
        &mut self,
        bytes: Range<u64>,
        work: impl FnOnce() -> R,
    ) -> Result<(u64, R)> {
        let sector = self.opened.sector() as u64;
        let start = bytes.start - bytes.start % sector;
        let end = bytes.end.next_multiple_of(sector).max(start);
        let opened = &self.opened;
        let mut done: [std::io::Result<()>; THREADS] = std::array::from_fn(|_| Ok(()));
        let result = self.threads.in_place_scope(|scope| {
            let each = self.pages.iter_mut().zip(&mut done).zip(0u64..);
            for ((pages, done), thread) in each {
                scope.spawn(move |_| {
                    let mut at = start + thread * CHUNK;
                    while at < end && done.is_ok() {
                        let length = (end - at).min(CHUNK) as usize;
                        let needed = length.min(opened.bytes().saturating_sub(at) as usize);
                        *done = read_at(opened, pages.at_least(length), at, needed);
                        at += THREADS as u64 * CHUNK;
                    }
                });
            }
            work()
        });
        for done in done {
            done?;
        }
        Ok((end - start, result))
    }
}
