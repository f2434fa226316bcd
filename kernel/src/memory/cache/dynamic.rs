//! The dynamic part of the neuron cache: who gets in, who has to go.
//!
//! In: keys of bundles, in the order they are used. Out: frames. Knows nothing of what frames hold.
//!
//! S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.
//! Linking-aligned admission: Ripple (arXiv 2410.19274) 5.2.

use crate::memory::region::Carver;

/// Which missed bundles the cache holds, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Policy {
    /// Most of the cache that the hot prefix may take, in thousandths. The rest is dynamic.
    pub hot_permille: u32,
    /// Which neurons enter the dynamic part.
    pub admission: Admission,
    /// Which neurons leave it.
    pub eviction: Eviction,
}

/// Which bundle leaves the dynamic part when another one enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Eviction {
    /// S3-FIFO.
    S3Fifo = 0,
    /// The least recently used.
    Lru = 1,
}

/// Which missed bundles enter the dynamic part.
///
/// Bundles of short runs are worth more than their bytes: each cost a read of its own. Bundles of
/// long runs came cheaply and would come cheaply again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Admission {
    /// A run of this many consecutive slots or more is long.
    pub long_run: u32,
    /// One in so many bundles of a long run is admitted, chosen by a hash; 0 admits none.
    pub one_in: u32,
}

impl Admission {
    /// Admits everything.
    pub const ALL: Self = Self { long_run: u32::MAX, one_in: 1 };
    /// Runs of 4 or more are long, a quarter of them admitted.
    pub const DEFAULT: Self = Self { long_run: 4, one_in: 4 };

    fn admits(&self, run: u32, key: u32, turn: u32) -> bool {
        if run < self.long_run {
            return true;
        }
        let hash = (key ^ turn.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0x9E37_79B1);
        // `one_in` parts of 2^16: no division.
        self.one_in != 0 && (hash >> 16).saturating_mul(self.one_in) < 1 << 16
    }
}

/// The table's mark for "not here".
const ABSENT: u16 = u16::MAX;
/// The table's mark for "was here until recently".
const GHOST: u16 = u16::MAX - 1;
/// Most bundles the dynamic part can hold; the rest of the lent memory is not used.
pub(super) const MOST_FRAMES: u32 = GHOST as u32 - 1;

/// See the [module](self).
pub(super) struct Dynamic<'m> {
    frames: u32,
    used: u32,
    admission: Admission,
    eviction: Eviction,
    turn: u32,
    /// `(layers * neurons,)` frame of a bundle, or a mark.
    table: &'m mut [u16],
    /// `(frames,)` which bundle a frame holds.
    keys: &'m mut [u32],
    /// `(frames,)` uses since it came, at most 3.
    uses: &'m mut [u8],
    small: Ring<'m, u16>,
    main: Ring<'m, u16>,
    /// Keys that left the small queue unused.
    ghosts: Ring<'m, u32>,
}

/// A queue of fixed size.
struct Ring<'m, T> {
    slots: &'m mut [T],
    head: usize,
    len: usize,
}

impl<T: Copy> Ring<'_, T> {
    fn push(&mut self, value: T) {
        let at = self.head + self.len;
        let at = if at >= self.slots.len() { at - self.slots.len() } else { at };
        if self.len < self.slots.len()
            && let Some(slot) = self.slots.get_mut(at)
        {
            *slot = value;
            self.len += 1;
        }
    }

    fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let value = self.slots.get(self.head).copied();
        self.len -= 1;
        self.head += 1;
        if self.head >= self.slots.len() {
            self.head = 0;
        }
        value
    }

    fn is_full(&self) -> bool {
        self.len >= self.slots.len()
    }

    fn clear(&mut self) {
        (self.head, self.len) = (0, 0);
    }
}

impl<'m> Dynamic<'m> {
    /// `bundles`: how many there are in all. Without frames nothing is taken.
    pub fn carve(rest: &mut Carver<'m>, bundles: u32, frames: u32, policy: Policy) -> Self {
        let table: &mut [u16] = rest.take(if frames == 0 { 0 } else { bundles });
        table.iter_mut().for_each(|entry| *entry = ABSENT);
        Self {
            frames,
            used: 0,
            admission: policy.admission,
            eviction: policy.eviction,
            turn: 0,
            table,
            keys: rest.take(frames),
            uses: rest.take(frames),
            small: Ring { slots: rest.take(frames), head: 0, len: 0 },
            main: Ring { slots: rest.take(frames), head: 0, len: 0 },
            ghosts: Ring { slots: rest.take(frames), head: 0, len: 0 },
        }
    }

