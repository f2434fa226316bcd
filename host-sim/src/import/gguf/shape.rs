//! A model's shape and positions, of a file's metadata.
//!
//! In: the metadata. Out: a [`ModelConfig`] and a [`Rope`], or the key that cannot be followed. Knows nothing
//! of weights but which there are.

use super::{Architecture, Gguf};
use crate::import::rope::{Rope, Scaling, yarn_gain};
use crate::import::{Options, activation};
use anyhow::{Context, Result, bail, ensure};
use ripple_kernel::config::{
    Activation, AttentionBias, Ffn, ModelConfig, Norm, Order, Position, Variant,
};

/// What each rotary frequency is divided by.
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// The keys of an architecture, which begin with its name.
pub(super) struct Keys<'f> {
    pub file: &'f Gguf,
    pub named: &'f str,
}

impl Keys<'_> {
    pub fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.named)
    }

    fn whole(&self, key: &str) -> Result<Option<u32>> {
        self.file.whole(&self.key(key))
    }

    fn required(&self, key: &str) -> Result<u32> {
        self.file.required(&self.key(key))
    }

    fn number(&self, key: &str) -> Result<Option<f32>> {
        self.file.number(&self.key(key))
    }

    /// The model's shape.
    pub fn shape(&self, architecture: Architecture, options: &Options<'_>) -> Result<ModelConfig> {
        let (file, named, shown) = (self.file, self.named, self.file.shown());
        let dim = self.required("embedding_length")?;
        let heads = self.required("attention.head_count")?;
        let head_dim = match self.whole("attention.key_length")? {
            Some(head_dim) => head_dim,
            None if heads > 0 && dim.is_multiple_of(heads) => dim / heads,
            None => bail!(
                "{shown}: `{named}.attention.head_count` is {heads}, expected a divisor of \
                 `{named}.embedding_length`, {dim}"
            ),
        };
        let value = self.whole("attention.value_length")?.unwrap_or(head_dim);
        ensure!(
            value == head_dim,
            "{shown}: `{named}.attention.value_length` is {value}, expected {head_dim}, as wide as a key"
        );
        let experts = self.whole("expert_count")?.unwrap_or(0);
        ensure!(
            experts == 0,
            "{shown}: `{named}.expert_count` is {experts}, expected 0: mixtures of experts are not supported"
        );
        let (activation, threshold) = self.activation(architecture, options)?;
        let rows = file.rows("token_embd.weight").and_then(|rows| u32::try_from(rows).ok());
        let Some(vocab) = rows else {
            bail!("{shown}: tensor `token_embd.weight` is missing; is this a whole model?");
        };
        let bias = |part: &str| file.has(&format!("blk.0.attn_{part}.bias"));
        let variant = match architecture {
            Architecture::Qwen3 => Variant { head_norm: true, ..Variant::NONE },
            Architecture::Gemma2 => Variant {
                order: Order::Around,
                attention_cap: self.number("attn_logit_softcapping")?.unwrap_or(50.0),
                logit_cap: self.number("final_logit_softcapping")?.unwrap_or(30.0),
                ..Variant::NONE
            },
            _ => Variant::NONE,
        };
        Ok(ModelConfig {
            dim,
            layers: self.required("block_count")?,
            neurons: self.required("feed_forward_length")?,
            heads,
            kv_heads: self.whole("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            vocab,
            context: self.required("context_length")?,
            norm: Norm::Rms,
            norm_eps: self.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            position: Position::Rope,
            ffn: Ffn::Gated,
            activation,
            variant,
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

    fn activation(
        &self,
        architecture: Architecture,
        options: &Options<'_>,
    ) -> Result<(Activation, f32)> {
        let (shown, key) = (self.file.shown(), self.key("hidden_activation"));
        let written = match (self.file.text(&key)?, architecture) {
            // What Gemma is.
            (None, Architecture::Gemma | Architecture::Gemma2) => Some((Activation::GeluTanh, 0.0)),
            (None, _) => None,
            (Some(name), _) => match activation::named(name) {
                Some(activation) => Some((activation, 0.0)),
                None => bail!(
                    "{shown}: `{key}` is {name}, which is not supported; supported: {}",
                    activation::NAMES.join(", ")
                ),
            },
        };
        activation::decide(&key, written, options.activation).with_context(|| shown.to_string())
    }

    /// Rotary positions of heads of `head_dim`; the checkpoint has `positions`.
    pub fn rope(&self, head_dim: u32, positions: f64) -> Result<Rope> {
        let (named, shown) = (self.named, self.file.shown());
        let theta = self.number("rope.freq_base")?.unwrap_or(10000.0);
        ensure!(
            theta > 1.0 && theta.is_finite(),
            "{shown}: `{named}.rope.freq_base` is {theta}, expected a number above 1; convert the model again"
        );
        let turned = self.whole("rope.dimension_count")?.unwrap_or(head_dim);
        ensure!(
            turned == head_dim,
            "{shown}: `{named}.rope.dimension_count` is {turned}, expected the width of a head, {head_dim}: \
             rotary positions of a part of each head are not supported"
        );
        let key = self.key("rope.scaling.type");
        let kind = self.file.text(&key)?.unwrap_or("none");
        let factor = self.number("rope.scaling.factor")?.map(f64::from);
        let factor = match factor.filter(|factor| *factor > 0.0) {
            None if kind != "none" => bail!(
                "{shown}: `{key}` is {kind}, expected `{named}.rope.scaling.factor` beside it, above 0"
            ),
            factor => factor.unwrap_or(1.0),
        };
        let mut scaling = match kind {
            "none" => Scaling::None,
            "linear" => Scaling::Linear { factor },
            "yarn" => {
                let original = self.whole("rope.scaling.original_context_length")?;
                let by_hand = self.number("rope.scaling.attn_factor")?.map_or(1.0, f64::from);
                Scaling::Yarn {
                    factor,
                    fast: 32.0,
                    slow: 1.0,
                    original: original.map_or(positions, f64::from),
                    gain: by_hand * yarn_gain(factor, 1.0),
                    whole: true,
                }
            }
            _ => bail!(
                "{shown}: `{key}` is {kind}, which is not supported; supported: none, linear, yarn"
            ),
        };
        if self.file.has(FACTORS) {
            ensure!(
                scaling == Scaling::None,
                "{shown}: tensor `{FACTORS}` and `{key}`, expected one of the two; convert the model again"
            );
            let factors = self.file.tensor(FACTORS, &[head_dim as usize / 2])?.into_held();
            ensure!(
                factors.iter().all(|factor| *factor > 0.0),
                "{shown}: tensor `{FACTORS}` holds factors of 0 or less; convert the model again"
            );
            let factors = factors.into_iter().map(f64::from).collect();
            scaling = Scaling::Factors { factors, gain: 1.0 };
        }
        Ok(Rope { theta, turned, scaling })
    }

    /// A window that holds all positions that are used changes nothing.
    pub fn refuse_window(&self, within: u32) -> Result<()> {
        let window = self.whole("attention.sliding_window")?.unwrap_or(0);
        ensure!(
            window == 0 || window >= within,
            "{}: `{}.attention.sliding_window` is {window}, expected {within} or more, as many positions as \
             are used: attention over a window is not supported; import with --context {window}",
            self.file.shown(),
            self.named
        );
        Ok(())
    }
}
