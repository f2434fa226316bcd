//! The vocabulary of a GGUF file.
//!
//! In: its metadata. Out: [`TokenizerSpec`]: byte-level BPE (`gpt2`) or SentencePiece's (`llama`), with the
//! tokens that begin and end a text as llama.cpp has them. Knows nothing of weights.

use super::{Gguf, Value};
use crate::import::sentencepiece::{self, Piece, Use};
use crate::import::tokenizer::{AddedToken, Bpe, Pair, byte_level};
use crate::model::tokenizer::{Kind, TokenizerSpec};
use anyhow::{Context, Result, bail, ensure};
use ripple_kernel::text::tokenizer::{Form, Prefix, Words};

/// What `tokenizer.ggml.pre` says, where the kernel has those words, and whether a BOS is in front where no
/// key says.
const WORDS: [(&str, Words, bool); 29] = [
    ("gpt-2", Words::Gpt2, false),
    ("gpt2", Words::Gpt2, false),
    ("mpt", Words::Gpt2, false),
    ("olmo", Words::Gpt2, false),
    ("jais", Words::Gpt2, false),
    ("phi-2", Words::Gpt2, false),
    ("trillion", Words::Gpt2, false),
    ("smollm", Words::Gpt2Digits, false),
    ("starcoder", Words::Gpt2Digits, false),
    ("refact", Words::Gpt2Digits, false),
    ("command-r", Words::Gpt2Digits, false),
    ("codeshell", Words::Gpt2Digits, false),
    ("exaone", Words::Gpt2Digits, false),
    ("minerva-7b", Words::Gpt2Digits, false),
    ("llama3", Words::Llama3, true),
    ("llama-v3", Words::Llama3, true),
    ("llama-bpe", Words::Llama3, true),
    ("falcon3", Words::Llama3, true),
    ("falcon-h1", Words::Llama3, true),
    ("pixtral", Words::Llama3, true),
    ("dbrx", Words::Llama3, false),
    ("smaug-bpe", Words::Llama3, false),
    ("chatglm-bpe", Words::Llama3, false),
    ("glm4", Words::Llama3, false),
    ("qwen2", Words::Qwen2, false),
    ("deepseek-r1-qwen", Words::Qwen2, false),
    ("stablelm2", Words::Qwen2, false),
    ("hunyuan", Words::Qwen2, false),
    ("megrez", Words::Qwen2, false),
];
/// Of these the tokenizer that the model was trained with composes characters (NFC).
const COMPOSED: [&str; 3] = ["qwen2", "deepseek-r1-qwen", "megrez"];
/// Of these a word that is a token is not merged.
const WHOLE: [&str; 6] = ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral"];

/// Control tokens that end what is said, by their names: llama.cpp's list.
const ENDS: [&str; 11] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
];

/// What `tokenizer.ggml.token_type` says of a token.
const NORMAL: u8 = 1;
const UNKNOWN: u8 = 2;
const CONTROL: u8 = 3;
const NAMED: u8 = 4;
const UNUSED: u8 = 5;
const BYTE: u8 = 6;

/// The tokens and what each is for.
struct Tokens<'f> {
    texts: Vec<&'f str>,
    kinds: Vec<u8>,
}

pub(super) fn read(file: &Gguf) -> Result<TokenizerSpec> {
    read_unnamed(file).with_context(|| file.shown().to_string())
}

fn read_unnamed(file: &Gguf) -> Result<TokenizerSpec> {
    let texts = texts(file, "tokenizer.ggml.tokens")?;
    ensure!(
        !texts.is_empty(),
        "`tokenizer.ggml.tokens` is missing; expected the vocabulary in the file: convert the model again"
    );
    let kinds = kinds(file, texts.len())?;
    let tokens = Tokens { texts, kinds };
    let (mut spec, begins) = match file.text("tokenizer.ggml.model")?.unwrap_or("missing") {
        "gpt2" => bytes(file, &tokens)?,
        "llama" => (pieces(file, &tokens)?, true),
        other => bail!(
            "`tokenizer.ggml.model` is {other}, which is not supported; supported: gpt2 (byte-level BPE), \
             llama (SentencePiece BPE)"
        ),
    };
    roles(file, &tokens, &mut spec, begins)?;
    spec.pack()?;
    Ok(spec)
}

