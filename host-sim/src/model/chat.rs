//! How a conversation with a model is written down.
//!
//! In: what a checkpoint says. Out: bytes for the end of an image, and back. Knows nothing of Jinja.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The names that templates have for special tokens.
pub const TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A template, and the tokens that it may name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatTemplate {
    /// Jinja.
    pub template: String,
    /// Texts of special tokens by the names that templates have for them, [`TOKENS`] and those that a model
    /// has besides; those that the tokenizer has not are not there. All are missing where nothing was said
    /// of any.
    pub tokens: BTreeMap<String, String>,
}
