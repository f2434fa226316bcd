//! A model in memory: its shape, its float32 weights and its tokenizer.
//!
//! In: a shape, and a source of named tensors. Out: [`Model`], complete and of that shape. Knows
//! nothing of files or of where a tensor's values come from.

pub mod chat;
mod classes;
pub mod forward;
pub mod matrix;
pub mod reference;
pub mod selection;
pub mod text;
pub mod threshold;
pub mod tokenizer;

use anyhow::{Result, ensure};
use chat::ChatTemplate;
pub use matrix::{Matrix, Values};
use ripple_kernel::config::{Ffn, ModelConfig, Norm, Order, Position};
use ripple_kernel::image::Lossy;
use ripple_kernel::math::activation::{coefficient, factor};
use std::borrow::Cow;
use tokenizer::TokenizerSpec;

/// `y = W x + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `W`: (outputs, inputs).
    pub weight: Matrix,
    /// `b`: (outputs,).
    pub bias: Option<Vec<f32>>,
}

/// The learned part of a normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct NormWeights {
    /// (dim,).
    pub weight: Vec<f32>,
    /// (dim,); only layer normalisation has it.
    pub bias: Option<Vec<f32>>,
}

/// One transformer layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// In front of attention.
    pub attention_norm: NormWeights,
    /// (heads * head_dim, dim).
    pub query: Linear,
    /// (kv_heads * head_dim, dim).
    pub key: Linear,
    /// (kv_heads * head_dim, dim).
    pub value: Linear,
    /// (dim, heads * head_dim).
    pub output: Linear,
    /// In front of the FFN.
    pub ffn_norm: NormWeights,
    /// (neurons, dim); only gated neurons have it.
    pub gate: Option<Linear>,
    /// (neurons, dim).
    pub up: Linear,
    /// (dim, neurons); its bias is that of the FFN output.
    pub down: Linear,
    /// What else it has; see [`Variant`](ripple_kernel::Variant).
    pub extra: Extra,
}

/// What a layer has that neither Llama's nor OPT's have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// Of each head of queries: (head_dim,).
    pub query_norm: Option<Vec<f32>>,
    /// Of each head of keys: (head_dim,).
    pub key_norm: Option<Vec<f32>>,
    /// Behind attention.
    pub attention_out_norm: Option<NormWeights>,
    /// Behind the FFN.
    pub ffn_out_norm: Option<NormWeights>,
}

/// A whole model.
#[derive(Clone)]
pub struct Model {
    /// What it is called: the name of the directory it was imported from.
    pub name: String,
    /// Its shape.
    pub config: ModelConfig,
    /// Base of the rotary frequencies; without meaning where positions are learned.
    pub rope_theta: f32,
    /// Rotary frequencies, (head_dim / 2,), where they are not `theta^(-2i / head_dim)`.
    pub rope_frequencies: Option<Vec<f32>>,
    /// Token embeddings: (vocab, dim).
    pub embed: Matrix,
    /// Learned positions: (context, dim), row `p` for position `p`.
    pub positions: Option<Matrix>,
    /// Output head: (vocab, dim). `None`: the embedding table.
    pub head: Option<Matrix>,
    /// In front of the output head; empty where there is none.
    pub final_norm: NormWeights,
    /// The layers, in order.
    pub layers: Vec<Layer>,
    /// Which neurons of a lossy activation are active; `None`: all of them, or there is no such.
    pub sparsity: Option<Sparsity>,
    /// Text to tokens and back.
    pub tokenizer: TokenizerSpec,
    /// How a conversation is written down, if it is known.
    pub chat_template: Option<ChatTemplate>,
}

/// Thresholds of a model whose activation has no zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct Sparsity {
    /// A neuron is active when its activation is further from 0: one for each layer.
    pub thresholds: Vec<f32>,
    /// What they cost.
    pub cost: Lossy,
}

/// The weights of a model, before they get a name and a tokenizer.
pub(crate) struct Weights {
    pub embed: Matrix,
    pub positions: Option<Matrix>,
    pub head: Option<Matrix>,
    pub final_norm: NormWeights,
    pub layers: Vec<Layer>,
}

/// Gives the values of a tensor of the given name and shape.
pub(crate) type TensorSource<'a> = dyn FnMut(&str, &[usize]) -> Result<Values> + 'a;

