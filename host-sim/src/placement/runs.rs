//! Run lengths: how an order breaks the active sets of a trace into reads.
//!
//! In: a trace, better one the placement was not made from, and a placement. Out: reads and run
//! lengths without cache and without collapse, and the table of all methods side by side. Knows
//! nothing of devices or time.

use super::{Method, Order, PlaceOptions, Placement, place};
use crate::profile::trace::{Trace, set_bits};
use anyhow::{Result, ensure};
use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;

/// Seeds of the random orders in [`order_table`].
pub const RANDOM_SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
/// Most layers [`OrderTable`] prints one by one.
const MOST_LAYERS_SHOWN: usize = 8;

/// The runs of one layer, or of all, over a whole trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Runs {
    /// Active bundles.
    pub bundles: u64,
    /// Runs of bundles in successive slots; each is one read.
    pub reads: u64,
    /// Bundles of the longest run.
    pub longest: u64,
}

impl Runs {
    /// Bundles per read; 0 where nothing was active.
    pub fn mean(&self) -> f64 {
        self.bundles as f64 / self.reads.max(1) as f64
    }
}

/// The runs of a trace under a placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunLengths {
    /// Tokens replayed.
    pub tokens: usize,
    /// Each layer.
    pub layers: Vec<Runs>,
}

impl RunLengths {
    /// Replays `trace` with neurons in the slots of `placement`; every active bundle is read,
    /// those of the hot prefix too.
    ///
    /// # Errors
    /// When the two are of different shapes.
    pub fn replay(trace: &Trace, placement: &Placement) -> Result<Self> {
        placement.check_shape(trace.layers(), trace.neurons())?;
        let layers = placement.layers().par_iter().enumerate();
        let layers = layers.map(|(layer, order)| replay_layer(trace, layer, order)).collect();
        Ok(Self { tokens: trace.tokens(), layers })
    }

    /// The runs of all layers together.
    pub fn total(&self) -> Runs {
        self.layers.iter().fold(Runs::default(), |total, layer| Runs {
            bundles: total.bundles + layer.bundles,
            reads: total.reads + layer.reads,
            longest: total.longest.max(layer.longest),
        })
    }

    /// Reads per token, of all layers together.
    pub fn reads_per_token(&self) -> f64 {
        self.total().reads as f64 / self.tokens.max(1) as f64
    }
}

/// Replays one layer.
fn replay_layer(trace: &Trace, layer: usize, order: &Order) -> Runs {
    let mut runs = Runs::default();
    each_run(trace, layer, order, |length| {
        runs.reads += 1;
        runs.bundles += length;
        runs.longest = runs.longest.max(length);
    });
    runs
}

/// How many runs of each length there are in the whole of `trace`: the count of length `n` at
/// `n - 1`.
///
/// # Errors
/// When the two are of different shapes.
pub fn histogram(trace: &Trace, placement: &Placement) -> Result<Vec<u64>> {
    placement.check_shape(trace.layers(), trace.neurons())?;
    let mut counts = vec![0; trace.neurons()];
    for (layer, order) in placement.layers().iter().enumerate() {
        each_run(trace, layer, order, |length| counts[length as usize - 1] += 1);
    }
    let longest = counts.iter().rposition(|count| *count > 0).map_or(0, |at| at + 1);
    counts.truncate(longest);
    Ok(counts)
}

/// Calls `run` with the length of every run of one layer, token by token, first slots first.
fn each_run(trace: &Trace, layer: usize, order: &Order, mut run: impl FnMut(u64)) {
    let slots = order.slots();
    let mut wanted = vec![0_u64; slots.len().div_ceil(64)];
    for token in 0..trace.tokens() {
        for neuron in trace.active(token, layer) {
            let slot = usize::from(slots[usize::from(neuron)]);
            wanted[slot / 64] |= 1 << (slot % 64);
        }
        let (mut length, mut next) = (0, None);
        for (w, bits) in wanted.iter_mut().enumerate() {
            for bit in set_bits(std::mem::take(bits)) {
                let slot = w * 64 + bit as usize;
                if next != Some(slot) && length > 0 {
                    run(std::mem::take(&mut length));
                }
                length += 1;
                next = Some(slot + 1);
            }
        }
        if length > 0 {
            run(length);
        }
    }
}

