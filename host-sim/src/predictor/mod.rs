//! Predictors: trained to find a layer's active neurons from its input, and judged.
//!
//! In: a model, tokens, and scores of neurons. Out: for each neuron the score that says "active",
//! chosen to reach a goal; and recall, precision and perplexity of that on other tokens. What the
//! scores are made of, [`signs`] and [`low_rank`] know; the same text gives the same numbers.

mod choice;
mod file;
pub mod low_rank;
pub mod signs;

pub use choice::{Format, PredictorChoice, geometry};

use crate::model::Model;
use crate::model::forward::{Ffn, Forward, Watch, window_losses};
use crate::model::reference::perplexity;
use crate::model::text::windows;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Gives every neuron of a layer a score: the higher, the likelier it is active.
pub trait Scores: Sync {
    /// Calls `each(neuron, score)` for the neurons of `layer` at `input`, `(dim,)`.
    fn scores(&self, layer: usize, input: &[f32], each: &mut dyn FnMut(usize, f32));
}

/// What must be predicted, as a share of what the training text has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Of each neuron's summed activation: weak activations may be missed.
    Activation(f64),
    /// Of the tokens at which each neuron is active.
    Recall(f64),
}

/// A trained predictor, and what it was trained with.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Name of the model.
    pub model: String,
    /// Name of the text.
    pub text: String,
    /// Tokens of it.
    pub tokens: usize,
    /// What was to be reached.
    pub goal: Goal,
    /// The predictor, as [`pack`](crate::pack::pack) takes it.
    pub choice: PredictorChoice,
}

/// How a predictor does on a text.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Quality {
    /// Neurons that were active.
    pub active: u64,
    /// Neurons that were predicted.
    pub predicted: u64,
    /// Neurons that were both.
    pub both: u64,
    /// Summed activation.
    pub activation: f64,
    /// What of it was predicted.
    pub kept: f64,
}

impl Quality {
    /// Share of the active neurons that were predicted.
    pub fn recall(&self) -> f64 {
        self.both as f64 / self.active.max(1) as f64
    }

    /// Share of the predicted neurons that were active.
    pub fn precision(&self) -> f64 {
        self.both as f64 / self.predicted.max(1) as f64
    }

    /// Neurons predicted for each that was active.
    pub fn predicted_per_active(&self) -> f64 {
        self.predicted as f64 / self.active.max(1) as f64
    }

    /// Share of the summed activation that was predicted.
    pub fn kept(&self) -> f64 {
        if self.activation > 0.0 { self.kept / self.activation } else { 1.0 }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            active: self.active + other.active,
            predicted: self.predicted + other.predicted,
            both: self.both + other.both,
            activation: self.activation + other.activation,
            kept: self.kept + other.kept,
        }
    }
}

/// `(score, weight)` of a neuron at one token it was active at.
type Event = (f32, f32);

/// For each neuron, `(layers, neurons)`, the lowest score that reaches `goal` on `tokens`.
///
/// From the highest score down, its activations (or how often it was active) add up to the goal's
/// share of the whole. Neurons seen less than 16 times are judged with all of their layer's.
pub fn thresholds(
    model: &Model,
    tokens: &[u32],
    scores: &dyn Scores,
    goal: Goal,
    done: &(dyn Fn(u64) + Sync),
) -> Vec<Vec<f32>> {
    let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
    let empty = || vec![vec![Vec::<Event>::new(); neurons]; layers];
    let events = each_window(model, tokens, done, empty, |events, layer, pre, input| {
        scores.scores(layer, input, &mut |neuron, score| {
            if let Some(activation) = model.coefficient(layer, pre[neuron]) {
                let weight = match goal {
                    Goal::Activation(_) => activation.abs(),
                    Goal::Recall(_) => 1.0,
                };
                events[layer][neuron].push((score, weight));
            }
        });
    });
    let mut merged = empty();
    for part in events {
        for (into, from) in merged.iter_mut().flatten().zip(part.into_iter().flatten()) {
            into.extend(from);
        }
    }
    let (Goal::Activation(share) | Goal::Recall(share)) = goal;
    let of_layer = |mut layer: Vec<Vec<Event>>| {
        let mut pooled: Vec<Event> = layer.iter().flatten().copied().collect();
        let pooled = threshold(&mut pooled, share);
        let of_neuron = |events: &mut Vec<Event>| {
            if events.len() < 16 { pooled } else { threshold(events, share) }
        };
        layer.iter_mut().map(of_neuron).collect()
    };
    merged.into_iter().map(of_layer).collect()
}

fn threshold(events: &mut [Event], share: f64) -> f32 {
    events.sort_by(|a, b| b.0.total_cmp(&a.0));
    let all: f64 = events.iter().map(|e| f64::from(e.1)).sum();
    let mut kept = 0.0;
    for (score, weight) in events.iter() {
        kept += f64::from(*weight);
        if kept >= share * all {
            // Stored as f16, which must not round it above the score it stands for.
            return score.clamp(-65504.0, 65504.0) - score.abs() / 1024.0;
        }
    }
    // Never active on the training text: any score that is not negative.
    0.0
}

/// Scores, and the thresholds that go with them, `(layers, neurons)`.
pub type Scored<'a> = (Box<dyn Scores + 'a>, &'a [Vec<f32>]);

