//! What blocks of tokens are judged by: thresholds, tables by place, and a small predictor, from a text.
//!
//! In: what there is to see of each layer on windows of a text. Out: a guide for the tuner, and how many of
//! the blocks that are kept each way of guessing finds.

use super::threshold;
use super::train::{Training, open};
use anyhow::{Result, anyhow, ensure};
use ripple_kernel::text::sample::Pcg32;
use ripple_tune::{Choice, Elimination, Keep, Look};
use serde::Serialize;

/// A layer on a window.
struct Seen {
    /// `(blocks,)`.
    scores: Vec<f32>,
    /// `(tokens, dim)`.
    inputs: Vec<f32>,
    /// `(blocks,)`: the longest key of each.
    keys: Vec<f32>,
}

/// All layers on some windows.
pub struct Sight {
    /// By window, by layer.
    seen: Vec<Vec<Seen>>,
    block: usize,
    tokens: usize,
}

/// Windows of a text that a guide is made from, at most.
pub const LOOKS: usize = 48;
/// Of those, windows by which thresholds are moved, at most.
const TRIALS: usize = 8;

/// Shares of the best blocks that are found in windows which neither was made from.
#[derive(Clone, Copy, Debug)]
pub struct Contest {
    /// By the table of places.
    pub table: f64,
    /// By the predictor.
    pub predictor: f64,
}

impl Contest {
    /// Whether the predictor is worth its numbers.
    pub fn predictor_wins(&self) -> bool {
        self.predictor > self.table
    }
}

/// Sets what the arm of `training` judges blocks of tokens by, if it asks for anything, from `windows` of its text. A
/// predictor that finds no more of them than the table of places is left out, as in a text that is too short to
/// tell; returns what both found.
///
/// # Errors
/// When the image cannot be read, or there is no window.
pub fn settle(training: &mut Training<'_>, windows: &[&[u32]]) -> Result<Option<Contest>> {
    let Some(mut e) = training.options.arms.elimination else { return Ok(None) };
    if e.keep != Keep::Threshold && !matches!(e.choice, Choice::Predicted { .. }) {
        return Ok(None);
    }
    let windows = &windows[..windows.len().min(LOOKS)];
    let mut sight = Sight::of(training, windows, &e)?;
    let mut contest = None;
    if let Choice::Predicted { rank: rank @ 1.. } = e.choice {
        contest = sight.contest(rank, f64::from(e.keep_permille) / 1000.0, training.seed);
        if !contest.is_some_and(|contest| contest.predictor_wins()) {
            e.choice = Choice::Predicted { rank: 0 };
            training.options.arms.elimination = Some(e);
        }
    }
    training.guide = sight.guide(&e, training.seed);
    if e.keep == Keep::Threshold {
        threshold::refine(training, &windows[..windows.len().min(TRIALS)], &e)?;
    }
    Ok(contest)
}

/// How many of the blocks with the largest scores a way of guessing finds, keeping as many; mean of layers and
/// windows.
#[derive(Clone, Debug, Serialize)]
pub struct Recall {
    /// How they are guessed.
    pub by: &'static str,
    /// Of 70 %.
    pub of_70: f64,
    /// Of half.
    pub of_50: f64,
}

