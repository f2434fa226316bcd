//! Checkpoints of other programs.
//!
//! In: a Hugging Face directory (`config.json`, safetensors, `tokenizer.json`), a GGUF file, or a `.bin`
//! of llama2.c and its tokenizer. Out: a [`Model`], or a sentence that says which file and field or
//! tensor is at fault, what was expected, and what to do. Knows nothing of what the model is for.

mod checkpoint;
mod config;
pub mod demo;
mod directory;
mod file;
mod gguf;
mod llama2c;
mod rotary;
mod sentencepiece;
pub mod tokenizer;

use crate::model::Model;
use crate::process::failure::bad_input;
use anyhow::{Result, bail};
use ripple_kernel::config::Activation;
use std::io::Read;
use std::path::Path;

impl Model {
    /// Reads `path`: a model file, or a checkpoint of another program, which is imported on the way.
    ///
    /// # Errors
    /// As [`Model::read`] and [`import`].
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_unmarked(path).map_err(bad_input)
    }

    fn load_unmarked(path: &Path) -> Result<Self> {
        if path.is_dir() || begins_with(path, &gguf::file::MAGIC) {
            import(path)
        } else if path.exists() {
            Self::read(path)
        } else {
            bail!(
                "{}: no such model; expected a file written by `ripple import`, a GGUF file or \
                 the directory of a Hugging Face checkpoint (demo models: {})",
                path.display(),
                demo::list().join(", ")
            )
        }
    }
}

/// Imports a checkpoint whose neurons are inactive when they are 0, so that leaving them out loses
/// nothing.
///
/// # Errors
/// As [`import_dense`], and when the model is no such.
pub fn import(path: &Path) -> Result<Model> {
    let model = import_dense(path, None)?;
    if model.config.activation.lossy() {
        bail!("{}: {}", path.display(), lossy(model.config.activation));
    }
    Ok(model)
}

/// Why a model with such an activation is not imported as it is.
pub(crate) fn lossy(activation: Activation) -> String {
    format!(
        "its activation is {activation:?}, which is never exactly zero, so there is nothing to skip without \
         loss; say what share of the neurons to keep with `ripple import --threshold 0.7 --text FILE`, or \
         use a checkpoint trained with ReLU (OPT, ReluLLaMA, ProSparse)"
    )
}

/// Imports a checkpoint, all of whose neurons are active if its activation is never 0: a Hugging Face
/// directory, a GGUF file, or a `.bin` of llama2.c with `tokenizer`, or else `tokenizer.bin` beside it.
///
/// # Errors
/// When a file is missing, damaged or contradicts another, and when the kernel cannot run such a
/// model.
pub fn import_dense(path: &Path, tokenizer: Option<&Path>) -> Result<Model> {
    let is_bin = path.extension().is_some_and(|extension| extension == "bin");
    if let Some(tokenizer) = tokenizer.filter(|_| !is_bin) {
        bail!(
            "--tokenizer {}: expected with a llama2.c model (`.bin`) only; {} has its own",
            tokenizer.display(),
            path.display()
        );
    }
    if path.is_dir() {
        directory::import(path)
    } else if begins_with(path, &gguf::file::MAGIC) {
        gguf::import(path)
    } else if is_bin && path.exists() {
        let beside = path.with_file_name("tokenizer.bin");
        llama2c::import(path, tokenizer.unwrap_or(&beside))
    } else {
        bail!(
            "{}: not a checkpoint; expected a Hugging Face directory (config.json, model.safetensors, \
             tokenizer.json), a GGUF file, or a `.bin` of llama2.c",
            path.display()
        )
    }
}

/// Whether there is a file that begins so.
fn begins_with(path: &Path, magic: &[u8; 4]) -> bool {
    let mut found = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut found));
    read.is_ok() && found == *magic
}