/// The scores and the thresholds of a predictor; `None` for an exact one.
pub fn scores<'a>(model: &Model, choice: &'a PredictorChoice) -> Option<Scored<'a>> {
    match choice {
        PredictorChoice::Exact | PredictorChoice::ExactFullBundles => None,
        PredictorChoice::Signs(signs) => {
            Some((Box::new(signs::Signs::new(model, signs.planes)), &signs.layers))
        }
        PredictorChoice::LowRank(low) => Some((Box::new(&*low.layers), &low.thresholds)),
    }
}

/// Measures a predictor on `tokens`, all layers together; `None` for an exact one.
pub fn evaluate(
    model: &Model,
    tokens: &[u32],
    choice: &PredictorChoice,
    done: &(dyn Fn(u64) + Sync),
) -> Option<Quality> {
    let (scores, thresholds) = scores(model, choice)?;
    let layers = judge(model, tokens, &*scores, thresholds, done);
    Some(layers.into_iter().fold(Quality::default(), Quality::plus))
}

/// Measures a predictor on `tokens`, layer by layer.
pub fn judge(
    model: &Model,
    tokens: &[u32],
    scores: &dyn Scores,
    thresholds: &[Vec<f32>],
    done: &(dyn Fn(u64) + Sync),
) -> Vec<Quality> {
    let empty = || vec![Quality::default(); thresholds.len()];
    let parts = each_window(model, tokens, done, empty, |sums, layer, pre, input| {
        let sum = &mut sums[layer];
        scores.scores(layer, input, &mut |neuron, score| {
            let activation = model.coefficient(layer, pre[neuron]);
            let active = activation.is_some();
            let predicted = score >= thresholds[layer][neuron];
            sum.active += u64::from(active);
            sum.predicted += u64::from(predicted);
            sum.both += u64::from(active && predicted);
            if let Some(activation) = activation {
                let size = f64::from(activation.abs());
                sum.activation += size;
                sum.kept += if predicted { size } else { 0.0 };
            }
        });
    });
    parts.into_iter().fold(empty(), |sums, part| {
        sums.into_iter().zip(part).map(|(sum, part)| sum.plus(part)).collect()
    })
}

/// Perplexity of the full windows of `tokens` under the reference, where the neurons of `masked`
/// layers that are not predicted count as not active.
pub fn masked_perplexity(
    model: &Model,
    tokens: &[u32],
    scores: &dyn Scores,
    thresholds: &[Vec<f32>],
    masked: std::ops::Range<usize>,
    done: &(dyn Fn(u64) + Sync),
) -> f64 {
    let context = model.config.context as usize;
    let (dim, neurons) = (model.config.dim as usize, model.config.neurons as usize);
    let full: Vec<&[u32]> = tokens.chunks_exact(context.max(1)).collect();
    let mut mask = |ffn: Ffn<'_>| {
        let layer = ffn.layer;
        if !masked.contains(&layer) {
            return;
        }
        let positions = ffn.pre.par_chunks_mut(neurons).zip(ffn.input.par_chunks(dim));
        positions.for_each(|(pre, input)| {
            scores.scores(layer, input, &mut |neuron, score| {
                if score < thresholds[layer][neuron] {
                    pre[neuron] = f32::NEG_INFINITY;
                }
            });
        });
    };
    perplexity(&window_losses(model, &full, &mut mask, done))
}

/// Runs the reference over the windows of `tokens`, one `T` a window, which sees each layer's positions in
/// their order.
fn each_window<T: Send>(
    model: &Model,
    tokens: &[u32],
    done: &(dyn Fn(u64) + Sync),
    empty: impl Fn() -> T + Sync,
    observe: impl Fn(&mut T, usize, &[f32], &[f32]) + Sync,
) -> Vec<T> {
    let windows: Vec<_> = windows(tokens, model.config.context).collect();
    let parts = windows.iter().map(|_| empty()).collect();
    let mut watch = EachWindow { model, parts, observe };
    Forward::new(model).read(&windows, &mut watch, done);
    watch.parts
}

/// What [`each_window`] looks on with.
struct EachWindow<'m, T, F> {
    model: &'m Model,
    parts: Vec<T>,
    observe: F,
}

impl<T: Send, F: Fn(&mut T, usize, &[f32], &[f32]) + Sync> Watch for EachWindow<'_, T, F> {
    fn ffn(&mut self, ffn: Ffn<'_>) {
        let config = &self.model.config;
        let (dim, neurons) = (config.dim as usize, config.neurons as usize);
        let context = config.context.max(1) as usize;
        let end = ffn.first + ffn.input.len() / dim;
        let (pre, observe) = (&*ffn.pre, &self.observe);
        let seen = ffn.first / context..end.div_ceil(context);
        let parts = self.parts[seen.clone()].par_iter_mut().zip(seen);
        parts.for_each(|(part, window)| {
            for token in ffn.first.max(window * context)..end.min((window + 1) * context) {
                let at = token - ffn.first;
                let (pre, input) = (&pre[at * neurons..][..neurons], &ffn.input[at * dim..][..dim]);
                observe(part, ffn.layer, pre, input);
            }
        });
    }
}