impl Sight {
    /// Looks at windows, as the model is before it learns.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub fn of(training: &Training<'_>, windows: &[&[u32]], e: &Elimination) -> Result<Self> {
        ensure!(!windows.is_empty(), "no window of the text to look at; give a longer text");
        let (choice, keep) = match e.choice {
            Choice::Ahead => (Choice::Ahead, Keep::Threshold),
            _ => (Choice::Oracle { causal: true, once: false }, Keep::Share),
        };
        let mut options = training.options;
        options.arms.elimination = Some(Elimination { choice, keep, ..*e });
        options.arms.spill = false;
        let (block, dim) = (e.block.max(1) as usize, training.dim()?);
        let mut seen = Vec::new();
        open(training, &options, &mut |tuner| {
            tuner.begin(training.seed);
            for window in windows {
                let mut layers = Vec::new();
                let see = &mut |look: &Look<'_, f32>| {
                    let kv = look.keys.len() / (look.inputs.len() / dim);
                    let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
                    let longest = |keys: &[f32]| keys.chunks(kv).map(length).fold(0.0, f32::max);
                    layers.push(Seen {
                        scores: look.scores.to_vec(),
                        inputs: look.inputs.to_vec(),
                        keys: look.keys.chunks(block * kv).map(longest).collect(),
                    });
                };
                tuner.look(window, see).map_err(|error| anyhow!("{error}"))?;
                seen.push(layers);
            }
            Ok(())
        })?;
        Ok(Self { seen, block, tokens: training.options.tokens as usize })
    }

    fn layers(&self) -> usize {
        self.seen[0].len()
    }

    /// The mean score of each block by its place.
    fn table(&self, layer: usize) -> Vec<f32> {
        let blocks = self.tokens.div_ceil(self.block);
        let mut sums = vec![0.0; blocks];
        for window in &self.seen {
            let scores = &window[layer].scores;
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
        }
        sums.iter().map(|sum| sum / self.seen.len() as f32).collect()
    }

    /// The guide that `e` asks for: thresholds are mean scores, tables mean scores by place, predictors trained.
    pub fn guide(&self, e: &Elimination, seed: u64) -> Vec<f32> {
        let mut guide = Vec::new();
        for layer in 0..self.layers() {
            let table = self.table(layer);
            if e.keep == Keep::Threshold {
                guide.push(table.iter().sum::<f32>() / table.len().max(1) as f32);
            }
            if let Choice::Predicted { rank } = e.choice {
                let hidden = Hidden::train(self, layer, rank as usize, seed);
                guide.extend(&table);
                guide.extend(&hidden.bias);
                guide.extend(&hidden.factors);
                guide.extend(hidden.rows.concat());
            }
        }
        guide
    }

    /// Which of both finds more of the best `share` of the blocks of the last quarter of the windows, made from the
    /// others; nothing where there are not two windows.
    fn contest(&mut self, rank: u32, share: f64, seed: u64) -> Option<Contest> {
        let judged = (self.seen.len() / 4).max(1);
        if self.seen.len() <= judged {
            return None;
        }
        let judged = self.seen.split_off(self.seen.len() - judged);
        let (mut sums, mut count) = ([0.0; 2], 0.0);
        for layer in 0..self.layers() {
            let table = self.table(layer);
            let hidden = Hidden::train(self, layer, rank as usize, seed);
            for window in &judged {
                let seen = &window[layer];
                let predicted = hidden.scores(&table, &seen.inputs, self.block);
                for (sum, way) in sums.iter_mut().zip([&table, &predicted]) {
                    *sum += found(&seen.scores, way, share);
                }
                count += 1.0;
            }
        }
        self.seen.extend(judged);
        let [table, predictor] = sums.map(|sum| sum / count);
        Some(Contest { table, predictor })
    }

    /// How well blocks of these windows are guessed by what is known from `known`.
    pub fn recalls(&self, known: &Self, rank: u32, seed: u64) -> Vec<Recall> {
        let names =
            ["chance", "the latest", "key length", "the layer before", "position", "predictor"];
        let mut sums = names.map(|by| Recall { by, of_70: 0.0, of_50: 0.0 });
        let mut random = Pcg32::new(seed, 9);
        let mut count = 0.0;
        for layer in 0..self.layers() {
            let table = known.table(layer);
            let hidden = Hidden::train(known, layer, rank as usize, seed);
            for window in &self.seen {
                let seen = &window[layer];
                let before = &window[layer.saturating_sub(1)].scores;
                let chance: Vec<f32> =
                    seen.scores.iter().map(|_| (random.next_u32() >> 8) as f32).collect();
                let latest: Vec<f32> = (0..seen.scores.len()).map(|n| n as f32).collect();
                let predicted = hidden.scores(&table, &seen.inputs, known.block);
                let ways = [&chance, &latest, &seen.keys, before, &table, &predicted];
                for (sum, way) in sums.iter_mut().zip(ways) {
                    sum.of_70 += found(&seen.scores, way, 0.7);
                    sum.of_50 += found(&seen.scores, way, 0.5);
                }
                count += 1.0;
            }
        }
        sums.iter_mut()
            .for_each(|sum| (sum.of_70, sum.of_50) = (sum.of_70 / count, sum.of_50 / count));
        sums.to_vec()
    }
}

/// The share of the best blocks by `scores` that are among the best by `guess`.
fn found(scores: &[f32], guess: &[f32], share: f64) -> f64 {
    let count = ((scores.len() as f64 * share).round() as usize).max(1);
    let best = |by: &[f32]| {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| by[*b].total_cmp(&by[*a]).then(a.cmp(b)));
        order.truncate(count);
        order
    };
    let (real, guessed) = (best(scores), best(guess));
    real.iter().filter(|n| guessed.contains(n)).count() as f64 / count as f64
}

