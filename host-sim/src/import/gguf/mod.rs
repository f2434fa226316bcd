//! GGUF files: weights, shape, vocabulary and chat template in one.
//!
//! In: a path. Out: a [`Model`], or what in the file cannot be run, and what to do. Architectures:
//! `llama`, whose query and key rows llama.cpp stores in another order.

pub(super) mod chat;
pub(super) mod file;
pub(super) mod quants;
mod vocabulary;

use super::rotary::halves_of_neighbours;
use super::{Options, activation};
use crate::model::{self, Model};
use anyhow::{Context, Result, bail, ensure};
use file::{Gguf, Value};
use ripple_kernel::config::{AttentionBias, Ffn, ModelConfig, Norm, Position};
use std::collections::BTreeSet;
use std::path::Path;

/// Reads `path`.
pub(super) fn import(path: &Path, options: &Options<'_>) -> Result<Model> {
    let file = Gguf::open(path)?;
    let shown = file.shown();
    let architecture = file.text("general.architecture")?.unwrap_or("missing");
    ensure!(
        architecture == "llama",
        "{shown}: `general.architecture` is {architecture}, which is not supported; supported: llama \
         (Llama, Mistral, SmolLM and others of that shape)"
    );
    file.check_keys(architecture, options.allowed).with_context(|| shown.to_string())?;
    let mut config = shape(&file, options)?;
    let name = |field| match field {
        "dim" => "llama.embedding_length",
        "layers" => "llama.block_count",
        "neurons" => "llama.feed_forward_length",
        "heads" => "llama.attention.head_count",
        "kv_heads" => "llama.attention.head_count_kv",
        "head_dim" => "llama.attention.key_length",
        "context" => "llama.context_length",
        "norm_eps" => "llama.attention.layer_norm_rms_epsilon",
        "bos" => "tokenizer.ggml.bos_token_id",
        "eos" => "tokenizer.ggml.eos_token_id",
        other => other,
    };
    super::check(&mut config, options, name).with_context(|| shown.to_string())?;
    let theta = file.number("llama.rope.freq_base")?.unwrap_or(10000.0);
    ensure!(
        theta > 1.0 && theta.is_finite(),
        "{shown}: `llama.rope.freq_base` is {theta}, expected a number above 1; convert the model again"
    );
    let tokenizer = vocabulary::read(&file)?;
    ensure!(
        tokenizer.len() <= config.vocab as usize,
        "{shown}: {} tokens, but tensor `token_embd.weight` has {} rows; convert the model again",
        tokenizer.len(),
        config.vocab
    );
    let mut used = BTreeSet::new();
    let weights = model::build(&config, &mut |name, shape| {
        let theirs = translate(name);
        // Where only some of the projections have a bias.
        if theirs.ends_with(".bias") && !file.has(&theirs) {
            return Ok(vec![0.0; shape.iter().product()]);
        }
        let values = file.tensor(&theirs, shape)?;
        let cols = shape.get(1).copied().unwrap_or(1);
        let rotated = theirs.contains(".attn_q.") || theirs.contains(".attn_k.");
        used.insert(theirs);
        Ok(match rotated {
            true => halves_of_neighbours(&values, config.head_dim as usize, cols),
            false => values,
        })
    })?;
    if let Some(name) = file.names().find(|name| !used.contains(*name)) {
        bail!(
            "{shown}: tensor `{name}` has no place in a model of Llama's shape; models with scaled rotary \
             positions, experts or more are not supported"
        );
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = file.text("general.name")?.unwrap_or(&stem).to_owned();
    let chat_template = chat::template(&file)?;
    let model = Model::new(name, config, theta, weights, tokenizer);
    Ok(Model { chat_template, ..model })
}

/// The model's shape, of the file's metadata.
fn shape(file: &Gguf, options: &Options<'_>) -> Result<ModelConfig> {
    let shown = file.shown();
    let dim = file.required("llama.embedding_length")?;
    let heads = file.required("llama.attention.head_count")?;
    let head_dim = match file.whole("llama.attention.key_length")? {
        Some(head_dim) => head_dim,
        None if heads > 0 && dim.is_multiple_of(heads) => dim / heads,
        None => bail!(
            "{shown}: `llama.attention.head_count` is {heads}, expected a divisor of \
             `llama.embedding_length`, {dim}"
        ),
    };
    let turned = file.whole("llama.rope.dimension_count")?.unwrap_or(head_dim);
    ensure!(
        turned == head_dim,
        "{shown}: `llama.rope.dimension_count` is {turned}, expected the width of a head, {head_dim}: \
         rotary positions of a part of each head are not supported"
    );
    let scaling = file.text("llama.rope.scaling.type")?.unwrap_or("none");
    ensure!(
        scaling == "none",
        "{shown}: `llama.rope.scaling.type` is {scaling}, expected none: scaled rotary positions are not \
         supported"
    );
    let experts = file.whole("llama.expert_count")?.unwrap_or(0);
    ensure!(
        experts == 0,
        "{shown}: `llama.expert_count` is {experts}, expected 0: mixtures of experts are not supported"
    );
    let key = "llama.hidden_activation";
    let written = match file.text(key)? {
        None => None,
        Some(name) => match activation::named(name) {
            Some(activation) => Some((activation, 0.0)),
            None => bail!(
                "{shown}: `{key}` is {name}, which is not supported; supported: {}",
                activation::NAMES.join(", ")
            ),
        },
    };
    let (activation, threshold) =
        activation::decide(key, written, options.activation).with_context(|| shown.to_string())?;
    let rows = file.rows("token_embd.weight").and_then(|rows| u32::try_from(rows).ok());
    let Some(vocab) = rows else {
        bail!("{shown}: tensor `token_embd.weight` is missing; is this a whole model?");
    };
    let bias = |part: &str| file.has(&format!("blk.0.attn_{part}.bias"));
    Ok(ModelConfig {
        dim,
        layers: file.required("llama.block_count")?,
        neurons: file.required("llama.feed_forward_length")?,
        heads,
        kv_heads: file.whole("llama.attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab,
        context: file.required("llama.context_length")?,
        norm: Norm::Rms,
        norm_eps: file.number("llama.attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
        position: Position::Rope,
        ffn: Ffn::Gated,
        activation,
        attention_bias: AttentionBias {
            query: bias("q"),
            key: bias("k"),
            value: bias("v"),
            output: bias("output"),
        },
        ffn_bias: false,
        tied_head: !file.has("output.weight"),
        threshold,
    })
}

/// The file's name for a tensor of [`model::build`].
fn translate(name: &str) -> String {
    let (path, kind) = name.rsplit_once('.').unwrap_or((name, "weight"));
    let layer = path.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
    let part = match layer.map_or(path, |(_, part)| part) {
        "embed" => "token_embd",
        "head" => "output",
        "final_norm" => "output_norm",
        "attention_norm" => "attn_norm",
        "query" => "attn_q",
        "key" => "attn_k",
        "value" => "attn_v",
        "output" => "attn_output",
        "gate" => "ffn_gate",
        "up" => "ffn_up",
        "down" => "ffn_down",
        other => other,
    };
    match layer {
        Some((layer, _)) => format!("blk.{layer}.{part}.{kind}"),
        None => format!("{part}.{kind}"),
    }
}
