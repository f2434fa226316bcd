//! Makes a model sparse whose activation has no zeros: a threshold for each layer, and what it costs.
//!
//! In: a model with SiLU or GELU gates, a text, the share of the neurons to keep active. Out: the
//! [`Sparsity`]. Each layer's threshold is the size of activation that this share of its neurons is
//! above, over the whole text (Lee et al., "CATS: Contextually-Aware Thresholding for Sparsity", 2024).

use crate::model::reference::{Reference, window_loss};
use crate::model::text::windows;
use crate::model::{Model, Sparsity};
use anyhow::{Result, ensure};
use rayon::prelude::*;
use ripple_kernel::image::Lossy;
use std::convert::Infallible;

/// Most positions of a window, however long the model's context.
const WINDOW: u32 = 512;
/// Activations are counted by the upper bits of their size: sign, exponent and 8 bits of the rest.
const SHIFT: u32 = 15;

/// Sizes of the activations of each layer, counted.
type Counts = Vec<Vec<u64>>;

/// Calibrates thresholds that keep `activity` (above 0, at most 1) of the neurons active on `tokens`,
/// and measures the perplexity of `tokens` without and with them. With an `activity` of 1 all neurons
/// are active, and nothing is measured.
///
/// `done` is called with the number of tokens after each window of each of the two passes.
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
    let mut counts: Counts = vec![vec![0; 1 << (32 - SHIFT)]; layers];
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
fn quantile(counts: &[u64], share: f64) -> f32 {
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
    counts: Option<&mut Counts>,
    done: &(dyn Fn(u64) + Sync),
) -> f64 {
    let counting = counts.is_some();
    let all: Vec<_> = windows(tokens, model.config.context.min(WINDOW)).collect();
    let parts: Vec<(f64, usize, Counts)> = all
        .into_par_iter()
        .fold(
            || (None, (0.0, 0, Counts::new())),
            |(reference, (mut loss, mut predicted, mut counts)), window| {
                let mut reference = reference.unwrap_or_else(|| Reference::new(model));
                if counting && counts.is_empty() {
                    counts = vec![vec![0; 1 << (32 - SHIFT)]; model.config.layers as usize];
                }
                let Ok(mean) = window_loss(window, |begins, token| {
                    if begins {
                        reference.reset();
                    }
                    let logits = reference.forward_with(token, &mut |layer, pre, _| {
                        if let Some(counts) = counts.get_mut(layer) {
                            count(model, layer, pre, counts);
                        }
                    });
                    Ok::<_, Infallible>(logits.to_vec())
                });
                loss += mean * window.len().saturating_sub(1) as f64;
                predicted += window.len().saturating_sub(1);
                done(window.len() as u64);
                (Some(reference), (loss, predicted, counts))
            },
        )
        .map(|(_, part)| part)
        .collect();
    if let Some(sum) = counts {
        for (_, _, part) in &parts {
            for (sum, part) in sum.iter_mut().flatten().zip(part.iter().flatten()) {
                *sum += part;
            }
        }
    }
    let predicted: usize = parts.iter().map(|part| part.1).sum();
    (parts.iter().map(|part| part.0).sum::<f64>() / predicted as f64).exp()
}

/// Counts the activations of one layer at one position.
fn count(model: &Model, layer: usize, pre: &[f32], counts: &mut [u64]) {
    for &pre in pre {
        let size = model.coefficient(layer, pre).unwrap_or(0.0).abs();
        counts[(size.to_bits() >> SHIFT) as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{SHIFT, quantile};

    #[test]
    fn a_quantile_keeps_at_least_its_share() {
        let values: Vec<f32> = (1..=1000).map(|i| i as f32 / 100.0).collect();
        let mut counts = vec![0; 1 << (32 - SHIFT)];
        values.iter().for_each(|v| counts[(v.to_bits() >> SHIFT) as usize] += 1);
        for share in [0.01, 0.1, 0.3, 0.9] {
            let threshold = quantile(&counts, share);
            let kept = values.iter().filter(|v| **v > threshold).count() as f64 / 1000.0;
            assert!(kept >= share - 0.002 && kept <= share * 1.02 + 0.002, "{share}: {kept}");
        }
        assert_eq!(quantile(&[0; 4], 0.5), 0.0);
    }
}
