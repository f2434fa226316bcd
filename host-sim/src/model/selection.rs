//! What it would cost to keep a share of the neurons of a model whose activation has no zeros, by how they are
//! chosen.
//!
//! In: a model with SiLU or GELU gates, a text to calibrate on, one to judge by. Out: for each choice the loss and
//! what of the FFN's output it keeps. Knows nothing of images: no format chooses by the product yet.

use super::forward::{Ffn, window_losses};
use super::threshold::{BINS, SHIFT, quantile};
use crate::model::Model;
use crate::model::reference::perplexity;
use anyhow::{Result, ensure};
use rayon::prelude::*;
use serde::Serialize;

/// What a neuron is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The size of its activation, `|act(gate)|`: what thresholds are of.
    Gate,
    /// The size of what it adds, `|act(gate) * up| * norm(down)`: its `up` must be known for that.
    Product,
}

/// What keeping a share of the neurons by a choice comes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// Chosen by this.
    pub by: Choice,
    /// The share of each layer's neurons that was to be kept.
    pub share: f64,
    /// The share that was.
    pub found: f64,
    /// Of the sizes of what all neurons add, summed, the share that the kept ones have.
    pub recall: f64,
    /// Perplexity.
    pub perplexity: f64,
}

/// Judges both choices at each of `shares`; the first number is the perplexity with all neurons.
///
/// Thresholds are calibrated on `profile`, one for each layer; all else is of the full windows of `held_out`.
/// `done` is told of tokens: of the profile once, of the others once and twice more for each share.
///
/// # Errors
/// When the activation has zeros, or `held_out` has no full window.
pub fn judge(
    model: &Model,
    profile: &[u32],
    held_out: &[u32],
    shares: &[f64],
    done: &(dyn Fn(u64) + Sync),
) -> Result<(f64, Vec<Kept>)> {
    let activation = model.config.activation;
    ensure!(
        activation.lossy() && model.layers.iter().all(|layer| layer.gate.is_some()),
        "{}: its activation is {activation:?}, expected SiLU or GELU gates, of which a share is kept",
        model.name
    );
    let context = model.config.context.max(1) as usize;
    let windows: Vec<&[u32]> = held_out.chunks_exact(context).collect();
    ensure!(
        !windows.is_empty() && !profile.is_empty(),
        "expected at least one full context of {context} tokens, found {}; give a longer text",
        held_out.len()
    );
    let mut dense = model.clone();
    dense.sparsity = None;
    let norms: Vec<Vec<f32>> =
        dense.layers.par_iter().map(|layer| norms(&layer.down.weight)).collect();
    let sizes = Sizes { model: &dense, norms: &norms };
    let layers = dense.layers.len();
    let mut counts = [(); 2].map(|()| vec![vec![0; BINS]; layers]);
    let profile: Vec<&[u32]> = profile.chunks(context).collect();
    let mut count = |ffn: Ffn<'_>| {
        for (by, counts) in [Choice::Gate, Choice::Product].into_iter().zip(&mut counts) {
            sizes.count(by, &ffn, &mut counts[ffn.layer]);
        }
    };
    window_losses(&dense, &profile, &mut count, done);
    let all = perplexity(&window_losses(&dense, &windows, &mut |_| (), done));
    let mut kept = Vec::new();
    for &share in shares {
        for (by, counts) in [Choice::Gate, Choice::Product].into_iter().zip(&counts) {
            let thresholds: Vec<f32> =
                counts.iter().map(|counts| quantile(counts, share)).collect();
            let mut sums = Sums::default();
            let mut keep = |mut ffn: Ffn<'_>| {
                sums = sums.plus(sizes.keep(by, thresholds[ffn.layer], &mut ffn));
            };
            let perplexity = perplexity(&window_losses(&dense, &windows, &mut keep, done));
            let (found, recall) = (sums.kept as f64 / sums.all as f64, sums.size_kept / sums.size);
            kept.push(Kept { by, share, found, recall, perplexity });
        }
    }
    Ok((all, kept))
}

/// Neurons, and the sizes of what they add.
#[derive(Clone, Copy, Default)]
struct Sums {
    all: u64,
    kept: u64,
    size: f64,
    size_kept: f64,
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        Self {
            all: self.all + other.all,
            kept: self.kept + other.kept,
            size: self.size + other.size,
            size_kept: self.size_kept + other.size_kept,
        }
    }
}

/// The Euclidean norm of each column.
fn norms(down: &super::Matrix) -> Vec<f32> {
    let mut squares = vec![0.0; down.cols];
    for row in 0..down.rows {
        squares.iter_mut().zip(&*down.row(row)).for_each(|(sum, w)| *sum += w * w);
    }
    squares.into_iter().map(f32::sqrt).collect()
}

/// What neurons are chosen by.
struct Sizes<'m> {
    model: &'m Model,
    /// Norms of `down`: (layers, neurons).
    norms: &'m [Vec<f32>],
}

impl Sizes<'_> {
    /// The size of a neuron's activation and of what it adds.
    fn of(&self, layer: usize, neuron: usize, pre: f32, up: f32) -> (f32, f32) {
        let gate = self.model.coefficient(layer, pre).unwrap_or(0.0).abs();
        (gate, gate * self.model.factor(up).abs() * self.norms[layer][neuron])
    }

    fn count(&self, by: Choice, ffn: &Ffn<'_>, counts: &mut [u64]) {
        let neurons = self.norms[ffn.layer].len();
        let tokens = (ffn.pre.len() / neurons).div_ceil(rayon::current_num_threads()).max(1);
        let (layer, each) = (ffn.layer, tokens * neurons);
        let parts: Vec<Vec<u64>> = (ffn.pre.par_chunks(each))
            .zip(ffn.up.par_chunks(each))
            .map(|(pre, up)| {
                let mut counts = vec![0; BINS];
                for (at, (&pre, &up)) in pre.iter().zip(up).enumerate() {
                    let (gate, product) = self.of(layer, at % neurons, pre, up);
                    let size = if by == Choice::Gate { gate } else { product };
                    counts[(size.to_bits() >> SHIFT) as usize] += 1;
                }
                counts
            })
            .collect();
        for part in parts {
            counts.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
    }

    /// Makes neurons that are no larger than `threshold` inactive.
    fn keep(&self, by: Choice, threshold: f32, ffn: &mut Ffn<'_>) -> Sums {
        let (layer, neurons) = (ffn.layer, self.norms[ffn.layer].len());
        let tokens = ffn.pre.par_chunks_mut(neurons).zip(ffn.up.par_chunks(neurons));
        let sums: Vec<Sums> = tokens
            .map(|(pre, up)| {
                let mut sums = Sums::default();
                for (neuron, (pre, &up)) in pre.iter_mut().zip(up).enumerate() {
                    let (gate, product) = self.of(layer, neuron, *pre, up);
                    let kept = if by == Choice::Gate { gate } else { product } > threshold;
                    sums.all += 1;
                    sums.size += f64::from(product);
                    if kept {
                        sums.kept += 1;
                        sums.size_kept += f64::from(product);
                    } else {
                        *pre = f32::NEG_INFINITY;
                    }
                }
                sums
            })
            .collect();
        sums.into_iter().fold(Sums::default(), Sums::plus)
    }
}
