//! The dense forward pass in float32 over whole windows of a text, on all cores.
//!
//! In: a [`Model`] and windows of tokens. Out: what a [`Watch`] asks for, of every token: each layer's FFN, and
//! logits. Every number has the bits that [`Reference`](super::reference::Reference) computes, token by
//! token: they depend on no number of threads, and on no width of vectors. Knows nothing of storage.
//!
//! All tokens of a group go through a layer before the next one: its weights are read once for them all, and
//! no keys or values but its own are held.

mod attention;
mod lanes;
mod losses;
mod pace;
mod product;

pub use losses::window_losses;

use crate::model::reference::{
    add, capped, divide_by_root_mean_square, normalise, rotate, rotations,
};
use crate::model::{Layer, Model, NormWeights};
use crate::process::interrupt;
use pace::Pace;
use product::{apply, combine, multiply};
use rayon::prelude::*;
use ripple_kernel::config::Order;

/// Tokens that go through the layers together: as many windows as have them, or one.
const GROUP: usize = 2048;
/// Numbers of neurons, or of logits, that are held at once: as many tokens as have them.
const HELD: usize = 1 << 24;

/// One layer's FFN at some tokens.
pub struct Ffn<'f> {
    /// Which layer.
    pub layer: usize,
    /// The first of the tokens, counted over all windows.
    pub first: usize,
    /// (tokens, neurons): the gate's output or, in plain neurons, the first layer's with its bias. What is set
    /// to negative infinity is not active.
    pub pre: &'f mut [f32],
    /// (tokens, neurons): `up . x` of gated neurons; empty of others.
    pub up: &'f [f32],
    /// (tokens, dim): the normalised input `x`.
    pub input: &'f [f32],
}

/// Looks on while windows are read.
pub trait Watch {
    /// Sees the FFN of a layer at some tokens; tokens come in their order, layer by layer.
    fn ffn(&mut self, ffn: Ffn<'_>);

    /// Whether logits are wanted.
    fn wants_logits(&self) -> bool {
        false
    }

    /// Sees the logits of some tokens, the first of them `first`: (tokens, vocab).
    fn logits(&mut self, first: usize, logits: &[f32]) {
        let _ = (first, logits);
    }
}

/// A model that is ready to read.
pub struct Forward<'a> {
    model: &'a Model,
    /// Cosine and sine of every rotary angle: (context, head_dim / 2).
    rotations: Vec<(f32, f32)>,
}

impl<'a> Forward<'a> {
    /// Prepares `model`.
    pub fn new(model: &'a Model) -> Self {
        Self { model, rotations: rotations(model) }
    }

    /// Reads `windows`, each from its beginning, while `watch` looks on; gives how many tokens were read to the
    /// end, all or, where [`interrupt::requested`], fewer. `done` is called with numbers of tokens,
    /// several times a second.
    ///
    /// # Panics
    /// When a token is not in the vocabulary, or a window is longer than the context.
    pub fn read(
        &self,
        windows: &[&[u32]],
        watch: &mut dyn Watch,
        done: &(dyn Fn(u64) + Sync),
    ) -> usize {
        let (mut first, mut rest) = (0, windows);
        while !rest.is_empty() {
            let mut tokens = 0;
            let count = rest.iter().take_while(|window| {
                let more = tokens < GROUP;
                tokens += window.len();
                more
            });
            let (group, behind) = rest.split_at(count.count());
            if !self.group(group, first, watch, done) {
                break;
            }
            first += group.iter().map(|window| window.len()).sum::<usize>();
            rest = behind;
        }
        first
    }

    /// Reads windows together; whether to the end.
    fn group(
        &self,
        windows: &[&[u32]],
        first: usize,
        watch: &mut dyn Watch,
        done: &(dyn Fn(u64) + Sync),
    ) -> bool {
        let model = self.model;
        let config = &model.config;
        let (dim, vocab) = (config.dim as usize, config.vocab as usize);
        let mut state = State::new(model, windows);
        let tokens = state.positions.len();
        let head = model.head.as_ref().unwrap_or(&model.embed);
        let layers: u64 = model.layers.iter().map(weights).sum();
        let logits = if watch.wants_logits() { (vocab * dim) as u64 } else { 0 };
        let pace = Pace::new(done, tokens, tokens as u64 * (layers + logits));
        for (i, layer) in model.layers.iter().enumerate() {
            if interrupt::requested() {
                return false;
            }
            self.layer(i, layer, windows, first, &mut state, watch, &pace);
        }
        if watch.wants_logits() {
            match config.variant.order {
                Order::After => state.normed.copy_from_slice(&state.x),
                _ => each_normalised(model, &model.final_norm, &state.x, &mut state.normed),
            }
            let batch = (HELD / vocab).clamp(1, GROUP);
            let mut logits = vec![0.0; batch.min(tokens) * vocab];
            for (at, x) in state.normed.chunks(batch * dim).enumerate() {
                let logits = &mut logits[..x.len() / dim * vocab];
                multiply(head, x, logits, &pace);
                if interrupt::requested() {
                    return false;
                }
                let cap = config.variant.logit_cap;
                if cap > 0.0 {
                    logits.par_iter_mut().for_each(|x| *x = capped(*x, cap));
                }
                watch.logits(first + at * batch, logits);
            }
        }
        if interrupt::requested() {
            return false;
        }
        pace.finish();
        true
    }

