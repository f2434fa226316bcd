//! Byte-level BPE: tokens and merges written in GPT-2's characters for bytes.
//!
//! In: vocabulary, merges, added tokens. Out: [`TokenizerSpec`], without what begins and ends a text.

use super::added::AddedToken;
use crate::model::tokenizer::{Kind, TokenizerSpec};
use anyhow::{Context, Result, anyhow, bail};
use ripple_kernel::text::tokenizer::{Beside, EncodeOptions, Form, Prefix, Tokenizer, Words};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// Tokens and merges, and what a model does with them.
pub(crate) struct Bpe {
    pub vocab: BTreeMap<String, u32>,
    pub merges: Vec<Pair>,
    /// What stands for what has no token.
    pub unknown: Option<u32>,
    /// Whether unknown tokens in a row are one.
    pub fuse_unknown: bool,
    /// Whether a word that is a token is not merged.
    pub ignore_merges: bool,
}

impl Bpe {
    /// What every vocabulary says, whatever its tokens are made of: `tokens` by id, and the token that
    /// stands for each byte. Text has no prefix and no form.
    ///
    /// # Errors
    /// When a merge is not one.
    pub fn spec(
        &self,
        added: &[AddedToken],
        tokens: Vec<Vec<u8>>,
        byte_ids: Vec<Option<u32>>,
        kind: Kind,
    ) -> Result<TokenizerSpec> {
        let beside = added.iter().map(|token| (token.id, token.beside()));
        let beside = beside.filter(|(_, beside)| *beside != Beside::ANYTHING).collect();
        let (special, added): (Vec<_>, Vec<_>) = added.iter().partition(|token| token.special);
        let ids = |tokens: Vec<&AddedToken>| tokens.into_iter().map(|token| token.id).collect();
        Ok(TokenizerSpec {
            tokens,
            byte_ids,
            unknown: self.unknown,
            fuse_unknown: self.fuse_unknown,
            merges: merges(self)?,
            ranks: Vec::new(),
            whole: Vec::new(),
            special: ids(special),
            added: ids(added),
            beside,
            bos: None,
            adds_bos: false,
            eos: Vec::new(),
            kind,
            prefix: Prefix::Never,
            form: None,
        })
    }
}

/// A merge, in the files of `tokenizers` from 0.20 on and before.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Pair {
    Two(String, String),
    Spaced(String),
}

impl Pair {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Self::Two(left, right) => Some((left, right)),
            Self::Spaced(both) => both.split_once(' '),
        }
    }
}

/// Makes a vocabulary of byte-level BPE.
pub(crate) fn byte_level(
    bpe: &Bpe,
    added: &[AddedToken],
    words: Words,
    form: Option<Form>,
) -> Result<TokenizerSpec> {
    let bytes = byte_chars();
    let tokens = by_id(&bpe.vocab, added, |token| {
        // What is not written in byte characters stands for itself, as in `tokenizers`.
        token.chars().map(|c| bytes.get(&c).copied()).collect()
    })?;
    let mut byte_ids = vec![None; 256];
    for (&char, &byte) in &bytes {
        byte_ids[usize::from(byte)] = bpe.vocab.get(&char.to_string()).copied();
    }
    let mut spec = bpe.spec(added, tokens, byte_ids, Kind::Bytes(words))?;
    spec.form = form;
    if bpe.ignore_merges {
        spec.whole = not_merged(&spec, bpe)?;
    }
    Ok(spec)
}

/// The tokens of the vocabulary that merging does not make of their bytes.
fn not_merged(spec: &TokenizerSpec, bpe: &Bpe) -> Result<Vec<u32>> {
    let none = TokenizerSpec { special: Vec::new(), added: Vec::new(), ..spec.clone() };
    let plain = TokenizerSpec { beside: BTreeMap::new(), ..none };
    let section = plain.pack()?;
    let tokenizer = Tokenizer::parse(&section).map_err(|error| anyhow!("{error}"))?;
    let options = EncodeOptions { in_form: true, ..EncodeOptions::default() };
    let mut places = Vec::new();
    let mut whole: Vec<u32> = Vec::new();
    for &id in bpe.vocab.values() {
        // A word of a text is a text, so a token that is none is not a word.
        let Ok(word) = std::str::from_utf8(&spec.tokens[id as usize]) else { continue };
        places.resize(5 * word.len() + 8, 0);
        let count = tokenizer.encode(word, options, &mut places).map_err(|e| anyhow!("{e}"))?;
        if places[..count] != [id] {
            whole.push(id);
        }
    }
    Ok(whole)
}

/// The raw bytes of each token, by id; `bytes` are those of a token of the vocabulary, if it is no plain text.
pub(super) fn by_id(
    vocab: &BTreeMap<String, u32>,
    added: &[AddedToken],
    bytes: impl Fn(&str) -> Option<Vec<u8>>,
) -> Result<Vec<Vec<u8>>> {
    let mut by_id: HashMap<u32, (&str, bool)> = HashMap::new();
    let added_entries = added.iter().map(|token| (token.content.as_str(), token.id, true));
    let entries = vocab.iter().map(|(token, &id)| (token.as_str(), id, false));
    for (token, id, is_added) in added_entries.chain(entries) {
        if let Some((other, _)) = by_id.get(&id).filter(|(other, _)| *other != token) {
            bail!("the id {id} is both {other:?} and {token:?}, expected one token; renumber them");
        }
        if is_added && vocab.get(token).is_some_and(|&in_vocab| in_vocab != id) {
            bail!("added token {token:?} is {id} and {} in model.vocab; renumber it", vocab[token]);
        }
        by_id.entry(id).or_insert((token, is_added));
    }
    (0..u32::try_from(by_id.len())?)
        .map(|id| {
            let &(token, is_added) = by_id.get(&id).with_context(|| {
                format!(
                    "no token has the id {id}, expected ids 0 to {}; renumber the vocabulary or \
                     fill the hole with an added token",
                    by_id.len() - 1
                )
            })?;
            let bytes = if is_added { None } else { bytes(token) };
            Ok(bytes.unwrap_or_else(|| token.as_bytes().to_vec()))
        })
        .collect()
}

/// (left, right, result) in order of rank. Of a pair that is listed twice the last counts.
fn merges(bpe: &Bpe) -> Result<Vec<(u32, u32, u32)>> {
    let mut ranked = HashMap::with_capacity(bpe.merges.len());
    for (rank, pair) in bpe.merges.iter().enumerate() {
        let (left, right) = pair.parts().with_context(|| {
            format!("model.merges[{rank}] is one word, expected two with a space between")
        })?;
        let id = |token: &str| {
            bpe.vocab.get(token).copied().with_context(|| {
                format!(
                    "model.merges[{rank}] ({left:?} {right:?}) needs the token {token:?}, which \
                     model.vocab does not have; the two are not of one training"
                )
            })
        };
        let merge = (id(left)?, id(right)?, id(&format!("{left}{right}"))?);
        ranked.insert((merge.0, merge.1), (rank, merge));
    }
    let mut merges: Vec<_> = ranked.into_values().collect();
    merges.sort_unstable();
    Ok(merges.into_iter().map(|(_, merge)| merge).collect())
}

/// GPT-2's printable stand-in for each byte (`bytes_to_unicode`).
fn byte_chars() -> BTreeMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    let own = (0..=u8::MAX).filter(printable).map(|byte| (char::from(byte), byte));
    let others = (0..=u8::MAX).filter(|byte| !printable(byte));
    own.chain(('\u{100}'..).zip(others)).collect()
}
