//! What a record has in it: rules applied to a layer's equations, and what they save on a card.
//!
//! In: a geometry, a card, the share of active neurons. Out: streams merged, what is bundled by which iterator,
//! what a predictor that holds rows leaves out, and factors that were folded or not. Times are those of the card.

use super::equations::layer;
use crate::cost::Preset;
use anyhow::{Context, Result};
use ripple_derive::network::Network;
use ripple_derive::notation::parse;
use ripple_derive::rules::bundle::bundle;
use ripple_derive::rules::program::{fuse, merge};
use ripple_derive::rules::weights::{combine, push};
use ripple_kernel::image::{Bundle, Geometry, RecordLayout, SectionKind};
use ripple_kernel::{Ffn, ModelConfig};

/// What a rule did, and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The rule, with what it was applied to.
    pub rule: String,
    /// Read commands of a layer and token before and after.
    pub commands: (f64, f64),
    /// Bytes, before and after.
    pub bytes: (f64, f64),
    /// The card's nanoseconds, before and after.
    pub nanoseconds: (f64, f64),
    /// Why it is not taken, if it is not.
    pub declined: Option<String>,
}

/// What a layer's records are.
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    /// Rules in the order in which they were applied.
    pub steps: Vec<Step>,
    /// Weights that are one stream, by their names.
    pub streams: Vec<String>,
    /// Rows of a neuron, in the order in which they are computed with.
    pub rows: Vec<String>,
    /// Whether the first of them is in the predictor alone.
    pub first_apart: bool,
    /// Numbers between first and last row that are there at once: before and after bundling.
    pub kept: (u64, u64),
}

/// What a number of reads costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    /// Commands.
    pub commands: f64,
    /// Bytes.
    pub bytes: f64,
    /// Nanoseconds.
    pub nanoseconds: f64,
}

impl Apart {
    /// `commands` reads of `bytes` each.
    pub fn of(card: &Preset, commands: f64, bytes: u64) -> Self {
        let nanoseconds = commands * card.timing().cost_ns(bytes) as f64;
        Self { commands, bytes: commands * bytes as f64, nanoseconds }
    }
}

impl Records {
    /// The rows as the image's header has them.
    pub fn bundle(&self, config: &ModelConfig) -> Bundle {
        if self.first_apart { Bundle::without_first(config.ffn) } else { Bundle::whole(config.ffn) }
    }
}

fn step(rule: impl Into<String>, before: Apart, after: Apart) -> Step {
    Step {
        rule: rule.into(),
        commands: (before.commands, after.commands),
        bytes: (before.bytes, after.bytes),
        nanoseconds: (before.nanoseconds, after.nanoseconds),
        declined: None,
    }
}

fn place(network: &Network, name: &str) -> Result<usize> {
    let is = |at: &usize| network.tensors[network.definitions[*at].tensor as usize].name == name;
    (0..network.definitions.len()).find(is).with_context(|| format!("no equation of {name}"))
}

/// Derives the records of a layer.
///
/// # Errors
/// Where the equations mean nothing.
pub fn records(geometry: &Geometry, card: &Preset, active: f64) -> Result<Records> {
    let config = &geometry.config;
    let mut network = parse(&layer(config))?;
    let mut steps = Vec::new();
    let streams = streams(&mut network, geometry, card, &mut steps)?;
    // Factors meet rows as they are before these are parts of a record.
    let apart = network.clone();
    let (rows, kept) = neurons(&mut network, geometry, card, active, &mut steps)?;
    let first_apart = first(geometry, card, active, &mut steps);
    folds(&apart, config, &mut steps)?;
    Ok(Records { steps, streams, rows, first_apart, kept })
}