/// A number measured once, or several times with different seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count().max(1) as f64;
        Self {
            mean: values.clone().sum::<f64>() / count,
            min: values.clone().fold(f64::INFINITY, f64::min),
            max: values.fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl fmt::Display for Spread {
    /// The mean, and the range where there is one, with the precision asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$}", self.mean)?;
        if self.min < self.max {
            write!(f, " ({:.digits$}..{:.digits$})", self.min, self.max)?;
        }
        Ok(())
    }
}

/// One method: its runs, once for each seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OrderRow {
    /// How the neurons were ordered.
    pub method: Method,
    /// One replay; for [`Method::Random`], one for each of [`RANDOM_SEEDS`].
    pub replays: Vec<RunLengths>,
}

impl OrderRow {
    /// Bundles per read, all layers together.
    pub fn mean_run(&self) -> Spread {
        Spread::of(self.replays.iter().map(|replay| replay.total().mean()))
    }

    /// Bundles per read in `layer`.
    pub fn mean_run_of(&self, layer: usize) -> Spread {
        Spread::of(self.replays.iter().map(|replay| replay.layers[layer].mean()))
    }

    /// Reads per token, all layers together.
    pub fn reads_per_token(&self) -> Spread {
        Spread::of(self.replays.iter().map(RunLengths::reads_per_token))
    }

    /// Bundles of the longest run.
    pub fn longest(&self) -> u64 {
        self.replays.iter().map(|replay| replay.total().longest).max().unwrap_or(0)
    }
}

/// All methods side by side, on one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OrderTable {
    /// What was measured, in words.
    pub title: String,
    /// One for each method that needs no card.
    pub rows: Vec<OrderRow>,
}

/// Places by every method from `profile` and replays `held_out`.
///
/// # Errors
/// When the traces are of different shapes.
pub fn order_table(profile: &Trace, held_out: &Trace) -> Result<OrderTable> {
    ensure!(
        profile.model() == held_out.model(),
        "the profile is of model `{}`, the held-out trace of `{}`; trace the same model",
        profile.model(),
        held_out.model()
    );
    let row = |method: Method, seeds: &[u64]| -> Result<OrderRow> {
        let replay = |&seed: &u64| {
            let options = PlaceOptions { seed, hot: Vec::new() };
            RunLengths::replay(held_out, &place(profile, method, &options, &|_| {})?)
        };
        let replays = seeds.iter().map(replay).collect::<Result<_>>()?;
        Ok(OrderRow { method, replays })
    };
    let title = format!(
        "{}: placed by {} ({} tokens), replayed on {} ({} tokens), no cache, no collapse",
        profile.model(),
        profile.text(),
        profile.tokens(),
        held_out.text(),
        held_out.tokens()
    );
    let rows = Method::value_variants().iter().map(|&method| match method {
        Method::Random => row(method, &RANDOM_SEEDS),
        _ => row(method, &[0]),
    });
    Ok(OrderTable { title, rows: rows.collect::<Result<_>>()? })
}

impl fmt::Display for OrderTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = self.rows.first().and_then(|row| row.replays.first());
        let layers = layers.map_or(0, |replay| replay.layers.len());
        let shown = if layers <= MOST_LAYERS_SHOWN { layers } else { 0 };
        let mut header = ["order", "mean run", "longest", "reads/token"].map(String::from).to_vec();
        header.extend((shown > 0).then(|| "mean run by layer".to_owned()));
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_content_arrangement(ContentArrangement::Disabled).set_header(header);
        for row in &self.rows {
            let order = match row.replays.len() {
                1 => row.method.to_string(),
                seeds => format!("{} ({seeds} seeds)", row.method),
            };
            let mut cells = vec![
                order,
                row.mean_run().to_string(),
                row.longest().to_string(),
                format!("{:.1}", row.reads_per_token()),
            ];
            let runs = (0..shown).map(|layer| format!("{:.2}", row.mean_run_of(layer).mean));
            cells.extend((shown > 0).then(|| runs.collect::<Vec<_>>().join(" ")));
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{}\n\n{table}", self.title)
    }
}
