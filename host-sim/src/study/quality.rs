//! What an image costs in quality: a text under the kernel, beside the reference.
//!
//! In: a model, images of it, tokens. Out: for each, the perplexity, exactly as the goldens were taken
//! (windows of the full context, no overlap, losses averaged over windows), how far its distributions
//! are from the reference's, and how many bundles it wants.

use crate::machine::adapter::{Lent, Saved};
use crate::machine::memory::HostMemory;
use crate::model::Model;
use crate::model::forward::{Ffn, Forward, Watch};
use crate::model::reference::{surprise, window_loss};
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
/// `done` is called with numbers of tokens, of each, several times a second.
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
    let forward = Forward::new(model);
    let mut measured = Vec::new();
    // The reference reads one window after another on all cores, an image as many at once as there are cores.
    for windows in windows.chunks(rayon::current_num_threads()) {
        let mut read = Vec::new();
        for window in windows {
            read.push((*window, Truth::of(&forward, model, window, !images.is_empty(), done)?));
        }
        let sums = read.into_par_iter().map(|(window, truth)| {
            let mut sums = vec![truth.itself];
            for (image, adapter) in images {
                sums.push(image_window(image, *adapter, window, options, &truth, done)?);
            }
            Ok(sums)
        });
        measured.extend(sums.collect::<Result<Vec<_>>>()?);
    }
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

/// What the reference says at every position of a window but the last, which predicts nothing.
struct Truth<'m> {
    model: &'m Model,
    window: &'m [u32],
    itself: Window,
    /// Active neurons.
    active: usize,
    losses: Vec<f64>,
    /// Whether logits are held.
    keeps: bool,
    /// (positions, vocab).
    logits: Vec<f32>,
}

impl<'m> Truth<'m> {
    fn of(
        forward: &Forward<'_>,
        model: &'m Model,
        window: &'m [u32],
        keeps: bool,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<Self> {
        let (logits, losses) = (Vec::new(), Vec::new());
        let mut truth =
            Self { model, window, itself: Window::default(), active: 0, losses, keeps, logits };
        let positions = window.len() - 1;
        forward.read(&[&window[..positions]], &mut truth, done);
        uninterrupted()?;
        done(1);
        let loss = truth.losses.iter().fold(0.0, |sum, loss| sum + loss) / positions.max(1) as f64;
        let bundles = truth.active as f64 / positions.max(1) as f64;
        truth.itself = Window { loss, divergence: 0.0, agreement: 1.0, bundles };
        Ok(truth)
    }
}

impl Watch for Truth<'_> {
    fn ffn(&mut self, ffn: Ffn<'_>) {
        let active = |pre: &f32| usize::from(self.model.coefficient(ffn.layer, *pre).is_some());
        self.active += ffn.pre.par_iter().map(active).sum::<usize>();
    }

    fn wants_logits(&self) -> bool {
        true
    }

    fn logits(&mut self, first: usize, logits: &[f32]) {
        let vocab = self.model.config.vocab as usize;
        let rows = logits.par_chunks(vocab).zip(&self.window[first + 1..]);
        self.losses.par_extend(rows.map(|(logits, &next)| surprise(logits, next)));
        if self.keeps {
            self.logits.extend_from_slice(logits);
        }
    }
}

fn image_window(
    image: &[u8],
    adapter: Option<&Saved>,
    window: &[u32],
    options: &Options,
    truth: &Truth<'_>,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Window> {
    let header = crate::machine::header(image)?;
    let (found, expected) = (header.geometry.config.vocab, truth.model.config.vocab);
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
    let mut expected = truth.logits.chunks_exact(truth.model.config.vocab as usize);
    let (mut divergence, mut agreed) = (0.0, 0u32);
    let loss = window_loss(window, |_, token| {
        uninterrupted()?;
        let logits = decoder.step(token).map_err(|e| anyhow!("{e}"))?.to_vec();
        done(1);
        if let Some(expected) = expected.next() {
            let (expected, found) = (&log_softmax(expected), log_softmax(&logits));
            let terms = expected.iter().zip(&found).map(|(p, q)| p.exp() * (p - q));
            divergence += terms.sum::<f64>();
            agreed += u32::from(largest(expected) == largest(&found));
        }
        Ok::<_, anyhow::Error>(logits)
    })?;
    done(1);
    let positions = (window.len() - 1).max(1) as f64;
    Ok(Window {
        loss,
        divergence: divergence / positions,
        agreement: f64::from(agreed) / positions,
        bundles: decoder.probe_mut().0 as f64 / positions,
    })
}

/// An error where the user stops the command.
///
/// # Errors
/// Where an interrupt was requested.
pub fn uninterrupted() -> Result<()> {
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