/// What each token is for.
fn kinds(file: &Gguf, tokens: usize) -> Result<Vec<u8>> {
    let list = file.list("tokenizer.ggml.token_type")?;
    if list.left() == 0 {
        return Ok(vec![NORMAL; tokens]);
    }
    ensure!(
        list.left() == tokens,
        "`tokenizer.ggml.token_type` has {} entries, expected {tokens}, one for each token; convert the model \
         again",
        list.left()
    );
    let kind = |(id, value): (usize, Value<'_>)| match value {
        Value::Whole(kind @ 1..=6) => Ok(kind as u8),
        other => bail!(
            "`tokenizer.ggml.token_type` of token {id} is {other:?}, expected 1 to 6; convert the model again"
        ),
    };
    list.enumerate().map(kind).collect()
}

/// Sets the tokens that begin and end a text. `begins`: whether a BOS is in front where no key says.
fn roles(file: &Gguf, tokens: &Tokens<'_>, spec: &mut TokenizerSpec, begins: bool) -> Result<()> {
    let id = |role: &str| -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{role}_token_id");
        let id = file.whole(&key)?;
        match id {
            Some(id) if id as usize >= spec.len() => bail!(
                "`{key}` is {id}, expected less than {}, the tokens of the vocabulary; convert the model again",
                spec.len()
            ),
            id => Ok(id),
        }
    };
    // SentencePiece's names for them, where no key has an id.
    let called = |name: &str| {
        let mut all = (0u32..).zip(&tokens.texts).zip(&tokens.kinds);
        let found = all.find(|&((_, &text), &kind)| kind == CONTROL && text == name);
        found.map(|((id, _), _)| id).filter(|_| matches!(spec.kind, Kind::Characters(_)))
    };
    let (bos, eos) = (id("bos")?.or(called("<s>")), id("eos")?.or(called("</s>")));
    let mut ends: Vec<u32> = [eos, id("eot")?, id("eom")?].into_iter().flatten().collect();
    let named = (0u32..)
        .zip(&tokens.texts)
        .filter(|&(at, text)| tokens.kinds[at as usize] == CONTROL && ENDS.contains(text));
    ends.extend(named.map(|(id, _)| id));
    let mut seen = Vec::new();
    ends.retain(|id| {
        !seen.contains(id) && {
            seen.push(*id);
            true
        }
    });
    // What the key says; without one, where the kind of tokenizer has it and the file names the token.
    let adds = flag(file, "tokenizer.ggml.add_bos_token")?;
    ensure!(
        bos.is_some() || adds != Some(true),
        "`tokenizer.ggml.add_bos_token` is true, but `tokenizer.ggml.bos_token_id` is missing, expected the \
         id of the token to put in front; convert the model again"
    );
    spec.adds_bos = adds.unwrap_or(begins) && bos.is_some();
    (spec.bos, spec.eos) = (bos, ends);
    Ok(())
}

fn flag(file: &Gguf, key: &str) -> Result<Option<bool>> {
    match file.get(key) {
        None => Ok(None),
        Some(Value::Flag(flag)) => Ok(Some(flag)),
        Some(other) => bail!("`{key}` is {other:?}, expected true or false"),
    }
}

fn texts<'f>(file: &'f Gguf, key: &str) -> Result<Vec<&'f str>> {
    let text = |value: Value<'f>| match value {
        Value::Text(text) => Ok(text),
        other => bail!("`{key}` holds {other:?}, expected texts"),
    };
    file.list(key)?.map(text).collect()
}