    #[allow(clippy::too_many_arguments, reason = "what a layer is, and what looks on")]
    fn layer(
        &self,
        index: usize,
        layer: &Layer,
        windows: &[&[u32]],
        first: usize,
        state: &mut State,
        watch: &mut dyn Watch,
        pace: &Pace<'_>,
    ) {
        let model = self.model;
        let order = model.config.variant.order;
        match order {
            Order::After => state.normed.copy_from_slice(&state.x),
            _ => each_normalised(model, &layer.attention_norm, &state.x, &mut state.normed),
        }
        self.attention(layer, windows, state, pace);
        if order == Order::Parallel {
            each_normalised(model, &layer.ffn_norm, &state.x, &mut state.normed);
            add_all(&mut state.x, &state.projected);
        } else {
            join(model, &layer.attention_norm, layer.extra.attention_out_norm.as_ref(), state);
            match order {
                Order::After => state.normed.copy_from_slice(&state.x),
                _ => each_normalised(model, &layer.ffn_norm, &state.x, &mut state.normed),
            }
        }
        let (dim, neurons) = (model.config.dim as usize, model.config.neurons as usize);
        let batch = batch(neurons);
        let batches = state.normed.chunks(batch * dim).zip(state.projected.chunks_mut(batch * dim));
        for (at, (input, projected)) in batches.enumerate() {
            let tokens = input.len() / dim;
            let pre = &mut state.pre[..tokens * neurons];
            apply(layer.gate.as_ref().unwrap_or(&layer.up), input, pre, pace);
            let mut up = &[][..];
            if layer.gate.is_some() {
                multiply(&layer.up.weight, input, &mut state.up[..tokens * neurons], pace);
                up = &state.up[..tokens * neurons];
            }
            watch.ffn(Ffn { layer: index, first: first + at * batch, pre: &mut *pre, up, input });
            ffn(model, index, pre, up, projected, pace);
        }
        join(model, &layer.ffn_norm, layer.extra.ffn_out_norm.as_ref(), state);
    }

    /// `projected = W_o . attended + b_o`.
    fn attention(&self, layer: &Layer, windows: &[&[u32]], state: &mut State, pace: &Pace<'_>) {
        let config = &self.model.config;
        let (query_dim, kv_dim) = (config.query_dim() as usize, config.kv_dim() as usize);
        let head_dim = config.head_dim as usize;
        apply(&layer.query, &state.normed, &mut state.query, pace);
        apply(&layer.key, &state.normed, &mut state.keys, pace);
        apply(&layer.value, &state.normed, &mut state.values, pace);
        for (norm, heads, width) in [
            (&layer.extra.query_norm, &mut state.query, query_dim),
            (&layer.extra.key_norm, &mut state.keys, kv_dim),
        ] {
            let rows = heads.par_chunks_mut(width).zip(&state.positions);
            rows.for_each(|(row, &position)| {
                for head in row.chunks_exact_mut(head_dim) {
                    if let Some(norm) = norm {
                        divide_by_root_mean_square(head, config.norm_eps);
                        head.iter_mut().zip(norm).for_each(|(x, w)| *x *= w);
                    }
                    if !self.rotations.is_empty() {
                        let half = head_dim / 2;
                        rotate(head, &self.rotations[position * half..(position + 1) * half]);
                    }
                }
            });
        }
        let mut at = 0;
        for window in windows {
            let rows = at..at + window.len();
            let (queries, others) = (
                rows.start * query_dim..rows.end * query_dim,
                rows.start * kv_dim..rows.end * kv_dim,
            );
            attention::attend(
                config,
                &state.query[queries.clone()],
                &state.keys[others.clone()],
                &state.values[others],
                &mut state.attended[queries],
            );
            at = rows.end;
        }
        if config.variant.sub_norm {
            let each = |row: &mut [f32]| divide_by_root_mean_square(row, config.norm_eps);
            state.attended.par_chunks_mut(query_dim).for_each(each);
        }
        apply(&layer.output, &state.attended, &mut state.projected, pace);
    }
}

