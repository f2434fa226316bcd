//! Placement: the order in which the neurons of each layer lie on the card.
//!
//! In: an activation trace. Out: [`Placement`], one [`Order`] a layer and how it was made. Knows
//! nothing of models, images or devices.

mod cost;
mod file;
mod greedy;
mod order;
mod pages;
pub mod runs;

pub use cost::ReadCost;
pub use greedy::greedy;
pub use order::{Order, OrderError, expected_reads, path_weight};
pub use pages::{PagePlan, Pages, pages};

use crate::coactivation::CoActivation;
use crate::trace::Trace;
use anyhow::{Result, ensure};
use clap::ValueEnum;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fmt;

/// How neurons are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// As in the checkpoint.
    Identity,
    /// At random, from a seed.
    Random,
    /// By descending frequency.
    Frequency,
    /// By co-activation: the paper's greedy search, see [`greedy`].
    #[value(alias = "co-activation")]
    Coactivation,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::Random => "random",
            Self::Frequency => "frequency",
            Self::Coactivation => "coactivation",
        })
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
    model: String,
    method: Method,
    settings: Settings,
    hot: Vec<usize>,
    layers: Vec<Order>,
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
        Self { model, method: Method::Identity, settings, hot, layers, pages: None }
    }

    /// Name of the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// How the neurons were ordered.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What the placement was made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Length of each layer's hot prefix: `(layers,)`.
    pub fn hot(&self) -> &[usize] {
        &self.hot
    }

    /// The order of each layer.
    pub fn layers(&self) -> &[Order] {
        &self.layers
    }

    /// Copies of bundles, token by token, if there are any.
    pub fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    /// The same placement with other pages, or none.
    #[must_use]
    pub fn with_pages(self, pages: Option<Pages>) -> Self {
        Self { pages, ..self }
    }

    /// Neurons of one layer.
    pub fn neurons(&self) -> usize {
        self.layers.first().map_or(0, Order::len)
    }

    /// Checks that the placement is for a model, or a trace, of this shape.
    ///
    /// # Errors
    /// When it is not: says both shapes.
    pub fn check_shape(&self, layers: usize, neurons: usize) -> Result<()> {
        ensure!(
            (self.layers.len(), self.neurons()) == (layers, neurons),
            "expected a placement of {layers} layers of {neurons} neurons, found {} layers of {} \
             (model `{}`); place again with a trace of the same model",
            self.layers.len(),
            self.neurons(),
            self.model
        );
        Ok(())
    }
}

/// Orders every layer of `trace`, layers in parallel; `layer_done` is called after each.
///
/// # Errors
/// When `options.hot` does not fit the trace.
pub fn place(
    trace: &Trace,
    method: Method,
    options: &PlaceOptions,
    layer_done: &(dyn Fn() + Sync),
) -> Result<Placement> {
    let hot = match options.hot.as_slice() {
        [] => vec![0; trace.layers()],
        hot => hot.to_vec(),
    };
    check_hot(&hot, trace.layers(), trace.neurons())?;
    let layers = (0..trace.layers())
        .into_par_iter()
        .map(|layer| {
            let order = order_layer(trace, layer, method, options.seed, hot[layer]);
            layer_done();
            order
        })
        .collect();
    let seed = (method == Method::Random).then_some(options.seed);
    let settings = Settings { text: trace.text().to_owned(), tokens: trace.tokens(), seed };
    Ok(Placement { model: trace.model().to_owned(), method, settings, hot, layers, pages: None })
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
    let mut slots: Vec<u16> = (0..trace.neurons()).map(|neuron| neuron as u16).collect();
    if hot > 0 || method == Method::Frequency {
        let frequency = match &counts {
            Some(counts) => counts.frequency(),
            None => &trace.frequency(layer),
        };
        // A stable sort: among equals, the first neuron first.
        slots.sort_by_key(|&neuron| Reverse(frequency[usize::from(neuron)]));
    }
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
        (Method::Frequency | Method::Coactivation, _) => {}
    }
    Order::of_permutation(slots)
}
