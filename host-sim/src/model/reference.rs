//! The naive dense forward pass in float32: the truth that everything else is measured against.
//!
//! In: a [`Model`] and tokens, one after another. Out: logits, and on request every neuron's
//! activation. Knows nothing of storage, quantisation or prediction. [`forward`](super::forward) gives the
//! same bits for whole texts, and much faster.

use crate::model::{Linear, Matrix, Model, NormWeights};
use ripple_kernel::config::{ModelConfig, Norm, Order};
use std::borrow::Cow;
use std::sync::Arc;

/// A model and the state of one text. Clones share the weights.
#[derive(Clone)]
pub struct Reference<'a> {
    model: &'a Model,
    /// The same, its weights in memory.
    held: Arc<Cow<'a, Model>>,
    /// The `down` matrices as (neurons, dim): an inactive neuron's row is never touched.
    down: Arc<Vec<Matrix>>,
    /// Cosine and sine of every rotary angle: (context, head_dim / 2).
    rotations: Arc<Vec<(f32, f32)>>,
    position: usize,
    x: Vec<f32>,              // residual stream (dim,)
    normed: Vec<f32>,         // (dim,)
    query: Vec<f32>,          // (heads * head_dim,)
    attended: Vec<f32>,       // (heads * head_dim,)
    projected: Vec<f32>,      // output of attention or FFN (dim,)
    scores: Vec<f32>,         // one head's attention (context,)
    pre_activation: Vec<f32>, // (neurons,)
    keys: Vec<f32>,           // (layers, context, kv_heads * head_dim)
    values: Vec<f32>,         // (layers, context, kv_heads * head_dim)
    logits: Vec<f32>,         // (vocab,)
}

impl<'a> Reference<'a> {
    /// Prepares `model` to read a text from its beginning.
    pub fn new(model: &'a Model) -> Self {
        let config = &model.config;
        let (dim, query_dim) = (config.dim as usize, config.query_dim() as usize);
        let context = config.context as usize;
        let cache = config.layers as usize * context * config.kv_dim() as usize;
        let held = model.held();
        Self {
            model,
            down: Arc::new(held.layers.iter().map(|l| l.down.weight.transposed()).collect()),
            held: Arc::new(held),
            rotations: Arc::new(rotations(model)),
            position: 0,
            x: vec![0.0; dim],
            normed: vec![0.0; dim],
            query: vec![0.0; query_dim],
            attended: vec![0.0; query_dim],
            projected: vec![0.0; dim],
            scores: vec![0.0; context],
            pre_activation: vec![0.0; config.neurons as usize],
            keys: vec![0.0; cache],
            values: vec![0.0; cache],
            logits: vec![0.0; config.vocab as usize],
        }
    }

