//! Rotary frequencies: of a base, stretched in one of the ways there are, of a part of a head.
//!
//! In: what a checkpoint says of its positions. Out: the frequencies, and what queries and keys are
//! multiplied with. Knows nothing of files.

use std::f64::consts::PI;

/// How the context was made longer than the one that was trained.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scaling {
    /// Not at all.
    None,
    /// Positions are divided by `factor`.
    Linear { factor: f64 },
    /// Waves longer than `original / low` positions are stretched by `factor`, those shorter than
    /// `original / high` are not, with a ramp between (Llama 3).
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    /// Frequencies that turn fewer than `slow` times in `original` positions are divided by `factor`,
    /// those that turn more than `fast` times are not, with a ramp between; queries and keys are
    /// multiplied with `gain` (Peng et al., "YaRN", 2023). `whole`: the ramp's ends are whole numbers.
    Yarn { factor: f64, fast: f64, slow: f64, original: f64, gain: f64, whole: bool },
    /// Each frequency is divided by its own factor; queries and keys are multiplied with `gain`.
    Factors { factors: Vec<f64>, gain: f64 },
}

/// Rotary positions.
pub(super) struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// Numbers of a head that are turned: the first ones; the others have a frequency of 0.
    pub turned: u32,
    pub scaling: Scaling,
}

impl Rope {
    /// Where positions are not rotary.
    pub const NONE: Self = Self { theta: 10000.0, turned: 0, scaling: Scaling::None };

    /// What queries and keys are multiplied with.
    pub fn gain(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { gain, .. } | Scaling::Factors { gain, .. } => gain as f32,
            _ => 1.0,
        }
    }

    /// `(head_dim / 2,)`; `None` where they are `theta^(-2i / head_dim)`.
    pub fn frequencies(&self, head_dim: u32) -> Option<Vec<f32>> {
        if self.scaling == Scaling::None && self.turned == head_dim || self.turned == 0 {
            return None;
        }
        let turned = f64::from(self.turned);
        let theta = f64::from(self.theta);
        let scaled = (0..self.turned / 2).map(|i| {
            let plain = libm::pow(theta, -2.0 * f64::from(i) / turned);
            self.scaled(i as usize, plain, turned) as f32
        });
        Some(scaled.chain(std::iter::repeat(0.0)).take(head_dim as usize / 2).collect())
    }

    fn scaled(&self, i: usize, plain: f64, turned: f64) -> f64 {
        let mix = |kept: f64, factor: f64| plain * kept + plain / factor * (1.0 - kept);
        match &self.scaling {
            Scaling::None => plain,
            Scaling::Linear { factor } => plain / factor,
            Scaling::Factors { factors, .. } => plain / factors[i],
            Scaling::Llama3 { factor, low, high, original } => {
                let turns = original * plain / (2.0 * PI);
                mix(((turns - low) / (high - low)).clamp(0.0, 1.0), *factor)
            }
            Scaling::Yarn { factor, fast, slow, original, whole, .. } => {
                // The frequency that turns so many times in the original context, counted from 0.
                let at = |turns: f64| {
                    let theta = f64::from(self.theta);
                    turned * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln())
                };
                let (first, last) = match whole {
                    true => (at(*fast).floor(), at(*slow).ceil()),
                    false => (at(*fast), at(*slow)),
                };
                let (first, mut last) = (first.max(0.0), last.min(turned - 1.0));
                if first == last {
                    last += 0.001;
                }
                mix(1.0 - ((i as f64 - first) / (last - first)).clamp(0.0, 1.0), *factor)
            }
        }
    }
}

/// YaRN's gain where a checkpoint does not say one: `0.1 m ln(factor) + 1`.
pub(super) fn yarn_gain(factor: f64, m: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 }
}
