//! Turns logits into a token.
//!
//! In: the logits of one position, which are used up; the tokens before it. Out: a token id. Knows
//! nothing of models or text.
//!
//! Filters apply in the order of Hugging Face `transformers` (`_get_logits_processor`): repetition
//! penalty, temperature, top-k, top-p, min-p; each sees what the one before has left. llama.cpp
//! puts the temperature last; at temperature 1 the two orders are one.
//!
//! No memory beside the logits is needed. After the temperature a logit's place holds the token's
//! weight `floor(2^30 exp((l - max) / T))`, an integer. Sums of integers do not depend on their
//! order, so top-k and top-p find their threshold bit by bit in 31 scans instead of sorting, and
//! the same seed gives the same tokens on every target, without 64-bit floats. A token less than
//! `2^-30` as likely as the likeliest is never drawn.

use zerocopy::transmute_mut;

/// The weight of the likeliest token.
const ONE: u32 = 1 << 30;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SamplerOptions {
    /// Divides the logits; at 0 the token of the highest logit is taken and what follows is unused.
    pub temperature: f32,
    /// Keeps the `top_k` likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the fewest tokens that are together at least `top_p` of what top-k kept; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least `min_p` times as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divides the positive and multiplies the negative logits of recent tokens, once each however
    /// often they occurred (Keskar et al., "CTRL", 2019); 1 leaves them.
    pub repetition_penalty: f32,
    /// Chooses the stream of random numbers.
    pub seed: u64,
}

impl SamplerOptions {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        seed: 0,
    };
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self::GREEDY
    }
}

/// An option out of range: which field, what it holds, what it must be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("`{field}` is {found}, expected {expected}")]
pub struct OptionsError {
    /// The field's name.
    pub field: &'static str,
    /// What it holds.
    pub found: f32,
    /// What it must be, in words.
    pub expected: &'static str,
}

/// Chooses tokens; holds the random stream and the recent tokens.
///
/// Call [`accept`](Self::accept) with each token that goes into the model, those of the prompt too,
/// and [`sample`](Self::sample) with the logits that come out.
#[derive(Debug)]
pub struct Sampler<'r> {
    options: SamplerOptions,
    random: Pcg32,
    /// A ring; the first `filled` places hold tokens, the oldest is at `next` once all are filled.
    recent: &'r mut [u32],
    filled: usize,
    next: usize,
}

impl<'r> Sampler<'r> {
    /// A sampler whose repetition penalty sees as many tokens back as `recent` has places.
    ///
    /// # Errors
    /// The first option that is out of range.
    pub fn new(options: SamplerOptions, recent: &'r mut [u32]) -> Result<Self, OptionsError> {
        let SamplerOptions { temperature, top_p, min_p, repetition_penalty, .. } = options;
        let err = |field, found, expected| Err(OptionsError { field, found, expected });
        if !(0.0..f32::INFINITY).contains(&temperature) {
            return err("temperature", temperature, "0 or more, finite");
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return err("top_p", top_p, "above 0, at most 1");
        }
        if !(0.0..=1.0).contains(&min_p) {
            return err("min_p", min_p, "0 to 1");
        }
        if !(repetition_penalty > 0.0 && repetition_penalty < f32::INFINITY) {
            return err("repetition_penalty", repetition_penalty, "above 0, finite");
        }
        let random = Pcg32::new(options.seed, 0);
        Ok(Self { options, random, recent, filled: 0, next: 0 })
    }

    /// Remembers a token for the repetition penalty; the oldest is forgotten.
    pub fn accept(&mut self, id: u32) {
        if let Some(place) = self.recent.get_mut(self.next) {
            *place = id;
            self.next = (self.next + 1) % self.recent.len();
            self.filled = self.recent.len().min(self.filled + 1);
        }
    }

