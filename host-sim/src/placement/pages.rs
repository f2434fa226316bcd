//! Context pages: for every token and layer, copies of the bundles it is likely to need.
//!
//! In: a trace that names its tokens, the order of each layer, what reads cost. Out: [`Pages`]. A
//! card is far larger than a model: the room left is spent on copies that make reads few and short.
//!
//! A page holds the most likely misses of its token, most likely first. Its first `ahead` bundles are
//! read before it is known which of them are wanted, the others only where they are, and what is in
//! no page is read from the layer. Both lengths are chosen by cost on the profiling text, with each
//! position's own activations left out of the order it is judged by: else rare tokens would be given
//! pages that fit the profiling text and nothing else. On a device that stays open the pages of a token follow
//! each other in one command: a token has pages in all the layers that want them, or none. Each stands apart here;
//! [`Pages::with_buffer`] puts the fronts of several layers together.

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
    /// Blocks of the page buffer that fronts are grouped for.
    buffer: u32,
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
                page.ahead <= Page::MOST_AHEAD,
                "page of token {token} in layer {layer}: {} bundles read ahead, expected at most {}",
                page.ahead,
                Page::MOST_AHEAD
            );
            ensure!(
                usize::from(page.ahead) <= page.neurons.len(),
                "page of token {token} in layer {layer}: {} bundles read ahead of {}",
                page.ahead,
                page.neurons.len()
            );
        }
        Ok(Self { layers, buffer: 0, layer_pages })
    }

    /// The same, with the fronts of as many layers together as a page buffer of so many blocks holds.
    #[must_use]
    pub fn with_buffer(self, buffer: u32) -> Self {
        Self { buffer, ..self }
    }

    /// Blocks of the page buffer that fronts are grouped for; 0 where each page is by itself.
    pub fn buffer(&self) -> u32 {
        self.buffer
    }

    /// For each layer of a token, whether its page begins a group: where its front does not fit the buffer with those
    /// before it, for bundles of `stride` bytes.
    pub fn apart(&self, token: usize, stride: u32) -> Vec<bool> {
        let mut held = u64::MAX;
        let fronts = self.of(token).iter().map(|page| page.front_blocks(stride));
        fronts
            .map(|front| {
                let apart = self.buffer == 0 || held.saturating_add(front) > self.buffer.into();
                held = if apart { front } else { held + front };
                apart
            })
            .collect()
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
    /// Blocks that its front takes on the card.
    pub fn front_blocks(&self, stride: u32) -> u64 {
        Page::front_blocks(self.neurons.len() as u16, self.ahead, stride).0.into()
    }

    /// Blocks that its rest takes.
    pub fn rest_blocks(&self, stride: u32) -> u64 {
        Page::rest_blocks(self.neurons.len() as u16, self.ahead, stride).0.into()
    }

    /// Blocks it takes, in two places.
    pub fn blocks(&self, stride: u32) -> u64 {
        self.front_blocks(stride) + self.rest_blocks(stride)
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
    let misses_of = |layer| LayerMisses::new(trace, placement, layer);
    let misses: Vec<_> = (0..layers).map(misses_of).collect();
    let judged = AtomicUsize::new(0);
    let neurons = |tokens: usize| (tokens * layers * trace.neurons() / vocab) as u64;
    let made: Vec<(Vec<LayerPage>, u64)> = positions
        .par_iter()
        .map_init(
            || Judge::new(&misses, cost),
            |judge, positions| {
                let pages = judge.token(positions);
                let before = judged.fetch_add(1, Ordering::Relaxed);
                done(neurons(before + 1) - neurons(before));
                pages
            },
        )
        .collect();
    Pages::new(layers, trace.neurons(), keep_the_best(made, cost.stride(), most_blocks))
}

/// The pages of all tokens, those empty that do not save the most for each block they take, `most_blocks` in all.
fn keep_the_best(
    mut tokens: Vec<(Vec<LayerPage>, u64)>,
    stride: u32,
    most_blocks: u64,
) -> Vec<LayerPage> {
    let blocks = |pages: &[LayerPage]| pages.iter().map(|page| page.blocks(stride)).sum::<u64>();
    let mut best: Vec<(usize, f64)> = (tokens.iter().enumerate())
        .filter(|(_, (_, saves))| *saves > 0)
        .map(|(token, (pages, saves))| (token, *saves as f64 / blocks(pages) as f64))
        .collect();
    best.sort_by(|(a, worth), (b, other)| other.total_cmp(worth).then(a.cmp(b)));
    let mut left = most_blocks;
    for (token, _) in best {
        let pages = &mut tokens[token].0;
        match left.checked_sub(blocks(pages)) {
            Some(rest) => left = rest,
            None => pages.iter_mut().for_each(|page| *page = LayerPage::default()),
        }
    }
    tokens.into_iter().flat_map(|(pages, _)| pages).collect()
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

/// Judges the pages of one token by what reading them would cost.
///
/// On a device that stays open the pages of a token are one command, as long as nothing else is read
/// between two of them: what comes from a layer costs the way back, too.
struct Judge<'a> {
    layers: &'a [LayerMisses<'a>],
    cost: &'a ReadCost,
    /// Misses of the token in the layer at hand, by slot.
    counts: Vec<u32>,
}

