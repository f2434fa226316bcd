//! The vocabulary of a GGUF file.
//!
//! In: its metadata. Out: [`TokenizerSpec`]: byte-level BPE (`gpt2`) or SentencePiece's (`llama`).
//! Knows nothing of weights.

use super::{Gguf, Value};
use crate::import::sentencepiece::{self, Piece, Use};
use crate::import::tokenizer::{AddedToken, Bpe, Pair, byte_level};
use crate::model::tokenizer::TokenizerSpec;
use anyhow::{Context, Result, bail, ensure};

/// Pre-tokenizers that are GPT-2's expression, and those that cut numbers into digits before.
const WORDS: [&str; 7] = ["gpt-2", "gpt2", "mpt", "olmo", "jais", "phi-2", "trillion"];
const WORDS_AND_DIGITS: [&str; 7] =
    ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"];

/// What `tokenizer.ggml.token_type` says of a token.
const CONTROL: i128 = 3;
const NAMED: i128 = 4;
const UNUSED: i128 = 5;
const BYTE: i128 = 6;

pub(super) fn read(file: &Gguf) -> Result<TokenizerSpec> {
    let shown = file.shown();
    let tokens = texts(file, "tokenizer.ggml.tokens")?;
    ensure!(
        !tokens.is_empty(),
        "{shown}: `tokenizer.ggml.tokens` is missing; expected the vocabulary in the file: convert the \
         model again"
    );
    let kinds = file.list("tokenizer.ggml.token_type")?;
    let kind = |id: usize| match kinds.get(id) {
        Some(&Value::Whole(kind)) => kind,
        _ => 1,
    };
    match file.text("tokenizer.ggml.model")?.unwrap_or("missing") {
        "gpt2" => bytes(file, &tokens, kind),
        "llama" => pieces(file, &tokens, kind),
        other => bail!(
            "{shown}: `tokenizer.ggml.model` is {other}, which is not supported; supported: gpt2 \
             (byte-level BPE), llama (SentencePiece BPE)"
        ),
    }
    .with_context(|| shown.to_string())
}

fn texts<'f>(file: &'f Gguf, key: &str) -> Result<Vec<&'f str>> {
    let text = |value: &'f Value| match value {
        Value::Text(text) => Ok(text.as_str()),
        other => bail!("{}: `{key}` holds {other:?}, expected texts", file.shown()),
    };
    file.list(key)?.iter().map(text).collect()
}

fn bytes(file: &Gguf, tokens: &[&str], kind: impl Fn(usize) -> i128) -> Result<TokenizerSpec> {
    let pre = file.text("tokenizer.ggml.pre")?.unwrap_or("missing");
    let digits = WORDS_AND_DIGITS.contains(&pre);
    ensure!(
        digits || WORDS.contains(&pre),
        "`tokenizer.ggml.pre` is {pre}, which cuts words in another way; supported: {}, {}",
        WORDS.join(", "),
        WORDS_AND_DIGITS.join(", ")
    );
    let merges = texts(file, "tokenizer.ggml.merges")?;
    ensure!(!merges.is_empty(), "`tokenizer.ggml.merges` is missing; convert the model again");
    let named = |id: usize| [CONTROL, NAMED, UNUSED].contains(&kind(id));
    let all = || (0u32..).zip(tokens.iter().copied());
    let vocab = all()
        .filter(|&(id, _)| !named(id as usize))
        .map(|(id, text)| (text.to_owned(), id))
        .collect();
    let added: Vec<AddedToken> = all()
        .filter(|&(id, text)| named(id as usize) && !text.is_empty())
        .map(|(id, text)| AddedToken::new(id, text, kind(id as usize) != NAMED))
        .collect();
    let merges = merges.into_iter().map(|pair| Pair::Spaced(pair.to_owned())).collect();
    let unknown = file.whole("tokenizer.ggml.unknown_token_id")?;
    let bpe = Bpe { vocab, merges, unknown };
    byte_level(&bpe, &added, digits)
}

fn pieces(file: &Gguf, tokens: &[&str], kind: impl Fn(usize) -> i128) -> Result<TokenizerSpec> {
    let scores = file.list("tokenizer.ggml.scores")?;
    ensure!(
        scores.len() == tokens.len(),
        "`tokenizer.ggml.scores` has {} entries, expected {}, one for each token; convert the model again",
        scores.len(),
        tokens.len()
    );
    let piece = |(id, (&text, score)): (usize, (&&str, &Value))| {
        let Value::Number(score) = score else {
            bail!("`tokenizer.ggml.scores` holds {score:?}, expected numbers");
        };
        let kind = match kind(id) {
            2 | CONTROL => Use::Control,
            NAMED => Use::Named,
            UNUSED => Use::Unused,
            BYTE => Use::Byte,
            _ => Use::Normal,
        };
        Ok(Piece { text: text.as_bytes().to_vec(), score: *score as f32, kind })
    };
    let pieces: Vec<Piece> =
        tokens.iter().zip(scores).enumerate().map(piece).collect::<Result<_>>()?;
    let prefix = match file.get("tokenizer.ggml.add_space_prefix") {
        None => true,
        Some(Value::Flag(prefix)) => *prefix,
        Some(other) => {
            bail!("`tokenizer.ggml.add_space_prefix` is {other:?}, expected true or false")
        }
    };
    sentencepiece::spec(&pieces, prefix)
}
