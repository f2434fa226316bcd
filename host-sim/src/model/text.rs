//! Texts as windows of tokens, the way traces and perplexities are taken.
//!
//! In: a text and a model's tokenizer. Out: windows of at most the model's context, each run from
//! an empty KV cache. Knows nothing of what runs them.

use crate::model::Model;
use crate::process::failure::{bad_input, check_there};
use anyhow::{Context, Result, anyhow, ensure};
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use std::path::Path;

/// The tokens of `text`, after the token that begins a text; documents end with the model's
/// end-of-text token where the text says so.
///
/// # Errors
/// When the text is too long for memory, or the tokenizer is damaged.
pub fn tokens(model: &Model, text: &str) -> Result<Vec<u32>> {
    let section = model.tokenizer.pack()?;
    let tokenizer = Tokenizer::parse(&section).map_err(|e| anyhow!("tokenizer: {e}"))?;
    // Ids are at most as many as bytes, but for a space in front of what follows a special token.
    let mut out = vec![0; 2 * text.len() + 2];
    out[0] = model.config.bos;
    let options = EncodeOptions { parse_special: true };
    let count = tokenizer
        .encode(text, options, &mut out[1..])
        .map_err(|e| anyhow!("the text cannot be encoded: {e}"))?;
    out.truncate(1 + count);
    Ok(out)
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
    tokens(model, &text).with_context(|| path.display().to_string())
}

/// Cuts tokens into windows of `context`, the last one maybe shorter.
pub fn windows(tokens: &[u32], context: u32) -> impl ExactSizeIterator<Item = &[u32]> {
    tokens.chunks(context.max(1) as usize)
}
