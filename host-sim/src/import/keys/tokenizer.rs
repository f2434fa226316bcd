//! The keys of `tokenizer.json`.

use super::{Group, Rule};

pub(super) const GROUPS: &[Group] = &[
    Group { rule: Rule::Harmless("it numbers the format"), keys: &["version"] },
    Group {
        rule: Rule::Harmless("whoever encodes sets it anew, and nothing is padded or cut off here"),
        keys: &["truncation", "padding"],
    },
    Group { rule: Rule::Inside("added_tokens"), keys: &["added_tokens"] },
    Group {
        rule: Rule::Read,
        keys: &[
            "added_tokens.id",
            "added_tokens.content",
            "added_tokens.special",
            "added_tokens.normalized",
            "added_tokens.single_word",
            "added_tokens.lstrip",
            "added_tokens.rstrip",
        ],
    },
    Group {
        rule: Rule::Typed("normalizer"),
        keys: &["normalizer", "normalizer.Sequence.normalizers"],
    },
    Group {
        rule: Rule::Read,
        keys: &[
            "normalizer.*.type",
            "normalizer.Prepend.prepend",
            "normalizer.Replace.pattern",
            "normalizer.Replace.content",
        ],
    },
    Group {
        rule: Rule::Typed("pre_tokenizer"),
        keys: &["pre_tokenizer", "pre_tokenizer.Sequence.pretokenizers"],
    },
    Group {
        rule: Rule::Read,
        keys: &[
            "pre_tokenizer.*.type",
            "pre_tokenizer.ByteLevel.add_prefix_space",
            "pre_tokenizer.ByteLevel.use_regex",
            "pre_tokenizer.Digits.individual_digits",
            "pre_tokenizer.Punctuation.behavior",
            "pre_tokenizer.Split.pattern",
            "pre_tokenizer.Split.behavior",
            "pre_tokenizer.Split.invert",
            "pre_tokenizer.Metaspace.replacement",
            "pre_tokenizer.Metaspace.prepend_scheme",
            "pre_tokenizer.Metaspace.add_prefix_space",
            "pre_tokenizer.Metaspace.split",
        ],
    },
    Group {
        rule: Rule::Harmless("it says the same as `replacement`"),
        keys: &["pre_tokenizer.Metaspace.str_rep"],
    },
    Group {
        rule: Rule::Harmless("it is of where in a text a token was, not of which it is"),
        keys: &["pre_tokenizer.ByteLevel.trim_offsets", "post_processor.ByteLevel.*"],
    },
    Group {
        rule: Rule::Typed("post_processor"),
        keys: &["post_processor", "post_processor.Sequence.processors"],
    },
    Group {
        rule: Rule::Read,
        keys: &[
            "post_processor.*.type",
            "post_processor.TemplateProcessing.single",
            "post_processor.TemplateProcessing.special_tokens",
        ],
    },
    Group {
        rule: Rule::Harmless("two texts are never encoded together"),
        keys: &["post_processor.TemplateProcessing.pair"],
    },
    Group { rule: Rule::Typed("decoder"), keys: &["decoder", "decoder.Sequence.decoders"] },
    Group {
        rule: Rule::Read,
        keys: &[
            "decoder.*.type",
            "decoder.Replace.pattern",
            "decoder.Replace.content",
            "decoder.Strip.content",
            "decoder.Strip.start",
            "decoder.Strip.stop",
        ],
    },
    Group {
        rule: Rule::Harmless("a token is shown as its bytes, the first without the space in front"),
        keys: &["decoder.ByteLevel.*", "decoder.Metaspace.*"],
    },
    Group { rule: Rule::Inside("model"), keys: &["model"] },
    Group {
        rule: Rule::Read,
        keys: &[
            "model.type",
            "model.vocab",
            "model.merges",
            "model.unk_token",
            "model.fuse_unk",
            "model.byte_fallback",
            "model.ignore_merges",
            "model.dropout",
            "model.continuing_subword_prefix",
            "model.end_of_word_suffix",
        ],
    },
];
