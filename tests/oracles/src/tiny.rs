//! Tiny random models of both families, for properties that must hold for any weights.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use ripple_host_sim::import::demo;
use ripple_host_sim::import::tokenizer::read;
use ripple_host_sim::model::tokenizer::TokenizerSpec;
use ripple_host_sim::model::{Extra, Layer, Linear, Matrix, Model, NormWeights};
use ripple_kernel::{Activation, AttentionBias, Ffn, ModelConfig, Norm, Order, Position, Variant};
use std::sync::OnceLock;

/// What a tiny model is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// OPT-like (plain, LayerNorm, learned positions, biases); else Llama-like.
    pub opt: bool,
    /// A multiple of 4.
    pub dim: u32,
    /// Layers.
    pub layers: u32,
    /// Neurons of a layer.
    pub neurons: u32,
    /// Key/value heads; there are twice as many query heads.
    pub kv_heads: u32,
    /// A multiple of 4.
    pub head_dim: u32,
    /// Whether the output head is the embedding.
    pub tied_head: bool,
    /// What a neuron does.
    pub activation: Activation,
    /// What the layers have besides.
    pub variant: Variant,
    /// Seed of the weights.
    pub seed: u64,
}

impl Shape {
    /// A small one of each family.
    pub const LLAMA: Self = Self {
        opt: false,
        dim: 20,
        layers: 3,
        neurons: 50,
        kv_heads: 1,
        head_dim: 8,
        tied_head: true,
        activation: Activation::Relu,
        variant: Variant::NONE,
        seed: 1,
    };
    /// A small one of each family.
    pub const OPT: Self =
        Self { opt: true, dim: 24, neurons: 70, head_dim: 12, tied_head: false, ..Self::LLAMA };
}

/// Positions of a tiny model.
pub const CONTEXT: u32 = 32;

/// A tokenizer that is at hand, whose token 0 begins and ends a text; tiny models have a larger vocabulary.
pub fn tokenizer() -> &'static TokenizerSpec {
    static SPEC: OnceLock<TokenizerSpec> = OnceLock::new();
    SPEC.get_or_init(|| {
        let spec = read(&demo::path("story-nano").unwrap().join("tokenizer.json")).unwrap();
        TokenizerSpec { bos: Some(0), adds_bos: true, eos: vec![0], ..spec }
    })
}

/// A random model.
pub fn model(shape: Shape) -> Model {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(shape.seed);
    let mut random = |rows: usize, cols: usize, scale: f32| {
        let number = |_| scale * (rng.random::<f32>() * 2.0 - 1.0);
        Matrix::new(rows, cols, (0..rows * cols).map(number).collect::<Vec<f32>>())
    };
    let (dim, neurons) = (shape.dim as usize, shape.neurons as usize);
    let head_dim = shape.head_dim as usize;
    let kv_dim = (shape.kv_heads * shape.head_dim) as usize;
    let query_dim = 2 * kv_dim;
    let vocab = 520;
    let config = ModelConfig {
        dim: shape.dim,
        layers: shape.layers,
        neurons: shape.neurons,
        heads: 2 * shape.kv_heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        vocab,
        context: CONTEXT,
        norm: if shape.opt { Norm::Layer } else { Norm::Rms },
        norm_eps: 1e-5,
        position: if shape.opt { Position::Learned } else { Position::Rope },
        ffn: if shape.opt { Ffn::Plain } else { Ffn::Gated },
        attention_bias: if shape.opt { AttentionBias::ALL } else { AttentionBias::NONE },
        ffn_bias: shape.opt,
        tied_head: shape.tied_head,
        activation: shape.activation,
        variant: shape.variant,
        threshold: 0.0,
    };
    let norm = |random: &mut dyn FnMut(usize, usize, f32) -> Matrix| NormWeights {
        weight: random(1, dim, 0.5).values().iter().map(|w| w + 1.0).collect(),
        bias: shape.opt.then(|| random(1, dim, 0.1).values().into_owned()),
    };
    let linear =
        |random: &mut dyn FnMut(usize, usize, f32) -> Matrix, out: usize, inputs: usize| Linear {
            weight: random(out, inputs, 1.5 / (inputs as f32).sqrt()),
            bias: shape.opt.then(|| random(1, out, 0.1).values().into_owned()),
        };
    let extra = |random: &mut dyn FnMut(usize, usize, f32) -> Matrix| {
        let mut head = || {
            let normed = shape.variant.head_norm;
            normed.then(|| random(1, head_dim, 0.5).values().iter().map(|w| w + 1.0).collect())
        };
        let (query_norm, key_norm) = (head(), head());
        let mut behind = || (shape.variant.order == Order::Around).then(|| norm(random));
        Extra { query_norm, key_norm, attention_out_norm: behind(), ffn_out_norm: behind() }
    };
    let r = &mut random;
    let layers = (0..shape.layers)
        .map(|_| Layer {
            attention_norm: norm(r),
            query: linear(r, query_dim, dim),
            key: linear(r, kv_dim, dim),
            value: linear(r, kv_dim, dim),
            output: linear(r, dim, query_dim),
            ffn_norm: norm(r),
            gate: (!shape.opt).then(|| linear(r, neurons, dim)),
            up: linear(r, neurons, dim),
            down: linear(r, dim, neurons),
            extra: extra(r),
        })
        .collect();
    Model {
        name: "tiny".to_owned(),
        config,
        rope_theta: 10_000.0,
        rope_frequencies: None,
        embed: r(vocab as usize, dim, 1.0),
        positions: shape.opt.then(|| r(CONTEXT as usize, dim, 0.3)),
        head: (!shape.tied_head).then(|| r(vocab as usize, dim, 1.0)),
        final_norm: match shape.variant.order {
            Order::After => NormWeights { weight: Vec::new(), bias: None },
            _ => norm(r),
        },
        layers,
        sparsity: None,
        tokenizer: tokenizer().clone(),
        chat_template: None,
    }
}
