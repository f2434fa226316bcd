//! The keys of `tokenizer_config.json`.

use super::{Group, Rule};

pub(super) const GROUPS: &[Group] = &[
    Group {
        rule: Rule::Read,
        keys: &["tokenizer_class", "add_bos_token", "add_prefix_space", "chat_template"],
    },
    Group {
        rule: Rule::Tokens("special_token"),
        keys: &[
            "bos_token",
            "eos_token",
            "unk_token",
            "sep_token",
            "pad_token",
            "cls_token",
            "mask_token",
            "audio_token",
            "boi_token",
            "eoi_token",
            "image_token",
            "video_token",
            "additional_special_tokens",
        ],
    },
    Group {
        rule: Rule::Read,
        keys: &["extra_special_tokens", "model_specific_special_tokens", "special_token.content"],
    },
    Group {
        rule: Rule::Harmless("`added_tokens_decoder` and the tokenizer say it of the token"),
        keys: &["special_token.normalized", "special_token.special", "special_token.id"],
    },
    Group {
        rule: Rule::Only(&["\"AddedToken\""], "only tokens are named here"),
        keys: &["special_token.__type"],
    },
    Group { rule: Rule::Inside("added_tokens_decoder"), keys: &["added_tokens_decoder"] },
    Group { rule: Rule::Inside("added_token"), keys: &["added_tokens_decoder.*"] },
    Group {
        rule: Rule::Read,
        keys: &[
            "added_token.content",
            "added_token.special",
            "added_token.normalized",
            "added_token.single_word",
            "added_token.lstrip",
            "added_token.rstrip",
        ],
    },
    Group {
        rule: Rule::Only(
            &["false"],
            "a token that takes in the spaces around it, or is not found within a word, is not supported; \
             set it to false if texts do not spell it out",
        ),
        keys: &["special_token.single_word", "special_token.lstrip", "special_token.rstrip"],
    },
    Group {
        rule: Rule::Only(
            &["false"],
            "a prompt that has ended is not gone on with; set it to false",
        ),
        keys: &["add_eos_token"],
    },
    Group {
        rule: Rule::Only(&["false"], "text is read as it is written; set it to false"),
        keys: &["do_lower_case"],
    },
    Group {
        rule: Rule::Only(&["false"], "special tokens of a template are tokens; set it to false"),
        keys: &["split_special_tokens"],
    },
    Group { rule: Rule::Harmless("no text is padded"), keys: &["pad_token_id"] },
    Group {
        rule: Rule::Harmless("another file says it, which is read"),
        keys: &["vocab_size", "special_tokens_map", "model_type"],
    },
    Group {
        rule: Rule::Harmless("it is of how transformers pads texts and cuts them off"),
        keys: &[
            "max_length",
            "model_input_names",
            "model_max_length",
            "pad_to_multiple_of",
            "pad_token_type_id",
            "padding",
            "padding_side",
            "stride",
            "truncation",
            "truncation_side",
            "truncation_strategy",
        ],
    },
    Group {
        rule: Rule::Harmless(
            "it is of how transformers shows tokens, which are shown as their bytes",
        ),
        keys: &["clean_up_tokenization_spaces", "errors", "spaces_between_special_tokens"],
    },
    Group {
        rule: Rule::Harmless("transformers makes tokenizer.json by it, which is read as it is"),
        keys: &["legacy", "sp_model_kwargs", "from_slow", "use_fast", "fix_mistral_regex"],
    },
    Group {
        rule: Rule::Harmless("transformers puts it into chats where none is given"),
        keys: &["use_default_system_prompt"],
    },
    Group {
        rule: Rule::Harmless("it names a program or a file"),
        keys: &[
            "auto_map",
            "backend",
            "device_map",
            "is_local",
            "local_files_only",
            "merges_file",
            "name_or_path",
            "processor_class",
            "response_schema",
            "special_tokens_map_file",
            "tokenizer_file",
            "trust_remote_code",
            "use_auth_token",
            "vocab_file",
        ],
    },
];
