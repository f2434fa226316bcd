//! BPE of characters with a fallback to bytes: SentencePiece's, as `tokenizers` writes it.
//!
//! In: vocabulary, merges, added tokens. Out: [`TokenizerSpec`], without what begins and ends a text.

use super::added::AddedToken;
use super::bytes::{Bpe, by_id};
use crate::import::sentencepiece::{byte_of, crosses_words, with_spaces};
use crate::model::tokenizer::{Kind, TokenizerSpec};
use anyhow::{Result, bail, ensure};
use ripple_kernel::text::tokenizer::{Form, Prefix, Spaces};
use std::collections::HashMap;

/// How text is cut and written before it is merged.
pub(super) struct Text {
    /// Whether each space begins a word.
    pub each_space: bool,
    pub prefix: Prefix,
    pub form: Option<Form>,
    /// Whether a character that is no token becomes its bytes.
    pub byte_fallback: bool,
}

/// Makes a vocabulary of characters.
pub(super) fn characters(bpe: &Bpe, added: &[AddedToken], text: &Text) -> Result<TokenizerSpec> {
    ensure!(
        !bpe.ignore_merges,
        "model.ignore_merges is true in a vocabulary of characters, expected false; take it out if merging \
         makes each token of its characters"
    );
    let named: HashMap<u32, &AddedToken> = added.iter().map(|token| (token.id, token)).collect();
    let fallback = |token: &str| byte_of(token.as_bytes()).filter(|_| text.byte_fallback);
    let tokens = by_id(&bpe.vocab, added, |token| match fallback(token) {
        Some(byte) => Some(vec![byte]),
        None => Some(with_spaces(token.as_bytes())),
    })?;
    let mut byte_ids: Vec<Option<u32>> = vec![None; 256];
    let mut same: HashMap<&[u8], u32> = HashMap::new();
    for (token, &id) in &bpe.vocab {
        if let Some(byte) = fallback(token) {
            byte_ids[usize::from(byte)].get_or_insert(id);
        } else if !named.contains_key(&id) {
            let bytes = tokens[id as usize].as_slice();
            if let Some(other) = same.insert(bytes, id) {
                bail!("tokens {other} and {id} are both {token:?}, expected one; take one out");
            }
        }
    }
    // What stands for an ASCII character is its token; only without one, its byte.
    for byte in 0..=127u8 {
        let token = if byte == b' ' { "\u{2581}".to_owned() } else { char::from(byte).to_string() };
        if let Some(&id) = bpe.vocab.get(&token) {
            byte_ids[usize::from(byte)] = Some(id);
        }
    }
    let crossing = same.keys().any(|bytes| crosses_words(bytes));
    let cut = match (text.each_space, crossing) {
        (true, _) => Spaces::Each,
        (false, true) => Spaces::Nowhere,
        (false, false) => Spaces::Before,
    };
    Ok(TokenizerSpec {
        prefix: text.prefix,
        form: text.form,
        ..bpe.spec(added, tokens, byte_ids, Kind::Characters(cut))?
    })
}
