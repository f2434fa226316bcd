//! Hugging Face `tokenizer.json`, where it is byte-level BPE.
//!
//! In: the file. Out: [`TokenizerSpec`], or a sentence that says what the file holds, what was
//! expected, and what to do. Knows nothing of models; which token begins or ends a text is the model
//! configuration's.

use crate::model::tokenizer::{Kind, TokenizerSpec};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// Reads a `tokenizer.json`.
///
/// # Errors
/// When the file is not byte-level BPE as GPT-2 has it, with neither normaliser nor prefix space,
/// or its vocabulary and merges do not fit together.
pub fn read(path: &Path) -> Result<TokenizerSpec> {
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| "not a whole tokenizer.json; fetch the file again")
        .and_then(spec)
        .with_context(|| path.display().to_string())
}

/// The parts of the file that are read; parts that only bear on offsets or padding are not.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Value,
}

#[derive(Default, Deserialize)]
pub(super) struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

impl AddedToken {
    /// One that is found wherever its `content` is.
    pub(super) fn new(id: u32, content: &str, special: bool) -> Self {
        Self { id, content: content.to_owned(), special, ..Self::default() }
    }
}

/// Tokens and merges, both written in GPT-2's characters for bytes.
#[derive(Deserialize)]
pub(super) struct Bpe {
    pub vocab: BTreeMap<String, u32>,
    pub merges: Vec<Pair>,
    /// What stands for a byte without a token.
    #[serde(skip)]
    pub unknown: Option<u32>,
}

/// A merge, in the files of `tokenizers` from 0.20 on and before.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Pair {
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

fn spec(file: File) -> Result<TokenizerSpec> {
    check_pipeline(&file)?;
    check_model(&file.model)?;
    check_added(&file.added_tokens)?;
    let digits = cuts_digits(&file.pre_tokenizer);
    let unknown = file.model["unk_token"].as_str().map(str::to_owned);
    let mut bpe: Bpe = serde_json::from_value(file.model).context("model")?;
    bpe.unknown = unknown.and_then(|token| bpe.vocab.get(&token).copied());
    byte_level(&bpe, &file.added_tokens, digits)
}

/// Makes a vocabulary of byte-level BPE.
pub(super) fn byte_level(bpe: &Bpe, added: &[AddedToken], digits: bool) -> Result<TokenizerSpec> {
    let bytes = byte_chars();
    let tokens = token_bytes(&bpe.vocab, added, &bytes)?;
    let mut byte_ids = vec![0; 256];
    for (&char, &byte) in &bytes {
        let id = bpe.vocab.get(&char.to_string()).copied().or(bpe.unknown);
        // Bytes that no text in UTF-8 has need no token.
        let id = id.or(matches!(byte, 0xc0 | 0xc1 | 0xf5..).then_some(0)).with_context(|| {
            format!(
                "model.vocab has no token {char:?} for the byte {byte:#04x}, nor an unknown token, \
                 expected one for each of the 256; train with initial_alphabet=ByteLevel.alphabet()"
            )
        })?;
        byte_ids[usize::from(byte)] = id;
    }
    let (special, added): (Vec<_>, Vec<_>) = added.iter().partition(|t| t.special);
    let ids = |tokens: Vec<&AddedToken>| tokens.into_iter().map(|token| token.id).collect();
    Ok(TokenizerSpec {
        tokens,
        byte_ids,
        merges: merges(bpe)?,
        ranks: Vec::new(),
        special: ids(special),
        added: ids(added),
        kind: Kind::ByteLevel { digits },
    })
}

/// Whether `pre_tokenizer` is digits apart, one by one, and then something else.
fn cuts_digits(pre: &Value) -> bool {
    let stages = pre["pretokenizers"].as_array().filter(|stages| stages.len() == 2);
    let digits = |stages: &Vec<Value>| {
        stages[0]["type"] == "Digits" && stages[0]["individual_digits"] == true
    };
    pre["type"] == "Sequence" && stages.is_some_and(digits)
}