    /// Frames that hold a bundle.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.used = 0;
        self.turn = 0;
        self.table.iter_mut().for_each(|entry| *entry = ABSENT);
        self.small.clear();
        self.main.clear();
        self.ghosts.clear();
    }

    /// Looks a bundle up and counts the use.
    pub fn touch(&mut self, key: u32) -> bool {
        let Some(frame) = self.frame(key) else { return false };
        match self.eviction {
            Eviction::S3Fifo => {
                if let Some(uses) = self.uses.get_mut(frame as usize) {
                    *uses = (*uses + 1).min(3);
                }
            }
            Eviction::Lru => {
                self.unlink(frame);
                self.append(frame);
            }
        }
        true
    }

    /// The frame of a bundle that is here.
    pub fn frame(&self, key: u32) -> Option<u16> {
        self.table.get(key as usize).copied().filter(|&frame| frame < GHOST)
    }

    fn mark(&mut self, key: u32, mark: u16) {
        if let Some(entry) = self.table.get_mut(key as usize) {
            *entry = mark;
        }
    }

    /// Offers a bundle, one of a run of `run`; gives the frame it gets, if it is admitted.
    pub fn admit(&mut self, key: u32, run: u32) -> Option<u16> {
        if self.frames == 0 || self.frame(key).is_some() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        if !self.admission.admits(run, key, self.turn) {
            return None;
        }
        let returned = self.table.get(key as usize) == Some(&GHOST);
        let frame = if self.used < self.frames {
            self.used += 1;
            (self.used - 1) as u16
        } else {
            self.evict()?
        };
        *self.keys.get_mut(frame as usize)? = key;
        *self.uses.get_mut(frame as usize)? = 0;
        match self.eviction {
            Eviction::S3Fifo if returned => self.main.push(frame),
            Eviction::S3Fifo => self.small.push(frame),
            Eviction::Lru => self.append(frame),
        }
        self.mark(key, frame);
        Some(frame)
    }

    /// Empties a frame.
    fn evict(&mut self) -> Option<u16> {
        match self.eviction {
            Eviction::S3Fifo => self.evict_s3_fifo(),
            Eviction::Lru => {
                let frame = self.main.head as u16;
                self.unlink(frame);
                self.mark(*self.keys.get(frame as usize)?, ABSENT);
                Some(frame)
            }
        }
    }

    /// Ends, because each round lowers a use count or gives a frame.
    fn evict_s3_fifo(&mut self) -> Option<u16> {
        let small_share = self.frames as usize / 10;
        loop {
            if self.small.len > small_share || self.main.len == 0 {
                let frame = self.small.pop()?;
                if *self.uses.get(frame as usize)? > 0 {
                    *self.uses.get_mut(frame as usize)? = 0;
                    self.main.push(frame);
                    continue;
                }
                let key = *self.keys.get(frame as usize)?;
                self.remember(key);
                return Some(frame);
            }
            let frame = self.main.pop()?;
            let uses = self.uses.get_mut(frame as usize)?;
            if *uses > 0 {
                *uses -= 1;
                self.main.push(frame);
                continue;
            }
            let key = *self.keys.get(frame as usize)?;
            self.mark(key, ABSENT);
            return Some(frame);
        }
    }

    // Least recently used: the queues' memory holds a ring of frames instead, each linked to the
    // one used before it (`small`) and after it (`main`). `main.head` is the oldest; the one before
    // it in the ring is the newest.

    /// Makes a frame that is in no ring the newest.
    fn append(&mut self, frame: u16) {
        let oldest = if self.main.len == 0 { frame } else { self.main.head as u16 };
        let newest = self.before(oldest).filter(|_| self.main.len > 0).unwrap_or(frame);
        self.link(newest, frame);
        self.link(frame, oldest);
        self.main.head = oldest.into();
        self.main.len += 1;
    }

    fn unlink(&mut self, frame: u16) {
        let (Some(before), Some(after)) = (self.before(frame), self.after(frame)) else { return };
        self.link(before, after);
        if self.main.head == usize::from(frame) {
            self.main.head = after.into();
        }
        self.main.len = self.main.len.saturating_sub(1);
    }

    fn before(&self, frame: u16) -> Option<u16> {
        self.small.slots.get(frame as usize).copied()
    }

    fn after(&self, frame: u16) -> Option<u16> {
        self.main.slots.get(frame as usize).copied()
    }

    fn link(&mut self, first: u16, second: u16) {
        if let Some(after) = self.main.slots.get_mut(first as usize) {
            *after = second;
        }
        if let Some(before) = self.small.slots.get_mut(second as usize) {
            *before = first;
        }
    }

    fn remember(&mut self, key: u32) {
        if self.ghosts.is_full()
            && let Some(oldest) = self.ghosts.pop()
            && self.table.get(oldest as usize) == Some(&GHOST)
        {
            self.mark(oldest, ABSENT);
        }
        self.ghosts.push(key);
        self.mark(key, GHOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::region::Region;
    use crate::text::sample::Pcg32;
    extern crate std;
    use std::{vec, vec::Vec};

    const KEYS: u32 = 40;

    /// Each frame in use is in one queue, once; the table and the keys name each other; each ghost
    /// is in the ghost queue.
    fn check(dynamic: &Dynamic<'_>) {
        let contents = |ring: &Ring<'_, u16>| -> Vec<u16> {
            (0..ring.len).map(|i| ring.slots[(ring.head + i) % ring.slots.len()]).collect()
        };
        let mut queued = contents(&dynamic.small);
        queued.extend(contents(&dynamic.main));
        queued.sort_unstable();
        assert!(queued.iter().copied().eq(0..dynamic.used as u16), "{queued:?}");
        for frame in queued {
            assert_eq!(dynamic.table[dynamic.keys[frame as usize] as usize], frame);
        }
        let ghosts = &dynamic.ghosts;
        let is_ghost = |key| {
            (0..ghosts.len).any(|i| ghosts.slots[(ghosts.head + i) % ghosts.slots.len()] == key)
        };
        let mut held = 0;
        for (key, &entry) in dynamic.table.iter().enumerate() {
            match entry {
                ABSENT => {}
                GHOST => assert!(is_ghost(key as u32), "{key}"),
                frame => {
                    assert_eq!(dynamic.keys[frame as usize], key as u32);
                    held += 1;
                }
            }
        }
        assert_eq!(held, dynamic.used);
    }

    fn dynamic(memory: &mut [u32], frames: u32, eviction: Eviction) -> Dynamic<'_> {
        let needed = memory.len();
        let admission = Admission { long_run: 3, one_in: 2 };
        let policy = Policy { hot_permille: 0, admission, eviction };
        let mut rest = Carver::new(Region::Index, memory, needed).unwrap();
        Dynamic::carve(&mut rest, KEYS, frames, policy)
    }

    /// Sizes that are tested: under Miri, those that a hundred calls fill.
    const LRU: &[u32] = if cfg!(miri) { &[1, 10] } else { &[1, 2, 3, 10, 39, 40] };
    const S3_FIFO: &[u32] = if cfg!(miri) { &[1, 3, 11] } else { &[1, 2, 3, 10, 11, 39, 40] };

    #[test]
    fn the_least_recently_used_bundle_goes() {
        for &frames in LRU {
            let mut memory = vec![0; 100 + 4 * frames as usize];
            let mut dynamic = dynamic(&mut memory, frames, Eviction::Lru);
            let mut random = Pcg32::new(u64::from(frames), 1);
            for round in 0..4 {
                dynamic.clear();
                // Newest last.
                let mut naive: Vec<u32> = Vec::new();
                for _ in 0..if cfg!(miri) { 12 } else { 1000 } {
                    let key = random.next_u32() % KEYS;
                    let here = naive.iter().position(|&k| k == key).map(|at| naive.remove(at));
                    assert_eq!(dynamic.touch(key), here.is_some(), "{round}");
                    if here.is_none() {
                        assert!(dynamic.admit(key, 1).is_some());
                    }
                    naive.push(key);
                    if naive.len() > frames as usize {
                        naive.remove(0);
                    }
                    for key in 0..KEYS {
                        assert_eq!(dynamic.frame(key).is_some(), naive.contains(&key));
                    }
                }
            }
        }
    }

    #[test]
    fn queues_table_and_keys_agree_after_every_call() {
        for &frames in S3_FIFO {
            let mut memory = vec![0; 100 + 4 * frames as usize];
            let mut dynamic = dynamic(&mut memory, frames, Eviction::S3Fifo);
            let mut random = Pcg32::new(u64::from(frames), 0);
            for _ in 0..if cfg!(miri) { 100 } else { 4000 } {
                let key = random.next_u32() % KEYS;
                match dynamic.frame(key) {
                    Some(_) => {
                        assert!(dynamic.touch(key));
                        assert_eq!(dynamic.admit(key, 1), None, "it is here already");
                    }
                    None => {
                        let run = random.next_u32() % 5;
                        let frame = dynamic.admit(key, run);
                        assert!(frame.is_some() || run >= 3);
                        assert_eq!(dynamic.frame(key), frame);
                    }
                }
                check(&dynamic);
            }
            assert_eq!(dynamic.used, frames);
        }
    }
}