    /// Chooses a token by its logits, `(vocab,)`.
    ///
    /// They are used up: afterwards a place holds the bits of the token's weight, 0 if a filter
    /// took it out; at temperature 0, the logit after the penalty.
    ///
    /// NaN counts as minus infinity, infinity as the largest number. Of equally likely tokens the
    /// one of the lowest id is kept first. Without a logit above minus infinity the token is 0.
    ///
    /// Draws two numbers from the stream, or none at temperature 0.
    pub fn sample(&mut self, logits: &mut [f32]) -> u32 {
        self.penalise(logits);
        for logit in logits.iter_mut() {
            *logit = if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) };
        }
        let (likeliest, max) = highest(logits);
        if self.options.temperature == 0.0 || max == f32::NEG_INFINITY {
            return likeliest;
        }
        let weights = weigh(logits, max, self.options.temperature);
        if self.options.top_k > 0 {
            keep(weights, self.options.top_k.into(), |_| 1);
        }
        if self.options.top_p < 1.0 {
            keep(weights, portion(total(weights), self.options.top_p), u64::from);
        }
        let least = (self.options.min_p * ONE as f32) as u32;
        for weight in weights.iter_mut().filter(|weight| **weight < least) {
            *weight = 0;
        }
        self.draw(weights)
    }

    fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.options.repetition_penalty;
        let recent = self.recent.get(..self.filled).unwrap_or_default();
        for (at, id) in recent.iter().enumerate() {
            let before = recent.get(..at).unwrap_or_default();
            if let Some(logit) = logits.get_mut(*id as usize)
                && !before.contains(id)
            {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    /// A token, each as probable as its share of the weights.
    fn draw(&mut self, weights: &[u32]) -> u32 {
        let high = u64::from(self.random.next_u32());
        let random = high << 32 | u64::from(self.random.next_u32());
        // random / 2^64 of the total, rounded down: below the total.
        let mut left = ((u128::from(random) * u128::from(total(weights))) >> 64) as u64;
        for (id, &weight) in (0..).zip(weights) {
            match left.checked_sub(weight.into()) {
                Some(rest) => left = rest,
                None => return id,
            }
        }
        0
    }
}

/// The likeliest token by its logits, `(vocab,)`: what a [`Sampler`] chooses at temperature 0 without
/// a penalty, for boards too small for one.
pub fn likeliest(logits: &[f32]) -> u32 {
    highest(logits).0
}

/// The lowest id of the highest logit, and that logit; NaN is not high.
fn highest(logits: &[f32]) -> (u32, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (id, logit);
        }
    }
    best
}

/// Turns logits into weights, in place: `floor(2^30 exp((l - max) / T))`.
fn weigh(logits: &mut [f32], max: f32, temperature: f32) -> &mut [u32] {
    for logit in logits.iter_mut() {
        let share = libm::expf((*logit - max) / temperature);
        *logit = f32::from_bits((share * ONE as f32) as u32);
    }
    transmute_mut!(logits)
}

fn total(weights: &[u32]) -> u64 {
    weights.iter().map(|&weight| u64::from(weight)).sum()
}

/// `ceil(p * total)`, at least 1.
fn portion(total: u64, p: f32) -> u64 {
    let p = (f64::from(p) * 4_294_967_296.0) as u128;
    ((u128::from(total) * p).div_ceil(1 << 32) as u64).max(1)
}

/// Keeps the heaviest weights until their measures reach `reach`, all if they never do; the others
/// become 0.
///
/// Finds the largest threshold at which the measures of what is not below it reach `reach`, from
/// the highest bit down. Of the weights at the threshold as many are kept as it takes, from the
/// lowest id up.
fn keep(weights: &mut [u32], reach: u64, measure: impl Fn(u32) -> u64) {
    let from = |least| -> u64 {
        weights.iter().filter(|weight| **weight >= least).map(|&weight| measure(weight)).sum()
    };
    let mut threshold = 0;
    for bit in (0..=ONE.ilog2()).rev() {
        let raised = threshold | 1 << bit;
        if from(raised) >= reach {
            threshold = raised;
        }
    }
    let mut reached = from(threshold + 1);
    for weight in weights.iter_mut() {
        if *weight == threshold && reached < reach {
            reached += measure(*weight);
        } else if *weight <= threshold {
            *weight = 0;
        }
    }
}

/// Random numbers: PCG-XSH-RR 64/32.
///
/// O'Neill, "PCG: A family of simple fast space-efficient statistically good algorithms for random
/// number generation", 2014; `pcg32` of <https://www.pcg-random.org>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pcg32 {
    state: u64,
    increment: u64,
}

impl Pcg32 {
    const MULTIPLIER: u64 = 6_364_136_223_846_793_005;

    /// The generator that `pcg32_srandom_r(seed, stream)` sets up.
    pub const fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self { state: 0, increment: stream << 1 | 1 };
        random.next_u32();
        random.state = random.state.wrapping_add(seed);
        random.next_u32();
        random
    }

    /// The next number of the stream.
    pub const fn next_u32(&mut self) -> u32 {
        let state = self.state;
        self.state = state.wrapping_mul(Self::MULTIPLIER).wrapping_add(self.increment);
        let shifted = (((state >> 18) ^ state) >> 27) as u32;
        shifted.rotate_right((state >> 59) as u32)
    }
}
