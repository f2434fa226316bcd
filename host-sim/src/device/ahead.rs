//! Reading on before the caller asks.
//!
//! In: the reads that a caller asks for, one after the other. Out: those that will come, under way in threads of
//! their own. Knows nothing of what is read or computed.
//!
//! For every pass of a model the tables that it needs whole are read in the same order: whatever came after a read
//! twice in a row will come after it again. What comes only now and then, the neurons of a token, is no part of that
//! order and does not disturb it. Bytes are the same however they came.

use super::open::{Opened, read_at};
use crate::machine::pages::PageBlocks;
use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use ripple_hal::{BLOCK_BYTES, BlockCount};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// Reads under way at once.
const THREADS: usize = 2;
/// Reads ahead at most, however short they are.
const MOST: usize = 8;
/// Places that are remembered: those that came once are forgotten when there are more.
const PLACES: usize = 1 << 15;

/// Blocks that are read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub start: u32,
    pub blocks: u32,
}

/// What came after a place.
#[derive(Clone, Copy, Default)]
struct Known {
    next: Option<Place>,
    /// Whether the same came the time before.
    sure: bool,
    /// Whether the place came more than once.
    again: bool,
}

/// A read that is under way, or done.
pub(super) struct Coming {
    place: Place,
    /// Bytes before the first wanted one: a sector may begin before it.
    skipped: usize,
    answer: Receiver<(PageBlocks, io::Result<()>)>,
    there: Option<PageBlocks>,
}

impl Coming {
    /// Its bytes, when they are there.
    ///
    /// # Errors
    /// When the device failed.
    pub fn wait(&mut self) -> io::Result<&[u8]> {
        let gone = |_| io::Error::other("the thread that reads ahead ended");
        let (pages, read) = self.answer.recv().map_err(gone)?;
        let bytes = self.there.insert(pages).bytes();
        read?;
        let end = self.skipped + self.place.blocks as usize * BLOCK_BYTES;
        bytes.get(self.skipped..end).ok_or_else(|| io::Error::other("a read ahead was too short"))
    }
}

/// See the [module](self).
pub(super) struct Ahead {
    opened: Arc<Opened>,
    threads: Option<ThreadPool>,
    /// Bytes that may be under way.
    budget: usize,
    known: HashMap<Place, Known>,
    last: Option<Place>,
    coming: VecDeque<Coming>,
    spare: Vec<PageBlocks>,
    /// Places of the order that came since one was read ahead.
    astray: usize,
}

impl Ahead {
    /// Reads at most `budget` bytes of `opened` before they are asked for.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(opened: Arc<Opened>, budget: usize) -> Result<Self> {
        let threads = || {
            let threads = ThreadPoolBuilder::new().num_threads(THREADS);
            let named = threads.thread_name(|at| format!("read ahead {at}"));
            named.build().context("no thread for reading ahead")
        };
        let threads = if budget > 0 { Some(threads()?) } else { None };
        let (known, coming, spare) = (HashMap::new(), VecDeque::new(), Vec::new());
        Ok(Self { opened, threads, budget, known, last: None, coming, spare, astray: 0 })
    }

    /// Notes that `place` is asked for; gives the read of it that is under way, if there is one.
    pub fn take(&mut self, place: Place) -> Option<Coming> {
        self.threads.as_ref()?;
        if self.known.len() >= PLACES {
            self.known.retain(|_, known| known.again);
        }
        let again = self.known.contains_key(&place);
        self.known.entry(place).or_default().again = again;
        if !again {
            // What comes now and then.
            return None;
        }
        if let Some(before) = self.last.replace(place).and_then(|last| self.known.get_mut(&last)) {
            let same = before.next == Some(place);
            // One neuron more or less does not undo what came again and again.
            if !before.sure {
                before.next = Some(place);
            }
            before.sure = same;
        }
        let Some(at) = self.coming.iter().position(|coming| coming.place == place) else {
            self.astray += 1;
            if self.astray > MOST {
                // The order has changed.
                self.coming.clear();
            }
            return None;
        };
        self.astray = 0;
        // Those before it were not asked for.
        self.coming.drain(..at);
        self.coming.pop_front()
    }

    #[cfg(test)]
    pub fn is_coming(&self, place: Place) -> bool {
        self.coming.iter().any(|coming| coming.place == place)
    }

    /// Takes the memory of a read back that is no longer needed.
    pub fn give_back(&mut self, coming: Coming) {
        self.spare.extend(coming.there);
        self.spare.truncate(MOST);
    }

    /// Has what will come after `place` read, as far as that is known; the bytes of these reads.
    pub fn plan(&mut self, place: Place) -> u64 {
        let Some(threads) = &self.threads else { return 0 };
        // What comes now and then, and what of the order is under way already.
        let mut at = self.coming.back().map_or(place, |coming| coming.place);
        let mut under_way: usize = self.coming.iter().map(|coming| bytes(coming.place)).sum();
        let mut more = 0;
        while self.coming.len() < MOST
            && let Some(Known { next: Some(next), sure: true, .. }) = self.known.get(&at)
            && under_way + bytes(*next) <= self.budget
            && *next != place
        {
            at = *next;
            let sector = self.opened.sector() as u64;
            let from = BlockCount(at.start).bytes();
            let first = from - from % sector;
            let whole = ((from + bytes(at) as u64).next_multiple_of(sector) - first) as usize;
            let skipped = (from - first) as usize;
            let (send, answer) = channel();
            let mut pages = self.spare.pop().unwrap_or_default();
            let (opened, needed) = (self.opened.clone(), skipped + bytes(at));
            threads.spawn(move || {
                let read = read_at(&opened, pages.at_least(whole), first, needed);
                // Nobody waits for it where the order has changed.
                let _ = send.send((pages, read));
            });
            self.coming.push_back(Coming { place: at, skipped, answer, there: None });
            under_way += bytes(at);
            more += whole as u64;
        }
        more
    }
}

const fn bytes(place: Place) -> usize {
    place.blocks as usize * BLOCK_BYTES
}
