//! The keys of `special_tokens_map.json`.

use super::{Group, Rule};

pub(super) const GROUPS: &[Group] = &[
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
            "additional_special_tokens",
            "extra_special_tokens",
            "audio_token",
            "boi_token",
            "eoi_token",
            "image_token",
            "video_token",
        ],
    },
    Group { rule: Rule::Read, keys: &["special_token.content"] },
    Group {
        rule: Rule::Harmless("the tokenizer says it of the token"),
        keys: &["special_token.normalized", "special_token.special", "special_token.id"],
    },
    Group {
        rule: Rule::Only(&["\"AddedToken\""], "only tokens are named here"),
        keys: &["special_token.__type"],
    },
    Group {
        rule: Rule::Only(
            &["false"],
            "a token that takes in the spaces around it, or is not found within a word, is not supported; \
             set it to false if texts do not spell it out",
        ),
        keys: &["special_token.single_word", "special_token.lstrip", "special_token.rstrip"],
    },
];
