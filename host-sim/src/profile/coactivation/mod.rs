//! Co-activation: how often two neurons of a layer are active for the same token.
//!
//! In: a trace and a layer. Out: [`CoActivation`], exact counts of neurons and of pairs; for wide
//! layers [`Columns`], which counts only the pairs that may matter. Knows nothing of orders.

mod candidates;
mod columns;
mod counters;

pub use columns::Columns;

use crate::profile::trace::{Trace, set_bits};
use counters::{Counters, LANE_NEURONS, LANE_WORDS, MOST_ROWS};

/// Tokens counted at a time: their rows stay in the L2 cache (1 MiB at 2048 neurons).
const BLOCK_TOKENS: usize = 4096;
/// Mean share of active neurons from which rows are counted [`LANE_NEURONS`] at a time.
///
/// Below it the outer product of each token's list is quicker, above it bit-sliced counters: bench
/// `coactivation` shows the time over the share. ANDs and population counts of the transposed trace,
/// pair by pair, were slower than both from 0.5 to 20 % and are not here.
const SLICED_FROM: f64 = 0.035;

/// Exact frequencies of the neurons and of the pairs of neurons of one layer.
///
/// 16,384 neurons make a triangle of 512 MiB; for so many there is [`Columns`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoActivation {
    tokens: usize,
    frequency: Vec<u32>,
    /// Pairs `i < j`, row by row: the upper triangle without its diagonal.
    triangle: Vec<u32>,
}

impl CoActivation {
    /// Counts `layer` of `trace`: `frequency = diag(A^T A)`, `pairs = A^T A`, `A`: `(tokens,
    /// neurons)`, 0 or 1.
    pub fn measure(trace: &Trace, layer: usize) -> Self {
        let n = trace.neurons();
        let mut frequency = vec![0; n];
        let mut triangle = vec![0; n * (n - 1) / 2];
        for first in (0..trace.tokens()).step_by(BLOCK_TOKENS) {
            let block = TokenBlock::gather(trace, layer, first);
            for (total, firings) in frequency.iter_mut().zip(block.starts.windows(2)) {
                *total += firings[1] - firings[0];
            }
            let tokens = block.lists.len() - 1;
            if (block.firings.len() as f64) < SLICED_FROM * (tokens * n) as f64 {
                block.count_sparse(&mut triangle);
            } else {
                block.count_sliced(&mut triangle);
            }
        }
        Self { tokens: trace.tokens(), frequency, triangle }
    }

    /// Neurons of the layer.
    pub fn neurons(&self) -> usize {
        self.frequency.len()
    }

    /// Tokens measured.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// How many tokens made each neuron active: `(neurons,)`.
    pub fn frequency(&self) -> &[u32] {
        &self.frequency
    }

    /// How many tokens made both `i` and `j` active; the frequency where they are the same.
    ///
    /// # Panics
    /// When a neuron is out of range.
    pub fn pairs(&self, i: u16, j: u16) -> u32 {
        let (low, high) = (usize::from(i.min(j)), usize::from(i.max(j)));
        assert!(high < self.neurons(), "neuron {high} of {}", self.neurons());
        if low == high {
            self.frequency[low]
        } else {
            self.triangle[row_start(low, self.neurons()) + high - low - 1]
        }
    }

    /// The pairs `i < j` that were active together at least once, and how often, ascending.
    pub fn joined(&self) -> impl Iterator<Item = (u16, u16, u32)> + '_ {
        let n = self.neurons();
        (0..n).flat_map(move |i| {
            let row = &self.triangle[row_start(i, n)..row_start(i + 1, n)];
            let pair = move |(at, &count)| (i as u16, (i + 1 + at) as u16, count);
            row.iter().enumerate().filter(|(_, count)| **count > 0).map(pair)
        })
    }
}

/// Where the pairs `(i, i + 1..n)` begin in the triangle.
fn row_start(i: usize, n: usize) -> usize {
    i * (2 * n - i - 1) / 2
}