/// A position that is judged, in one layer.
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
    fn new(layers: &'a [LayerMisses<'a>], cost: &'a ReadCost) -> Self {
        let neurons = layers.first().map_or(0, |layer| layer.neurons.len());
        Self { layers, cost, counts: vec![0; neurons] }
    }

    /// The pages of a token that was read at `positions`, and what they save at them.
    fn token(&mut self, positions: &[usize]) -> (Vec<LayerPage>, u64) {
        let none = (vec![LayerPage::default(); self.layers.len()], 0);
        if positions.is_empty() {
            // Most of a large vocabulary: nothing says what such a token needs.
            return none;
        }
        let step = positions.len().div_ceil(MOST_JUDGED).max(1);
        let judged: Vec<usize> = positions.iter().copied().step_by(step).collect();
        // Each begins with a command, wherever it goes on.
        let (mut total, mut pages) = (judged.len() as u64 * self.cost.command(), Vec::new());
        for layer in 0..self.layers.len() {
            let (page, costs) = self.page(layer, positions, &judged);
            pages.push(page);
            total += costs;
        }
        let without: u64 = judged.iter().map(|&position| self.without_pages(position)).sum();
        match without.checked_sub(total) {
            Some(saves @ 1..) if pages.iter().any(|page| !page.neurons.is_empty()) => {
                (pages, saves * step as u64)
            }
            _ => none,
        }
    }

    /// The time to read all misses of a position where they are in the layers.
    fn without_pages(&self, position: usize) -> u64 {
        let (mut total, mut last) = (0, None);
        for (number, layer) in self.layers.iter().enumerate() {
            let mut slots: Vec<u16> = layer.of(position).collect();
            slots.sort_unstable();
            let (Some(&first), Some(&end)) = (slots.first(), slots.last()) else { continue };
            total += self.cost.extents(slots.into_iter());
            let (layer, neurons) = (number as u64, self.counts.len() as u64);
            total -= last.map_or(0, |last| self.cost.saved((layer, first), last, neurons));
            last = Some((layer, end));
        }
        total
    }

    /// The page of a token that was read at `positions`, and what reading a layer costs with it at those that
    /// are `judged`, more than the command a token begins with.
    fn page(&mut self, layer: usize, positions: &[usize], judged: &[usize]) -> (LayerPage, u64) {
        let misses = &self.layers[layer];
        let neurons = misses.neurons.len();
        self.counts.fill(0);
        for &position in positions {
            for slot in misses.of(position) {
                self.counts[usize::from(slot)] += 1;
            }
        }
        let score =
            |slot: u16, count: u32| f64::from(count) + PRIOR * misses.frequency[usize::from(slot)];
        let mut ranked: Vec<(f64, u16)> = (0..neurons as u16)
            .map(|slot| (score(slot, self.counts[usize::from(slot)]), slot))
            .filter(|(score, _)| *score > 0.0)
            .collect();
        ranked.sort_by(|(a, s), (b, t)| b.total_cmp(a).then(s.cmp(t)));
        let place = |slot: u16| {
            // Its place if this position had not counted.
            let own = score(slot, self.counts[usize::from(slot)] - 1);
            ranked.partition_point(|(score, _)| *score > own) as u16
        };
        let judged: Vec<Position> = judged
            .iter()
            .map(|&at| self.position(misses.of(at).map(|slot| (place(slot), slot)).collect()))
            .collect();
        // Nothing comes after the last layer.
        let back = if layer + 1 < self.layers.len() { self.cost.command() } else { 0 };
        let none = |position: &Position| match position.alone {
            0 => 0,
            alone => alone + back,
        };
        let mut best = (judged.iter().map(none).sum(), 0, 0);
        for length in 1..LENGTHS.len() {
            if self.length(length) > ranked.len() {
                continue;
            }
            for ahead in 0..=length {
                if let Some(total) = self.total(&judged, (length, ahead), back, best.0) {
                    best = (total, self.length(length), self.length(ahead));
                }
            }
        }
        let (total, length, ahead) = best;
        let neurons = ranked[..length].iter().map(|&(_, s)| misses.neurons[usize::from(s)]);
        (LayerPage { neurons: neurons.collect(), ahead: ahead as u16 }, total)
    }

    /// Bundles of the length of that number.
    fn length(&self, number: usize) -> usize {
        (LENGTHS[number] * self.counts.len()).div_ceil(64)
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
    /// as that of number `ahead` are read at once, and the way `back` to the page of the next layer from
    /// anywhere else; if that is less than `most`.
    fn total(
        &self,
        judged: &[Position],
        (length, ahead): (usize, usize),
        back: u64,
        most: u64,
    ) -> Option<u64> {
        let (cost, bundles, in_front) = (self.cost, self.length(length), self.length(ahead));
        let directory = Page::directory_strides(bundles as u16, cost.stride()) as usize;
        let at_once = directory + in_front;
        let apart = cost.sequential(at_once);
        let front = apart - cost.command();
        // To the next page, behind what of this one is not read.
        let on = cost.skip(bundles - in_front).min(back);
        let past = cost.skip(directory + bundles).min(back);
        let within = |position: &Position, least: usize| {
            position.places.partition_point(|&place| usize::from(place) < least)
        };
        let elsewhere = |time: u64| if time > 0 { time + back } else { on };
        // What each costs at least, and whether it may cost more.
        let least = |position: &Position| {
            if position.misses.is_empty() {
                return (past, false);
            }
            if position.alone <= apart {
                return (position.alone + back, false);
            }
            // What is in the page can also be read where it is in the layer.
            let (in_layer, behind) = (position.behind[ahead], position.behind[length]);
            (front + elsewhere(in_layer.min(behind)), behind < in_layer)
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
            let some = within(position, in_front)..within(position, bundles);
            let places = position.places[some].iter().map(|&place| place - in_front as u16);
            let found = cost.extents(places);
            let from_page = found + elsewhere(position.behind[length]);
            total += front + elsewhere(position.behind[ahead]).min(from_page) - least;
        }
        (total < most).then_some(total)
    }
}