    /// The model.
    pub const fn model(&self) -> &'a Model {
        self.model
    }

    /// Begins another text.
    pub const fn reset(&mut self) {
        self.position = 0;
    }

    /// Tokens read since the beginning of the text.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Reads `token` and gives the logits of the one after it: (vocab,).
    ///
    /// # Panics
    /// When `token` is not in the vocabulary or the context is full.
    pub fn forward(&mut self, token: u32) -> &[f32] {
        self.forward_with(token, &mut |_, _, _| ())
    }

    /// As [`Reference::forward`], showing `observe` each layer's FFN: the layer, the
    /// pre-activations (neurons,), which are the gate's output or, in plain neurons, the first
    /// layer's with its bias, and the normalised input `x` (dim,).
    ///
    /// # Panics
    /// When `token` is not in the vocabulary or the context is full.
    pub fn forward_with(
        &mut self,
        token: u32,
        observe: &mut impl FnMut(usize, &[f32], &[f32]),
    ) -> &[f32] {
        let held = Arc::clone(&self.held);
        let model: &Model = &held;
        let config = &model.config;
        assert!(token < config.vocab, "token {token}, vocabulary of {}", config.vocab);
        assert!(self.position < config.context as usize, "context of {} is full", config.context);

        self.x.copy_from_slice(&model.embed.row(token as usize));
        if let Some(positions) = &model.positions {
            add(&mut self.x, &positions.row(self.position));
        }
        for (i, layer) in model.layers.iter().enumerate() {
            let order = config.variant.order;
            if order == Order::After {
                self.normed.copy_from_slice(&self.x);
            } else {
                normalise(config, &layer.attention_norm, &self.x, &mut self.normed);
            }
            self.attention(i);
            if order == Order::Parallel {
                normalise(config, &layer.ffn_norm, &self.x, &mut self.normed);
                add(&mut self.x, &self.projected);
            } else {
                self.join(&layer.attention_norm, layer.extra.attention_out_norm.as_ref());
                if order == Order::After {
                    self.normed.copy_from_slice(&self.x);
                } else {
                    normalise(config, &layer.ffn_norm, &self.x, &mut self.normed);
                }
            }
            apply(layer.gate.as_ref().unwrap_or(&layer.up), &self.normed, &mut self.pre_activation);
            observe(i, &self.pre_activation, &self.normed);
            self.ffn(i);
            self.join(&layer.ffn_norm, layer.extra.ffn_out_norm.as_ref());
        }
        if config.variant.order == Order::After {
            self.normed.copy_from_slice(&self.x);
        } else {
            normalise(config, &model.final_norm, &self.x, &mut self.normed);
        }
        multiply(model.head.as_ref().unwrap_or(&model.embed), &self.normed, &mut self.logits);
        self.logits.iter_mut().for_each(|logit| *logit = capped(*logit, config.variant.logit_cap));
        self.position += 1;
        &self.logits
    }

    /// Adds what a branch gave, normalised with `behind` if there is such a norm; then, if norms come
    /// after the sum, normalises that with `norm`.
    fn join(&mut self, norm: &NormWeights, behind: Option<&NormWeights>) {
        let config = &self.model.config;
        if let Some(behind) = behind {
            let given = self.projected.clone();
            normalise(config, behind, &given, &mut self.projected);
        }
        add(&mut self.x, &self.projected);
        if config.variant.order == Order::After {
            let sum = self.x.clone();
            normalise(config, norm, &sum, &mut self.x);
        }
    }

    /// `projected = W_o . concat_h(softmax(q_h . K^T / sqrt(head_dim)) . V) + b_o`.
    fn attention(&mut self, index: usize) {
        let held = Arc::clone(&self.held);
        let (config, layer) = (&held.config, &held.layers[index]);
        let (kv_dim, head_dim) = (config.kv_dim() as usize, config.head_dim as usize);
        let queries_per_key = (config.heads / config.kv_heads) as usize;
        let past = self.position + 1;
        let start = index * config.context as usize * kv_dim;
        let here = start + self.position * kv_dim..start + past * kv_dim;

        apply(&layer.query, &self.normed, &mut self.query);
        apply(&layer.key, &self.normed, &mut self.keys[here.clone()]);
        apply(&layer.value, &self.normed, &mut self.values[here.clone()]);
        for (norm, heads) in [
            (&layer.extra.query_norm, &mut self.query[..]),
            (&layer.extra.key_norm, &mut self.keys[here.clone()]),
        ] {
            let Some(norm) = norm else { continue };
            for head in heads.chunks_exact_mut(head_dim) {
                divide_by_root_mean_square(head, config.norm_eps);
                head.iter_mut().zip(norm).for_each(|(x, w)| *x *= w);
            }
        }
        if !self.rotations.is_empty() {
            let half = head_dim / 2;
            let angles = &self.rotations[self.position * half..past * half];
            self.query.chunks_exact_mut(head_dim).for_each(|head| rotate(head, angles));
            self.keys[here].chunks_exact_mut(head_dim).for_each(|head| rotate(head, angles));
        }

        let scale = 1.0 / (head_dim as f32).sqrt();
        let keys = &self.keys[start..start + past * kv_dim];
        let values = &self.values[start..start + past * kv_dim];
        let scores = &mut self.scores[..past];
        self.attended.fill(0.0);
        let heads = self.query.chunks_exact(head_dim).zip(self.attended.chunks_exact_mut(head_dim));
        for (head, (query, out)) in heads.enumerate() {
            let at = head / queries_per_key * head_dim;
            for (score, key) in scores.iter_mut().zip(keys.chunks_exact(kv_dim)) {
                let product = dot(query, &key[at..at + head_dim]) * scale;
                *score = capped(product, config.variant.attention_cap);
            }
            softmax(scores);
            for (&score, value) in scores.iter().zip(values.chunks_exact(kv_dim)) {
                add_scaled(out, score, &value[at..at + head_dim]);
            }
        }
        if config.variant.sub_norm {
            divide_by_root_mean_square(&mut self.attended, config.norm_eps);
        }
        apply(&layer.output, &self.attended, &mut self.projected);
    }

    /// `projected = sum over active neurons of act(pre) * (up . x) * down, + b`; a plain neuron
    /// has no second factor.
    fn ffn(&mut self, index: usize) {
        let held = Arc::clone(&self.held);
        let layer = &held.layers[index];
        match &layer.down.bias {
            Some(bias) => self.projected.copy_from_slice(bias),
            None => self.projected.fill(0.0),
        }
        let mut squares = 0.0;
        for (neuron, &pre) in self.pre_activation.iter().enumerate() {
            if let Some(active) = self.model.coefficient(index, pre) {
                let hidden = match layer.gate {
                    Some(_) => {
                        let up = dot(&layer.up.weight.row(neuron), &self.normed);
                        active * self.model.factor(up)
                    }
                    None => active,
                };
                squares += hidden * hidden;
                add_scaled(&mut self.projected, hidden, &self.down[index].row(neuron));
            }
        }
        let config = &self.model.config;
        if config.variant.sub_norm {
            let factor = 1.0 / (squares / config.neurons as f32 + config.norm_eps).sqrt();
            self.projected.iter_mut().for_each(|y| *y *= factor);
        }
    }
}

