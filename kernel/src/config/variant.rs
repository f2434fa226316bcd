//! What a layer may have that neither Llama's nor OPT's have.

use super::coded;

coded! {
    /// How a layer's attention and FFN, and the norms, follow each other. `norm` is another one each time.
    enum Order {
        /// `x += attention(norm(x))`, then `x += ffn(norm(x))` (Llama, OPT).
        Before = 0, "before";
        /// `x = norm(x + attention(x))`, then `x = norm(x + ffn(x))`; none in front of the head (OPT-350m).
        After = 1, "after";
        /// `x += norm(attention(norm(x)))`, then `x += norm(ffn(norm(x)))` (Gemma 2).
        Around = 2, "around";
        /// `x += attention(norm(x)) + ffn(norm(x))` (Falcon, GPT-NeoX).
        Parallel = 3, "parallel";
    }
}

/// What a layer has that neither Llama's nor OPT's have.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Variant {
    /// How attention, FFN and norms follow each other.
    pub order: Order,
    /// Whether each head of queries and keys is normalised, with one weight for all heads, before its
    /// position is applied (Qwen 3).
    pub head_norm: bool,
    /// Whether what attention mixed, and what the neurons make of their input, is divided by its root mean
    /// square before it is multiplied with the output's rows (BitNet; the weights of these norms are in the
    /// rows).
    pub sub_norm: bool,
    /// `score = cap tanh(score / cap)` in attention; 0 for none (Gemma 2).
    pub attention_cap: f32,
    /// The same of the logits.
    pub logit_cap: f32,
}

impl Variant {
    /// Nothing: Llama's and OPT's.
    pub const NONE: Self = Self {
        order: Order::Before,
        head_norm: false,
        sub_norm: false,
        attention_cap: 0.0,
        logit_cap: 0.0,
    };

    /// Whether there is something.
    pub const fn any(&self) -> bool {
        !matches!(self.order, Order::Before)
            || self.head_norm
            || self.sub_norm
            || self.attention_cap.to_bits() != 0
            || self.logit_cap.to_bits() != 0
    }
}
