//! Context pages: for every token and layer, copies of the bundles it is likely to need.
//!
//! In: a trace that names its tokens, the order of each layer, what reads cost. Out: [`Pages`]. A
//! card is far larger than a model: the room left is spent on copies that make reads few and short.
//!
//! A page holds the most likely misses of its token, most likely first. Its first `ahead` bundles are
//! read before it is known which of them are wanted, the others only where they are, and what is in
//! no page is read from the layer. Both lengths are chosen by cost on the profiling text, with each
//! position's own activations left out of the order it is judged by: else rare tokens would be given
//! pages that fit the profiling text and nothing else.

use super::Placement;
use super::cost::ReadCost;
use crate::profile::trace::Trace;
use anyhow::{Result, ensure};
use rayon::prelude::*;
use ripple_kernel::image::Page;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Positions of a token that its lengths are chosen by.
const MOST_JUDGED: usize = 48;
/// How many of an average token's activations every token is assumed to have had besides its own.
const PRIOR: f64 = 4.0;
/// Lengths tried, in 64ths of a layer.
const LENGTHS: [usize; 12] = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48];

/// The page of one token in one layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerPage {
    /// The neurons it holds, in its order.
    pub neurons: Vec<u16>,
    /// How many of the first are read with the directory.
    pub ahead: u16,
}

/// The pages of a model: `(vocab, layers)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    layers: usize,
    layer_pages: Vec<LayerPage>,
}

impl Pages {
    /// Takes over `(vocab, layers)` pages.
    ///
    /// # Errors
    /// When they are not whole tokens, or name neurons there are not, or one twice.
    pub fn new(layers: usize, neurons: usize, layer_pages: Vec<LayerPage>) -> Result<Self> {
        ensure!(
            layers > 0 && layer_pages.len().is_multiple_of(layers),
            "expected {layers} pages for each token, found {} in all",
            layer_pages.len()
        );
        let mut seen = vec![usize::MAX; neurons];
        for (number, page) in layer_pages.iter().enumerate() {
            let (token, layer) = (number / layers, number % layers);
            for &neuron in &page.neurons {
                let last = seen.get_mut(usize::from(neuron));
                ensure!(
                    last.is_some_and(|last| std::mem::replace(last, number) != number),
                    "page of token {token} in layer {layer}: expected neurons below {neurons}, each \
                     once, found {neuron}"
                );
            }
            ensure!(
                usize::from(page.ahead) <= page.neurons.len(),
                "page of token {token} in layer {layer}: {} bundles read ahead of {}",
                page.ahead,
                page.neurons.len()
            );
        }
        Ok(Self { layers, layer_pages })
    }

    /// How many tokens have pages.
    pub fn tokens(&self) -> usize {
        self.layer_pages.len() / self.layers
    }

    /// The pages of a token, `(layers,)`; none for a token the pages do not know.
    pub fn of(&self, token: usize) -> &[LayerPage] {
        self.layer_pages.get(token * self.layers..(token + 1) * self.layers).unwrap_or(&[])
    }

    /// Bundles of all pages together.
    pub fn bundles(&self) -> usize {
        self.layer_pages.iter().map(|page| page.neurons.len()).sum()
    }

    /// Blocks that all pages take on the card.
    pub fn blocks(&self, stride: u32) -> u64 {
        self.layer_pages.iter().map(|page| page.blocks(stride)).sum()
    }
}

impl LayerPage {
    /// Blocks it takes on the card.
    pub fn blocks(&self, stride: u32) -> u64 {
        Page::blocks(self.neurons.len() as u16, stride).0.into()
    }
}

