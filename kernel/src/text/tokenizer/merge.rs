//! Merges one piece: in place, or, with memory, in a time that is nearly linear in its length.
//!
//! In: the ids of its symbols, maybe memory, what two tokens become. Out: the ids of its tokens, as always
//! merging the leftmost pair of the lowest rank gives them. Knows nothing of text.
//!
//! With memory the symbols are a linked list, and the pairs a tournament: of two pairs the one of the lower
//! rank wins, or else the one further left. A merge changes three pairs, and each is played again up to the final.

use super::section::{Merge, NO_RANK};

/// Merges until no pair has a merge, the pairs of one rank after those of another; the tokens are then in
/// front, as many as this returns.
pub(super) fn merge_in_passes(ids: &mut [u32], merge: impl Fn(u32, u32) -> Option<Merge>) -> usize {
    let (mut len, mut rank) = merge_pass(ids, None, &merge);
    while rank.is_some() {
        (len, rank) = merge_pass(ids.get_mut(..len).unwrap_or_default(), rank, &merge);
    }
    len
}

/// Merges the pairs of one rank from left to right; returns how many ids are left, and the
/// lowest rank among their pairs.
///
/// The order that BPE asks for is "always the leftmost pair of the lowest rank". One sweep over
/// a rank is that order as long as no merge makes a pair of a lower or equal rank. A trained
/// vocabulary has none; where one turns up the sweep stops merging there.
fn merge_pass(
    ids: &mut [u32],
    rank: Option<u32>,
    merge: &impl Fn(u32, u32) -> Option<Merge>,
) -> (usize, Option<u32>) {
    let find = |left: Option<u32>, right: Option<u32>| merge(left?, right?);
    let (mut read, mut write) = (0, 0);
    let mut merging = true;
    let mut previous = None;
    let mut lowest = None;
    // Rank of the pair (previous, ids[read]).
    let mut ahead = None;
    while let Some(first) = ids.get(read).copied() {
        let pair = find(Some(first), ids.get(read + 1).copied());
        let (id, before, after) = match pair {
            Some(pair) if merging && Some(pair.rank) == rank => {
                read += 2;
                let id = pair.result;
                let before = find(previous, Some(id)).map(|pair| pair.rank);
                let after = find(Some(id), ids.get(read).copied()).map(|pair| pair.rank);
                merging = [before, after].into_iter().flatten().all(|new| Some(new) > rank);
                (id, before, after)
            }
            _ => {
                read += 1;
                (first, ahead, pair.map(|pair| pair.rank))
            }
        };
        lowest = [lowest, before].into_iter().flatten().min();
        ahead = after;
        previous = Some(id);
        // write < read, so the place exists.
        if let Some(place) = ids.get_mut(write) {
            *place = id;
        }
        write += 1;
    }
    (write, lowest)
}

/// Words of memory for each symbol.
const WORDS: usize = 4;
/// What the list has behind its last symbol and in front of its first.
const NOTHING: u32 = u32::MAX;

/// The symbols of a piece, and the pairs that they make with the symbols behind them.
pub(super) struct Pairs<'a> {
    ids: &'a mut [u32],
    previous: &'a mut [u32],
    next: &'a mut [u32],
    /// Of the pair that begins with each symbol; [`NO_RANK`] where it has no merge or is no symbol any more.
    ranks: &'a mut [u32],
    /// Which symbol won at each inner node; node `k` has the nodes `2 k` and `2 k + 1` below it, and the
    /// leaves are those from the number of symbols on.
    winners: &'a mut [u32],
}

fn get(table: &[u32], at: u32) -> u32 {
    table.get(at as usize).copied().unwrap_or(NOTHING)
}

/// Does nothing where there is no such place.
fn set(table: &mut [u32], at: u32, value: u32) {
    if let Some(place) = table.get_mut(at as usize) {
        *place = value;
    }
}

impl<'a> Pairs<'a> {
    /// A piece of the symbols `ids`; `None` if `memory` has less than four words for each.
    pub(super) fn new(ids: &'a mut [u32], memory: &'a mut [u32]) -> Option<Self> {
        let count = ids.len();
        let memory = memory.get_mut(..count.checked_mul(WORDS)?)?;
        let (previous, memory) = memory.split_at_mut_checked(count)?;
        let (next, memory) = memory.split_at_mut_checked(count)?;
        let (ranks, winners) = memory.split_at_mut_checked(count)?;
        Some(Self { ids, previous, next, ranks, winners })
    }

    /// Merges until no pair has a merge; the tokens are then in front, as many as this returns.
    pub(super) fn run(mut self, merge: impl Fn(u32, u32) -> Option<Merge>) -> usize {
        let count = self.ids.len() as u32;
        for at in 0..count {
            set(self.previous, at, at.wrapping_sub(1));
            set(self.next, at, if at + 1 < count { at + 1 } else { NOTHING });
        }
        for at in 0..count {
            self.rank(at, &merge);
        }
        for node in (1..count).rev() {
            self.play(node);
        }
        loop {
            let left = self.winner(1);
            let right = get(self.next, left);
            if get(self.ranks, left) == NO_RANK {
                break;
            }
            let Some(merge_of) = merge(get(self.ids, left), get(self.ids, right)) else { break };
            set(self.ids, left, merge_of.result);
            let after = get(self.next, right);
            set(self.next, left, after);
            set(self.previous, after, left);
            set(self.ranks, right, NO_RANK);
            self.play_again(right);
            for at in [left, get(self.previous, left)] {
                self.rank(at, &merge);
                self.play_again(at);
            }
        }
        let (mut at, mut len) = (0, 0);
        while at < count {
            set(self.ids, len, get(self.ids, at));
            len += 1;
            at = get(self.next, at);
        }
        len as usize
    }

    /// Sets the rank of the pair that begins at `at`.
    fn rank(&mut self, at: u32, merge: &impl Fn(u32, u32) -> Option<Merge>) {
        let next = get(self.next, at);
        let found =
            if next == NOTHING { None } else { merge(get(self.ids, at), get(self.ids, next)) };
        set(self.ranks, at, found.map_or(NO_RANK, |merge| merge.rank));
    }

    fn winner(&self, node: u32) -> u32 {
        let count = self.ids.len() as u32;
        if node < count { get(self.winners, node) } else { node - count }
    }

    fn play(&mut self, node: u32) {
        let [a, b] = [2 * node, 2 * node + 1].map(|node| self.winner(node));
        let better = (get(self.ranks, b), b) < (get(self.ranks, a), a);
        set(self.winners, node, if better { b } else { a });
    }

    /// Plays all that `at` takes part in.
    fn play_again(&mut self, at: u32) {
        if at == NOTHING {
            return;
        }
        let mut node = (self.ids.len() as u32 + at) / 2;
        while node > 0 {
            self.play(node);
            node /= 2;
        }
    }
}
