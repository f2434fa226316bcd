//! The names of activations, in checkpoints and on the command line.
//!
//! In: a name, or what a checkpoint and a person say of one. Out: the activation and its threshold. Knows
//! nothing of files.

use anyhow::{Result, bail};
use ripple_kernel::config::Activation;

/// The names that are known, the usual one of each activation first.
pub(super) const NAMES: [&str; 8] =
    ["relu", "relu2", "drelu", "silu", "gelu_pytorch_tanh", "swish", "gelu_new", "gelu_tanh"];

/// The activation of a name.
pub(super) fn named(name: &str) -> Option<Activation> {
    match name {
        "relu" => Some(Activation::Relu),
        "relu2" => Some(Activation::ReluSquared),
        "drelu" => Some(Activation::ReluBoth),
        "silu" | "swish" => Some(Activation::Silu),
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_tanh" => Some(Activation::GeluTanh),
        _ => None,
    }
}

/// What the checkpoint says, or else the person.
///
/// # Errors
/// When neither does, or the two differ.
pub(super) fn decide(
    key: &str,
    written: Option<(Activation, f32)>,
    said: Option<(Activation, f32)>,
) -> Result<(Activation, f32)> {
    match (written, said) {
        (Some(written), Some(said)) if written != said => bail!(
            "`{key}` is {}, --activation {}; the file says what the model was trained with: leave the \
             option out",
            shown(written),
            shown(said)
        ),
        (Some(activation), _) | (None, Some(activation)) => Ok(activation),
        (None, None) => bail!(
            "`{key}` is missing, so the file does not say what its neurons do; say what the model was \
             trained with: --activation silu (Llama, Mistral, SmolLM, Qwen), --activation relu (ReluLLaMA), --activation fatrelu=0.01 (ProSparse), --activation drelu (Bamboo)"
        ),
    }
}

fn shown((activation, threshold): (Activation, f32)) -> String {
    match threshold {
        0.0 => activation.name().to_owned(),
        threshold => format!("fatrelu={threshold}"),
    }
}
