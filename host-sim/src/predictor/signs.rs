//! Scores from signs: a bit for each weight of the first-layer row, a few bits of the input.
//!
//! In: a model. Out: scores as the kernel computes them, and [`Thresholds`] for them.

use super::{Goal, Scores, thresholds};
use crate::model::Model;
use ripple_kernel::layer::predictor::{score, slice};

/// What training is free to choose.
#[derive(Clone, Copy, Debug)]
pub struct SignOptions {
    /// Bits of the input, 1 to 7.
    pub planes: u32,
    /// What must be predicted.
    pub goal: Goal,
}

/// The trained predictor.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// Bits of the input.
    pub planes: u32,
    /// `(layers, neurons)`: a neuron is predicted active at this score or more.
    pub layers: Vec<Vec<f32>>,
}

/// The scores of every neuron, from the signs of its first-layer row.
pub struct Signs {
    planes: u32,
    dim: u32,
    words: usize,
    /// `(layers, neurons, words)`.
    signs: Vec<Vec<Vec<[u8; 4]>>>,
}

impl Signs {
    /// Those of `model`, against `planes` bits of the input.
    pub fn new(model: &Model, planes: u32) -> Self {
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
                (0..first.rows).map(|i| pack(&first.row(i))).collect()
            })
            .collect();
        Self { planes, dim, words, signs }
    }
}

impl Scores for Signs {
    fn scores(&self, layer: usize, input: &[f32], each: &mut dyn FnMut(usize, f32)) {
        let mut planes = vec![0u32; self.planes as usize * self.words];
        slice(input, self.planes, &mut planes);
        for (neuron, signs) in self.signs[layer].iter().enumerate() {
            each(neuron, score(signs, &planes, self.words, self.dim) as f32);
        }
    }
}

/// Trains on `tokens`: see [`thresholds`].
pub fn calibrate(
    model: &Model,
    tokens: &[u32],
    options: SignOptions,
    done: &(dyn Fn(u64) + Sync),
) -> Thresholds {
    let SignOptions { planes, goal } = options;
    let signs = Signs::new(model, planes);
    Thresholds { planes, layers: thresholds(model, tokens, &signs, goal, done) }
}
