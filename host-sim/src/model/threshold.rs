//! Makes a model sparse whose activation has no zeros: a threshold for each layer, and what it costs.
//!
//! In: a model with SiLU or GELU gates, a text, the share of the neurons to keep active. Out: the
//! [`Sparsity`]. Each layer's threshold is the size of activation that this share of its neurons is
//! above, over the whole text (Lee et al., "CATS: Contextually-Aware Thresholding for Sparsity", 2024).

use crate::model::forward::{Ffn, window_losses};
use crate::model::text::windows;
use crate::model::{Model, Sparsity};
use anyhow::{Result, ensure};
use rayon::prelude::*;
use ripple_kernel::image::Lossy;

/// Most positions of a window, however long the model's context.
const WINDOW: u32 = 512;
/// Activations are counted by the upper bits of their size: sign, exponent and 8 bits of the rest.
pub(super) const SHIFT: u32 = 15;
/// How many such sizes there are.
pub(super) const BINS: usize = 1 << (32 - SHIFT);

/// Sizes of the activations of each layer, counted.
type Counts = Vec<Vec<u64>>;

/// Calibrates thresholds that keep `activity` (above 0, at most 1) of the neurons active on `tokens`,
/// and measures the perplexity of `tokens` without and with them. With an `activity` of 1 all neurons
/// are active, and nothing is measured.
///
/// `done` is called with numbers of tokens, several times a second, in each of the two passes.
///
/// # Errors
/// When there are fewer than two tokens.
pub fn sparsify(
    model: &mut Model,
    activity: f64,
    tokens: &[u32],
    done: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let layers = model.config.layers as usize;
    let cost = Lossy { activity: activity as f32, ..Lossy::default() };
    model.sparsity = None;
    if activity >= 1.0 {
        model.sparsity = Some(Sparsity { thresholds: vec![-1.0; layers], cost });
        return Ok(());
    }
    ensure!(tokens.len() >= 2, "a text of {} tokens, expected 2 or more", tokens.len());
    let mut counts: Counts = vec![vec![0; BINS]; layers];
    let dense = perplexity(model, tokens, Some(&mut counts), done);
    let thresholds = counts.iter().map(|counts| quantile(counts, activity)).collect();
    model.sparsity = Some(Sparsity { thresholds, cost });
    let sparse = perplexity(model, tokens, None, done);
    if let Some(sparsity) = &mut model.sparsity {
        sparsity.cost = Lossy { dense: dense as f32, sparse: sparse as f32, ..cost };
    }
    Ok(())
}

/// The largest lower end of a bin that `share` of what was counted is not below.
pub(super) fn quantile(counts: &[u64], share: f64) -> f32 {
    let wanted = share * counts.iter().sum::<u64>() as f64;
    let mut above = 0;
    for (bin, count) in counts.iter().enumerate().rev() {
        above += count;
        if above > 0 && above as f64 >= wanted {
            return f32::from_bits((bin as u32) << SHIFT);
        }
    }
    0.0
}

/// Perplexity of `tokens` in windows, every token counted alike; adds to `counts` the sizes of all
/// activations.
fn perplexity(
    model: &Model,
    tokens: &[u32],
    mut counts: Option<&mut Counts>,
    done: &(dyn Fn(u64) + Sync),
) -> f64 {
    let all: Vec<_> = windows(tokens, model.config.context.min(WINDOW)).collect();
    let mut see = |ffn: Ffn<'_>| {
        if let Some(counts) = counts.as_deref_mut().and_then(|counts| counts.get_mut(ffn.layer)) {
            count(model, ffn.layer, ffn.pre, counts);
        }
    };
    let losses = window_losses(model, &all, &mut see, done);
    let (mut sum, mut predicted) = (0.0, 0);
    for (loss, window) in losses.iter().zip(&all) {
        sum += loss * window.len().saturating_sub(1) as f64;
        predicted += window.len().saturating_sub(1);
    }
    (sum / predicted as f64).exp()
}

/// Counts the activations of one layer at some positions.
fn count(model: &Model, layer: usize, pre: &[f32], counts: &mut [u64]) {
    let each = pre.len().div_ceil(rayon::current_num_threads()).max(1);
    let parts: Vec<Vec<u64>> = pre
        .par_chunks(each)
        .map(|pre| {
            let mut counts = vec![0; BINS];
            for &pre in pre {
                let size = model.coefficient(layer, pre).unwrap_or(0.0).abs();
                counts[(size.to_bits() >> SHIFT) as usize] += 1;
            }
            counts
        })
        .collect();
    for part in parts {
        counts.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
}

#[cfg(test)]
mod tests {
    use super::{BINS, SHIFT, quantile};

    #[test]
    fn a_quantile_keeps_at_least_its_share() {
        let values: Vec<f32> = (1..=1000).map(|i| i as f32 / 100.0).collect();
        let mut counts = vec![0; BINS];
        values.iter().for_each(|v| counts[(v.to_bits() >> SHIFT) as usize] += 1);
        for share in [0.01, 0.1, 0.3, 0.9] {
            let threshold = quantile(&counts, share);
            let kept = values.iter().filter(|v| **v > threshold).count() as f64 / 1000.0;
            assert!(kept >= share - 0.002 && kept <= share * 1.02 + 0.002, "{share}: {kept}");
        }
        assert_eq!(quantile(&[0; 4], 0.5), 0.0);
    }
}
