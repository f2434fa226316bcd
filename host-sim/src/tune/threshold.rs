//! Thresholds of blocks of tokens, moved by what they cost: the second half of LeMo's Algorithm 1 (Wang et al., arXiv
//! 2501.09767).
//!
//! In: a training whose guide begins with mean scores, windows of its text. Out: the guide with each threshold moved.

use super::train::{Training, open};
use anyhow::{Result, anyhow, ensure};
use ripple_tune::Elimination;

/// How far to either side of a threshold the loss is asked for, of the threshold.
const EPS: f32 = 0.25;
/// How far a threshold moves, of itself, for a nat that the text is guessed better by where it is twice as high.
const RATE: f32 = 8.0;
/// The most that it moves, of itself.
const MOST: f32 = 0.5;

/// `T_l += eta (acc(T_l + eps) - acc(T_l - eps)) / (2 eps)` for each layer that leaves blocks out, the others' as they
/// begin, in units of `T_l`. The paper's `acc` is a task's accuracy; here it is the mean log-likelihood of `windows`
/// with the blocks left out.
///
/// # Errors
/// When the image cannot be read.
pub fn refine(training: &mut Training<'_>, windows: &[&[u32]], e: &Elimination) -> Result<()> {
    let mut guide = training.guide.clone();
    open(training, &training.options, &mut |tuner| {
        training.begin(tuner)?;
        let layers = tuner.header().geometry.config.layers as usize;
        let stride = guide.len() / layers.max(1);
        let mut likely = |guide: &[f32]| {
            ensure!(tuner.set_guide(guide), "the guide is not as long as the tuner's");
            let mut sum = 0.0;
            for window in windows {
                let loss = tuner.evaluate_kept(window);
                sum -= loss.map_err(|error| anyhow!("{error}"))?;
            }
            anyhow::Ok(sum / windows.len().max(1) as f32)
        };
        let begun = guide.clone();
        for layer in e.first as usize..layers.min(e.end as usize) {
            let mut at = |share: f32| {
                let mut guide = begun.clone();
                guide[layer * stride] *= share;
                likely(&guide)
            };
            let slope = (at(1.0 + EPS)? - at(1.0 - EPS)?) / (2.0 * EPS);
            guide[layer * stride] *= 1.0 + (RATE * slope).clamp(-MOST, MOST);
        }
        Ok(())
    })?;
    training.guide = guide;
    Ok(())
}
