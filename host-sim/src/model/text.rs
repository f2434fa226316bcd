//! Texts as tokens, and as windows of tokens, the way traces and perplexities are taken.
//!
//! In: a text and a tokenizer. Out: ids; windows of at most the model's context, each run from
//! an empty KV cache. Knows nothing of what runs them.

use crate::model::Model;
use crate::process::failure::{bad_input, check_there};
use anyhow::{Context, Result, anyhow, bail, ensure};
use ripple_kernel::text::tokenizer::{EncodeOptions, Form, Tokenizer};
use std::borrow::Cow;
use std::path::Path;
use unicode_normalization::UnicodeNormalization;

/// The tokens of `text`, which is brought into the form that the tokenizer needs, in a time that is nearly
/// linear in its length.
///
/// # Errors
/// When the text is too long for memory, or has an added token in that form only.
pub fn encode(tokenizer: &Tokenizer<'_>, text: &str, options: EncodeOptions) -> Result<Vec<u32>> {
    let text = in_form(tokenizer, text, options)?;
    let options = EncodeOptions { in_form: true, ..options };
    // Ids are at most as many as bytes, but for what is put in front; four more each to merge in.
    let mut ids = vec![0; 5 * text.len() + 2];
    let count = tokenizer
        .encode(&text, options, &mut ids)
        .map_err(|error| anyhow!("the text cannot be encoded: {error}"))?;
    Ok(ids[..count].to_vec())
}

/// `text` in the form that `tokenizer` needs, but for added tokens, which are looked for before.
///
/// # Errors
/// When its form has other added tokens than it has: they are tokens or letters as the checkpoint says of
/// each, which an image does not.
fn in_form<'t>(
    tokenizer: &Tokenizer<'_>,
    text: &'t str,
    options: EncodeOptions,
) -> Result<Cow<'t, str>> {
    let Some(form) = tokenizer.form() else { return Ok(Cow::Borrowed(text)) };
    let push = |out: &mut String, text: &str| match form {
        Form::Nfc => out.extend(text.nfc()),
        Form::Nfkc => out.extend(text.nfkc()),
    };
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    let mut kept = Vec::new();
    while let Some(added) = tokenizer.first_added(text, done, options) {
        push(&mut out, &text[done..added.start]);
        kept.push(out.len()..out.len() + added.len());
        out.push_str(&text[added.clone()]);
        done = added.end;
    }
    push(&mut out, &text[done..]);
    let mut at = 0;
    for expected in kept.into_iter().map(Some).chain([None]) {
        let found = tokenizer.first_added(&out, at, options);
        if found != expected {
            let place = found.or(expected).map(|range| &out[range]);
            bail!(
                "the text cannot be encoded: composed as the tokenizer needs it, it has an added token that it \
                 does not have as it is written, or the other way round ({:?}); write that otherwise",
                place.unwrap_or_default()
            );
        }
        at = found.map_or(at, |range| range.end);
    }
    Ok(Cow::Owned(out))
}

/// The tokens of `text`, behind the token that begins a text if there is one; documents end with the model's
/// end-of-text token where the text says so.
///
/// # Errors
/// When the text is too long for memory, or the tokenizer is damaged.
pub fn tokens(model: &Model, text: &str) -> Result<Vec<u32>> {
    let section = model.tokenizer.pack()?;
    let tokenizer = Tokenizer::parse(&section).map_err(|e| anyhow!("tokenizer: {e}"))?;
    encode(&tokenizer, text, EncodeOptions { parse_special: true, ..EncodeOptions::TEXT })
}

/// Reads a text file and encodes it.
///
/// # Errors
/// When the file cannot be read, is not UTF-8, or is empty.
pub fn read_tokens(model: &Model, path: &Path) -> Result<Vec<u32>> {
    read_text(model, path).map_err(bad_input)
}

fn read_text(model: &Model, path: &Path) -> Result<Vec<u32>> {
    check_there(path)?;
    let shown = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("{shown}: the text cannot be read"))?;
    let text = String::from_utf8(bytes)
        .with_context(|| format!("{shown}: expected a text in UTF-8; convert it"))?;
    ensure!(!text.trim().is_empty(), "{shown}: the text is empty; expected some to read");
    let tokens = tokens(model, &text).with_context(|| path.display().to_string())?;
    ensure!(!tokens.is_empty(), "{shown}: no character of the text has a token in this model");
    Ok(tokens)
}

/// Cuts tokens into windows of `context`, the last one maybe shorter.
pub fn windows(tokens: &[u32], context: u32) -> impl ExactSizeIterator<Item = &[u32]> {
    tokens.chunks(context.max(1) as usize)
}