/// Makes the pages of every token that `trace` names, for reads that cost `cost`.
///
/// `trace` should be the one `placement` was made from. Where the pages would take more than
/// `most_blocks` of the card, those are kept that save most time for each block. `done` is told
/// how many neurons more are done, in all layers together.
///
/// # Errors
/// When the trace does not name its tokens, or is not of the placement's shape.
pub fn pages(
    trace: &Trace,
    placement: &Placement,
    cost: &ReadCost,
    most_blocks: u64,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Pages> {
    placement.check_shape(trace.layers(), trace.neurons())?;
    ensure!(
        trace.ids().len() == trace.tokens() && trace.tokens() > 0,
        "the trace of `{}` does not say which tokens it read; trace the text again",
        trace.model()
    );
    let vocab = trace.ids().iter().max().map_or(0, |&most| most as usize + 1);
    let mut positions = vec![Vec::new(); vocab];
    for (position, &token) in trace.ids().iter().enumerate() {
        positions[token as usize].push(position);
    }
    let layers = trace.layers();
    let mut layer_pages = vec![LayerPage::default(); vocab * layers];
    let mut saved = vec![0; vocab * layers];
    for layer in 0..layers {
        let order = LayerMisses::new(trace, placement, layer);
        let judged = AtomicUsize::new(0);
        let neurons = |tokens: usize| (tokens * trace.neurons() / vocab) as u64;
        let made: Vec<_> = positions
            .par_iter()
            .map_init(
                || Judge::new(&order, cost),
                |judge, positions| {
                    let page = judge.page(positions);
                    let before = judged.fetch_add(1, Ordering::Relaxed);
                    done(neurons(before + 1) - neurons(before));
                    page
                },
            )
            .collect();
        for (token, (page, saves)) in made.into_iter().enumerate() {
            layer_pages[token * layers + layer] = page;
            saved[token * layers + layer] = saves;
        }
    }
    keep_the_best(&mut layer_pages, &saved, cost.stride(), most_blocks);
    Pages::new(layers, trace.neurons(), layer_pages)
}

/// Empties all pages but those that save the most for each block they take, `most_blocks` in all.
fn keep_the_best(layer_pages: &mut [LayerPage], saved: &[u64], stride: u32, most_blocks: u64) {
    let mut best: Vec<usize> = (0..layer_pages.len()).filter(|&at| saved[at] > 0).collect();
    let worth = |at: usize| saved[at] as f64 / layer_pages[at].blocks(stride) as f64;
    best.sort_by(|&a, &b| worth(b).total_cmp(&worth(a)).then(a.cmp(&b)));
    let mut left = most_blocks;
    for at in best {
        match left.checked_sub(layer_pages[at].blocks(stride)) {
            Some(rest) => left = rest,
            None => layer_pages[at] = LayerPage::default(),
        }
    }
}

/// What of a layer has to be read: the slots of the active neurons that are not in the hot prefix.
struct LayerMisses<'a> {
    trace: &'a Trace,
    layer: usize,
    hot: usize,
    neurons: &'a [u16],
    slots: Vec<u16>,
    /// Mean misses a token, by slot.
    frequency: Vec<f64>,
}

impl<'a> LayerMisses<'a> {
    fn new(trace: &'a Trace, placement: &'a Placement, layer: usize) -> Self {
        let order = &placement.layers()[layer];
        let mut misses = Self {
            trace,
            layer,
            hot: placement.hot()[layer],
            neurons: order.neurons(),
            slots: order.slots(),
            frequency: Vec::new(),
        };
        let mut frequency = vec![0.0; order.len()];
        for position in 0..trace.tokens() {
            for slot in misses.of(position) {
                frequency[usize::from(slot)] += 1.0;
            }
        }
        frequency.iter_mut().for_each(|f| *f /= trace.tokens() as f64);
        misses.frequency = frequency;
        misses
    }

    fn of(&self, position: usize) -> impl Iterator<Item = u16> + '_ {
        let slots = self.trace.active(position, self.layer).map(|n| self.slots[usize::from(n)]);
        slots.filter(|&slot| usize::from(slot) >= self.hot)
    }
}

/// Judges pages of one layer by what reading them would cost.
struct Judge<'a> {
    misses: &'a LayerMisses<'a>,
    cost: &'a ReadCost,
    /// Misses of the token at hand, by slot.
    counts: Vec<u32>,
}

/// A position that is judged.
struct Position {
    /// For each miss its place in the page, and its slot, by slot.
    misses: Vec<(u16, u16)>,
    /// The places, ascending.
    places: Vec<u16>,
    /// The time to read all misses where they are in the layer.
    alone: u64,
    /// The time to read those that are behind each of the lengths tried, where they are in the layer.
    behind: [u64; LENGTHS.len()],
}

impl<'a> Judge<'a> {
    fn new(misses: &'a LayerMisses<'a>, cost: &'a ReadCost) -> Self {
        Self { misses, cost, counts: vec![0; misses.neurons.len()] }
    }