/// Byte-level BPE, and whether it begins texts where no key says.
fn bytes(file: &Gguf, tokens: &Tokens<'_>) -> Result<(TokenizerSpec, bool)> {
    let pre = file.text("tokenizer.ggml.pre")?.unwrap_or("missing");
    let known = WORDS.iter().find(|(name, ..)| *name == pre);
    let &(_, words, begins) = known.with_context(|| {
        let names: Vec<&str> = WORDS.iter().map(|(name, ..)| *name).collect();
        format!(
            "`tokenizer.ggml.pre` is {pre}, which cuts words in another way; supported: {}; convert the model \
             again if its tokenizer is one of these",
            names.join(", ")
        )
    })?;
    ensure!(
        !flag(file, "tokenizer.ggml.add_space_prefix")?.unwrap_or(false),
        "`tokenizer.ggml.add_space_prefix` is true for byte-level BPE, expected false; convert the model again"
    );
    let merges = texts(file, "tokenizer.ggml.merges")?;
    ensure!(!merges.is_empty(), "`tokenizer.ggml.merges` is missing; convert the model again");
    let named = |id: u32| [CONTROL, NAMED, UNUSED].contains(&tokens.kinds[id as usize]);
    let all = || (0u32..).zip(tokens.texts.iter().copied());
    let mut vocab = std::collections::BTreeMap::new();
    for (id, text) in all().filter(|&(id, _)| !named(id)) {
        ensure!(
            !text.is_empty(),
            "token {id} is empty, expected a text or a token that is not used; convert the model again"
        );
        if let Some(other) = vocab.insert(text.to_owned(), id) {
            bail!(
                "tokens {other} and {id} are both {text:?}, expected one; convert the model again"
            );
        }
    }
    for (id, text) in all().filter(|&(id, _)| named(id)) {
        ensure!(
            !text.is_empty(),
            "token {id} is empty, of type {}, expected a text to look for; convert the model again, without it",
            tokens.kinds[id as usize]
        );
    }
    let added: Vec<AddedToken> = all()
        .filter(|&(id, _)| named(id))
        .map(|(id, text)| AddedToken::new(id, text, tokens.kinds[id as usize] != NAMED))
        .collect();
    let merges = merges.into_iter().map(|pair| Pair::Spaced(pair.to_owned())).collect();
    let ignore_merges = WHOLE.contains(&pre);
    // llama.cpp leaves out what has no token.
    let bpe = Bpe { vocab, merges, unknown: None, fuse_unknown: false, ignore_merges };
    let form = COMPOSED.contains(&pre).then_some(Form::Nfc);
    Ok((byte_level(&bpe, &added, words, form)?, begins))
}

fn pieces(file: &Gguf, tokens: &Tokens<'_>) -> Result<TokenizerSpec> {
    let scores = file.list("tokenizer.ggml.scores")?;
    ensure!(
        scores.left() == tokens.texts.len(),
        "`tokenizer.ggml.scores` has {} entries, expected {}, one for each token; convert the model again",
        scores.left(),
        tokens.texts.len()
    );
    let piece = |((&text, &kind), score): ((&&str, &u8), Value<'_>)| {
        let Value::Number(score) = score else {
            bail!("`tokenizer.ggml.scores` holds {score:?}, expected numbers");
        };
        let kind = match kind {
            UNKNOWN => Use::Unknown,
            CONTROL => Use::Control,
            NAMED => Use::Named,
            UNUSED => Use::Unused,
            BYTE => Use::Byte,
            _ => Use::Normal,
        };
        Ok(Piece { text: text.as_bytes().to_vec(), score: score as f32, kind })
    };
    let all = tokens.texts.iter().zip(&tokens.kinds).zip(scores);
    let pieces: Vec<Piece> = all.map(piece).collect::<Result<_>>()?;
    let prefix = flag(file, "tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    sentencepiece::spec(&pieces, if prefix { Prefix::Always } else { Prefix::Never })
}
