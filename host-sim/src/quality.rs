//! What an image costs in quality: perplexity of a text under the kernel, beside the reference.
//!
//! In: an image and tokens. Out: perplexity, exactly as the goldens were taken: windows of the full
//! context, no overlap, losses averaged over windows.

use crate::failure::Interrupted;
use crate::interrupt;
use crate::memory::HostMemory;
use crate::model::Model;
use crate::reference::{Reference, window_loss};
use crate::text::windows;
use anyhow::{Result, anyhow};
use rayon::prelude::*;
use ripple_hal::Slice;
use ripple_kernel::{Decoder, MemoryPlan, Options};

/// Mean loss of the reference over at most `most` full windows of `tokens`; `done` is called with the
/// number of tokens after each window.
pub fn reference_loss(
    model: &Model,
    tokens: &[u32],
    most: usize,
    done: &(dyn Fn(u64) + Sync),
) -> Result<f64> {
    let context = model.config.context;
    let losses = full_windows(tokens, context, most)
        .into_par_iter()
        .map_init(
            || Reference::new(model),
            |reference, window| {
                uninterrupted()?;
                let loss = window_loss(window, |begins, token| {
                    if begins {
                        reference.reset();
                    }
                    Ok(reference.forward(token).to_vec())
                });
                done(window.len() as u64);
                loss
            },
        )
        .collect::<Result<Vec<f64>>>()?;
    mean(&losses, tokens, context)
}

/// Mean loss of an image, everything mapped, as [`reference_loss`].
pub fn image_loss(
    image: &[u8],
    tokens: &[u32],
    options: &Options,
    most: usize,
    done: &(dyn Fn(u64) + Sync),
) -> Result<f64> {
    let header = crate::simulate::header(image)?;
    let plan = MemoryPlan::for_model(&header.geometry, options);
    let context = header.geometry.config.context;
    let losses = full_windows(tokens, context, most)
        .into_par_iter()
        .map(|window| {
            uninterrupted()?;
            let mut memory = HostMemory::new(&plan);
            let options = Options { verify: false, ..*options };
            let mut decoder = Decoder::open(Slice::new(image), image, memory.lend(), &options, ())
                .map_err(|e| anyhow!("the image cannot be opened: {e}"))?;
            let loss = window_loss(window, |_, token| {
                Ok(decoder.step(token).map_err(|e| anyhow!("{e}"))?.to_vec())
            });
            done(window.len() as u64);
            loss
        })
        .collect::<Result<Vec<f64>>>()?;
    mean(&losses, tokens, context)
}

/// An error where the user stops the command.
fn uninterrupted() -> Result<()> {
    if interrupt::requested() { Err(Interrupted.into()) } else { Ok(()) }
}

fn full_windows(tokens: &[u32], context: u32, most: usize) -> Vec<&[u32]> {
    windows(tokens, context).filter(|window| window.len() == context as usize).take(most).collect()
}

fn mean(losses: &[f64], tokens: &[u32], context: u32) -> Result<f64> {
    anyhow::ensure!(
        !losses.is_empty(),
        "expected at least one full context of {context} tokens, found {}; give a longer text",
        tokens.len()
    );
    Ok(losses.iter().sum::<f64>() / losses.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::full_windows;

    #[test]
    fn windows_do_not_overlap_and_drop_the_rest() {
        let tokens = [0, 1, 2, 3, 4, 5, 6];
        assert_eq!(full_windows(&tokens, 3, 9), [[0, 1, 2], [3, 4, 5]]);
        assert_eq!(full_windows(&tokens, 3, 1), [[0, 1, 2]]);
    }
}
