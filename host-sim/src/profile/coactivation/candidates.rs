//! Candidate pairs: for each neuron of a wide layer the few others it fires with most, found
//! without counting every pair.
//!
//! In: [`Columns`], and the neurons to pair. Out: pairs with their exact counts. Knows nothing of
//! links or orders.

use super::columns::{Columns, STRETCH_TOKENS, transpose};
use super::counters::{Counters, LANE_NEURONS, LANE_WORDS, Lanes, MOST_ROWS};
use rayon::prelude::*;
use std::cmp::Reverse;

/// Tokens looked at to choose the partners of a neuron; a sliced counter holds them.
///
/// Path weight of the full search's with 56, 120 and 248, [`PARTNERS`] 32: 99.27, 99.53 and 99.60 %
/// (16,384 synthetic neurons without a hot prefix, 2026-11-21, bench `placement`); time to choose
/// is in proportion.
const WITNESSES: usize = 120;
const _: () = assert!(WITNESSES <= MOST_ROWS);
/// Partners chosen for a neuron among all others, and again among the rarer ones.
///
/// Without the second half, all 48 among all others, 3.4 % of the path weight were lost (as above,
/// 248 witnesses): the few most frequent neurons are everyone's partners and have only two sides.
/// With it 0.7 % with 24 + 24, 0.4 % with 32 + 32, 0.1 % with 48 + 48.
const PARTNERS: usize = 32;
/// Neurons whose stretches stay in the L2 cache while pairs are counted.
const TILE_NEURONS: u16 = 2048;

/// The active sets of some neurons by token: `(tokens, lanes)`, bit `i` is the `i`-th of them.
struct Rows {
    lanes: usize,
    bits: Vec<Lanes>,
}

impl Rows {
    fn of(columns: &Columns, neurons: &[u16]) -> Self {
        let lanes = neurons.len().div_ceil(LANE_NEURONS);
        let stretches = columns.stretches();
        let mut bits = vec![[0; LANE_WORDS]; stretches.len() * STRETCH_TOKENS * lanes];
        bits.par_chunks_mut(STRETCH_TOKENS * lanes).zip(stretches).for_each(|(rows, stretch)| {
            for (word, some) in neurons.chunks(64).enumerate() {
                for (token_word, rows) in rows.chunks_exact_mut(64 * lanes).enumerate() {
                    let mut block = [0; 64];
                    for (bits, &neuron) in block.iter_mut().zip(some) {
                        *bits = stretch[usize::from(neuron)][token_word];
                    }
                    for (row, bits) in rows.chunks_exact_mut(lanes).zip(transpose(block)) {
                        row[word / LANE_WORDS][word % LANE_WORDS] = bits;
                    }
                }
            }
        });
        Self { lanes, bits }
    }

    /// How many of the scratch tokens, at most [`MOST_ROWS`], made each neuron active.
    ///
    /// Eight whole rows at a time, not lane by lane: they are then read from memory as streams,
    /// three times quicker.
    fn count<'s>(&self, scratch: &'s mut Scratch) -> &'s mut [u8] {
        let Scratch { tokens, counters, counts } = scratch;
        counters.fill_with(Counters::default);
        let row = |&token: &u32| &self.bits[token as usize * self.lanes..][..self.lanes];
        let (eights, rest) = tokens.as_chunks::<8>();
        for eight in eights {
            let [a, b, c, d, e, f, g, h] = eight.each_ref().map(row);
            for (l, counters) in counters.iter_mut().enumerate() {
                counters.add_eight([a[l], b[l], c[l], d[l], e[l], f[l], g[l], h[l]]);
            }
        }
        for token in rest {
            for (counters, &bits) in counters.iter_mut().zip(row(token)) {
                counters.add(0, bits);
            }
        }
        for (counters, counts) in counters.iter().zip(counts.iter_mut()) {
            counters.write_to(counts);
        }
        counts.as_flattened_mut()
    }
}

/// What choosing the partners of one neuron after the other needs.
struct Scratch {
    tokens: Vec<u32>,
    counters: Vec<Counters>,
    counts: Vec<[u8; LANE_NEURONS]>,
}

