//! Whether an arm that loses something is worth trying: the angle between its gradient and the exact one.
//!
//! In: windows of a text. Out: the cosine, of the adapters as they begin.

use super::train::{Training, open};
use anyhow::{Result, anyhow};
use ripple_tune::{Arms, Gradients, Optimiser, Rate, TuneOptions};

/// From this cosine on an arm is worth trying.
pub const WORTH: f64 = 0.90;

/// The cosine of the arm's gradient to the exact one, of the sums over `windows`.
///
/// # Errors
/// When the image cannot be read or a tuner cannot be opened.
pub fn cosine(training: &Training<'_>, windows: &[&[u32]]) -> Result<f64> {
    let exact = TuneOptions { arms: Arms::TILED, gradients: Gradients::Whole, ..training.options };
    let exact = TuneOptions { optimiser: Optimiser::Sgd, ..exact };
    let (a, b) = (gradient(training, &exact, windows)?, own(training, windows)?);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    Ok(dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt().max(f64::MIN_POSITIVE))
}

/// Of the arm itself.
fn own(training: &Training<'_>, windows: &[&[u32]]) -> Result<Vec<f64>> {
    match training.options.gradients {
        Gradients::Whole | Gradients::Layer => {
            let options = TuneOptions { gradients: Gradients::Whole, ..training.options };
            gradient(training, &options, windows)
        }
        // Where it goes is known from where it went.
        Gradients::Sampled { .. } => {
            let mut sum = Vec::new();
            open(training, &training.options, &mut |tuner| {
                training.begin(tuner)?;
                sum.resize(tuner.numbers(), 0.0);
                let start = tuner.adapters().to_vec();
                for window in windows {
                    tuner.set_adapters(&start);
                    let step = tuner.step(window, Rate { rate: 1.0, clip: 0.0 });
                    step.map_err(|error| anyhow!("{error}"))?;
                    let moved = tuner.adapters().iter().zip(&start);
                    sum.iter_mut().zip(moved).for_each(|(g, (a, b))| *g -= f64::from(a - b));
                }
                Ok(())
            })?;
            Ok(sum)
        }
    }
}

fn gradient(
    training: &Training<'_>,
    options: &TuneOptions,
    windows: &[&[u32]],
) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    open(training, options, &mut |tuner| {
        training.begin(tuner)?;
        for window in windows {
            tuner.accumulate(window).map_err(|error| anyhow!("{error}"))?;
        }
        all = tuner.gradients()[..tuner.numbers()].iter().map(|g| f64::from(*g)).collect();
        Ok(())
    })?;
    Ok(all)
}
