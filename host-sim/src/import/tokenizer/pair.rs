//! `vocab.json` and `merges.txt`: byte-level BPE as GPT-2 and OPT were published.
//!
//! In: the two files, and what the special tokens are for. Out: [`TokenizerSpec`], without what begins and
//! ends a text.

use super::added::{AddedToken, check};
use super::bytes::{Bpe, Pair, byte_level};
use super::json;
use super::roles::Roles;
use crate::model::tokenizer::TokenizerSpec;
use anyhow::{Context, Result, ensure};
use ripple_kernel::text::tokenizer::Words;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Reads them; the special tokens, which the vocabulary does not mark, are those with a role.
pub(super) fn read(directory: &Path, roles: &Roles) -> Result<TokenizerSpec> {
    ensure!(
        roles.add_prefix_space != Some(true),
        "add_prefix_space in tokenizer_config.json is true, expected false; a prompt that begins with a space \
         has the same tokens"
    );
    let vocab = json::read(&directory.join("vocab.json"))?;
    let vocab: BTreeMap<String, u32> =
        serde_json::from_value(Value::Object(vocab)).context("expected an object of ids")?;
    let path = directory.join("merges.txt");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{}: cannot be read; vocab.json needs it", path.display()))?;
    let version = text.lines().next().filter(|line| line.starts_with("#version"));
    let lines = text.lines().skip(usize::from(version.is_some())).filter(|line| !line.is_empty());
    let merges = lines.map(|line| Pair::Spaced(line.to_owned())).collect();
    let mut added: Vec<AddedToken> = roles.added.clone();
    for name in roles.special() {
        if let Some(&id) = vocab.get(name)
            && added.iter().all(|token| token.id != id)
        {
            added.push(AddedToken::new(id, name, true));
        }
    }
    check(&added)?;
    let bpe = Bpe { vocab, merges, unknown: None, fuse_unknown: false, ignore_merges: false };
    byte_level(&bpe, &added, Words::Gpt2, None)
}
