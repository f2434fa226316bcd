//! What each architecture of `config.json` is, and what of it is not said there.
//!
//! In: its name. Out: the family. A family is a row here, a test's checkpoint, and nothing else where its
//! parts are those of others.

use anyhow::{Result, bail};
use ripple_kernel::config::AttentionBias;

/// A family of models, by what its checkpoints call their tensors and what is computed besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Llama, and what has its shape.
    Llama,
    /// Llama's, within a window.
    Mistral,
    /// Llama's, with biases of queries, keys and values.
    Qwen2,
    /// Llama's, with norms of heads.
    Qwen3,
    /// Llama's, with ReLU of gate and up.
    Bamboo,
    /// Llama's, with scales of embeddings, branches and logits.
    MiniCpm,
    /// The same under other names, and one of scores.
    Granite,
    /// Llama's, with plain neurons of squared ReLU.
    Arcee,
    /// Llama's, with norms of what goes to the outputs.
    BitNet,
    /// Llama's, with scaled embeddings, GELU gates and norms of `1 + w`.
    Gemma,
    /// Gemma's, with norms behind each branch and soft caps.
    Gemma2,
    /// LayerNorm of `1 + w`, half of each head turned, plain neurons of squared ReLU.
    Nemotron,
    /// LayerNorm, learned positions, plain neurons.
    Opt,
    /// LayerNorm, plain neurons, attention and FFN side by side, on fused weights.
    Falcon {
        /// Keys and values stand behind the queries of their group.
        grouped: bool,
        /// Norms of a layer.
        norms: u8,
    },
}

/// What an architecture has that its configuration does not say.
pub(super) struct Shape {
    /// Queries, keys and values have biases.
    pub bias: Option<AttentionBias>,
    /// Positions that attention sees where nothing is said.
    pub window: Option<u32>,
    /// Whether a window that is said is used where nothing is said of that.
    pub slides: bool,
    /// Part of a head that is turned where nothing is said.
    pub turned: f32,
    /// Whether the head is the embedding where nothing is said.
    pub tied: bool,
}

const QKV: AttentionBias = AttentionBias { query: true, key: true, value: true, output: false };

/// Names in `architectures`, and in `model_type` where that is missing.
const KNOWN: [(&str, &str, Family); 15] = [
    ("LlamaForCausalLM", "llama", Family::Llama),
    // ProSparse's, and PowerInfer's ReLU models.
    ("SparseLlamaForCausalLM", "sparsellama", Family::Llama),
    ("MistralForCausalLM", "mistral", Family::Mistral),
    ("Qwen2ForCausalLM", "qwen2", Family::Qwen2),
    ("Qwen3ForCausalLM", "qwen3", Family::Qwen3),
    ("BambooForCausalLM", "bamboo", Family::Bamboo),
    ("MiniCPMForCausalLM", "minicpm", Family::MiniCpm),
    ("GraniteForCausalLM", "granite", Family::Granite),
    ("ArceeForCausalLM", "arcee", Family::Arcee),
    ("BitNetForCausalLM", "bitnet", Family::BitNet),
    ("GemmaForCausalLM", "gemma", Family::Gemma),
    ("Gemma2ForCausalLM", "gemma2", Family::Gemma2),
    ("NemotronForCausalLM", "nemotron", Family::Nemotron),
    ("OPTForCausalLM", "opt", Family::Opt),
    // What else it is, its configuration says.
    ("FalconForCausalLM", "falcon", Family::Falcon { grouped: false, norms: 1 }),
];

/// What names of other architectures begin with, and why they stay out.
const OTHERS: [(&str, &str); 17] = [
    ("Gemma3", "it turns positions by the type of a layer; take a Gemma 2"),
    ("Gemma", "it has parts of its own; take a Gemma 2"),
    ("Mixtral", "it is a mixture of experts; take a dense model"),
    ("Qwen2Moe", "it is a mixture of experts; take a dense Qwen2"),
    ("Qwen3Moe", "it is a mixture of experts; take a dense Qwen3"),
    ("SmallThinker", "it is a mixture of experts, routed before attention; take a dense model"),
    ("Granitemoe", "it is a mixture of experts; take a dense Granite"),
    ("GraniteMoe", "it is a mixture of experts; take a dense Granite"),
    ("SmolLM3", "some of its layers have no positions; take a SmolLM2"),
    ("Falcon", "it has parts that no transformer has; take a Falcon of 2023"),
    ("GPTNeoX", "its neurons are GELU without a gate, never 0; take a ReLU model"),
    (
        "GPTNeo",
        "its neurons are GELU without a gate, never 0; take a ReLU model, or a TinyStories model in Llama's form",
    ),
    ("GPT2", "its neurons are GELU without a gate, never 0; take an OPT of that size"),
    ("Phi", "its weights are fused, or its neurons GELU without a gate; take a Qwen2 or a Llama"),
    ("StableLm", "its norms and positions are mixed in its own way; take a Qwen2 or a Llama"),
    ("Cohere", "attention and FFN stand side by side; take a Llama"),
    ("Bloom", "its positions are ALiBi; take an OPT"),
];

impl Family {
    /// The family of an architecture.
    ///
    /// # Errors
    /// With the reason, and what else to take, where it is known not to be one; or with those that are.
    pub fn of(name: &str) -> Result<Self> {
        let known = KNOWN.iter().find(|(class, kind, _)| *class == name || *kind == name);
        if let Some((.., family)) = known {
            return Ok(*family);
        }
        let same = |prefix: &str| name.to_lowercase().starts_with(&prefix.to_lowercase());
        if let Some((_, why)) = OTHERS.iter().find(|(prefix, _)| same(prefix)) {
            bail!("`architectures` is {name}, which is not supported: {why}");
        }
        let classes: Vec<_> = KNOWN.iter().map(|(class, ..)| *class).collect();
        bail!(
            "`architectures` is {name}, which is not supported; supported: {}; if it is one of them under \
             another name, change it in the file",
            classes.join(", ")
        )
    }

    pub(super) fn shape(self) -> Shape {
        let llama = Shape { bias: None, window: None, slides: true, turned: 1.0, tied: false };
        match self {
            Self::Mistral => Shape { window: Some(4096), ..llama },
            Self::Qwen2 => Shape { bias: Some(QKV), slides: false, ..llama },
            Self::Qwen3 => Shape { slides: false, ..llama },
            Self::Gemma | Self::Gemma2 => Shape { tied: true, ..llama },
            Self::MiniCpm => Shape { tied: true, ..llama },
            Self::Nemotron => Shape { turned: 0.5, ..llama },
            _ => llama,
        }
    }

    /// Whether neurons have one matrix in front, called `up_proj`.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Arcee | Self::Nemotron | Self::Opt | Self::Falcon { .. })
    }
}
