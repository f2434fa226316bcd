//! Calibrates the compact predictor: for each neuron, the score of signs that says "active".
//!
//! In: a model and profiling tokens. Out: [`Thresholds`] that keep a wanted share of the activation,
//! and what they do on other tokens. The score itself is the kernel's.

use crate::model::Model;
use crate::reference::Reference;
use crate::text::windows;
use rayon::prelude::*;
use ripple_kernel::predictor::{score, slice};
use serde::Serialize;

/// What calibration is free to choose.
#[derive(Clone, Copy, Debug)]
pub struct SignOptions {
    /// Bits of the input, 1 to 7.
    pub planes: u32,
    /// Share of each neuron's summed activation that must be predicted, 0 to 1.
    pub keep: f64,
}

/// The calibrated predictor.
#[derive(Clone, Debug)]
pub struct Thresholds {
    /// Bits of the input.
    pub planes: u32,
    /// `(layers, neurons)`: a neuron is predicted active at this score or more.
    pub layers: Vec<Vec<f32>>,
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
    /// Share of the summed activation that was predicted.
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
}

/// The scores of every neuron, from the signs of its first-layer row.
struct Scorer {
    planes: u32,
    dim: u32,
    words: usize,
    /// `(layers, neurons, words)`.
    signs: Vec<Vec<Vec<[u8; 4]>>>,
}

impl Scorer {
    fn new(model: &Model, planes: u32) -> Self {
        let dim = model.config.dim;
        let words = dim.div_ceil(32) as usize;
        let pack = |row: &[f32]| -> Vec<[u8; 4]> {
            row.chunks(32)
                .map(|chunk| {
                    let bits = (0..).zip(chunk).map(|(j, &w)| u32::from(w > 0.0) << j);
                    bits.sum::<u32>().to_le_bytes()
                })
                .collect()
        };
        let signs = model
            .layers
            .iter()
            .map(|layer| {
                let first = &layer.gate.as_ref().unwrap_or(&layer.up).weight;
                (0..first.rows).map(|i| pack(first.row(i))).collect()
            })
            .collect();
        Self { planes, dim, words, signs }
    }

    /// Calls `each(neuron, score)` for the neurons of a layer.
    fn scores(&self, layer: usize, input: &[f32], mut each: impl FnMut(usize, f32)) {
        let mut planes = vec![0u32; self.planes as usize * self.words];
        slice(input, self.planes, &mut planes);
        for (neuron, signs) in self.signs[layer].iter().enumerate() {
            each(neuron, score(signs, &planes, self.words, self.dim) as f32);
        }
    }
}

/// `(score, activation)` of a neuron at one token it was active at.
type Event = (f32, f32);

/// Calibrates on `tokens`.
///
/// A neuron's threshold is the lowest score among those of its activations that, from the highest
/// score down, add up to `keep` of the whole. Neurons seen less than 16 times are judged with all of
/// their layer's.
pub fn calibrate(
    model: &Model,
    tokens: &[u32],
    options: SignOptions,
    done: &(dyn Fn(u64) + Sync),
) -> Thresholds {
    let scorer = Scorer::new(model, options.planes);
    let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
    let empty = || vec![vec![Vec::<Event>::new(); neurons]; layers];
    let events = each_window(model, tokens, done, empty, |events, layer, pre, input| {
        scorer.scores(layer, input, |neuron, score| {
            if let Some(activation) = model.coefficient(layer, pre[neuron]) {
                events[layer][neuron].push((score, activation.abs()));
            }
        });
    });
    let mut merged = empty();
    for part in events {
        for (into, from) in merged.iter_mut().flatten().zip(part.into_iter().flatten()) {
            into.extend(from);
        }
    }
    let layers = merged
        .into_iter()
        .map(|mut layer| {
            let mut pooled: Vec<Event> = layer.iter().flatten().copied().collect();
            let pooled = threshold(&mut pooled, options.keep);
            layer
                .iter_mut()
                .map(
                    |events| {
                        if events.len() < 16 { pooled } else { threshold(events, options.keep) }
                    },
                )
                .collect()
        })
        .collect();
    Thresholds { planes: options.planes, layers }
}

fn threshold(events: &mut [Event], keep: f64) -> f32 {
    events.sort_by(|a, b| b.0.total_cmp(&a.0));
    let all: f64 = events.iter().map(|e| f64::from(e.1)).sum();
    let mut kept = 0.0;
    for (score, activation) in events.iter() {
        kept += f64::from(*activation);
        if kept >= keep * all {
            // Stored as f16, which must not round it above the score it stands for.
            return score.clamp(-65504.0, 65504.0) - score.abs() / 1024.0;
        }
    }
    // Never active on the profiling text: any score that is not negative.
    0.0
}

/// Measures a calibrated predictor on `tokens`.
pub fn evaluate(
    model: &Model,
    tokens: &[u32],
    thresholds: &Thresholds,
    done: &(dyn Fn(u64) + Sync),
) -> Quality {
    let scorer = Scorer::new(model, thresholds.planes);
    #[derive(Default)]
    struct Sums {
        quality: Quality,
        all: f64,
        kept: f64,
    }
    let sums = each_window(model, tokens, done, Sums::default, |sums, layer, pre, input| {
        scorer.scores(layer, input, |neuron, score| {
            let activation = model.coefficient(layer, pre[neuron]);
            let active = activation.is_some();
            let predicted = score >= thresholds.layers[layer][neuron];
            sums.quality.active += u64::from(active);
            sums.quality.predicted += u64::from(predicted);
            sums.quality.both += u64::from(active && predicted);
            if let Some(activation) = activation {
                let size = f64::from(activation.abs());
                sums.all += size;
                sums.kept += if predicted { size } else { 0.0 };
            }
        });
    });
    let mut quality = Quality::default();
    let (mut all, mut kept) = (0.0, 0.0);
    for part in sums {
        quality.active += part.quality.active;
        quality.predicted += part.quality.predicted;
        quality.both += part.quality.both;
        all += part.all;
        kept += part.kept;
    }
    quality.kept = if all > 0.0 { kept / all } else { 1.0 };
    quality
}

/// Runs the reference over the windows of `tokens` in parallel, one `T` a window.
fn each_window<T: Send>(
    model: &Model,
    tokens: &[u32],
    done: &(dyn Fn(u64) + Sync),
    empty: impl Fn() -> T + Sync,
    observe: impl Fn(&mut T, usize, &[f32], &[f32]) + Sync,
) -> Vec<T> {
    windows(tokens, model.config.context)
        .collect::<Vec<_>>()
        .into_par_iter()
        .map_init(
            || Reference::new(model),
            |reference, window| {
                let mut sums = empty();
                reference.reset();
                for &token in window {
                    reference.forward_with(token, &mut |layer, pre: &[f32], input: &[f32]| {
                        observe(&mut sums, layer, pre, input);
                    });
                }
                done(window.len() as u64);
                sums
            },
        )
        .collect()
}
