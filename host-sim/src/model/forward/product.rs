//! Products of a matrix with many tokens, on all cores.
//!
//! In: a [`Matrix`], and a row of numbers for each token. Out: a row for each. The weights are taken a slab
//! after another, which fits a cache; cores share the tokens. What is computed depends on neither.

use super::lanes::{self, PANEL, Rows, SUMS};
use super::pace::Pace;
use crate::model::{Linear, Matrix};
use crate::process::interrupt;
use rayon::prelude::*;
use std::borrow::Cow;

/// Numbers of a slab of weights.
const SLAB: usize = 1 << 22;
/// Numbers of a tile of it, which stays in a core's own cache.
const TILE: usize = 1 << 16;
/// Tokens that a core takes at once.
const TOKENS: usize = 64;

/// `y_t = W x_t + b` of every token: `x` is (tokens, cols), `y` (tokens, rows).
pub(super) fn apply(linear: &Linear, x: &[f32], y: &mut [f32], pace: &Pace<'_>) {
    multiply(&linear.weight, x, y, pace);
    if let Some(bias) = &linear.bias {
        let add = |row: &mut [f32]| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        y.par_chunks_mut(bias.len()).for_each(add);
    }
}

/// `y_t = W x_t` of every token.
pub(super) fn multiply(weight: &Matrix, x: &[f32], y: &mut [f32], pace: &Pace<'_>) {
    let Matrix { rows, cols, .. } = *weight;
    let (slab_rows, tile_rows) = ((SLAB / cols).max(4), (TILE / cols).max(4));
    for first in (0..rows).step_by(slab_rows) {
        let slab_rows = slab_rows.min(rows - first);
        let slab = slab(weight, first, slab_rows);
        let each = |(x, y): (&[f32], &mut [f32])| {
            if interrupt::requested() {
                return;
            }
            let tokens = x.len() / cols;
            for (tile, values) in slab.chunks(tile_rows * cols).enumerate() {
                let w = Rows { values, count: values.len() / cols, stride: cols, cols };
                let x = Rows { values: x, count: tokens, stride: cols, cols };
                lanes::dots(w, x, &mut y[first + tile * tile_rows..], rows);
            }
            pace.work((tokens * slab.len()) as u64);
        };
        let part = share(x.len() / cols);
        x.par_chunks(part * cols).zip(y.par_chunks_mut(part * rows)).for_each(each);
    }
}

/// `y_t = sum over n of hidden_t[n] * W[:, n], + b` of every token, the addends one after another, without
/// those whose number is 0: `hidden` is (tokens, cols), `y` (tokens, rows).
pub(super) fn combine(linear: &Linear, hidden: &[f32], y: &mut [f32], pace: &Pace<'_>) {
    let Linear { weight, bias } = linear;
    let Matrix { rows, cols, .. } = *weight;
    y.par_chunks_mut(rows).for_each(|y| match bias {
        Some(bias) => y.copy_from_slice(bias),
        None => y.fill(0.0),
    });
    let slab_rows = (SLAB / cols / PANEL).max(1) * PANEL;
    let mut columns = Vec::new();
    for first in (0..rows).step_by(slab_rows) {
        let slab_rows = slab_rows.min(rows - first);
        let slab = slab(weight, first, slab_rows);
        // (panels, cols, PANEL); what is beyond the last row is left 0.
        columns.clear();
        columns.resize(slab_rows.div_ceil(PANEL) * PANEL * cols, 0.0);
        columns.par_chunks_mut(PANEL * cols).zip(slab.par_chunks(PANEL * cols)).for_each(
            |(columns, rows)| {
                for (at, row) in rows.chunks_exact(cols).enumerate() {
                    columns.iter_mut().skip(at).step_by(PANEL).zip(row).for_each(|(c, w)| *c = *w);
                }
            },
        );
        let each = |(hidden, y): (&[f32], &mut [f32])| {
            if interrupt::requested() {
                return;
            }
            let mut picked = Vec::with_capacity(cols);
            let fours = hidden.chunks(SUMS * cols).zip(y.chunks_mut(SUMS * rows));
            for (hidden, y) in fours {
                pick(hidden, cols, &mut picked);
                for (panel, columns) in columns.chunks_exact(PANEL * cols).enumerate() {
                    let at = first + panel * PANEL;
                    let width = PANEL.min(first + slab_rows - at);
                    let mut sums = [[0.0; PANEL]; SUMS];
                    for (sums, y) in sums.iter_mut().zip(y.chunks_exact(rows)) {
                        sums[..width].copy_from_slice(&y[at..at + width]);
                    }
                    let [a, b, c, d] = &mut sums;
                    lanes::weighted(&picked, columns, PANEL, [a, b, c, d]);
                    for (sums, y) in sums.iter().zip(y.chunks_exact_mut(rows)) {
                        y[at..at + width].copy_from_slice(&sums[..width]);
                    }
                }
            }
            pace.work((hidden.len() * slab_rows) as u64);
        };
        let part = share(hidden.len() / cols);
        hidden.par_chunks(part * cols).zip(y.par_chunks_mut(part * rows)).for_each(each);
    }
}

/// The columns that are not 0 in one of up to four rows of `weights`, with their weights.
pub(super) fn pick(weights: &[f32], cols: usize, picked: &mut Vec<(u32, [f32; SUMS])>) {
    let rows: [&[f32]; SUMS] =
        std::array::from_fn(|k| weights.get(k * cols..(k + 1) * cols).unwrap_or_default());
    picked.clear();
    picked.extend((0..cols).filter_map(|n| {
        let weights = rows.map(|row| row.get(n).copied().unwrap_or(0.0));
        (weights != [0.0; SUMS]).then_some((n as u32, weights))
    }));
}

/// `rows` rows of a matrix from `first` on; those that are stored elsewhere are fetched by all cores.
fn slab(weight: &Matrix, first: usize, rows: usize) -> Cow<'_, [f32]> {
    if !weight.is_stored() {
        return weight.rows(first..first + rows);
    }
    let mut values = vec![0.0; rows * weight.cols];
    let part = rows.div_ceil(rayon::current_num_threads());
    values.par_chunks_mut(part * weight.cols).enumerate().for_each(|(at, out)| {
        weight.read(first + at * part, out);
    });
    weight.release(first..first + rows);
    Cow::Owned(values)
}

/// How many of `tokens` a core takes at once.
pub(super) fn share(tokens: usize) -> usize {
    let each = tokens.div_ceil(rayon::current_num_threads());
    each.next_multiple_of(SUMS).clamp(SUMS, TOKENS)
}