/// Some tokens of one layer, by token and by neuron.
struct TokenBlock {
    neurons: usize,
    /// Words of a row, whole lanes.
    words: usize,
    /// Active sets as bits: `(tokens, words)`.
    rows: Vec<u64>,
    /// Active sets as lists, one after the other.
    active: Vec<u16>,
    /// Where the list of each token begins and the last one ends: `(tokens + 1,)`.
    lists: Vec<u32>,
    /// For each neuron, ascending: the tokens it fires for, and its place in `active`.
    firings: Vec<(u32, u32)>,
    /// Where the firings of each neuron begin and the last ones end: `(neurons + 1,)`.
    starts: Vec<u32>,
}

impl TokenBlock {
    /// Takes up to [`BLOCK_TOKENS`] tokens from `first` on.
    fn gather(trace: &Trace, layer: usize, first: usize) -> Self {
        let neurons = trace.neurons();
        let words = neurons.div_ceil(LANE_NEURONS) * LANE_WORDS;
        let last = trace.tokens().min(first + BLOCK_TOKENS);
        let mut rows = vec![0; (last - first) * words];
        for (row, token) in rows.chunks_exact_mut(words).zip(first..last) {
            for (word, bits) in row.iter_mut().zip(trace.words(token, layer)) {
                *word = bits;
            }
        }
        let (mut active, mut lists) = (Vec::new(), vec![0]);
        for row in rows.chunks_exact(words) {
            for (w, &bits) in row.iter().enumerate() {
                active.extend(set_bits(bits).map(|bit| (w * 64) as u16 + bit as u16));
            }
            lists.push(active.len() as u32);
        }
        let mut starts = vec![0; neurons + 1];
        for &neuron in &active {
            starts[usize::from(neuron) + 1] += 1;
        }
        for i in 0..neurons {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut firings = vec![(0, 0); active.len()];
        for (token, list) in lists.windows(2).enumerate() {
            for at in list[0]..list[1] {
                let next = &mut next[usize::from(active[at as usize])];
                firings[*next as usize] = (token as u32, at);
                *next += 1;
            }
        }
        Self { neurons, words, rows, active, lists, firings, starts }
    }

    /// The firings of neuron `i`.
    fn firings(&self, i: usize) -> &[(u32, u32)] {
        &self.firings[self.starts[i] as usize..self.starts[i + 1] as usize]
    }

    /// Sparse outer products, a neuron at a time so that the counters stay in the L1 cache: adds
    /// one for each neuron that follows in the lists of the tokens neuron `i` fires for.
    fn count_sparse(&self, triangle: &mut [u32]) {
        for i in 0..self.neurons {
            let row = &mut triangle[row_start(i, self.neurons)..row_start(i + 1, self.neurons)];
            for &(token, at) in self.firings(i) {
                let end = self.lists[token as usize + 1];
                for &j in &self.active[at as usize + 1..end as usize] {
                    row[usize::from(j) - i - 1] += 1;
                }
            }
        }
    }

    /// The same, 512 neurons at a time: the rows of the tokens that neuron `i` fires for are added
    /// into bit-sliced counters, eight rows at a time by carry-save adders.
    ///
    /// Positional population count: Mula, Kurz, Lemire, "Faster population counts using AVX2
    /// instructions", 2018.
    fn count_sliced(&self, triangle: &mut [u32]) {
        let (rows, _) = self.rows.as_chunks::<LANE_WORDS>();
        let stride = self.words / LANE_WORDS;
        for i in 0..self.neurons {
            let row = &mut triangle[row_start(i, self.neurons)..row_start(i + 1, self.neurons)];
            for lane in (i + 1) / LANE_NEURONS..stride {
                let bits = |&(token, _): &(u32, u32)| rows[token as usize * stride + lane];
                for firings in self.firings(i).chunks(MOST_ROWS) {
                    let mut counters = Counters::default();
                    counters.add_rows(firings, bits);
                    counters.add_to(lane * LANE_NEURONS, i, row);
                }
            }
        }
    }
}
