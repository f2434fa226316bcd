//! The online stage written down as simply as possible: what must be read, and what is kept.

use ripple_kernel::memory::cache::Admission;
use std::collections::{HashMap, VecDeque};

/// Blocks to read for `misses` (ascending) of records of `stride` bytes: first block and blocks.
///
/// Marks every block that a miss touches, then joins what is at most `gap` blocks apart.
pub fn plan(misses: &[u32], stride: u32, gap: u32, max: u32) -> Vec<(u32, u32)> {
    let mut reads: Vec<(u32, u32)> = Vec::new();
    for &slot in misses {
        let start = slot * stride / 512;
        let end = ((slot + 1) * stride).div_ceil(512);
        match reads.last_mut() {
            Some((first, blocks))
                if start <= (*first + *blocks).saturating_add(gap) && end - *first <= max =>
            {
                *blocks = end - *first;
            }
            _ => reads.push((start, end - start)),
        }
    }
    reads
}

/// A page: where it is counted from the table the misses are in, and the slots it holds.
pub struct PageAt<'a> {
    /// First block of its front.
    pub start: u32,
    /// First block of its rest.
    pub rest: u32,
    /// Slots in its order.
    pub slots: &'a [u32],
    /// How many of them are in the front.
    pub ahead: usize,
    /// Blocks of the fronts that are read together, from this one on; 0 where it is read by itself.
    pub together: u32,
    /// Whether the front came with one before.
    pub held: bool,
    /// Whether that is read before it is known what is missing.
    pub always: bool,
    /// Where a command that is open goes on, counted as `start` is.
    pub next: Option<i64>,
}

/// Blocks to read for `misses` with a page at hand, as [`plan`].
///
/// Reads the front of the page where that is cheaper than the misses alone, with those behind it that it is read
/// together with, or not at all where they came with one before; then what is left, from
/// the layer or partly from the page, whatever is cheaper. A command costs as much as `gap` blocks; one that is
/// open and goes on to the first read costs the blocks between instead.
pub fn plan_with_page(
    misses: &[u32],
    page: &PageAt<'_>,
    stride: u32,
    gap: u32,
    max: u32,
) -> Vec<(u32, u32)> {
    let cost = |reads: &[(u32, u32)]| -> u64 {
        reads.iter().map(|(_, blocks)| u64::from(gap) + u64::from(*blocks)).sum()
    };
    let from_slots = |misses: &[u32]| plan(misses, stride, gap, max);
    let directory = (4 + 2 * page.slots.len() as u32).div_ceil(stride);
    let front: Vec<u32> = (0..directory + page.ahead as u32).collect();
    let front = plan(&front, stride, 0, max);
    let alone = from_slots(misses);
    // From a layer to its page.
    let begun = |reads: &[(u32, u32)], from: u32| -> i64 {
        let Some(&(first, _)) = reads.first() else { return 0 };
        let between = page.next.map(|next| i64::from(from + first) - next);
        let gap = i64::from(gap);
        let less = between.filter(|between| (0..=gap).contains(between)).map_or(0, |b| gap - b);
        cost(reads) as i64 - less
    };
    let dearer = begun(&alone, 0) > begun(&front, page.start);
    let free = page.held && !misses.is_empty();
    let whole = page.together > 0 || directory * stride <= max * 512;
    if !whole || !page.always && !dearer && !free {
        return alone;
    }
    let place = |slot: &u32| page.slots.iter().position(|held| held == slot);
    let left: Vec<u32> = misses
        .iter()
        .copied()
        .filter(|slot| place(slot).is_none_or(|place| place >= page.ahead))
        .collect();
    let (mut in_page, mut elsewhere) = (Vec::new(), Vec::new());
    for slot in &left {
        match place(slot) {
            Some(place) => in_page.push((place - page.ahead) as u32),
            None => elsewhere.push(*slot),
        }
    }
    in_page.sort_unstable();
    let (from_page, rest) = (from_slots(&in_page), from_slots(&elsewhere));
    let mut reads: Vec<_> = match (page.held, page.together) {
        (true, _) => Vec::new(),
        (false, 0) => front.into_iter().map(|(at, blocks)| (page.start + at, blocks)).collect(),
        (false, together) => vec![(page.start, together)],
    };
    let moved = |(first, blocks): (u32, u32)| (page.rest + first, blocks);
    if cost(&rest) + cost(&from_page) < cost(&from_slots(&left)) {
        reads.extend(rest);
        reads.extend(from_page.into_iter().map(moved));
    } else {
        reads.extend(from_slots(&left));
    }
    reads
}

/// S3-FIFO with linking-aligned admission, on maps and deques.
pub struct Cache {
    frames: usize,
    admission: Admission,
    turn: u32,
    small: VecDeque<u32>,
    /// The keys of the main queue, the oldest first.
    pub main: VecDeque<u32>,
    ghosts: VecDeque<u32>,
    uses: HashMap<u32, u8>,
    ghost: std::collections::HashSet<u32>,
}

impl Cache {
    /// An empty cache of `frames` bundles.
    pub fn new(frames: usize, admission: Admission) -> Self {
        Self {
            frames,
            admission,
            turn: 0,
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghosts: VecDeque::new(),
            uses: HashMap::new(),
            ghost: std::collections::HashSet::new(),
        }
    }

    /// Whether `key` is here; counts the use.
    pub fn touch(&mut self, key: u32) -> bool {
        match self.uses.get_mut(&key) {
            Some(uses) => {
                *uses = (*uses + 1).min(3);
                true
            }
            None => false,
        }
    }

    /// Offers a missed bundle of a run of `run`.
    pub fn admit(&mut self, key: u32, run: u32) {
        if self.frames == 0 || self.uses.contains_key(&key) {
            return;
        }
        self.turn = self.turn.wrapping_add(1);
        if run >= self.admission.long_run {
            let hash = (key ^ self.turn.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0x9E37_79B1) >> 16;
            if self.admission.one_in == 0
                || u64::from(hash) * u64::from(self.admission.one_in) >= 65536
            {
                return;
            }
        }
        let returned = self.ghost.remove(&key);
        if self.uses.len() == self.frames {
            self.evict();
        }
        self.uses.insert(key, 0);
        if returned { self.main.push_back(key) } else { self.small.push_back(key) }
    }

    fn evict(&mut self) {
        loop {
            if self.small.len() > self.frames / 10 || self.main.is_empty() {
                let key = self.small.pop_front().unwrap();
                if self.uses[&key] > 0 {
                    self.uses.insert(key, 0);
                    self.main.push_back(key);
                    continue;
                }
                self.uses.remove(&key);
                if self.ghosts.len() == self.frames {
                    let oldest = self.ghosts.pop_front().unwrap();
                    self.ghost.remove(&oldest);
                }
                self.ghosts.push_back(key);
                self.ghost.insert(key);
                return;
            }
            let key = self.main.pop_front().unwrap();
            if self.uses[&key] > 0 {
                *self.uses.get_mut(&key).unwrap() -= 1;
                self.main.push_back(key);
                continue;
            }
            self.uses.remove(&key);
            return;
        }
    }
}

/// The length of the run of consecutive numbers that each of `misses` (ascending) is in.
pub fn runs(misses: &[u32]) -> Vec<u32> {
    let mut out = Vec::new();
    for group in misses.chunk_by(|a, b| a + 1 == *b) {
        out.extend(std::iter::repeat_n(group.len() as u32, group.len()));
    }
    out
}
