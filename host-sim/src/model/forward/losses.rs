//! Losses of windows under the reference.
//!
//! In: a model and windows. Out: the mean loss of each. Knows nothing of what is done with them.

use super::{Ffn, Forward, Watch};
use crate::model::Model;
use crate::model::reference::surprise;
use rayon::prelude::*;

/// Mean loss, in nats, of predicting each token of each window but the first from those before it, while
/// `ffn` sees, and may change, each layer's neurons at all tokens but the last of each window, which predicts
/// nothing and is not read; as [`window_loss`](crate::model::reference::window_loss) has it, to the bit. Of
/// windows that were not read to their end because the command is to stop, there are none.
///
/// # Panics
/// As [`Forward::read`].
pub fn window_losses(
    model: &Model,
    windows: &[&[u32]],
    ffn: &mut dyn FnMut(Ffn<'_>),
    done: &(dyn Fn(u64) + Sync),
) -> Vec<f64> {
    let read: Vec<&[u32]> =
        windows.iter().map(|window| &window[..window.len().saturating_sub(1)]).collect();
    let next: Vec<u32> = windows.iter().flat_map(|window| window.iter().skip(1)).copied().collect();
    let vocab = model.config.vocab as usize;
    let mut watch = Losses { vocab, losses: vec![0.0; next.len()], next, ffn };
    let mut left = Forward::new(model).read(&read, &mut watch, done);
    let mut losses = watch.losses.iter();
    let mut means = Vec::new();
    for window in windows {
        let predicted = window.len().saturating_sub(1);
        let Some(rest) = left.checked_sub(predicted) else { break };
        left = rest;
        done((window.len() - predicted) as u64);
        let sum = losses.by_ref().take(predicted).fold(0.0, |sum, loss| sum + loss);
        means.push(sum / predicted.max(1) as f64);
    }
    means
}

struct Losses<'w> {
    vocab: usize,
    /// The token behind each that is read.
    next: Vec<u32>,
    losses: Vec<f64>,
    ffn: &'w mut dyn FnMut(Ffn<'_>),
}

impl Watch for Losses<'_> {
    fn ffn(&mut self, ffn: Ffn<'_>) {
        (self.ffn)(ffn);
    }

    fn wants_logits(&self) -> bool {
        true
    }

    fn logits(&mut self, first: usize, logits: &[f32]) {
        let rows = logits.par_chunks(self.vocab).zip(&self.next[first..]);
        rows.zip(&mut self.losses[first..])
            .for_each(|((logits, &next), loss)| *loss = surprise(logits, next));
    }
}