/// Asks `tensor(name, shape)` for every tensor that a model of shape `config` has. This list of
/// names is the one that model files use; importers translate from it.
pub(crate) fn build(config: &ModelConfig, tensor: &mut TensorSource<'_>) -> Result<Weights> {
    let (dim, vocab) = (config.dim as usize, config.vocab as usize);
    let (query_dim, kv_dim) = (config.query_dim() as usize, config.kv_dim() as usize);
    let (neurons, context) = (config.neurons as usize, config.context as usize);
    let (attention, ffn) = (config.attention_bias, config.ffn_bias);

    let mut from = Builder { norm: config.norm, tensor };
    let embed = from.matrix("embed.weight", vocab, dim)?;
    let learned = config.position == Position::Learned;
    let positions =
        if learned { Some(from.matrix("positions.weight", context, dim)?) } else { None };
    let layers = (0..config.layers).map(|layer| {
        let name = |part: &str| format!("layers.{layer}.{part}");
        Ok(Layer {
            attention_norm: from.norm(&name("attention_norm"), dim)?,
            query: from.linear(&name("query"), query_dim, dim, attention.query)?,
            key: from.linear(&name("key"), kv_dim, dim, attention.key)?,
            value: from.linear(&name("value"), kv_dim, dim, attention.value)?,
            output: from.linear(&name("output"), dim, query_dim, attention.output)?,
            ffn_norm: from.norm(&name("ffn_norm"), dim)?,
            gate: match config.ffn {
                Ffn::Gated => Some(from.linear(&name("gate"), neurons, dim, ffn)?),
                _ => None,
            },
            up: from.linear(&name("up"), neurons, dim, ffn)?,
            down: from.linear(&name("down"), dim, neurons, ffn)?,
            extra: from.extra(config, layer)?,
        })
    });
    let layers = layers.collect::<Result<Vec<_>>>()?;
    let final_norm = match config.variant.order {
        Order::After => NormWeights { weight: Vec::new(), bias: None },
        _ => from.norm("final_norm", dim)?,
    };
    let head =
        if config.tied_head { None } else { Some(from.matrix("head.weight", vocab, dim)?) };
    Ok(Weights { embed, positions, head, final_norm, layers })
}

struct Builder<'a, 'b> {
    norm: Norm,
    tensor: &'a mut TensorSource<'b>,
}

impl Builder<'_, '_> {
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix> {
        Ok(Matrix::new(rows, cols, (self.tensor)(name, &[rows, cols])?))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        Ok((self.tensor)(name, &[len])?.into_held())
    }

    fn linear(&mut self, name: &str, rows: usize, cols: usize, bias: bool) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), rows, cols)?;
        let bias = if bias { Some(self.vector(&format!("{name}.bias"), rows)?) } else { None };
        Ok(Linear { weight, bias })
    }

    fn extra(&mut self, config: &ModelConfig, layer: u32) -> Result<Extra> {
        let name = |part: &str| format!("layers.{layer}.{part}");
        let (dim, head_dim) = (config.dim as usize, config.head_dim as usize);
        let mut extra = Extra::default();
        if config.variant.head_norm {
            extra.query_norm = Some(self.vector(&name("query_norm.weight"), head_dim)?);
            extra.key_norm = Some(self.vector(&name("key_norm.weight"), head_dim)?);
        }
        if config.variant.order == Order::Around {
            extra.attention_out_norm = Some(self.norm(&name("attention_out_norm"), dim)?);
            extra.ffn_out_norm = Some(self.norm(&name("ffn_out_norm"), dim)?);
        }
        Ok(extra)
    }

    fn norm(&mut self, name: &str, dim: usize) -> Result<NormWeights> {
        let weight = self.vector(&format!("{name}.weight"), dim)?;
        let bias = match self.norm {
            Norm::Layer => Some(self.vector(&format!("{name}.bias"), dim)?),
            _ => None,
        };
        Ok(NormWeights { weight, bias })
    }
}

/// A tensor of a model: its name and its values, a vector being a table of one row.
pub(crate) struct NamedTensor<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Tensor<'a>,
}

