//! Checkpoints of other programs.
//!
//! In: a Hugging Face directory (`config.json`, safetensors, `tokenizer.json`), a GGUF file, or a `.bin`
//! of llama2.c and its tokenizer. Out: a [`Model`], or a sentence that says which file and field or
//! tensor is at fault, what was expected, and what to do. Knows nothing of what the model is for.

mod activation;
pub mod chat_template;
mod checkpoint;
mod config;
pub mod demo;
mod directory;
mod file;
mod fold;
mod gguf;
mod in_file;
mod json;
pub mod keys;
pub mod kind;
mod llama2c;
mod names;
mod pickle;
mod quants;
mod rope;
mod rotary;
mod sentencepiece;
mod tensors;
pub mod tokenizer;

use crate::model::Model;
use crate::process::failure::bad_input;
use anyhow::{Result, anyhow, bail, ensure};
use kind::Kind;
use ripple_kernel::config::{Activation, ConfigError, ModelConfig};
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
        let kind = Kind::of(path).map_err(|error| {
            let demos = demo::list().join(", ");
            anyhow!("{error:#}; expected {MODELS} (demo models: {demos})")
        })?;
        match kind {
            Kind::Folder | Kind::Gguf | Kind::Llama2c => import(path),
            Kind::Model | Kind::Safetensors => Self::read(path),
            kind => bail!("{}: expected {MODELS}, found {}", path.display(), kind.words()),
        }
    }
}

/// What is said of a checkpoint that it does not say itself.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// The vocabulary of a llama2.c model; without it, `tokenizer.bin` beside the model.
    pub tokenizer: Option<&'a Path>,
    /// What neurons do, and the threshold above which one is active. Where the checkpoint says it too, the
    /// two must be the same.
    pub activation: Option<(Activation, f32)>,
    /// Keep the model within this many positions.
    pub context: Option<u32>,
    /// Keys that change nothing, though they are not known.
    pub allowed: &'a [String],
}

/// Reads an activation from its name: `relu`, `fatrelu=0.01`, or that of another [`Activation`].
///
/// # Errors
/// With the names that there are.
pub fn activation(name: &str) -> Result<(Activation, f32), String> {
    if let Some(threshold) = name.strip_prefix("fatrelu=") {
        let threshold = threshold.parse().ok().filter(|t: &f32| t.is_finite() && *t >= 0.0);
        let threshold = threshold.ok_or("expected fatrelu=THRESHOLD, 0 or more")?;
        return Ok((Activation::Relu, threshold));
    }
    let named = activation::named(name).map(|activation| (activation, 0.0));
    named.ok_or_else(|| format!("expected {}, or fatrelu=THRESHOLD", activation::NAMES.join(", ")))
}

/// What a model is read from.
const MODELS: &str = "a model file of `ripple import`, a GGUF file, a `.bin` of llama2.c or the directory \
                      of a Hugging Face checkpoint (config.json, model.safetensors, tokenizer.json)";

/// Imports a checkpoint whose neurons are inactive when they are 0, so that leaving them out loses
/// nothing.
///
/// # Errors
/// As [`import_with`], and when the model is no such.
pub fn import(path: &Path) -> Result<Model> {
    let model = import_with(path, &Options::default())?;
    refuse_lossy(path, &model)?;
    Ok(model)
}

/// Refuses a model whose neurons are never exactly 0.
pub(crate) fn refuse_lossy(path: &Path, model: &Model) -> Result<()> {
    if model.config.activation.lossy() {
        bail!("{}: {}", path.display(), lossy(model.config.activation));
    }
    Ok(())
}

/// Why a model with such an activation is not imported as it is.
pub(crate) fn lossy(activation: Activation) -> String {
    format!(
        "its activation is {activation:?}, which is never exactly zero, so there is nothing to skip without \
         loss; say what share of the neurons to keep with `ripple import --threshold 0.8 --text FILE`, or \
         use a checkpoint trained with ReLU (OPT, ReluLLaMA, ProSparse)"
    )
}

/// Imports a checkpoint of which nothing is said but, of a llama2.c model, where its vocabulary is.
///
/// # Errors
/// As [`import_with`].
pub fn import_dense(path: &Path, tokenizer: Option<&Path>) -> Result<Model> {
    import_with(path, &Options { tokenizer, ..Options::default() })
}

/// Imports a checkpoint, all of whose neurons are active if its activation is never 0: a Hugging Face
/// directory, a GGUF file, or a `.bin` of llama2.c.
///
/// # Errors
/// When a file is missing, damaged or contradicts another, when it says what is not followed, and when
/// the kernel cannot run such a model.
pub fn import_with(path: &Path, options: &Options<'_>) -> Result<Model> {
    // A `.bin` that does not begin as one: its reader says what is wrong.
    let is_bin = |path: &Path| path.extension().is_some_and(|extension| extension == "bin");
    let kind = match Kind::of(path)? {
        Kind::Empty | Kind::Other if is_bin(path) => Kind::Llama2c,
        kind => kind,
    };
    if let Some(tokenizer) = options.tokenizer.filter(|_| kind != Kind::Llama2c) {
        bail!(
            "--tokenizer {}: expected with a llama2.c model (`.bin`) only; {} has its own",
            tokenizer.display(),
            path.display()
        );
    }
    match kind {
        Kind::Folder => directory::import(path, options),
        Kind::Gguf => gguf::import(path, options),
        Kind::Llama2c => llama2c::import(path, options),
        Kind::Model => bail!("{}: this is imported already: it is a model file", path.display()),
        kind => bail!(
            "{}: not a checkpoint; expected a Hugging Face directory (config.json, model.safetensors, \
             tokenizer.json), a GGUF file, or a `.bin` of llama2.c, found {}",
            path.display(),
            kind.words()
        ),
    }
}

/// Keeps a model within as many positions as were asked for, and refuses what the kernel cannot run:
/// `name` says what the file calls a field.
fn check(
    config: &mut ModelConfig,
    options: &Options<'_>,
    name: impl Fn(&'static str) -> String,
) -> Result<()> {
    let most = config.context;
    let context = options.context.unwrap_or(most);
    ensure!(
        (1..=most).contains(&context),
        "--context {context}: expected 1 to {most}, as many positions as the model has"
    );
    config.context = context;
    let Err(ConfigError { field, found, expected }) = config.check() else { return Ok(()) };
    let found = match field {
        "norm_eps" => config.norm_eps.to_string(),
        "threshold" => config.threshold.to_string(),
        _ => found.to_string(),
    };
    let remedy = match field {
        "context" => "; import within fewer, such as --context 4096",
        _ => "",
    };
    bail!("`{}` is {found}, expected {expected}{remedy}", name(field))
}
