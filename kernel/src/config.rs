//! What a model is: its dimensions and its variants, and the sizes that follow from them.
//!
//! In: the numbers of an image header or of a checkpoint. Out: [`ModelConfig`], checked. Knows
//! nothing of storage, memory or arithmetic.

mod family;
mod variant;

use family::VARIANTS;
pub use variant::{Order, Variant};

/// An enum whose variants have a byte each in an image: one table of variants, codes and names, which
/// is walked both ways.
macro_rules! coded {
    ($(#[$meta:meta])* enum $name:ident {
        $($(#[$about:meta])* $variant:ident = $code:literal, $text:literal;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum $name {
            $($(#[$about])* $variant = $code,)*
        }

        impl $name {
            /// All, in the order of their codes.
            pub const ALL: [Self; [$($code),*].len()] = [$(Self::$variant),*];

            /// Its name, for reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        /// From its code in an image.
        impl TryFrom<u8> for $name {
            /// The code, which stands for nothing.
            type Error = u8;

            fn try_from(code: u8) -> Result<Self, u8> {
                match code {
                    $($code => Ok(Self::$variant),)*
                    _ => Err(code),
                }
            }
        }
    };
}
pub(crate) use coded;

coded! {
    /// Normalisation in front of attention and FFN.
    enum Norm {
        /// `x * w / sqrt(mean(x^2) + eps)` (Llama).
        Rms = 0, "rms";
        /// `(x - mean) * w / sqrt(var + eps) + b` (OPT).
        Layer = 1, "layer";
    }
}

coded! {
    /// How a token's position reaches attention.
    enum Position {
        /// Rotary embedding of queries and keys, half-split as in Hugging Face checkpoints.
        Rope = 0, "rope";
        /// A learned vector added to the token embedding (OPT; its offset of 2 rows is cut at import).
        Learned = 1, "learned";
    }
}

coded! {
    /// The shape of a neuron.
    enum Ffn {
        /// `y += act(gate . x) * (up . x) * down`: three vectors (Llama).
        Gated = 0, "gated";
        /// `y += relu(up . x + b) * down`: two vectors (OPT).
        Plain = 1, "plain";
    }
}

coded! {
    /// What becomes of a neuron's first-layer output.
    enum Activation {
        /// `max(x, 0)`, or `x` where it is above a threshold and else 0 (FATReLU). Inactive neurons add
        /// nothing: leaving them out is exact.
        Relu = 0, "relu";
        /// `x / (1 + exp(-x))`. Neurons of which this is small are left out, which is lossy.
        Silu = 1, "silu";
        /// GELU by the hyperbolic tangent (`gelu_pytorch_tanh`). As lossy as [`Silu`](Self::Silu).
        GeluTanh = 2, "gelutanh";
        /// `max(x, 0)^2`. As exact as [`Relu`](Self::Relu).
        ReluSquared = 3, "relu2";
        /// `max(x, 0)` of the gate, and of what it is multiplied with too. As exact as
        /// [`Relu`](Self::Relu).
        ReluBoth = 4, "drelu";
    }
}

impl Activation {
    /// Whether an inactive neuron may have added something; its threshold is then its layer's.
    pub const fn lossy(self) -> bool {
        matches!(self, Self::Silu | Self::GeluTanh)
    }
}

/// Which projections of attention have biases: all of OPT's, none of Llama's, and all but the output
/// of Qwen2's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AttentionBias {
    /// Queries.
    pub query: bool,
    /// Keys.
    pub key: bool,
    /// Values.
    pub value: bool,
    /// The output.
    pub output: bool,
}

impl AttentionBias {
    /// None.
    pub const NONE: Self = Self { query: false, key: false, value: false, output: false };
    /// All.
    pub const ALL: Self = Self { query: true, key: true, value: true, output: true };
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
    /// What is done to a neuron's first-layer output.
    pub activation: Activation,
    /// What neither Llama's nor OPT's layers have.
    pub variant: Variant,
    /// Which projections of attention have biases.
    pub attention_bias: AttentionBias,
    /// Whether neurons and the FFN output have biases.
    pub ffn_bias: bool,
    /// Whether the output head is the embedding table.
    pub tied_head: bool,
    /// A neuron is active when its first-layer output is above this; 0 for ReLU, more for FATReLU.
    /// Without meaning for other activations: each layer has its own, in its record of vectors.
    pub threshold: f32,
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

    /// Refuses shapes the kernel cannot run, before anything is computed from them.
    ///
    /// # Errors
    /// The first field that is out of range. The limits keep every derived size within 32 bits.
    pub const fn check(&self) -> Result<(), ConfigError> {
        const fn err(
            field: &'static str,
            found: u32,
            expected: &'static str,
        ) -> Result<(), ConfigError> {
            Err(ConfigError { field, found, expected })
        }
        macro_rules! limits {
            ($($field:ident <= $most:literal),*) => {
                [$((stringify!($field), self.$field, $most, concat!("1 to ", stringify!($most)))),*]
            };
        }
        let limits = limits!(
            dim <= 16384,
            layers <= 256,
            neurons <= 65535,
            heads <= 256,
            kv_heads <= 256,
            head_dim <= 512,
            vocab <= 1048576,
            context <= 65536
        );
        let mut rest = limits.as_slice();
        while let [(field, found, most, expected), more @ ..] = rest {
            if *found == 0 || *found > *most {
                return err(field, *found, expected);
            }
            rest = more;
        }
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
        let plain = !matches!(self.ffn, Ffn::Gated);
        if plain && matches!(self.activation, Activation::ReluBoth) {
            return err("activation", self.activation as u32, "another where neurons are plain");
        }
        if self.activation.lossy() && plain {
            return err(
                "activation",
                self.activation as u32,
                "one with zeros where neurons are plain",
            );
        }
        // Floats from 0 on are in the order of their bits, which need no arithmetic on floats.
        let (eps, threshold) = (self.norm_eps.to_bits(), self.threshold.to_bits());
        if eps == 0 || eps >= 1f32.to_bits() {
            return err("norm_eps", eps, "between 0 and 1");
        }
        if threshold << 1 != 0 && threshold >= f32::INFINITY.to_bits() {
            return err("threshold", threshold, "0 or more, finite");
        }
        if VARIANTS {
            let (attention, logit) =
                (self.variant.attention_cap.to_bits(), self.variant.logit_cap.to_bits());
            if attention >= f32::INFINITY.to_bits() {
                return err("attention_cap", attention, "0 or more, finite");
            }
            if logit >= f32::INFINITY.to_bits() {
                return err("logit_cap", logit, "0 or more, finite");
            }
        }
        Ok(())
    }
}