/// Where the values of a tensor are.
#[derive(Clone, Copy)]
pub(crate) enum Tensor<'a> {
    Vector(&'a [f32]),
    Matrix(&'a Matrix),
}

impl<'a> NamedTensor<'a> {
    fn vector(name: String, values: &'a [f32]) -> Self {
        Self { name, shape: vec![values.len()], values: Tensor::Vector(values) }
    }
}

impl Model {
    pub(crate) fn new(
        name: String,
        config: ModelConfig,
        rope_theta: f32,
        weights: Weights,
        tokenizer: TokenizerSpec,
    ) -> Self {
        let Weights { embed, positions, head, final_norm, layers } = weights;
        Self {
            name,
            config,
            rope_theta,
            rope_frequencies: None,
            embed,
            positions,
            head,
            final_norm,
            layers,
            sparsity: None,
            tokenizer,
            chat_template: None,
        }
    }

    /// Keeps the model within `context` positions.
    ///
    /// # Errors
    /// When it has fewer.
    pub fn limit_context(&mut self, context: u32) -> Result<()> {
        let most = self.config.context;
        ensure!(
            (1..=most).contains(&context),
            "a context of {context}: expected 1 to {most}, as many positions as the model has"
        );
        self.config.context = context;
        if let Some(positions) = &mut self.positions {
            positions.truncate(context as usize);
        }
        Ok(())
    }

    /// What makes a neuron of `layer` active; see [`coefficient`].
    pub fn threshold(&self, layer: usize) -> f32 {
        match &self.sparsity {
            _ if !self.config.activation.lossy() => self.config.threshold,
            Some(sparsity) => sparsity.thresholds[layer],
            None => -1.0,
        }
    }

    /// What a neuron of `layer` with first-layer output `pre` is multiplied by, if it is active.
    pub fn coefficient(&self, layer: usize, pre: f32) -> Option<f32> {
        coefficient(self.config.activation, self.threshold(layer), pre)
    }

    /// What the coefficient of a neuron with this second output is multiplied with.
    pub fn factor(&self, up: f32) -> f32 {
        factor(self.config.activation, up)
    }

    /// The same with all weights in memory.
    pub fn held(&self) -> Cow<'_, Self> {
        let stored = |tensor: NamedTensor<'_>| match tensor.values {
            Tensor::Matrix(matrix) => matrix.is_stored(),
            Tensor::Vector(_) => false,
        };
        if !self.tensors().into_iter().any(stored) {
            return Cow::Borrowed(self);
        }
        let mut held = self.clone();
        held.embed.hold();
        held.positions.iter_mut().chain(&mut held.head).for_each(Matrix::hold);
        for Layer { query, key, value, output, gate, up, down, .. } in &mut held.layers {
            let all = [query, key, value, output, up, down].into_iter().chain(gate);
            all.for_each(|linear| linear.weight.hold());
        }
        Cow::Owned(held)
    }

    /// How many numbers all its tensors have together.
    pub fn numbers(&self) -> u64 {
        let count = |tensor: NamedTensor<'_>| tensor.shape.iter().product::<usize>() as u64;
        self.tensors().into_iter().map(count).sum()
    }

    /// Every tensor under the name that [`build`] asks for.
    pub(crate) fn tensors(&self) -> Vec<NamedTensor<'_>> {
        let mut all = Vec::new();
        push_matrix(&mut all, "embed", Some(&self.embed));
        push_matrix(&mut all, "positions", self.positions.as_ref());
        push_matrix(&mut all, "head", self.head.as_ref());
        if !self.final_norm.weight.is_empty() {
            push_norm(&mut all, "final_norm", &self.final_norm);
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let name = |part: &str| format!("layers.{i}.{part}");
            push_norm(&mut all, &name("attention_norm"), &layer.attention_norm);
            push_norm(&mut all, &name("ffn_norm"), &layer.ffn_norm);
            let Extra { query_norm, key_norm, attention_out_norm, ffn_out_norm } = &layer.extra;
            for (part, weight) in [("query_norm", query_norm), ("key_norm", key_norm)] {
                if let Some(weight) = weight {
                    all.push(NamedTensor::vector(format!("{}.weight", name(part)), weight));
                }
            }
            let behind =
                [("attention_out_norm", attention_out_norm), ("ffn_out_norm", ffn_out_norm)];
            for (part, norm) in behind {
                if let Some(norm) = norm {
                    push_norm(&mut all, &name(part), norm);
                }
            }
            for (part, linear) in [
                ("query", Some(&layer.query)),
                ("key", Some(&layer.key)),
                ("value", Some(&layer.value)),
                ("output", Some(&layer.output)),
                ("gate", layer.gate.as_ref()),
                ("up", Some(&layer.up)),
                ("down", Some(&layer.down)),
            ] {
                let Some(linear) = linear else { continue };
                push_matrix(&mut all, &name(part), Some(&linear.weight));
                push_bias(&mut all, &name(part), linear.bias.as_deref());
            }
        }
        all
    }
}

fn push_matrix<'a>(all: &mut Vec<NamedTensor<'a>>, name: &str, matrix: Option<&'a Matrix>) {
    if let Some(m) = matrix {
        let (name, shape) = (format!("{name}.weight"), vec![m.rows, m.cols]);
        all.push(NamedTensor { name, shape, values: Tensor::Matrix(m) });
    }
}

fn push_bias<'a>(all: &mut Vec<NamedTensor<'a>>, name: &str, bias: Option<&'a [f32]>) {
    if let Some(bias) = bias {
        all.push(NamedTensor::vector(format!("{name}.bias"), bias));
    }
}

fn push_norm<'a>(all: &mut Vec<NamedTensor<'a>>, name: &str, norm: &'a NormWeights) {
    all.push(NamedTensor::vector(format!("{name}.weight"), &norm.weight));
    push_bias(all, name, norm.bias.as_deref());
}