    /// The page of a token that was read at `positions`, and what it saves at them.
    fn page(&mut self, positions: &[usize]) -> (LayerPage, u64) {
        if positions.is_empty() {
            // Most of a large vocabulary: nothing says what such a token needs.
            return (LayerPage::default(), 0);
        }
        let neurons = self.misses.neurons.len();
        self.counts.fill(0);
        for &position in positions {
            for slot in self.misses.of(position) {
                self.counts[usize::from(slot)] += 1;
            }
        }
        let score = |slot: u16, count: u32| {
            f64::from(count) + PRIOR * self.misses.frequency[usize::from(slot)]
        };
        let mut ranked: Vec<(f64, u16)> = (0..neurons as u16)
            .map(|slot| (score(slot, self.counts[usize::from(slot)]), slot))
            .filter(|(score, _)| *score > 0.0)
            .collect();
        ranked.sort_by(|(a, s), (b, t)| b.total_cmp(a).then(s.cmp(t)));
        let step = positions.len().div_ceil(MOST_JUDGED).max(1);
        let judged: Vec<Position> = positions
            .iter()
            .step_by(step)
            .map(|&position| {
                let place = |slot: u16| {
                    // Its place if this position had not counted.
                    let own = score(slot, self.counts[usize::from(slot)] - 1);
                    ranked.partition_point(|(score, _)| *score > own) as u16
                };
                self.position(self.misses.of(position).map(|slot| (place(slot), slot)).collect())
            })
            .collect();
        let alone = judged.iter().map(|position| position.alone).sum();
        let mut best = (alone, 0, 0);
        for length in 1..LENGTHS.len() {
            if self.length(length) > ranked.len() {
                continue;
            }
            for ahead in 0..=length {
                if let Some(total) = self.total(&judged, length, ahead, best.0) {
                    best = (total, self.length(length), self.length(ahead));
                }
            }
        }
        let (total, length, ahead) = best;
        let neurons = ranked[..length].iter().map(|&(_, s)| self.misses.neurons[usize::from(s)]);
        let page = LayerPage { neurons: neurons.collect(), ahead: ahead as u16 };
        (page, (alone - total) * step as u64)
    }

    /// Bundles of the length of that number.
    fn length(&self, number: usize) -> usize {
        (LENGTHS[number] * self.misses.neurons.len()).div_ceil(64)
    }

    /// What can be said of a position before any length is tried.
    fn position(&self, mut misses: Vec<(u16, u16)>) -> Position {
        misses.sort_unstable_by_key(|&(_, slot)| slot);
        let mut places: Vec<u16> = misses.iter().map(|&(place, _)| place).collect();
        places.sort_unstable();
        let behind = std::array::from_fn(|number| {
            let least = self.length(number);
            let left = misses.iter().filter(|&&(place, _)| usize::from(place) >= least);
            self.cost.extents(left.map(|&(_, slot)| slot))
        });
        let alone = self.cost.extents(misses.iter().map(|&(_, slot)| slot));
        Position { misses, places, alone, behind }
    }

    /// What the positions would cost with a page of the length of number `length`, of which as many bundles
    /// as that of number `ahead` are read at once, if that is less than `most`.
    fn total(&self, judged: &[Position], length: usize, ahead: usize, most: u64) -> Option<u64> {
        let (cost, bundles) = (self.cost, self.length(length));
        let directory = Page::directory_strides(bundles as u16, cost.stride()) as usize;
        let head = cost.sequential(directory + self.length(ahead));
        let within = |position: &Position, least: usize| {
            position.places.partition_point(|&place| usize::from(place) < least)
        };
        // What each costs at least, and whether it may cost more.
        let least = |position: &Position| {
            if position.misses.is_empty() || position.alone <= head {
                return (position.alone, false);
            }
            // What is in the page can also be read where it is in the layer.
            let (in_layer, behind) = (position.behind[ahead], position.behind[length]);
            (head + in_layer.min(behind), behind < in_layer)
        };
        let mut total = judged.iter().map(|position| least(position).0).sum::<u64>();
        for position in judged {
            if total >= most {
                return None;
            }
            let (least, more) = least(position);
            if !more {
                continue;
            }
            let some = within(position, self.length(ahead))..within(position, bundles);
            let places = position.places[some].iter().map(|&place| place + directory as u16);
            let found = cost.extents(places) + position.behind[length];
            total += head + position.behind[ahead].min(found) - least;
        }
        (total < most).then_some(total)
    }
}
