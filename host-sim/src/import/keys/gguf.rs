//! The keys of GGUF metadata but for those of the tokenizer.

use super::{Group, Rule};

pub(super) const GROUPS: &[Group] = &[
    Group {
        rule: Rule::Read,
        keys: &[
            "general.architecture",
            "general.name",
            "general.alignment",
            "ARCH.embedding_length",
            "ARCH.block_count",
            "ARCH.feed_forward_length",
            "ARCH.context_length",
            "ARCH.hidden_activation",
            "ARCH.attention.head_count",
            "ARCH.attention.head_count_kv",
            "ARCH.attention.key_length",
            "ARCH.attention.value_length",
            "ARCH.attention.sliding_window",
            "ARCH.attn_logit_softcapping",
            "ARCH.final_logit_softcapping",
            "ARCH.attention.layer_norm_rms_epsilon",
            "ARCH.rope.dimension_count",
            "ARCH.rope.freq_base",
            "ARCH.rope.scaling.type",
            "ARCH.rope.scaling.factor",
            "ARCH.rope.scaling.original_context_length",
            "ARCH.rope.scaling.attn_factor",
            "ARCH.expert_count",
        ],
    },
    Group {
        rule: Rule::Harmless("every tensor says its own type"),
        keys: &["general.file_type", "general.quantization_version"],
    },
    Group {
        rule: Rule::Harmless("it tells where the model is from"),
        keys: &["general.*", "quantize.*"],
    },
    Group { rule: Rule::Harmless("the tensors say it"), keys: &["ARCH.vocab_size"] },
    Group {
        rule: Rule::Harmless("it tells how positions came to be scaled"),
        keys: &["ARCH.rope.scaling.finetuned"],
    },
    Group {
        rule: Rule::Only(&["1"], "an older way to scale positions; convert the model again"),
        keys: &["ARCH.rope.scale_linear"],
    },
    Group {
        rule: Rule::Harmless("it names the order of rows, which the architecture says"),
        keys: &["ARCH.tensor_data_layout"],
    },
    Group {
        rule: Rule::Only(&["0"], "mixtures of experts are not supported"),
        keys: &["ARCH.expert_used_count"],
    },
    Group {
        rule: Rule::Only(
            &["0", "1"],
            "a part of a model; join the parts with llama-gguf-split --merge",
        ),
        keys: &["split.count"],
    },
    Group {
        rule: Rule::Harmless("a file that is whole has one part"),
        keys: &["split.no", "split.tensors.count"],
    },
];
