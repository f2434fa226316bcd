//! How often neurons fire.
//!
//! In: a profile and a held-out trace. Out: [`LayerActivation`], one a layer.

use crate::bench::Case;
use crate::profile::trace::Trace;
use rayon::prelude::*;
use serde::Serialize;
use std::cmp::Reverse;

/// Points of a curve of frequencies.
const POINTS: usize = 64;

/// The activations of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerActivation {
    /// Mean share of the neurons that a token of the profiling text makes active.
    pub profile: f64,
    /// The same of the held-out text.
    pub held_out: f64,
    /// Share of all activations of the held-out text by the tenth of the neurons that is the most
    /// frequent in the profile: what a cache of a tenth would hold of them.
    pub hottest_tenth: f64,
    /// Neurons that no token of the profiling text made active.
    pub silent: usize,
    /// Share of the tokens of the profile that make a neuron active, most frequent neuron first:
    /// `(share of the neurons before it, share of the tokens)`.
    pub curve: Vec<(f64, f64)>,
}

/// The activations of every layer.
pub fn layers(case: &Case<'_>) -> Vec<LayerActivation> {
    let profile = case.profile.frequencies();
    let held_out = case.test.frequencies();
    let layers = profile.par_iter().zip(&held_out);
    layers.map(|(profile, test)| layer(case.profile, profile, case.test, test)).collect()
}

fn layer(profile: &Trace, frequency: &[u32], test: &Trace, tested: &[u32]) -> LayerActivation {
    let neurons = frequency.len();
    let mut order: Vec<usize> = (0..neurons).collect();
    order.sort_by_key(|&neuron| Reverse(frequency[neuron]));
    let share = |counts: &[u32], trace: &Trace| {
        let all: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        all as f64 / (trace.tokens().max(1) * neurons) as f64
    };
    let all: u64 = tested.iter().map(|&count| u64::from(count)).sum();
    let tenth = &order[..neurons / 10];
    let hot: u64 = tenth.iter().map(|&neuron| u64::from(tested[neuron])).sum();
    let last = neurons.saturating_sub(1);
    let mut ranks: Vec<usize> = (0..=POINTS).map(|point| point * last / POINTS).collect();
    ranks.dedup();
    let curve = ranks.into_iter().map(|rank| {
        let fires = f64::from(frequency[order[rank]]) / profile.tokens().max(1) as f64;
        (rank as f64 / neurons as f64, fires)
    });
    LayerActivation {
        profile: share(frequency, profile),
        held_out: share(tested, test),
        hottest_tenth: hot as f64 / all.max(1) as f64,
        silent: frequency.iter().filter(|count| **count == 0).count(),
        curve: curve.collect(),
    }
}
