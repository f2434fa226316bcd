//! The tokenizer of a Hugging Face checkpoint.
//!
//! In: its directory, or a `tokenizer.json` alone. Out: [`TokenizerSpec`], or a sentence that says what a
//! file holds, what was expected, and what to do. Knows nothing of models.
//!
//! | file | holds |
//! |---|---|
//! | `tokenizer.json` | all of it, but for the tokens that begin and end a text |
//! | `vocab.json`, `merges.txt` | instead of it, in GPT-2's form |
//! | `tokenizer_config.json`, `special_tokens_map.json` | what special tokens are for, whether a BOS is put in front |
//! | `config.json`, `generation_config.json` | the ids of BOS and of all EOS |

mod added;
mod bytes;
mod characters;
mod cut;
mod json;
mod normal;
mod pair;
mod pipeline;
mod roles;

pub(super) use added::AddedToken;
pub(super) use bytes::{Bpe, Pair, byte_level};

use crate::import::keys::TOKENIZER;
use crate::model::tokenizer::TokenizerSpec;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Reads a `tokenizer.json`; which tokens begin and end a text is then known only as far as it says.
///
/// # Errors
/// When the file is not one of the kinds of BPE that the kernel has, holds what it does not know, or its
/// vocabulary and merges do not fit together.
pub fn read(path: &Path) -> Result<TokenizerSpec> {
    let read = || -> Result<TokenizerSpec> {
        let (mut spec, front) = read_whole(path, &[])?;
        (spec.bos, spec.adds_bos) = (front.token, front.token.is_some());
        spec.pack()?;
        Ok(spec)
    };
    read().with_context(|| path.display().to_string())
}

/// Reads a `tokenizer.json` whose every key is known or `allowed`.
fn read_whole(path: &Path, allowed: &[String]) -> Result<(TokenizerSpec, roles::Front)> {
    let file = json::read(path)?;
    // Stages that the kernel has not got are named before their keys are.
    let read = pipeline::read(&file)?;
    TOKENIZER.check_object(&file, allowed)?;
    Ok(read)
}

/// Reads the tokenizer of the checkpoint in `directory`. `allowed`: keys that change nothing, though they
/// are not known.
///
/// # Errors
/// As [`read`], and when files contradict each other.
pub(super) fn read_directory(directory: &Path, allowed: &[String]) -> Result<TokenizerSpec> {
    let whole = directory.join("tokenizer.json");
    let roles = roles::Roles::read(directory, allowed)?;
    let (path, read) = if whole.exists() {
        let read = read_whole(&whole, allowed);
        (whole, read)
    } else if directory.join("vocab.json").exists() {
        let read = pair::read(directory, &roles);
        (directory.join("vocab.json"), read.map(|spec| (spec, roles::Front::default())))
    } else if directory.join("tokenizer.model").exists() {
        bail!(
            "{}: not found, only tokenizer.model; save it as tokenizer.json with transformers: \
             AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
            whole.display()
        );
    } else {
        bail!(
            "{}: not found, nor vocab.json with merges.txt; the directory of a Hugging Face checkpoint holds \
             one of them",
            whole.display()
        );
    };
    let spec = read.with_context(|| path.display().to_string())?;
    let (mut spec, front) = spec;
    roles.apply(&mut spec, front)?;
    spec.pack().with_context(|| path.display().to_string())?;
    Ok(spec)
}