/// `x / sqrt(mean(x^2) + eps)` in place.
pub(super) fn divide_by_root_mean_square(x: &mut [f32], eps: f32) {
    let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    let factor = 1.0 / (mean + eps).sqrt();
    x.iter_mut().for_each(|x| *x *= factor);
}

/// `cap tanh(x / cap)`, if there is a cap.
pub(super) fn capped(x: f32, cap: f32) -> f32 {
    if cap > 0.0 { cap * libm::tanhf(x / cap) } else { x }
}

/// `(cos, sin)` of `position * theta^(-2i / head_dim)`, or of the model's own frequencies; none where
/// positions are learned.
pub(super) fn rotations(model: &Model) -> Vec<(f32, f32)> {
    use ripple_kernel::config::Position;
    let (config, theta) = (&model.config, model.rope_theta);
    if config.position == Position::Learned {
        return Vec::new();
    }
    let half = config.head_dim / 2;
    let frequency = |i: u32| match &model.rope_frequencies {
        Some(frequencies) => frequencies[i as usize],
        None => 1.0 / libm::powf(theta, (2 * i) as f32 / config.head_dim as f32),
    };
    let angle = |position: u32, i: u32| position as f32 * frequency(i);
    (0..config.context)
        .flat_map(|position| (0..half).map(move |i| angle(position, i)))
        .map(|angle| (libm::cosf(angle), libm::sinf(angle)))
        .collect()
}

/// Turns the pairs `(head[i], head[i + half])`, as Hugging Face checkpoints have them.
pub(super) fn rotate(head: &mut [f32], angles: &[(f32, f32)]) {
    let (low, high) = head.split_at_mut(angles.len());
    for ((a, b), &(cos, sin)) in low.iter_mut().zip(high).zip(angles) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

pub(super) fn normalise(config: &ModelConfig, norm: &NormWeights, x: &[f32], out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = match config.norm {
        Norm::Layer => x.iter().sum::<f32>() / n,
        _ => 0.0,
    };
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n;
    let scale = 1.0 / (variance + config.norm_eps).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(&norm.weight) {
        *out = (x - mean) * scale * weight;
    }
    if let Some(bias) = &norm.bias {
        add(out, bias);
    }
}

pub(super) fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = libm::expf(*score - most));
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// `y = W x + b`.
fn apply(linear: &Linear, x: &[f32], y: &mut [f32]) {
    multiply(&linear.weight, x, y);
    if let Some(bias) = &linear.bias {
        add(y, bias);
    }
}

/// `y = W x`.
fn multiply(weight: &Matrix, x: &[f32], y: &mut [f32]) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = dot(&weight.row(i), x);
    }
}

/// Sixteen running sums in a fixed order: the compiler keeps them in vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

pub(super) fn add(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

fn add_scaled(y: &mut [f32], scale: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += scale * x);
}

/// Mean loss, in nats, of predicting each token of `window` but the first from those before it.
/// `forward(reset, token)` reads a token, the first with `reset`, and gives the logits after it.
///
/// # Errors
/// The first error of `forward`.
pub fn window_loss<L: AsRef<[f32]>, E>(
    window: &[u32],
    mut forward: impl FnMut(bool, u32) -> Result<L, E>,
) -> Result<f64, E> {
    let mut loss = 0.0;
    for (i, pair) in window.windows(2).enumerate() {
        loss += surprise(forward(i == 0, pair[0])?.as_ref(), pair[1]);
    }
    Ok(loss / window.len().saturating_sub(1).max(1) as f64)
}

/// Perplexity of a text: `exp` of the mean, over its windows, of [`window_loss`].
pub fn perplexity(losses: &[f64]) -> f64 {
    (losses.iter().sum::<f64>() / losses.len() as f64).exp()
}

/// `-ln softmax(logits)[token]`.
pub(crate) fn surprise(logits: &[f32], token: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
    sum.ln() - f64::from(logits[token as usize] - most)
}

#[cfg(test)]
mod tests {
    use super::{dot, perplexity, window_loss};

    #[test]
    fn dot_counts_what_is_beyond_the_last_whole_chunk() {
        for n in 0..40 {
            let ones = vec![1.0; n];
            let numbers: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            assert_eq!(dot(&ones, &numbers), (n * (n + 1) / 2) as f32);
        }
    }

    #[test]
    fn even_logits_have_the_perplexity_of_the_vocabulary() {
        let mut resets = Vec::new();
        let loss = window_loss(&[0, 3, 1], |reset, _| {
            resets.push(reset);
            Ok::<_, ()>([0.5; 8])
        });
        assert!((perplexity(&[loss.unwrap()]) - 8.0).abs() < 1e-9);
        assert_eq!(resets, [true, false]);
    }
}