/// Refuses stages around the model that the kernel does not have.
fn check_pipeline(file: &File) -> Result<()> {
    ensure!(
        file.normalizer.is_null(),
        "normalizer is {}, expected none; only tokenizers without one can be imported",
        kind(&file.normalizer)
    );
    let pre = &file.pre_tokenizer;
    let pre = if cuts_digits(pre) { &pre["pretokenizers"][1] } else { pre };
    ensure!(
        pre["type"] == "ByteLevel",
        "pre_tokenizer is {}, expected ByteLevel, alone or after Digits that are cut one by one; only \
         these can be imported",
        kind(pre)
    );
    ensure!(
        pre["add_prefix_space"] == false,
        "pre_tokenizer.add_prefix_space is {}, expected false; put the space into the prompt",
        pre["add_prefix_space"]
    );
    ensure!(
        pre["use_regex"] != false,
        "pre_tokenizer.use_regex is false, expected true; only GPT-2's splitting can be imported"
    );
    ensure!(
        file.post_processor.is_null() || file.post_processor["type"] == "ByteLevel",
        "post_processor is {}, expected none or ByteLevel; take it out of the file and put its \
         tokens into the prompt",
        kind(&file.post_processor)
    );
    ensure!(
        file.decoder.is_null() || file.decoder["type"] == "ByteLevel",
        "decoder is {}, expected ByteLevel; only byte-level tokenizers can be imported",
        kind(&file.decoder)
    );
    Ok(())
}

/// Refuses options of the model that change which ids a text has.
fn check_model(model: &Value) -> Result<()> {
    // Old files name no type and have merges.
    let is_bpe = model["type"] == "BPE" || (model["type"].is_null() && model["merges"].is_array());
    ensure!(
        is_bpe,
        "model is {}, expected BPE; convert the tokenizer to byte-level BPE",
        kind(model)
    );
    ensure!(
        model["byte_fallback"] != true,
        "model.byte_fallback is true, as SentencePiece has it; expected byte-level BPE"
    );
    ensure!(
        model["ignore_merges"] != true,
        "model.ignore_merges is true, expected false; only plain BPE can be imported"
    );
    ensure!(
        model["dropout"].is_null() || model["dropout"] == 0.0,
        "model.dropout is {}, expected none; set it to null",
        model["dropout"]
    );
    for field in ["continuing_subword_prefix", "end_of_word_suffix"] {
        ensure!(
            model[field].is_null() || model[field] == "",
            "model.{field} is {}, expected none; only byte-level BPE can be imported",
            model[field]
        );
    }
    Ok(())
}

/// Refuses added tokens that are matched by more than their content.
fn check_added(added: &[AddedToken]) -> Result<()> {
    for token in added {
        ensure!(!token.content.is_empty(), "added token {} is empty; take it out", token.id);
        let flags = [
            ("single_word", token.single_word),
            ("lstrip", token.lstrip),
            ("rstrip", token.rstrip),
            // Those with the flag are looked for in a second pass.
            ("normalized", token.normalized != added[0].normalized),
        ];
        if let Some((flag, _)) = flags.iter().find(|(_, set)| *set) {
            bail!(
                "added token {} {:?} has {flag} unlike what is expected (single_word, lstrip and \
                 rstrip false, normalized the same for all); change it in the file",
                token.id,
                token.content
            );
        }
    }
    Ok(())
}

/// The raw bytes of each token, by id.
fn token_bytes(
    vocab: &BTreeMap<String, u32>,
    added: &[AddedToken],
    bytes: &BTreeMap<char, u8>,
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
            // What is not written in byte characters stands for itself, as in `tokenizers`.
            let mapped: Option<Vec<u8>> = token.chars().map(|c| bytes.get(&c).copied()).collect();
            Ok(mapped.filter(|_| !is_added).unwrap_or_else(|| token.as_bytes().to_vec()))
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

/// A stage's type, or what is there instead.
fn kind(stage: &Value) -> &str {
    match stage {
        Value::Null => "missing",
        stage => stage["type"].as_str().unwrap_or("without a type"),
    }
}
