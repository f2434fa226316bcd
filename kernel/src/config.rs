//! What a model is: its dimensions and its variants, and the sizes that follow from them.
//!
//! In: the numbers of an image header or of a checkpoint. Out: [`ModelConfig`], checked. Knows
//! nothing of storage, memory or arithmetic.

/// Normalisation in front of attention and FFN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Norm {
    /// `x * w / sqrt(mean(x^2) + eps)` (Llama).
    Rms,
    /// `(x - mean) * w / sqrt(var + eps) + b` (OPT).
    Layer,
}

/// How a token's position reaches attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Position {
    /// Rotary embedding of queries and keys, half-split as in Hugging Face checkpoints.
    Rope,
    /// A learned vector added to the token embedding (OPT; its offset of 2 rows is cut at import).
    Learned,
}

/// The shape of a neuron.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Ffn {
    /// `y += act(gate . x) * (up . x) * down`: three vectors (Llama).
    Gated,
    /// `y += relu(up . x + b) * down`: two vectors (OPT).
    Plain,
}

/// What becomes of a neuron's first-layer output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Activation {
    /// `max(x, 0)`, or `x` where it is above a threshold and else 0 (FATReLU). Inactive neurons add
    /// nothing: leaving them out is exact.
    Relu,
    /// `x / (1 + exp(-x))`. Neurons of which this is small are left out, which is lossy.
    Silu,
    /// GELU by the hyperbolic tangent (`gelu_pytorch_tanh`). As lossy as [`Silu`](Self::Silu).
    GeluTanh,
}

impl Activation {
    /// Whether an inactive neuron may have added something; its threshold is then its layer's.
    pub const fn lossy(self) -> bool {
        !matches!(self, Self::Relu)
    }
}

const LLAMA: bool = cfg!(feature = "llama");
const OPT: bool = cfg!(feature = "opt");
const GATED: bool = cfg!(feature = "gated");

/// What a model has of two families' variants: `found`, or, where one family alone is compiled in, its
/// variant. The header was refused if that is another, and the compiler drops the code for the other.
const fn variant<T: Copy>(found: T, llama: T, opt: T) -> T {
    match (LLAMA, OPT) {
        (true, false) => llama,
        (false, true) => opt,
        _ => found,
    }
}

/// A model, as the kernel needs to know it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub dim: u32,
    /// Transformer layers.
    pub layers: u32,
    /// FFN neurons of one layer.
    pub neurons: u32,
    /// Query heads.
    pub heads: u32,
    /// Key/value heads; divides `heads`.
    pub kv_heads: u32,
    /// Width of one head; even where positions are rotary.
    pub head_dim: u32,
    /// Tokens in the vocabulary.
    pub vocab: u32,
    /// Most positions the model was trained for.
    pub context: u32,
    /// Normalisation.
    pub norm: Norm,
    /// `eps` of the normalisation.
    pub norm_eps: f32,
    /// Positions.
    pub position: Position,
    /// Shape of a neuron.
    pub ffn: Ffn,
    /// What is done to a neuron's first-layer output; other than ReLU in gated neurons only.
    pub activation: Activation,
    /// Whether the query, key, value and output projections have biases.
    pub attention_bias: bool,
    /// Whether neurons and the FFN output have biases.
    pub ffn_bias: bool,
    /// Whether the output head is the embedding table.
    pub tied_head: bool,
    /// A neuron is active when its first-layer output is above this; 0 for ReLU, more for FATReLU.
    /// Without meaning for other activations: each layer has its own, in its record of vectors.
    pub threshold: f32,
    /// Token that begins a text.
    pub bos: u32,
    /// Token that ends a text.
    pub eos: u32,
}

/// A model shape that cannot be run: which field, what it holds, what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("`{field}` of the model is {found}, expected {expected}")]
pub struct ConfigError {
    /// The field's name.
    pub field: &'static str,
    /// What it holds.
    pub found: u32,
    /// What it must be, in words.
    pub expected: &'static str,
}

impl ModelConfig {
    /// Width of the concatenated query heads: `heads * head_dim`.
    pub const fn query_dim(&self) -> u32 {
        self.heads * self.head_dim
    }

    /// Width of the concatenated key (or value) heads: `kv_heads * head_dim`.
    pub const fn kv_dim(&self) -> u32 {
        self.kv_heads * self.head_dim
    }

    /// Vectors in a whole bundle: 3 gated, 2 plain.
    pub const fn bundle_rows(&self) -> u32 {
        match self.ffn() {
            Ffn::Gated => 3,
            Ffn::Plain => 2,
        }
    }

    /// The normalisation that this build computes.
    pub(crate) const fn norm(&self) -> Norm {
        variant(self.norm, Norm::Rms, Norm::Layer)
    }

