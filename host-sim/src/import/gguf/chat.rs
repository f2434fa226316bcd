//! The chat template in the metadata.
//!
//! In: an open file. Out: the template, and the texts of the tokens that it may name. Knows nothing of
//! weights, or of Jinja.

use super::file::Gguf;
use super::value::Value;
use crate::model::chat::{ChatTemplate, TOKENS};
use anyhow::Result;
use std::collections::BTreeMap;

/// What the format calls each of [`TOKENS`]; one in two spellings.
const KEYS: [&[&str]; TOKENS.len()] = [
    &["bos"],
    &["eos"],
    &["unknown"],
    &["seperator", "separator"],
    &["padding"],
    &["cls"],
    &["mask"],
];

/// The template, with the special tokens that it may name; `None` where the file has none.
pub(crate) fn template(file: &Gguf) -> Result<Option<ChatTemplate>> {
    let Some(template) = file.text("tokenizer.chat_template")? else { return Ok(None) };
    let all = file.list("tokenizer.ggml.tokens")?;
    let mut tokens = BTreeMap::new();
    let keys = TOKENS.into_iter().zip(KEYS);
    for (name, key) in keys.flat_map(|(name, keys)| keys.iter().map(move |key| (name, key))) {
        let key = format!("tokenizer.ggml.{key}_token_id");
        // What is no number of a token stands for none, as -1 does.
        let Some(Value::Whole(id)) = file.get(&key) else { continue };
        let id = usize::try_from(id).ok();
        if let Some(Value::Text(text)) = id.and_then(|id| all.into_iter().nth(id)) {
            tokens.insert(name.to_owned(), text.to_owned());
        }
    }
    Ok(Some(ChatTemplate { template: template.to_owned(), tokens }))
}