/// Products that share their input are one stream.
fn streams(
    network: &mut Network,
    geometry: &Geometry,
    card: &Preset,
    steps: &mut Vec<Step>,
) -> Result<Vec<String>> {
    let Some((rows, layout)) = geometry.table(SectionKind::Qkv) else { return Ok(Vec::new()) };
    let (stride, config) = (u64::from(layout.stride()), &geometry.config);
    let parts = [config.query_dim(), config.kv_dim(), config.kv_dim()].map(u64::from);
    let read = |rows: &[u64]| {
        let all: Vec<Apart> = rows.iter().map(|n| Apart::of(card, 1.0, n * stride)).collect();
        let sum = |of: fn(&Apart) -> f64| all.iter().map(of).sum();
        Apart {
            commands: sum(|a| a.commands),
            bytes: sum(|a| a.bytes),
            nanoseconds: sum(|a| a.nanoseconds),
        }
    };
    let (apart, together) = (read(&parts), read(&[u64::from(rows)]));
    let mut names = vec!["q".to_owned()];
    let mut first = "q".to_owned();
    for other in ["k", "v"] {
        let (a, b) = (place(network, &first)?, place(network, other)?);
        let Some(merged) = merge(network, a, b) else { break };
        *network = merged;
        first = format!("{first}_{other}");
        names.push(other.to_owned());
    }
    if names.len() == 3 && together.nanoseconds <= apart.nanoseconds {
        steps.push(step("expression merging: q, k and v, which read the same", apart, together));
        Ok(names)
    } else {
        Ok(vec!["q".to_owned()])
    }
}

/// What a neuron needs is one record.
fn neurons(
    network: &mut Network,
    geometry: &Geometry,
    card: &Preset,
    active: f64,
    steps: &mut Vec<Step>,
) -> Result<(Vec<String>, (u64, u64))> {
    let config = &geometry.config;
    let rows = if matches!(config.ffn, Ffn::Gated) { 3 } else { 2 };
    let layout = |rows| RecordLayout { rows, ..geometry.bundle_layout() };
    let read = f64::from(config.neurons) * active;
    let apart = Apart::of(card, read * f64::from(rows), u64::from(layout(1).stride()));
    let together = Apart::of(card, read, u64::from(layout(rows).stride()));
    let at = place(network, "d")?;
    let sum = network.definitions[at].scope.loops.len();
    let (after, found) =
        bundle(network, at, sum).context("the neurons' weights share no iterator")?;
    *network = after;
    let what = found.rows.join(", ");
    steps.push(step(
        format!("bundling: {what} by the neuron, which all of them go through"),
        apart,
        together,
    ));
    let between = found.intermediates.len() as u64;
    Ok((found.rows, (between * u64::from(config.neurons), between)))
}

/// Whether the row that the predictor holds already is left out of the bundle.
fn first(geometry: &Geometry, card: &Preset, active: f64, steps: &mut Vec<Step>) -> bool {
    let config = &geometry.config;
    let read = f64::from(config.neurons) * active;
    let record = |bundle: Bundle| {
        let layout = RecordLayout { rows: bundle.rows(), ..geometry.bundle_layout() };
        Apart::of(card, read, u64::from(layout.stride()))
    };
    let (whole, rest) =
        (record(Bundle::whole(config.ffn)), record(Bundle::without_first(config.ffn)));
    let less = rest.nanoseconds < whole.nanoseconds;
    let mut said = step("what the predictor has of a neuron is not read again", whole, rest);
    if !less {
        said.declined = Some("it costs no less".to_owned());
    }
    steps.push(said);
    less
}

/// Factors that could be multiplied into weights: they hold, and save no read.
fn folds(network: &Network, config: &ModelConfig, steps: &mut Vec<Step>) -> Result<()> {
    let nothing = Apart { commands: 0.0, bytes: 0.0, nanoseconds: 0.0 };
    let mut declined = |rule: &str, why: String| {
        steps.push(Step { declined: Some(why), ..step(rule, nothing, nothing) });
    };
    for (norm, names) in [("a", "q, k and v"), ("m", "the neurons' rows")] {
        let fused =
            fuse(network, place(network, norm)?).context("a norm's weight does not fuse")?;
        let holds = (0..fused.definitions.len()).any(|at| combine(&fused, at).is_some());
        anyhow::ensure!(holds, "the weight of a norm meets no weights");
        declined(
            &format!("factor folding: a norm's weight into {names}"),
            format!(
                "reads nothing less, saves {} multiplications, and each row's 8 bits would span the norm's range too",
                config.dim
            ),
        );
    }
    let pushed = push(network, place(network, "s")?);
    let power =
        config.head_dim.trailing_zeros().is_multiple_of(2) && config.head_dim.is_power_of_two();
    let bits =
        if power { "changes no bit, being a power of two" } else { "rounds each row's scale anew" };
    // A merged stream is read by others too, whose scale it would be as well.
    if pushed.is_some() {
        anyhow::bail!("the scale of a head was pushed into a stream that others read");
    }
    declined(
        "factor folding: 1/sqrt(head width) into the rows of q",
        format!("{bits}, but q is one stream with k and v, which it does not scale"),
    );
    Ok(())
}
