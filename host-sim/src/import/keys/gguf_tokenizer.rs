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
            "tokenizer.ggml.eot_token_id",
            "tokenizer.ggml.eom_token_id",
            "tokenizer.ggml.unknown_token_id",
            "tokenizer.ggml.padding_token_id",
            "tokenizer.ggml.separator_token_id",
            "tokenizer.ggml.seperator_token_id",
            "tokenizer.ggml.cls_token_id",
            "tokenizer.ggml.mask_token_id",
            "tokenizer.ggml.add_bos_token",
            "tokenizer.ggml.add_space_prefix",
            "tokenizer.chat_template",
        ],
    },
    Group {
        rule: Rule::Only(
            &["false"],
            "a prompt that has ended is not gone on with; set it to false with gguf-set-metadata of the \
             Python package gguf",
        ),
        keys: &["tokenizer.ggml.add_eos_token"],
    },
    Group {
        rule: Rule::Only(
            &["false"],
            "only single texts are encoded; it is of models that rank pairs",
        ),
        keys: &["tokenizer.ggml.add_sep_token"],
    },
    Group {
        rule: Rule::Only(&["false"], "spaces are kept as they are"),
        keys: &["tokenizer.ggml.remove_extra_whitespaces"],
    },
    Group {
        rule: Rule::Refused("text is not normalised by a map; take a model with a BPE tokenizer"),
        keys: &["tokenizer.ggml.precompiled_charsmap"],
    },
    Group {
        rule: Rule::Harmless("only single texts are encoded; it is of models that read pairs"),
        keys: &["tokenizer.ggml.token_type_count"],
    },
    Group {
        rule: Rule::Harmless(
            "it marks a gap that a model fills in, for which there is no command; in a prompt it is a token",
        ),
        keys: &[
            "tokenizer.ggml.prefix_token_id",
            "tokenizer.ggml.suffix_token_id",
            "tokenizer.ggml.middle_token_id",
            "tokenizer.ggml.fim_pre_token_id",
            "tokenizer.ggml.fim_suf_token_id",
            "tokenizer.ggml.fim_mid_token_id",
            "tokenizer.ggml.fim_pad_token_id",
            "tokenizer.ggml.fim_rep_token_id",
            "tokenizer.ggml.fim_sep_token_id",
        ],
    },
    Group {
        rule: Rule::Harmless("templates for other uses than a chat"),
        keys: &["tokenizer.chat_templates", "tokenizer.chat_template.*"],
    },
    Group {
        rule: Rule::Harmless("a copy of the vocabulary, of which the other keys are made"),
        keys: &["tokenizer.huggingface.json", "tokenizer.rwkv.world"],
    },
];
