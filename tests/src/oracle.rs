//! The online stage written down as simply as possible: what must be read, and what is kept.

use ripple_kernel::cache::Admission;
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

/// S3-FIFO with linking-aligned admission, on maps and deques.
pub struct Cache {
    frames: usize,
    admission: Admission,
    turn: u32,
    small: VecDeque<u32>,
    main: VecDeque<u32>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_joins_blocks_that_are_near() {
        assert_eq!(plan(&[0, 1, 4], 512, 0, 99), [(0, 2), (4, 1)]);
        assert_eq!(plan(&[0, 1, 4], 512, 2, 99), [(0, 5)]);
        assert_eq!(plan(&[0, 1, 4], 512, 2, 4), [(0, 2), (4, 1)]);
    }

    #[test]
    fn runs_count_neighbours() {
        assert_eq!(runs(&[1, 2, 3, 7, 9, 10]), [3, 3, 3, 1, 2, 2]);
    }

    #[test]
    fn a_ghost_returns_to_the_main_queue() {
        let mut cache = Cache::new(2, Admission::ALL);
        for key in [1, 2, 3, 1] {
            cache.admit(key, 1);
        }
        assert_eq!(cache.main, [1]);
    }
}