    /// The positions that this build computes.
    pub(crate) const fn position(&self) -> Position {
        variant(self.position, Position::Rope, Position::Learned)
    }

    /// The neurons that this build computes.
    pub(crate) const fn ffn(&self) -> Ffn {
        variant(self.ffn, Ffn::Gated, Ffn::Plain)
    }

    /// The activation that this build computes.
    pub(crate) const fn activation(&self) -> Activation {
        if GATED { self.activation } else { Activation::Relu }
    }

    /// The feature of this crate that the model needs and this build lacks.
    pub const fn missing_feature(&self) -> Option<&'static str> {
        let llama = matches!(self.norm, Norm::Rms)
            || matches!(self.position, Position::Rope)
            || matches!(self.ffn, Ffn::Gated);
        let opt = matches!(self.norm, Norm::Layer)
            || matches!(self.position, Position::Learned)
            || matches!(self.ffn, Ffn::Plain);
        if llama && !LLAMA {
            Some("llama")
        } else if opt && !OPT {
            Some("opt")
        } else if self.activation.lossy() && !GATED {
            Some("gated")
        } else {
            None
        }
    }

    /// Refuses shapes the kernel cannot run, before anything is computed from them.
    ///
    /// # Errors
    /// The first field that is out of range. The limits keep every derived size within 32 bits.
    pub const fn check(&self) -> Result<(), ConfigError> {
        const fn within(
            field: &'static str,
            found: u32,
            most: u32,
            expected: &'static str,
        ) -> Result<(), ConfigError> {
            if found == 0 || found > most {
                Err(ConfigError { field, found, expected })
            } else {
                Ok(())
            }
        }
        const fn err(
            field: &'static str,
            found: u32,
            expected: &'static str,
        ) -> Result<(), ConfigError> {
            Err(ConfigError { field, found, expected })
        }
        macro_rules! check {
            ($($field:ident <= $most:literal),*) => {
                $(if let Err(e) = within(stringify!($field), self.$field, $most,
                    concat!("1 to ", stringify!($most))) { return Err(e); })*
            };
        }
        check!(
            dim <= 16384,
            layers <= 256,
            neurons <= 65535,
            heads <= 256,
            kv_heads <= 256,
            head_dim <= 512,
            vocab <= 1048576,
            context <= 65536
        );
        if !self.dim.is_multiple_of(4) {
            return err("dim", self.dim, "a multiple of 4");
        }
        if !self.head_dim.is_multiple_of(4) {
            return err("head_dim", self.head_dim, "a multiple of 4");
        }
        if self.query_dim() > 16384 {
            return err("heads", self.heads, "heads * head_dim at most 16384");
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return err("kv_heads", self.kv_heads, "a divisor of heads");
        }
        if self.bos >= self.vocab {
            return err("bos", self.bos, "less than vocab");
        }
        if self.eos >= self.vocab {
            return err("eos", self.eos, "less than vocab");
        }
        if self.activation.lossy() && !matches!(self.ffn, Ffn::Gated) {
            return err("activation", self.activation as u32, "ReLU where neurons are plain");
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return err("norm_eps", self.norm_eps.to_bits(), "between 0 and 1");
        }
        if !(self.threshold >= 0.0 && self.threshold < f32::INFINITY) {
            return err("threshold", self.threshold.to_bits(), "0 or more, finite");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(norm: Norm, position: Position, ffn: Ffn) -> ModelConfig {
        ModelConfig {
            dim: 8,
            layers: 1,
            neurons: 4,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            vocab: 10,
            context: 16,
            norm,
            norm_eps: 1e-5,
            position,
            ffn,
            activation: Activation::Relu,
            attention_bias: false,
            ffn_bias: false,
            tied_head: true,
            threshold: 0.0,
            bos: 0,
            eos: 1,
        }
    }

    #[test]
    fn a_model_names_the_feature_that_is_missing() {
        let llama = model(Norm::Rms, Position::Rope, Ffn::Gated);
        let opt = model(Norm::Layer, Position::Learned, Ffn::Plain);
        let both = model(Norm::Rms, Position::Learned, Ffn::Gated);
        let needs = |feature, there: bool| (!there).then_some(feature);
        assert_eq!(llama.missing_feature(), needs("llama", LLAMA));
        assert_eq!(opt.missing_feature(), needs("opt", OPT));
        assert_eq!(both.missing_feature(), needs("llama", LLAMA).or(needs("opt", OPT)));
        // What is compiled in is what runs.
        if LLAMA {
            assert_eq!((llama.norm(), llama.bundle_rows()), (Norm::Rms, 3));
        }
        if OPT {
            assert_eq!((opt.norm(), opt.bundle_rows()), (Norm::Layer, 2));
        }
    }
}
