//! What there is to see of a model: its activations, what placement makes of them, what reads cost.
//!
//! In: a case with a profile and a held-out trace, a card, a cache. Out: [`Study`], numbers only, all
//! times simulated. Knows nothing of how they are shown.

mod activation;
mod budget;
mod coactivation;
mod orders;
pub mod quality;
mod stages;

pub use activation::LayerActivation;
pub use budget::{Budget, Spent};
pub use coactivation::{Distances, MOST_CELLS, Matrix, matrix};
pub use orders::{BINS, OrderRuns, bin_name};
pub use stages::{PresetTime, StageTime};

use crate::bench::{Case, Row, Settings};
use crate::machine::{ImageBytes, Machine};
use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;

/// What is studied, besides the case.
pub struct Scope<'a> {
    /// Policies, core, pages: as `ripple bench` has them.
    pub settings: Settings,
    /// The card and the cache that all but the curves are for.
    pub machine: &'a Machine,
    /// The cache, as a share of the FFN's bytes.
    pub cache: f64,
    /// The cache sizes of the curve, ascending.
    pub caches: Vec<f64>,
    /// Machines that differ by their card; empty where there is no model to run.
    pub machines: Vec<Machine>,
    /// The layer whose matrix is shown.
    pub layer: usize,
}

/// Everything that is shown. Times are simulated, in milliseconds a token.
#[derive(Debug, Serialize)]
pub struct Study {
    /// What was studied.
    pub about: About,
    /// How often neurons fire, layer by layer.
    pub activation: Vec<LayerActivation>,
    /// The runs of each order on held-out text, no cache, no merging.
    pub orders: Vec<OrderRuns>,
    /// How likely the neuron some slots on is active too, by order.
    pub distances: Distances,
    /// Co-activation of one layer in each order.
    pub matrices: Vec<Matrix>,
    /// Every policy with every cache size, on the card.
    pub cache: Vec<Row>,
    /// Where the bytes of a token go, by policy.
    pub budget: Budget,
    /// Where the time of a token goes, by card.
    pub times: Vec<PresetTime>,
}

/// What was studied.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// Name of the model.
    pub model: String,
    /// Its layers.
    pub layers: usize,
    /// Neurons of each.
    pub neurons: usize,
    /// Bytes of a neuron bundle on the card.
    pub bundle_bytes: u32,
    /// The profiling text, and its tokens.
    pub profile: (String, usize),
    /// The held-out text, and its tokens.
    pub held_out: (String, usize),
    /// Name of the card.
    pub card: String,
    /// Name of the core.
    pub core: String,
    /// The cache, as a share of the FFN's bytes.
    pub cache: f64,
    /// The layer of the matrices.
    pub layer: usize,
    /// Tokens of the runs that the time by part is of.
    pub generated: u32,
}

impl Study {
    /// Studies `case`; `image` is what the runs of `scope.machines` run, `done` is told of each of
    /// [`steps`](Scope::steps).
    ///
    /// # Errors
    /// When the traces do not fit each other, or a run fails.
    pub fn of(
        case: &Case<'_>,
        scope: &Scope<'_>,
        image: Option<&ImageBytes>,
        generate: u32,
        done: &(dyn Fn() + Sync),
    ) -> Result<Self> {
        let preset = scope.machine.preset;
        let stride = crate::bench::run::bundles(case)?.stride;
        let placed = orders::placements(case.profile, preset, stride)?;
        let activation = activation::layers(case);
        let orders = orders::runs(case.test, &placed)?;
        let distances = coactivation::distances(case.test, &placed);
        let matrices =
            placed.iter().filter(|order| order.name != orders::FREQUENCY).collect::<Vec<_>>();
        let matrices = matrices
            .into_par_iter()
            .map(|order| {
                let layer = &order.placement.layers()[scope.layer];
                matrix(case.test, scope.layer, layer, order.name)
            })
            .collect();
        done();
        let rows = scope.caches.par_iter().map(|&ratio| {
            let rows = crate::bench::rows(case, &scope.settings, preset, ratio);
            done();
            rows
        });
        let cache = rows.collect::<Result<Vec<_>>>()?.concat();
        let budget = Budget::of(case, &cache, scope.cache)?;
        let runs = scope.machines.par_iter().map(|machine| match image {
            Some(image) => {
                let time = stages::time(image, machine, generate);
                done();
                time.map(Some)
            }
            None => Ok(None),
        });
        let times = runs.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let about = About {
            model: case.name.to_owned(),
            layers: case.test.layers(),
            neurons: case.test.neurons(),
            bundle_bytes: stride,
            profile: (case.profile.text().to_owned(), case.profile.tokens()),
            held_out: (case.test.text().to_owned(), case.test.tokens()),
            card: preset.name.to_owned(),
            core: scope.machine.core.name(),
            cache: scope.cache,
            layer: scope.layer,
            generated: generate,
        };
        Ok(Self { about, activation, orders, distances, matrices, cache, budget, times })
    }
}

impl Scope<'_> {
    /// Steps that such a study takes.
    pub fn steps(&self) -> u64 {
        (1 + self.caches.len() + self.machines.len()) as u64
    }
}