/// What is held of a group of tokens.
struct State {
    /// Where in its window each token is.
    positions: Vec<usize>,
    x: Vec<f32>,         // residual stream (tokens, dim)
    normed: Vec<f32>,    // (tokens, dim)
    query: Vec<f32>,     // (tokens, heads * head_dim)
    keys: Vec<f32>,      // (tokens, kv_heads * head_dim)
    values: Vec<f32>,    // (tokens, kv_heads * head_dim)
    attended: Vec<f32>,  // (tokens, heads * head_dim)
    projected: Vec<f32>, // output of attention or FFN (tokens, dim)
    pre: Vec<f32>,       // (batch, neurons)
    up: Vec<f32>,        // (batch, neurons), of gated neurons
}

impl State {
    /// The embeddings of `windows`.
    fn new(model: &Model, windows: &[&[u32]]) -> Self {
        let config = &model.config;
        let (dim, neurons) = (config.dim as usize, config.neurons as usize);
        let positions: Vec<usize> = windows.iter().flat_map(|window| 0..window.len()).collect();
        let longest = windows.iter().map(|window| window.len()).max().unwrap_or(0);
        assert!(longest <= config.context as usize, "{longest} tokens, context {}", config.context);
        let tokens = positions.len();
        let mut x = vec![0.0; tokens * dim];
        let read = windows.iter().flat_map(|window| window.iter());
        for ((x, &token), &position) in x.chunks_exact_mut(dim).zip(read).zip(&positions) {
            assert!(token < config.vocab, "token {token}, vocabulary of {}", config.vocab);
            x.copy_from_slice(&model.embed.row(token as usize));
            if let Some(positions) = &model.positions {
                add(x, &positions.row(position));
            }
        }
        model.embed.release(0..model.embed.rows);
        let batch = tokens.min(batch(neurons)) * neurons;
        let gated = model.layers.first().is_some_and(|layer| layer.gate.is_some());
        let of = |width: u32| vec![0.0; tokens * width as usize];
        Self {
            positions,
            x,
            normed: of(config.dim),
            query: of(config.query_dim()),
            keys: of(config.kv_dim()),
            values: of(config.kv_dim()),
            attended: of(config.query_dim()),
            projected: of(config.dim),
            pre: vec![0.0; batch],
            up: vec![0.0; if gated { batch } else { 0 }],
        }
    }
}

/// Tokens whose neurons are held at once.
fn batch(neurons: usize) -> usize {
    (HELD / 2 / neurons).clamp(1, GROUP)
}

/// Weights of a layer's matrices.
fn weights(layer: &Layer) -> u64 {
    let Layer { query, key, value, output, gate, up, down, .. } = layer;
    let all = [query, key, value, output, up, down].into_iter().chain(gate);
    all.map(|linear| (linear.weight.rows * linear.weight.cols) as u64).sum()
}

/// Adds what a branch gave to the residual stream, with the norms that are behind it.
fn join(model: &Model, norm: &NormWeights, behind: Option<&NormWeights>, state: &mut State) {
    if let Some(behind) = behind {
        // What was normalised before has been used.
        each_normalised(model, behind, &state.projected, &mut state.normed);
        std::mem::swap(&mut state.projected, &mut state.normed);
    }
    add_all(&mut state.x, &state.projected);
    if model.config.variant.order == Order::After {
        each_normalised(model, norm, &state.x, &mut state.normed);
        std::mem::swap(&mut state.x, &mut state.normed);
    }
}

fn each_normalised(model: &Model, norm: &NormWeights, x: &[f32], out: &mut [f32]) {
    let dim = model.config.dim as usize;
    let rows = x.par_chunks(dim).zip(out.par_chunks_mut(dim));
    rows.for_each(|(x, out)| normalise(&model.config, norm, x, out));
}

fn add_all(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// `projected = sum over active neurons of act(pre) * (up . x) * down, + b`; a plain neuron has no second
/// factor. `pre` becomes what the rows of `down` are multiplied with.
fn ffn(
    model: &Model,
    index: usize,
    pre: &mut [f32],
    up: &[f32],
    projected: &mut [f32],
    pace: &Pace<'_>,
) {
    let config = &model.config;
    let (dim, neurons) = (config.dim as usize, config.neurons as usize);
    pre.par_chunks_mut(neurons).enumerate().for_each(|(token, pre)| {
        let up = up.get(token * neurons..(token + 1) * neurons);
        for (neuron, pre) in pre.iter_mut().enumerate() {
            let active = model.coefficient(index, *pre).unwrap_or(0.0);
            *pre = match up {
                Some(up) if active != 0.0 => active * model.factor(up[neuron]),
                _ => active,
            };
        }
    });
    combine(&model.layers[index].down, pre, projected, pace);
    if config.variant.sub_norm {
        let rows = projected.par_chunks_mut(dim).zip(pre.par_chunks(neurons));
        rows.for_each(|(projected, hidden)| {
            let squares = hidden.iter().fold(0.0, |sum, hidden| sum + hidden * hidden);
            let factor = 1.0 / (squares / config.neurons as f32 + config.norm_eps).sqrt();
            projected.iter_mut().for_each(|y| *y *= factor);
        });
    }
}
