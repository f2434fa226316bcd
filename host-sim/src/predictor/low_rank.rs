//! Scores from a product of two thin matrices, fitted to a model's first-layer outputs.
//!
//! In: a model and tokens. Out: for each layer a projection `P`, (rank, dim), and rows `R`,
//! (neurons, rank), with `R P x` the best approximation of the first-layer outputs, each divided by
//! its own spread, that has this rank: their principal components on the tokens. What is left out of
//! it, means and biases, the thresholds take in.
//!
//! With `W` the scaled first-layer rows and `C` the covariance of the input, the components are the
//! leading eigenvectors `U` of `W C W^T`; `R = U`, `P = U^T W`. They are found by orthogonal iteration
//! from a fixed start: the same tokens give the same bits.

use super::{Goal, Scores, each_window, thresholds};
use crate::model::{Matrix, Model};
use rayon::prelude::*;

/// What training is free to choose.
#[derive(Clone, Copy, Debug)]
pub struct LowRankOptions {
    /// Numbers that the projection makes, a multiple of 4, at most 252.
    pub rank: u32,
    /// What must be predicted.
    pub goal: Goal,
}

/// The trained predictor.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    /// Numbers that the projection makes.
    pub rank: u32,
    /// `(layers,)`.
    pub layers: Vec<Factors>,
    /// `(layers, neurons)`: a neuron is predicted active at this score or more.
    pub thresholds: Vec<Vec<f32>>,
}

/// The matrices of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// (rank, dim).
    pub projection: Matrix,
    /// (neurons, rank).
    pub rows: Matrix,
}

