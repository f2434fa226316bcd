//! Placement: the order in which the neurons of each layer lie on the card.
//!
//! In: an activation trace, and what reads cost. Out: [`Placement`], one [`Order`] a layer and how it was
//! made, or a [`PartialPlacement`]. Knows nothing of models or images. A new order is a file here, a [`Method`],
//! and its arm in `order_layer`: commands, tables and the bench take the list from there.
//!
//! Layers do not depend on each other, save that the share of hot neurons is of the whole model, so
//! several machines can place some layers each; every one needs the whole trace. With Slurm, for
//! 32 layers on four machines:
//!
//! ```sh
//! sbatch --wait --array=0-3 --cpus-per-task=2 --mem=8G --wrap \
//!     'a=$((SLURM_ARRAY_TASK_ID * 8)); ripple place big.trace --method coactivation \
//!         --layers $a..$((a + 8)) -o part-$a'
//! ripple place --merge part-* -o big.placement
//! ```

pub mod admission;
mod cost;
mod file;
mod for_card;
mod forecast;
mod greedy;
mod order;
mod pages;
mod partial;
mod refine;
pub mod runs;
mod wide;

pub use cost::ReadCost;
pub use for_card::{place_for_card, steps};
pub use forecast::{Forecast, LayerForecast};
pub use greedy::greedy;
pub use order::{Order, OrderError, expected_reads, path_weight};
pub use pages::{LayerPage, Pages, pages};
pub use partial::PartialPlacement;
pub use refine::refine;
pub use wide::greedy_wide;

use crate::profile::coactivation::{CoActivation, Columns};
use crate::profile::trace::Trace;
use anyhow::{Result, ensure};
use clap::ValueEnum;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fmt;
use std::ops::Range;

/// Most neurons of a layer whose pairs are all counted; wider layers take [`greedy_wide`].
///
/// All pairs take `8 n^2` bytes a layer at their peak, 128 MiB here, 2 GiB at 16,384 neurons.
const EXACT_NEURONS: usize = 4096;

/// How neurons are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// As in the checkpoint.
    Identity,
    /// At random, from a seed.
    Random,
    /// By descending frequency.
    Frequency,
    /// By co-activation, neurons that fire together side by side: the paper's greedy search.
    #[value(alias = "co-activation")]
    Coactivation,
    /// For what reads cost on a card: see [`place_for_card`]. Without a card, by frequency.
    #[value(skip)]
    Card,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("card", |value| value.get_name()))
    }
}

/// What [`place`] is free to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceOptions {
    /// Seed of [`Method::Random`].
    pub seed: u64,
    /// Length of each layer's hot prefix, `(layers,)`; empty: no hot prefix anywhere.
    ///
    /// The first slots hold the most frequent neurons, in descending frequency, whatever the
    /// method; the method orders the others, measured among themselves. The cache on the board
    /// pins the prefix, so only the others are ever read.
    pub hot: Vec<usize>,
}

/// What a placement was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the text that was traced.
    pub text: String,
    /// Tokens traced.
    pub tokens: usize,
    /// Seed, of [`Method::Random`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// The orders of all layers, checked: as many hot prefixes as layers, none longer than its layer,
/// and as many neurons in every layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// A part that holds every layer.
    all: PartialPlacement,
    pages: Option<Pages>,
}

impl Placement {
    /// The checkpoint's own order, without a trace and without a hot prefix.
    ///
    /// # Panics
    /// When there are more than 65,535 neurons.
    pub fn identity(model: &str, layers: usize, neurons: usize) -> Self {
        assert!(neurons <= usize::from(u16::MAX), "{neurons} neurons");
        let order = Order::of_permutation((0..neurons).map(|neuron| neuron as u16).collect());
        let settings = Settings { text: String::new(), tokens: 0, seed: None };
        let (hot, layers) = (vec![0; layers], vec![order; layers]);
        let model = model.to_owned();
        let all =
            PartialPlacement { model, method: Method::Identity, settings, hot, first: 0, layers };
        Self { all, pages: None }
    }

    /// Name of the model.
    pub fn model(&self) -> &str {
        &self.all.model
    }

    /// How the neurons were ordered.
    pub fn method(&self) -> Method {
        self.all.method
    }

    /// What the placement was made from.
    pub fn settings(&self) -> &Settings {
        &self.all.settings
    }

    /// Length of each layer's hot prefix: `(layers,)`.
    pub fn hot(&self) -> &[usize] {
        &self.all.hot
    }

    /// The order of each layer.
    pub fn layers(&self) -> &[Order] {
        &self.all.layers
    }

    /// Copies of bundles, token by token, if there are any.
    pub fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    /// The same with other orders, found by `method`.
    fn with_layers(self, method: Method, layers: Vec<Order>) -> Self {
        Self { all: PartialPlacement { method, layers, ..self.all }, ..self }
    }

