//! Adapters follow their gradients: clipping, AdamW or plain descent, warm-up and decay of the rate.
//!
//! In: numbers, gradients, moments. Out: the numbers moved. Knows nothing of models.

use crate::options::Optimiser;
use crate::real::Real;

/// How far a step goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Times the gradient, or what the optimiser makes of it.
    pub rate: f32,
    /// Longer gradients are shortened to this length; 0 for any.
    pub clip: f32,
}

/// The rate of each step: up from 0 over the first steps, then down to 0, both in a straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest.
    pub rate: f32,
    /// Steps until it is reached.
    pub warm_up: u32,
    /// Steps until it is 0 again; 0 for never.
    pub steps: u32,
    /// See [`Rate::clip`].
    pub clip: f32,
}

impl Schedule {
    /// The rate of step `step`, counted from 0.
    pub fn at(&self, step: u32) -> Rate {
        let Self { rate, warm_up, steps, clip } = *self;
        let up = if step < warm_up { (step + 1) as f32 / (warm_up + 1) as f32 } else { 1.0 };
        let down = match steps.checked_sub(warm_up) {
            Some(span) if span > 0 && step >= warm_up => {
                steps.saturating_sub(step) as f32 / span as f32
            }
            _ => 1.0,
        };
        Rate { rate: rate * up * down, clip }
    }
}

/// `beta^t` for both moments, as they fall.
#[derive(Clone, Copy)]
pub(crate) struct Powers<R> {
    first: R,
    second: R,
}

impl<R: Real> Powers<R> {
    pub const ONE: Self = Self { first: R::ONE, second: R::ONE };

    /// Of the next step.
    pub fn next(self, optimiser: Optimiser) -> Self {
        match optimiser {
            Optimiser::Sgd => self,
            Optimiser::AdamW { beta1, beta2, .. } => {
                Self { first: self.first * R::of(beta1), second: self.second * R::of(beta2) }
            }
        }
    }
}

/// Moves `numbers` by `gradients / texts`, and returns the length that the gradient had.
///
/// `moments`: two for each number, pairwise, or none. `powers`: of this step.
pub(crate) fn follow<R: Real>(
    optimiser: Optimiser,
    rate: Rate,
    texts: u32,
    powers: Powers<R>,
    numbers: &mut [R],
    gradients: &[R],
    moments: &mut [R],
) -> R {
    let share = R::ONE / R::wide(f64::from(texts.max(1)));
    let squares = gradients.iter().fold(R::ZERO, |sum, g| sum + *g * *g);
    let length = squares.sqrt() * share;
    let clip = R::of(rate.clip);
    let share = if clip > R::ZERO && length > clip { share * (clip / length) } else { share };
    let step = R::of(rate.rate);
    match optimiser {
        Optimiser::Sgd => {
            for (x, g) in numbers.iter_mut().zip(gradients) {
                *x = *x - step * (*g * share);
            }
        }
        Optimiser::AdamW { beta1, beta2, eps, decay } => {
            let (beta1, beta2) = (R::of(beta1), R::of(beta2));
            let (first, second) = (R::ONE - powers.first, R::ONE - powers.second);
            let keep = R::ONE - step * R::of(decay);
            let (pairs, _) = moments.as_chunks_mut::<2>();
            for ((x, g), [mean, square]) in numbers.iter_mut().zip(gradients).zip(pairs) {
                let g = *g * share;
                *mean = beta1 * *mean + (R::ONE - beta1) * g;
                *square = beta2 * *square + (R::ONE - beta2) * (g * g);
                let root = (*square / second).sqrt() + R::of(eps);
                *x = *x * keep - step * (*mean / first / root);
            }
        }
    }
    length
}
