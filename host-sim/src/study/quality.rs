//! What an image costs in quality: a text under the kernel, beside the reference.
//!
//! In: a model, images of it, tokens. Out: for each, the perplexity, exactly as the goldens were taken
//! (windows of the full context, no overlap, losses averaged over windows), how far its distributions
//! are from the reference's, and how many bundles it wants.

use crate::machine::adapter::{Lent, Saved};
use crate::machine::memory::HostMemory;
use crate::model::Model;
use crate::model::reference::{Reference, window_loss};
use crate::model::text::windows;
use crate::process::failure::Interrupted;
use crate::process::interrupt;
use anyhow::{Result, anyhow, ensure};
use rayon::prelude::*;
use ripple_hal::Slice;
use ripple_kernel::{Decoder, MemoryPlan, Options, Probe};
use serde::Serialize;

/// How an image, or the reference itself, does on a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// `exp` of the mean loss.
    pub perplexity: f64,
    /// Mean Kullback-Leibler divergence from the reference, in nats a token.
    pub divergence: f64,
    /// Share of the positions where the likeliest token is the reference's.
    pub agreement: f64,
    /// Bundles a token wants, all layers together.
    pub bundles: f64,
}

/// Runs the reference and `images` of `model`, everything mapped, over at most `most` full windows of
/// `tokens`. The first that comes back is the reference, then the images in their order.
///
/// `done` is called with the number of tokens after each window of each.
///
/// # Errors
/// When there is no full window, or an image cannot be run or is of another vocabulary.
pub fn measure(
    model: &Model,
    images: &[&[u8]],
    tokens: &[u32],
    options: &Options,
    most: usize,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Measured>> {
    let images: Vec<_> = images.iter().map(|image| (*image, None)).collect();
    measure_adapted(model, &images, tokens, options, most, done)
}

/// The same of images with adapters of theirs.
///
/// # Errors
/// As [`measure`], and when an adapter is none of its image.
pub fn measure_adapted(
    model: &Model,
    images: &[(&[u8], Option<&Saved>)],
    tokens: &[u32],
    options: &Options,
    most: usize,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Measured>> {
    let windows = full_windows(tokens, model.config.context, most)?;
    let measured = windows
        .into_par_iter()
        .map_init(
            || Reference::new(model),
            |reference, window| {
                uninterrupted()?;
                let truth = Truth::of(reference, model, window);
                done(window.len() as u64);
                let mut sums = vec![truth.itself];
                for (image, adapter) in images {
                    uninterrupted()?;
                    sums.push(image_window(image, *adapter, window, options, &truth)?);
                    done(window.len() as u64);
                }
                Ok(sums)
            },
        )
        .collect::<Result<Vec<_>>>()?;
    let means = (0..=images.len()).map(|i| {
        let mut mean = Window::default();
        for window in &measured {
            mean.add(&window[i]);
        }
        mean.measured(measured.len() as f64)
    });
    Ok(means.collect())
}

/// Mean loss of the reference over at most `most` full windows of `tokens`.
///
/// # Errors
/// As [`measure`].
pub fn reference_loss(
    model: &Model,
    tokens: &[u32],
    most: usize,
    done: &(dyn Fn(u64) + Sync),
) -> Result<f64> {
    let measured = measure(model, &[], tokens, &Options::DEFAULT, most, done)?;
    Ok(measured[0].perplexity.ln())
}

/// Means over the positions of a window.
#[derive(Clone, Copy, Default)]
struct Window {
    loss: f64,
    divergence: f64,
    agreement: f64,
    bundles: f64,
}

impl Window {
    fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        self.divergence += other.divergence;
        self.agreement += other.agreement;
        self.bundles += other.bundles;
    }

    fn measured(&self, windows: f64) -> Measured {
        Measured {
            perplexity: (self.loss / windows).exp(),
            divergence: self.divergence / windows,
            agreement: self.agreement / windows,
            bundles: self.bundles / windows,
        }
    }
}

/// What the reference says at every position of a window.
struct Truth {
    itself: Window,
    /// `(positions, vocab)` logarithms of the probabilities.
    log_probabilities: Vec<Vec<f64>>,
}

impl Truth {
    fn of(reference: &mut Reference<'_>, model: &Model, window: &[u32]) -> Self {
        let (mut log_probabilities, mut active) = (Vec::new(), 0usize);
        let Ok(loss) = window_loss(window, |begins, token| {
            if begins {
                reference.reset();
            }
            let logits = reference.forward_with(token, &mut |layer, pre: &[f32], _: &[f32]| {
                let is_active = |pre: &&f32| model.coefficient(layer, **pre).is_some();
                active += pre.iter().filter(is_active).count();
            });
            log_probabilities.push(log_softmax(logits));
            Ok::<_, std::convert::Infallible>(logits.to_vec())
        });
        let bundles = active as f64 / log_probabilities.len().max(1) as f64;
        Self {
            itself: Window { loss, divergence: 0.0, agreement: 1.0, bundles },
            log_probabilities,
        }
    }
}

fn image_window(
    image: &[u8],
    adapter: Option<&Saved>,
    window: &[u32],
    options: &Options,
    truth: &Truth,
) -> Result<Window> {
    let header = crate::machine::header(image)?;
    let (found, expected) = (
        header.geometry.config.vocab as usize,
        truth.log_probabilities.first().map_or(0, Vec::len),
    );
    ensure!(
        found == expected,
        "the image has a vocabulary of {found}, the model one of {expected}; pack this model"
    );
    let mut memory = HostMemory::new(&MemoryPlan::for_model(&header.geometry, options));
    let options = Options { verify: false, ..*options };
    let mut decoder =
        Decoder::open(Slice::new(image), image, memory.lend(), &options, Wanted::default())
            .map_err(|e| anyhow!("the image cannot be opened: {e}"))?;
    let mut lent = adapter.map(|saved| Lent::new(saved, decoder.batch()));
    decoder.set_adapter(lent.as_mut().map(Lent::lend)).map_err(|e| anyhow!("{e}"))?;
    let mut expected = truth.log_probabilities.iter();
    let (mut divergence, mut agreed) = (0.0, 0u32);
    let loss = window_loss(window, |_, token| {
        let logits = decoder.step(token).map_err(|e| anyhow!("{e}"))?.to_vec();
        if let Some(expected) = expected.next() {
            let found = log_softmax(&logits);
            let terms = expected.iter().zip(&found).map(|(p, q)| p.exp() * (p - q));
            divergence += terms.sum::<f64>();
            agreed += u32::from(largest(expected) == largest(&found));
        }
        Ok::<_, anyhow::Error>(logits)
    })?;
    let positions = truth.log_probabilities.len().max(1) as f64;
    Ok(Window {
        loss,
        divergence: divergence / positions,
        agreement: f64::from(agreed) / positions,
        bundles: decoder.probe_mut().0 as f64 / positions,
    })
}

/// An error where the user stops the command.
fn uninterrupted() -> Result<()> {
    if interrupt::requested() { Err(Interrupted.into()) } else { Ok(()) }
}

/// Counts the bundles that are wanted.
#[derive(Default)]
struct Wanted(u64);

impl Probe for Wanted {
    fn wants_active(&self) -> bool {
        false
    }

    fn lookup(&mut self, _layer: u32, hits: u32, misses: u32) {
        self.0 += u64::from(hits) + u64::from(misses);
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
    logits.iter().map(|&logit| f64::from(logit - most) - sum.ln()).collect()
}

/// The first of the largest.
fn largest(numbers: &[f64]) -> usize {
    let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    numbers.iter().position(|&number| number == most).unwrap_or(0)
}

fn full_windows(tokens: &[u32], context: u32, most: usize) -> Result<Vec<&[u32]>> {
    let full = windows(tokens, context).filter(|window| window.len() == context as usize);
    let full: Vec<_> = full.take(most).collect();
    ensure!(
        !full.is_empty(),
        "expected at least one full context of {context} tokens, found {}; give a longer text",
        tokens.len()
    );
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::{full_windows, largest, log_softmax};

    #[test]
    fn windows_do_not_overlap_and_drop_the_rest() {
        let tokens = [0, 1, 2, 3, 4, 5, 6];
        assert_eq!(full_windows(&tokens, 3, 9).unwrap(), [[0, 1, 2], [3, 4, 5]]);
        assert_eq!(full_windows(&tokens, 3, 1).unwrap(), [[0, 1, 2]]);
        assert!(full_windows(&tokens, 8, 1).is_err());
    }

    #[test]
    fn probabilities_add_up_to_one() {
        let log = log_softmax(&[100.0, 98.0, -3.0]);
        assert!((log.iter().map(|x| x.exp()).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((log[0] - log[1] - 2.0).abs() < 1e-12);
        assert_eq!(largest(&[-1.0, 3.0, 3.0]), 1);
    }
}
