//! The neurons with the largest scores of those that come by: a bounded heap, its worst in front.
//!
//! In: neurons in ascending order, with scores. Out: those that are kept, and which row of values each has.
//! Knows nothing of what a score is.

use crate::real::Real;

/// A neuron that is kept, and the row that its values have.
pub(crate) type Entry = [u32; 2];

/// Marks what is not used.
const NONE: Entry = [u32::MAX; 2];

/// A heap in lent memory.
pub(crate) struct Heap<'a, R> {
    /// `(kept,)`.
    pub scores: &'a mut [R],
    /// As many.
    pub entries: &'a mut [Entry],
    count: usize,
}

impl<'a, R: Real> Heap<'a, R> {
    /// An empty one that keeps as many as both have room for.
    pub fn new(scores: &'a mut [R], entries: &'a mut [Entry]) -> Self {
        entries.iter_mut().for_each(|entry| *entry = NONE);
        Self { scores, entries, count: 0 }
    }

    /// Keeps a neuron if there is room, or in the place of the worst if it is better; of equal ones the
    /// earlier is. Returns the row that its values have.
    pub fn offer(&mut self, slot: u32, score: R) -> Option<usize> {
        let row = if self.count < self.entries.len().min(self.scores.len()) {
            self.set(self.count, score, [slot, self.count as u32]);
            self.count += 1;
            self.rise(self.count - 1);
            return Some(self.count - 1);
        } else {
            let (worst, [_, row]) = self.get(0)?;
            if score <= worst {
                return None;
            }
            row
        };
        self.set(0, score, [slot, row]);
        self.sink();
        usize::try_from(row).ok()
    }

    /// Puts those that are kept in ascending order; their scores are used up.
    pub fn sort(self) {
        // Nearly in order already where few were replaced; nothing in it can panic, which core's sort can.
        let entries = &mut *self.entries;
        let at = |entries: &[Entry], i: usize| entries.get(i).copied().unwrap_or(NONE);
        for end in 1..entries.len() {
            let entry = at(entries, end);
            let mut i = end;
            while i > 0 && at(entries, i - 1) > entry {
                let before = at(entries, i - 1);
                if let Some(place) = entries.get_mut(i) {
                    *place = before;
                }
                i -= 1;
            }
            if let Some(place) = entries.get_mut(i) {
                *place = entry;
            }
        }
    }

    fn get(&self, i: usize) -> Option<(R, Entry)> {
        Some((*self.scores.get(..self.count)?.get(i)?, *self.entries.get(i)?))
    }

    fn set(&mut self, i: usize, score: R, entry: Entry) {
        if let (Some(to), Some(at)) = (self.scores.get_mut(i), self.entries.get_mut(i)) {
            (*to, *at) = (score, entry);
        }
    }

    /// Whether the one at `a` is worse than the one at `b`.
    fn worse(&self, a: usize, b: usize) -> bool {
        match (self.get(a), self.get(b)) {
            (Some((x, [slot, _])), Some((y, [other, _]))) => x < y || x <= y && slot > other,
            _ => false,
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        if let (Some((score, entry)), Some((other, second))) = (self.get(a), self.get(b)) {
            self.set(a, other, second);
            self.set(b, score, entry);
        }
    }

    fn rise(&mut self, mut i: usize) {
        while i > 0 && self.worse(i, (i - 1) / 2) {
            self.swap(i, (i - 1) / 2);
            i = (i - 1) / 2;
        }
    }

    fn sink(&mut self) {
        let mut i = 0;
        loop {
            let mut worst = i;
            for child in [2 * i + 1, 2 * i + 2] {
                if self.worse(child, worst) {
                    worst = child;
                }
            }
            if worst == i {
                return;
            }
            self.swap(i, worst);
            i = worst;
        }
    }
}

/// The row of a neuron's values among sorted entries, if it is kept.
pub(crate) fn row_of(entries: &[Entry], slot: u32) -> Option<usize> {
    let at = entries.binary_search_by_key(&slot, |[slot, _]| *slot).ok()?;
    usize::try_from(*entries.get(at)?.last()?).ok()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "what it asserts")]
mod tests {
    extern crate std;
    use super::{Heap, row_of};
    use std::vec::Vec;

    /// Against a sort of all of them.
    #[test]
    fn the_best_are_kept_each_with_a_row_of_its_own() {
        let mut state = 7u32;
        for round in 0..200 {
            let (count, room) = (round % 23, 1 + round % 9);
            let scores: Vec<f32> = (0..count)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Few different ones: many are equal.
                    (state >> 29) as f32
                })
                .collect();
            let (mut heap_scores, mut entries) = (Vec::new(), Vec::new());
            heap_scores.resize(room, 0.0f32);
            entries.resize(room, [0; 2]);
            let mut heap = Heap::new(&mut heap_scores, &mut entries);
            let mut rows = Vec::new();
            rows.resize(room, u32::MAX);
            for (slot, score) in scores.iter().enumerate() {
                if let Some(row) = heap.offer(slot as u32, *score) {
                    rows[row] = slot as u32;
                }
            }
            heap.sort();
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
            let best = &order[..room.min(count)];
            for slot in 0..count {
                let row = row_of(&entries, slot as u32);
                assert_eq!(row.is_some(), best.contains(&slot), "{scores:?}, {room}: {slot}");
                assert!(row.is_none_or(|row| rows[row] == slot as u32));
            }
        }
    }
}