    /// The same placement with other pages, or none.
    #[must_use]
    pub fn with_pages(self, pages: Option<Pages>) -> Self {
        Self { pages, ..self }
    }

    /// Neurons of one layer.
    pub fn neurons(&self) -> usize {
        self.all.neurons()
    }

    /// Checks that the placement is for a model, or a trace, of this shape.
    ///
    /// # Errors
    /// When it is not: says both shapes.
    pub fn check_shape(&self, layers: usize, neurons: usize) -> Result<()> {
        ensure!(
            (self.layers().len(), self.neurons()) == (layers, neurons),
            "expected a placement of {layers} layers of {neurons} neurons, found {} layers of {} \
             (model `{}`); place again with a trace of the same model",
            self.layers().len(),
            self.neurons(),
            self.model()
        );
        Ok(())
    }
}

/// Orders the neurons of every layer of `trace`; `done` is told how many neurons more are placed.
///
/// # Errors
/// When the hot prefixes do not fit the trace's layers.
pub fn place(
    trace: &Trace,
    method: Method,
    options: &PlaceOptions,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Placement> {
    let all = PartialPlacement::place(trace, method, options, 0..trace.layers(), done)?;
    Ok(Placement { all, pages: None })
}

/// Orders the neurons of some layers.
fn order_layers(
    trace: &Trace,
    method: Method,
    options: &PlaceOptions,
    layers: Range<usize>,
    done: &(dyn Fn(u64) + Sync),
) -> Vec<Order> {
    let hot = |layer: usize| options.hot.get(layer).copied().unwrap_or(0);
    let n = trace.neurons();
    if method == Method::Coactivation && n > EXACT_NEURONS {
        // One layer after the other, each on all cores: a layer at a time in memory.
        return layers.map(|layer| order_wide_layer(trace, layer, hot(layer), done)).collect();
    }
    let order = |layer: usize| {
        let order = order_layer(trace, layer, method, options.seed, hot(layer));
        done(n as u64);
        order
    };
    layers.into_par_iter().map(order).collect()
}

/// Refuses hot prefixes that do not fit `layers` of `neurons`.
fn check_hot(hot: &[usize], layers: usize, neurons: usize) -> Result<()> {
    ensure!(
        hot.len() == layers,
        "expected one hot prefix length for each of {layers} layers, found {}",
        hot.len()
    );
    for (layer, &hot) in hot.iter().enumerate() {
        ensure!(
            hot <= neurons,
            "layer {layer}: expected at most {neurons} hot neurons, found {hot}"
        );
    }
    Ok(())
}

/// The hot prefix, then the other neurons as `method` orders them.
fn order_layer(trace: &Trace, layer: usize, method: Method, seed: u64, hot: usize) -> Order {
    let counts = (method == Method::Coactivation).then(|| CoActivation::measure(trace, layer));
    let mut slots: Vec<u16> = if hot > 0 || method == Method::Frequency {
        match &counts {
            Some(counts) => by_frequency(counts.frequency()),
            None => by_frequency(&trace.frequency(layer)),
        }
    } else {
        (0..trace.neurons()).map(|neuron| neuron as u16).collect()
    };
    let rest = &mut slots[hot..];
    match (method, counts) {
        (Method::Identity, _) => rest.sort_unstable(),
        (Method::Random, _) => {
            rest.sort_unstable();
            let seed = seed.wrapping_add((layer as u64) << 32);
            rest.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
        }
        (Method::Coactivation, Some(counts)) => {
            rest.sort_unstable();
            let ordered = greedy(&counts, rest);
            rest.copy_from_slice(&ordered);
        }
        (Method::Frequency | Method::Coactivation | Method::Card, _) => {}
    }
    Order::of_permutation(slots)
}

/// The neurons by descending frequency; among equals, the first neuron first.
fn by_frequency(frequency: &[u32]) -> Vec<u16> {
    let mut slots: Vec<u16> = (0..frequency.len()).map(|neuron| neuron as u16).collect();
    slots.sort_by_key(|&neuron| Reverse(frequency[usize::from(neuron)]));
    slots
}

/// The hot prefix, then the other neurons by co-activation among candidate pairs.
fn order_wide_layer(trace: &Trace, layer: usize, hot: usize, done: &(dyn Fn(u64) + Sync)) -> Order {
    let columns = Columns::gather(trace, layer);
    let mut slots = by_frequency(columns.frequency());
    let rest = &mut slots[hot..];
    rest.sort_unstable();
    let ordered = greedy_wide(&columns, rest, done);
    rest.copy_from_slice(&ordered);
    done(hot as u64);
    Order::of_permutation(slots)
}
