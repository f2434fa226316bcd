//! The active sets of a wide layer by neuron: one column of bits each, one bit a token.
//!
//! In: a trace and a layer. Out: [`Columns`]: frequencies, and the exact counts of any pairs.
//! Memory grows with tokens times neurons, not with pairs. Knows nothing of orders.

use crate::profile::trace::{Trace, set_bits};
use rayon::prelude::*;

/// Words of a stretch of a column.
const STRETCH_WORDS: usize = 32;
/// Tokens of a stretch.
pub(super) const STRETCH_TOKENS: usize = 64 * STRETCH_WORDS;

/// Some successive tokens of one column.
pub(super) type Stretch = [u64; STRETCH_WORDS];

/// Which tokens made each neuron of one layer active.
pub struct Columns {
    tokens: usize,
    /// A stretch of every neuron, then the next: `(stretches, neurons)`. What is done with all
    /// columns is done stretch by stretch, so that they stay in the cache (4 MiB at 16,384
    /// neurons); to count pairs in whole columns, one after the other, was twice as slow.
    stretches: Vec<Vec<Stretch>>,
    frequency: Vec<u32>,
}

impl Columns {
    /// Gathers `layer` of `trace`.
    pub fn gather(trace: &Trace, layer: usize) -> Self {
        let firsts: Vec<usize> = (0..trace.tokens()).step_by(STRETCH_TOKENS).collect();
        let stretches: Vec<Vec<Stretch>> =
            firsts.into_par_iter().map(|first| gather_stretch(trace, layer, first)).collect();
        let mut frequency = vec![0; trace.neurons()];
        for stretch in &stretches {
            for (total, bits) in frequency.iter_mut().zip(stretch) {
                *total += bits.iter().map(|word| word.count_ones()).sum::<u32>();
            }
        }
        Self { tokens: trace.tokens(), stretches, frequency }
    }

    /// Neurons of the layer.
    pub fn neurons(&self) -> usize {
        self.frequency.len()
    }

    /// Tokens gathered.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// How many tokens made each neuron active: `(neurons,)`.
    pub fn frequency(&self) -> &[u32] {
        &self.frequency
    }

    /// How many tokens made both neurons of each pair active: `(pairs,)`. Quick for many pairs in
    /// ascending order.
    ///
    /// # Panics
    /// When a neuron is out of range.
    pub fn count(&self, pairs: &[(u16, u16)]) -> Vec<u32> {
        let mut counts = vec![0; pairs.len()];
        let part = pairs.len().div_ceil(rayon::current_num_threads()).max(1);
        counts.par_chunks_mut(part).zip(pairs.par_chunks(part)).for_each(|(counts, pairs)| {
            for stretch in &self.stretches {
                for (count, &(i, j)) in counts.iter_mut().zip(pairs) {
                    let (i, j) = (&stretch[usize::from(i)], &stretch[usize::from(j)]);
                    *count += i.iter().zip(j).map(|(i, j)| (i & j).count_ones()).sum::<u32>();
                }
            }
        });
        counts
    }

    /// The stretches, in the order of their tokens: for each neuron the tokens that made it active.
    pub(super) fn stretches(&self) -> &[Vec<Stretch>] {
        &self.stretches
    }

    /// Puts the tokens that made `neuron` active into `tokens`, ascending.
    pub(super) fn tokens_of(&self, neuron: u16, tokens: &mut Vec<u32>) {
        tokens.clear();
        for (at, stretch) in self.stretches.iter().enumerate() {
            for (w, &bits) in stretch[usize::from(neuron)].iter().enumerate() {
                let first = (at * STRETCH_TOKENS + w * 64) as u32;
                tokens.extend(set_bits(bits).map(|bit| first + bit));
            }
        }
    }
}

/// The tokens from `first` on, a stretch for each neuron.
fn gather_stretch(trace: &Trace, layer: usize, first: usize) -> Vec<Stretch> {
    let mut columns = vec![[0; STRETCH_WORDS]; trace.neurons().next_multiple_of(64)];
    let mut rows = vec![[0; 64]; trace.neurons().div_ceil(64)];
    let last = trace.tokens().min(first + STRETCH_TOKENS);
    for (word, token) in (first..last).step_by(64).enumerate() {
        rows.fill([0; 64]);
        for (row, token) in (token..last.min(token + 64)).enumerate() {
            for (block, bits) in rows.iter_mut().zip(trace.words(token, layer)) {
                block[row] = bits;
            }
        }
        for (block, columns) in rows.iter().zip(columns.as_chunks_mut::<64>().0) {
            for (column, bits) in columns.iter_mut().zip(transpose(*block)) {
                column[word] = bits;
            }
        }
    }
    trace.release(first..last);
    columns
}

/// Transposes a 64 x 64 bit matrix: bit `r` of word `c` is what was bit `c` of word `r`.
///
/// Warren, "Hacker's Delight", 7-3.
pub(super) fn transpose(mut rows: [u64; 64]) -> [u64; 64] {
    let mut mask = u64::MAX >> 32;
    let mut half = 32;
    while half > 0 {
        for block in rows.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                let swapped = ((*low >> half) ^ *high) & mask;
                *high ^= swapped;
                *low ^= swapped << half;
            }
        }
        half /= 2;
        mask ^= mask << half;
    }
    rows
}
