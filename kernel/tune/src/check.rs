//! What can be trained at all.
//!
//! In: a model, options. Out: an error that names the option that cannot be.

use crate::arms::{AttentionTape, Choice, FfnTape, InputTape, Keep, Store};
use crate::error::TuneOpenError;
use crate::options::{Gradients, Optimiser, TuneOptions};
use ripple_kernel::{Activation, ModelConfig};

/// Refuses options that cannot be. Every field of a model is named here, so that one that is added to it
/// does not go unnoticed.
pub(crate) fn check<E>(
    config: &ModelConfig,
    options: &TuneOptions,
) -> Result<(), TuneOpenError<E>> {
    let ModelConfig {
        dim: _,
        layers: _,
        neurons: _,
        heads: _,
        kv_heads: _,
        head_dim: _,
        vocab: _,
        context: _,
        norm: _,
        norm_eps: _,
        position: _,
        ffn: _,
        activation,
        variant,
        attention_bias: _,
        ffn_bias: _,
        tied_head: _,
        threshold: _,
    } = config;
    let error = |option, found, expected| Err(TuneOpenError::Option { option, found, expected });
    if variant.any() {
        return error("model.variant", variant.order as u32, "none: layers of Llama's or OPT's");
    }
    if matches!(activation, Activation::ReluSquared | Activation::ReluBoth) {
        return error("model.activation", *activation as u32, "ReLU, SiLU or GELU");
    }
    if options.rank == 0 || options.rank > 256 {
        return error("rank", options.rank, "1 to 256");
    }
    if options.tokens == 0 {
        return error("tokens", 0, "at least 1");
    }
    if options.targets.code() == 0 {
        return error("targets", 0, "at least one of q, k, v, o");
    }
    let arms = options.arms;
    if let AttentionTape::Kept { values: Store::Bytes, .. } = arms.attention {
        return error(
            "arms.attention.values",
            8,
            "16 bits or all: in 8 they have no scale in common",
        );
    }
    match (arms.input, arms.attention) {
        (InputTape::Recovered, AttentionTape::Kept { middle: Store::Full, .. })
        | (InputTape::Kept(_), _) => {}
        (InputTape::Recovered, _) => {
            return error("arms.input", 0, "kept, or all of what is behind attention kept");
        }
    }
    if let FfnTape::Columns(columns) = arms.ffn
        && !(1..=1000).contains(&columns.keep_permille)
    {
        return error("arms.ffn", columns.keep_permille, "1 to 1000 thousandths of the neurons");
    }
    if let (Gradients::Sampled { eps }, optimiser) = (options.gradients, options.optimiser) {
        if eps.is_nan() || eps <= 0.0 {
            return error("gradients", 0, "eps above 0");
        }
        if optimiser.moments() > 0 {
            return error("optimiser", optimiser.moments(), "no moments: gradients are sampled");
        }
    }
    if let Some(e) = arms.elimination {
        if e.choice == Choice::Ahead && e.keep != Keep::Threshold {
            return error(
                "arms.elimination.keep",
                0,
                "a threshold: a share of all blocks depends on later ones",
            );
        }
        if e.choice == Choice::Before && e.first == 0 {
            return error("arms.elimination.first", 0, "at least 1: layer 0 has none before it");
        }
        if e.block == 0 || e.keep_permille > 1000 {
            return error(
                "arms.elimination",
                e.keep_permille,
                "blocks of tokens, 0 to 1000 thousandths",
            );
        }
        if arms.input == InputTape::Recovered {
            return error("arms.elimination", e.keep_permille, "layers' inputs kept");
        }
    }
    if let Optimiser::AdamW { beta1, beta2, eps, .. } = options.optimiser {
        let within = |beta: f32| (0.0..1.0).contains(&beta);
        if !within(beta1) || !within(beta2) || eps.is_nan() || eps <= 0.0 {
            return error("optimiser", 0, "betas from 0 to below 1, eps above 0");
        }
    }
    Ok(())
}