impl Scratch {
    fn new(lanes: usize) -> Self {
        let mut counters = Vec::new();
        counters.resize_with(lanes, Counters::default);
        Self { tokens: Vec::new(), counters, counts: vec![[0; LANE_NEURONS]; lanes] }
    }
}

impl Columns {
    /// Pairs `i < j` among `neurons` with their exact counts, by descending count, then ascending:
    /// each neuron with those it fires with most, save `excluded` pairs.
    ///
    /// Which those are is estimated from `WITNESSES` of the tokens the neuron fires for, evenly
    /// spaced; it is exact for neurons that fire no oftener. `done` is told of each neuron paired.
    ///
    /// # Panics
    /// When a neuron is out of range.
    pub fn candidates(
        &self,
        neurons: &[u16],
        excluded: &(dyn Fn(u16, u16) -> bool + Sync),
        done: &(dyn Fn(u64) + Sync),
    ) -> Vec<(u16, u16, u32)> {
        if neurons.len() < 2 {
            done(neurons.len() as u64);
            return Vec::new();
        }
        // From rare to frequent: the rarer ones are then those before.
        let mut ranked = neurons.to_vec();
        ranked.sort_unstable_by_key(|&neuron| (self.frequency()[usize::from(neuron)], neuron));
        let rows = Rows::of(self, &ranked);
        let partners = |scratch: &mut Scratch, rank: usize| {
            let neuron = ranked[rank];
            self.tokens_of(neuron, &mut scratch.tokens);
            thin(&mut scratch.tokens);
            let counts = rows.count(scratch);
            counts[rank] = 0;
            let mut partners = top(&counts[..ranked.len()], PARTNERS);
            partners.extend(top(&counts[..rank], PARTNERS));
            done(1);
            partners
                .into_iter()
                .map(|partner| ranked[partner])
                .filter(|&partner| !excluded(neuron, partner))
                .map(|partner| (neuron.min(partner), neuron.max(partner)))
                .collect::<Vec<_>>()
        };
        let ranks = (0..ranked.len()).into_par_iter();
        let mut pairs: Vec<(u16, u16)> =
            ranks.map_init(|| Scratch::new(rows.lanes), partners).flatten_iter().collect();
        pairs.par_sort_unstable_by_key(|&(i, j)| (j / TILE_NEURONS, i, j));
        pairs.dedup();
        let counts = self.count(&pairs);
        let pairs = pairs.into_iter().zip(counts);
        let mut pairs: Vec<_> = pairs.map(|((i, j), count)| (i, j, count)).collect();
        pairs.par_sort_unstable_by_key(|&(i, j, count)| (Reverse(count), i, j));
        pairs
    }
}

/// Keeps [`WITNESSES`] of `tokens`, evenly spaced.
fn thin(tokens: &mut Vec<u32>) {
    let all = tokens.len();
    if all > WITNESSES {
        for at in 0..WITNESSES {
            tokens[at] = tokens[at * all / WITNESSES];
        }
        tokens.truncate(WITNESSES);
    }
}

/// Where the `most` greatest of `counts` are, as far as they are not 0; among equals the first.
fn top(counts: &[u8], most: usize) -> Vec<usize> {
    /// Few enough that their number fits a `u8`: the compiler then compares 16 at a time.
    const SOME: usize = 128;
    let at_least = |least: u8| -> usize {
        let among = |some: &[u8]| some.iter().map(|&count| u8::from(count >= least)).sum::<u8>();
        counts.chunks(SOME).map(|some| usize::from(among(some))).sum()
    };
    // The least number that no more than `most` counts reach; no count reaches the greatest.
    let (mut low, mut high) = (1, u8::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if at_least(middle) > most {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    // The rest are one less, but never 0.
    let mut equals = if low > 1 { most - at_least(low) } else { 0 };
    let mut places = Vec::with_capacity(most);
    for (chunk, some) in counts.chunks(SOME).enumerate() {
        if some.iter().fold(0, |most, &count| most.max(count)) + 1 < low {
            continue;
        }
        for (at, &count) in some.iter().enumerate() {
            let equal = count + 1 == low && equals > 0;
            equals -= usize::from(equal);
            if count >= low || equal {
                places.push(chunk * SOME + at);
            }
        }
    }
    places
}
