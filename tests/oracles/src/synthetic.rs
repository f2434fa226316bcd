//! Synthetic activations: a seeded stand-in for the trace of a model that is not at hand.
//!
//! In: a shape. Out: traces with the structure that placement lives on. No model made them: figures
//! from them say how long the offline stages take and how near two searches are to each other,
//! never how fast a model reads.
//!
//! Every layer has features, groups of 16 to 112 neurons that tend to fire together; a neuron is in
//! about two of them. Features are popular by Zipf's law, and each sequence of tokens has a few of
//! its own that it keeps coming back to. Beside them neurons fire alone, by Zipf's law too: the
//! most frequent nearly always, many hardly ever. Active sets vary from half to one and a half of
//! their mean size.

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};
use std::ops::Range;

/// What the features of a layer are drawn from, and the neurons that fire alone.
const TABLE: usize = 1 << 16;
/// Features that a sequence keeps coming back to.
const TOPICS: usize = 12;
/// Neurons that fire alone for each feature that fires.
const ALONE: usize = 20;

/// Layers, neurons and habits of a model that does not exist.
pub struct Synthetic {
    header: TraceHeader,
    /// Tokens of a sequence.
    sequence: usize,
    /// Mean share of a layer's neurons that a token makes active.
    share: f64,
    seed: u64,
    layers: Vec<Layer>,
}

struct Layer {
    /// The members of each feature, and how likely each fires with it, of 256.
    features: Vec<Vec<(u16, u8)>>,
    /// Features as often as they are popular: `(TABLE,)`.
    popular: Vec<u16>,
    /// Neurons as often as they fire alone: `(TABLE,)`.
    alone: Vec<u16>,
}

impl Synthetic {
    /// A model of `layers` of `neurons`, read in sequences of `sequence` tokens.
    pub fn new(layers: usize, neurons: usize, sequence: usize, share: f64, seed: u64) -> Self {
        let header = TraceHeader {
            model: format!("synthetic-{layers}x{neurons}"),
            text: format!("synthetic activations, seed {seed}"),
            layers,
            neurons,
            bundle_bytes: 16384,
        };
        let layer = |l| Layer::new(neurons, &mut rng(seed, l, u32::MAX as usize));
        Self { header, sequence, share, seed, layers: (0..layers).map(layer).collect() }
    }

    /// What the traces say of themselves.
    pub fn header(&self) -> &TraceHeader {
        &self.header
    }

    /// The trace of some of the sequences.
    pub fn trace(&self, sequences: Range<usize>) -> Trace {
        let mut builder = TraceBuilder::new(self.header.clone());
        let mut active = Vec::new();
        for (at, sequence) in sequences.enumerate() {
            for (l, layer) in self.layers.iter().enumerate() {
                let rng = &mut rng(self.seed, l, sequence);
                let topics: [u16; TOPICS] = std::array::from_fn(|_| pick(&layer.popular, rng));
                for token in 0..self.sequence {
                    let mean = self.share * self.header.neurons as f64;
                    layer.fire(&topics, mean * (0.5 + rng.random::<f64>()), &mut active, rng);
                    builder.push(at * self.sequence + token, l, &active);
                }
            }
        }
        builder.finish()
    }
}

impl Layer {
    fn new(neurons: usize, rng: &mut Xoshiro256PlusPlus) -> Self {
        let feature = |_| {
            let size = rng.random_range(16..=112).min(neurons);
            let member = |_| (rng.random_range(0..neurons) as u16, rng.random_range(50..=245));
            (0..size).map(member).collect()
        };
        let features: Vec<_> = (0..(neurons / 32).max(2)).map(feature).collect();
        let popular = zipf(features.len(), 4.0, 0.7, rng);
        let alone = zipf(neurons, 24.0, 0.9, rng);
        Self { features, popular, alone }
    }

    /// Draws one active set of about `size` neurons, one feature at least, without duplicates.
    fn fire(&self, topics: &[u16], size: f64, active: &mut Vec<u16>, rng: &mut Xoshiro256PlusPlus) {
        active.clear();
        loop {
            let own = rng.random_bool(0.5);
            let feature = pick(if own { topics } else { &self.popular }, rng);
            let members = &self.features[usize::from(feature)];
            let fires = |&&(_, likely): &&(u16, u8)| rng.random::<u8>() < likely;
            active.extend(members.iter().filter(fires).map(|(neuron, _)| neuron));
            active.extend((0..ALONE).map(|_| pick(&self.alone, rng)));
            active.sort_unstable();
            active.dedup();
            // Half of the last feature lies beyond the size, on average.
            if active.len() as f64 + 20.0 >= size {
                return;
            }
        }
    }
}

fn rng(seed: u64, layer: usize, sequence: usize) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed ^ ((layer as u64) << 32) ^ ((sequence as u64) << 8))
}

fn pick(table: &[u16], rng: &mut Xoshiro256PlusPlus) -> u16 {
    table[rng.random_range(0..table.len())]
}

/// A table in which item number `r` of `items`, shuffled, is as often as `1 / (r + flat)^power`
/// says.
fn zipf(items: usize, flat: f64, power: f64, rng: &mut Xoshiro256PlusPlus) -> Vec<u16> {
    let mut order: Vec<u16> = (0..items).map(|item| item as u16).collect();
    order.shuffle(rng);
    let weight = |r: usize| (r as f64 + flat).powf(-power);
    let total: f64 = (0..items).map(weight).sum();
    let (mut table, mut sum) = (Vec::with_capacity(TABLE), 0.0);
    for (r, &item) in order.iter().enumerate() {
        sum += weight(r) / total;
        table.resize(((sum * TABLE as f64) as usize).min(TABLE), item);
    }
    table.resize(TABLE, order[0]);
    table
}
