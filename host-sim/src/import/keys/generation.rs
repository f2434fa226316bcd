//! The keys of `generation_config.json`.

use super::{Group, Rule};

pub(super) const GROUPS: &[Group] = &[
    Group { rule: Rule::Read, keys: &["bos_token_id", "eos_token_id"] },
    Group {
        rule: Rule::Harmless("no text that is generated has it"),
        keys: &["pad_token_id", "decoder_start_token_id"],
    },
    Group {
        rule: Rule::Harmless(
            "how to sample is said to `ripple run`; all else is of how transformers goes on",
        ),
        keys: &["*"],
    },
];