impl Scores for &[Factors] {
    fn scores(&self, layer: usize, input: &[f32], each: &mut dyn FnMut(usize, f32)) {
        let Factors { projection, rows } = &self[layer];
        let code: Vec<f32> = (0..projection.rows).map(|i| dot(&projection.row(i), input)).collect();
        for neuron in 0..rows.rows {
            each(neuron, dot(&rows.row(neuron), &code));
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Fits the matrices to `tokens`, then the thresholds: reads them twice.
pub fn train(
    model: &Model,
    tokens: &[u32],
    options: LowRankOptions,
    done: &(dyn Fn(u64) + Sync),
) -> LowRank {
    let covariances = covariances(model, tokens, done);
    let rank = (options.rank as usize).min(model.config.dim as usize);
    let layers: Vec<Factors> = model
        .layers
        .par_iter()
        .zip(covariances)
        .map(|(layer, covariance)| {
            factors(&layer.gate.as_ref().unwrap_or(&layer.up).weight, &covariance, rank)
        })
        .collect();
    let thresholds = thresholds(model, tokens, &&*layers, options.goal, done);
    LowRank { rank: options.rank, layers, thresholds }
}

/// The covariance of the FFN's input in every layer: (layers, dim * dim).
fn covariances(model: &Model, tokens: &[u32], done: &(dyn Fn(u64) + Sync)) -> Vec<Vec<f64>> {
    let dim = model.config.dim as usize;
    #[derive(Clone)]
    struct Sums {
        count: f64,
        /// (dim,).
        mean: Vec<f64>,
        /// (dim, dim), the lower triangle.
        products: Vec<f64>,
    }
    let empty = || {
        let sums = Sums { count: 0.0, mean: vec![0.0; dim], products: vec![0.0; dim * dim] };
        vec![sums; model.layers.len()]
    };
    let parts = each_window(model, tokens, done, empty, |sums, layer, _, input| {
        let sum = &mut sums[layer];
        sum.count += 1.0;
        for (i, &x) in input.iter().enumerate() {
            let x = f64::from(x);
            sum.mean[i] += x;
            for (out, &y) in sum.products[i * dim..].iter_mut().zip(&input[..=i]) {
                *out += x * f64::from(y);
            }
        }
    });
    let all = parts.into_iter().reduce(|mut all, part| {
        for (all, part) in all.iter_mut().zip(part) {
            all.count += part.count;
            add(&mut all.mean, &part.mean, 1.0);
            add(&mut all.products, &part.products, 1.0);
        }
        all
    });
    let covariance = |sums: Sums| {
        let mut out = vec![0.0; dim * dim];
        for i in 0..dim {
            for j in 0..=i {
                let mean = sums.mean[i] * sums.mean[j] / sums.count;
                let value = (sums.products[i * dim + j] - mean) / sums.count;
                (out[i * dim + j], out[j * dim + i]) = (value, value);
            }
        }
        out
    };
    all.unwrap_or_else(empty).into_iter().map(covariance).collect()
}

/// `out += factor * x`.
fn add(out: &mut [f64], x: &[f64], factor: f64) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out += factor * x);
}

/// The leading components of `first . x`, (neurons, dim), each row divided by its spread.
fn factors(first: &Matrix, covariance: &[f64], rank: usize) -> Factors {
    /// Iterations: on the demo models the subspace no longer changes the recall after ten.
    const ITERATIONS: usize = 30;
    let (neurons, dim) = (first.rows, first.cols);
    let times = |row: &[f64]| -> Vec<f64> {
        covariance
            .chunks_exact(dim)
            .map(|of| of.iter().zip(row).map(|(a, b)| a * b).sum())
            .collect()
    };
    let scaled: Vec<Vec<f64>> = (0..neurons)
        .map(|i| {
            let row: Vec<f64> = first.row(i).iter().map(|&w| f64::from(w)).collect();
            let variance: f64 = times(&row).iter().zip(&row).map(|(a, b)| a * b).sum();
            let scale = if variance > 0.0 { 1.0 / libm::sqrt(variance) } else { 0.0 };
            row.iter().map(|w| w * scale).collect()
        })
        .collect();
    // `columns`: (rank, neurons); `(rank, dim)` after a multiplication with `W^T`.
    let thin = |columns: &[Vec<f64>]| -> Vec<Vec<f64>> {
        let column = |column: &Vec<f64>| {
            let mut out = vec![0.0; dim];
            scaled.iter().zip(column).for_each(|(row, &u)| add(&mut out, row, u));
            out
        };
        columns.iter().map(column).collect()
    };
    // A fixed start without a pattern.
    let mut state = 1u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let mut columns: Vec<Vec<f64>> =
        (0..rank).map(|_| (0..neurons).map(|_| next()).collect()).collect();
    orthonormalise(&mut columns);
    for _ in 0..ITERATIONS {
        let products = thin(&columns);
        for (column, thin) in columns.iter_mut().zip(products) {
            let thin = times(&thin);
            for (out, row) in column.iter_mut().zip(&scaled) {
                *out = row.iter().zip(&thin).map(|(a, b)| a * b).sum();
            }
        }
        orthonormalise(&mut columns);
    }
    let projection = thin(&columns).into_iter().flatten().map(|x| x as f32).collect::<Vec<f32>>();
    let rows = (0..neurons).flat_map(|i| columns.iter().map(move |column| column[i] as f32));
    Factors {
        projection: Matrix::new(rank, dim, projection),
        rows: Matrix::new(neurons, rank, rows.collect::<Vec<_>>()),
    }
}

/// Gram and Schmidt's, twice, for what rounding leaves.
fn orthonormalise(columns: &mut [Vec<f64>]) {
    for i in 0..columns.len() {
        let (before, rest) = columns.split_at_mut(i);
        let column = &mut rest[0];
        for _ in 0..2 {
            for other in before.iter() {
                let along: f64 = other.iter().zip(column.iter()).map(|(a, b)| a * b).sum();
                add(column, other, -along);
            }
        }
        let length = libm::sqrt(column.iter().map(|x| x * x).sum());
        let factor = if length > 0.0 { 1.0 / length } else { 0.0 };
        column.iter_mut().for_each(|x| *x *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_low_rank_come_back() {
        // Neurons that are mixtures of two directions, in an input whose numbers differ in size.
        let (neurons, dim) = (40, 8);
        let direction = |k: usize, j: usize| ((3 * j + 5 * k + j * k) % 7) as f32 - 3.0;
        let data = (0..neurons).flat_map(|i| {
            let (a, b) = ((i % 5) as f32 - 2.2, (i % 3) as f32 - 0.9);
            (0..dim).map(move |j| a * direction(0, j) + b * direction(1, j))
        });
        let first = Matrix::new(neurons, dim, data.collect::<Vec<_>>());
        let mut covariance = vec![0.0; dim * dim];
        (0..dim).for_each(|j| covariance[j * dim + j] = 1.0 + j as f64);
        let found = [factors(&first, &covariance, 2)];
        let input: Vec<f32> = (0..dim).map(|j| (j as f32 * 1.7).sin()).collect();
        found.as_slice().scores(0, &input, &mut |neuron, score| {
            let row = first.row(neuron);
            let variance: f32 = row.iter().enumerate().map(|(j, w)| w * w * (1.0 + j as f32)).sum();
            let expected = dot(&row, &input) / variance.sqrt();
            assert!((score - expected).abs() < 1e-5, "{neuron}: {score}, not {expected}");
        });
    }
}
