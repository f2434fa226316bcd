//! The keys of the tokenizer in GGUF metadata.

use super::{Group, Rule};

pub(super) const GROUPS: &[Group] = &[
    Group {
        rule: Rule::Read,
        keys: &[
            "tokenizer.ggml.model",
            "tokenizer.ggml.pre",
            "tokenizer.ggml.tokens",
            "tokenizer.ggml.token_type",
            "tokenizer.ggml.scores",
            "tokenizer.ggml.merges",
            "tokenizer.ggml.bos_token_id",
            "tokenizer.ggml.eos_token_id",
            "tokenizer.ggml.unknown_token_id",
            "tokenizer.ggml.add_space_prefix",
            "tokenizer.chat_template",
        ],
    },
    Group {
        rule: Rule::Harmless("a copy of a tokenizer.json, of which the other keys are made"),
        keys: &["tokenizer.huggingface.json"],
    },
    Group { rule: Rule::Harmless("not told apart yet"), keys: &["tokenizer.*"] },
];