/// Hidden numbers of a layer's predictor: see [`Choice::Predicted`].
struct Hidden {
    bias: Vec<f32>,
    factors: Vec<f32>,
    /// `(rank, dim)`.
    rows: Vec<Vec<f32>>,
}

impl Hidden {
    /// Trains them on what the table leaves: smooth L1, Adam, a window at a time.
    fn train(sight: &Sight, layer: usize, rank: usize, seed: u64) -> Self {
        const ROUNDS: usize = 10;
        let table = sight.table(layer);
        let dim = sight.seen[0][layer].inputs.len() / sight.tokens.max(1);
        let mut random = Pcg32::new(seed, 100 + layer as u64);
        let mut even = || (random.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
        let bound = 1.0 / (dim as f32).sqrt();
        let mut rows: Vec<Vec<f32>> =
            (0..rank).map(|_| (0..dim).map(|_| bound * even()).collect()).collect();
        let (mut bias, mut factors) = (vec![0.0f32; rank], vec![0.0f32; rank]);
        let rest = |seen: &Seen, n: usize| seen.scores[n] - table[n];
        let squares = sight.seen.iter().flat_map(|window| {
            let seen = &window[layer];
            (0..seen.scores.len()).map(move |n| rest(seen, n).powi(2))
        });
        let (sum, count) = squares.fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0));
        let scale = (sum / f32::max(count, 1.0)).sqrt().max(f32::MIN_POSITIVE);
        // Mean and mean square of each slope: of a row, then of its bias and factor.
        let mut moments = vec![vec![[0.0f32; 2]; dim + 2]; rank];
        let mut powers = [1.0f32; 2];
        for round in 0..ROUNDS {
            let rate = 0.003 * (1.0 - round as f32 / ROUNDS as f32);
            for window in &sight.seen {
                let seen = &window[layer];
                let mut slopes = vec![vec![0.0f32; dim + 2]; rank];
                for (n, tokens) in seen.inputs.chunks(sight.block * dim).enumerate() {
                    let hidden: Vec<(f32, usize)> =
                        rows.iter().map(|u| largest(u, tokens)).collect();
                    let on = |k: usize| (hidden[k].0 + bias[k]).max(0.0);
                    let guess: f32 = (0..rank).map(|k| factors[k] * on(k)).sum();
                    let slope = (guess - rest(seen, n) / scale).clamp(-1.0, 1.0);
                    let slope = slope / seen.scores.len() as f32;
                    for k in (0..rank).filter(|k| on(*k) > 0.0) {
                        let through = slope * factors[k];
                        let x = &tokens[hidden[k].1 * dim..][..dim];
                        slopes[k].iter_mut().zip(x).for_each(|(s, x)| *s += through * x);
                        slopes[k][dim] += through;
                        slopes[k][dim + 1] += slope * on(k);
                    }
                }
                powers = [0.9 * powers[0], 0.999 * powers[1]];
                for k in 0..rank {
                    let numbers = rows[k].iter_mut().chain([&mut bias[k], &mut factors[k]]);
                    for ((x, g), [mean, square]) in numbers.zip(&slopes[k]).zip(&mut moments[k]) {
                        *mean = 0.9 * *mean + 0.1 * g;
                        *square = 0.999 * *square + 0.001 * g * g;
                        let root = (*square / (1.0 - powers[1])).sqrt() + 1e-8;
                        *x -= rate * (*mean / (1.0 - powers[0])) / root;
                    }
                }
            }
        }
        factors.iter_mut().for_each(|factor| *factor *= scale);
        Self { bias, factors, rows }
    }

    /// As the kernel's.
    fn scores(&self, table: &[f32], inputs: &[f32], block: usize) -> Vec<f32> {
        let dim = self.rows.first().map_or(1, Vec::len);
        let blocks = inputs.chunks(block * dim).zip(table);
        let hidden = |tokens: &[f32]| {
            let each = self.rows.iter().zip(self.bias.iter().zip(&self.factors));
            each.map(|(u, (b, v))| v * (largest(u, tokens).0 + b).max(0.0)).sum::<f32>()
        };
        blocks.map(|(tokens, mean)| mean + hidden(tokens)).collect()
    }
}

/// The largest product of `u` with a token, and which.
fn largest(u: &[f32], tokens: &[f32]) -> (f32, usize) {
    let products = tokens.chunks(u.len()).map(|x| u.iter().zip(x).map(|(u, x)| u * x).sum::<f32>());
    let enumerated = products.enumerate();
    enumerated.fold((f32::MIN, 0), |(most, at), (i, z)| if z > most { (z, i) } else { (most, at) })
}
