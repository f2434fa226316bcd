//! Hugging Face directories.
//!
//! In: a directory. Out: a [`Model`]. Knows nothing of other formats.

use super::checkpoint::Checkpoint;
use super::config::{self, Family, Parsed};
use super::keys::{Format, GENERATION};
use super::{Options, chat_template, json, tokenizer};
use crate::model::tokenizer::TokenizerSpec;
use crate::model::{self, Model};
use anyhow::{Context, Result, bail};
use ripple_kernel::config::ModelConfig;
use std::collections::BTreeSet;
use std::path::Path;

/// Rows in front of OPT's table of positions that no position uses.
const OPT_OFFSET: usize = 2;

/// Reads the checkpoint in `directory`.
pub(super) fn import(directory: &Path, options: &Options<'_>) -> Result<Model> {
    let Parsed { family, config, rope_theta, positions } =
        config::read(&directory.join("config.json"), options)?;
    check_keys(&directory.join(GENERATION.name), &GENERATION, options)?;
    let checkpoint = Checkpoint::open_directory(directory)?;
    let tokenizer = read_tokenizer(directory, &config, options)?;
    let names = Names { family, prefix: prefix(family, &checkpoint)? };
    let mut used = BTreeSet::new();
    let weights = model::build(&config, &mut |name, shape| {
        let theirs = names.translate(name);
        let values = if family == Family::Opt && name == "positions.weight" {
            let (rows, cols) = (shape[0], shape[1]);
            let all = checkpoint.tensor(&theirs, &[positions as usize + OPT_OFFSET, cols])?;
            all[OPT_OFFSET * cols..][..rows * cols].to_vec()
        } else {
            checkpoint.tensor(&theirs, shape)?
        };
        used.insert(theirs);
        Ok(values)
    })?;
    if config.tied_head {
        check_tied(&checkpoint, &weights.embed)?;
        used.insert("lm_head.weight".to_owned());
    }
    refuse_unused(&checkpoint, &used)?;
    let name = directory.canonicalize().ok();
    let name = name.as_deref().and_then(Path::file_name).unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let chat_template = chat_template::of_directory(directory, false)?;
    Ok(Model { chat_template, ..Model::new(name, config, rope_theta, weights, tokenizer) })
}

/// Refuses what a file of the directory says and nobody follows; a file that is not there says nothing.
fn check_keys(path: &Path, format: &Format, options: &Options<'_>) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let value = json::read(path)?;
    let object = value.as_object();
    let object = object
        .with_context(|| format!("{}: not a JSON object; download it again", path.display()))?;
    format.check_object(object, options.allowed).with_context(|| path.display().to_string())
}

/// A smaller vocabulary than the embedding table is common: tables are padded.
fn read_tokenizer(
    directory: &Path,
    config: &ModelConfig,
    options: &Options<'_>,
) -> Result<TokenizerSpec> {
    let tokenizer = tokenizer::read_directory(directory, options.allowed)?;
    let tokens = tokenizer.len();
    if tokens > config.vocab as usize {
        bail!(
            "{}: {tokens} tokens, but `vocab_size` in config.json is {}; the tokenizer is of \
             another model, or the embedding table was not resized after tokens were added",
            directory.join("tokenizer.json").display(),
            config.vocab
        );
    }
    Ok(tokenizer)
}

/// What stands before the names of all tensors but the output head; checkpoints differ in whether
/// they were saved with it.
fn prefix(family: Family, checkpoint: &Checkpoint) -> Result<&'static str> {
    let known: &[&str] = match family {
        Family::Llama => &["model.", ""],
        Family::Opt => &["model.decoder.", "decoder.", ""],
    };
    let embed = |prefix: &str| format!("{prefix}embed_tokens.weight");
    match known.iter().find(|prefix| checkpoint.has(&embed(prefix))) {
        Some(prefix) => Ok(prefix),
        None => bail!(
            "{}: tensor `{}` is missing; the weights are not of the architecture in config.json",
            checkpoint.file_of("").display(),
            embed(known[0])
        ),
    }
}

/// Translates the names of [`model::build`] to a checkpoint's.
struct Names {
    family: Family,
    prefix: &'static str,
}

impl Names {
    fn translate(&self, name: &str) -> String {
        let prefix = self.prefix;
        let (path, kind) = name.rsplit_once('.').unwrap_or((name, "weight"));
        let layer = path.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        match layer {
            Some((i, part)) => format!("{prefix}layers.{i}.{}.{kind}", self.part(part)),
            None if path == "head" => format!("lm_head.{kind}"),
            None => format!("{prefix}{}.{kind}", self.part(path)),
        }
    }

    fn part<'a>(&self, part: &'a str) -> &'a str {
        match (self.family, part) {
            (_, "embed") => "embed_tokens",
            (_, "query") => "self_attn.q_proj",
            (_, "key") => "self_attn.k_proj",
            (_, "value") => "self_attn.v_proj",
            (Family::Llama, "output") => "self_attn.o_proj",
            (Family::Llama, "attention_norm") => "input_layernorm",
            (Family::Llama, "ffn_norm") => "post_attention_layernorm",
            (Family::Llama, "gate") => "mlp.gate_proj",
            (Family::Llama, "up") => "mlp.up_proj",
            (Family::Llama, "down") => "mlp.down_proj",
            (Family::Llama, "final_norm") => "norm",
            (Family::Opt, "positions") => "embed_positions",
            (Family::Opt, "output") => "self_attn.out_proj",
            (Family::Opt, "attention_norm") => "self_attn_layer_norm",
            (Family::Opt, "ffn_norm" | "final_norm") => "final_layer_norm",
            (Family::Opt, "up") => "fc1",
            (Family::Opt, "down") => "fc2",
            (_, other) => other,
        }
    }
}

/// A tied head may be stored all the same; then it must be the embedding table.
fn check_tied(checkpoint: &Checkpoint, embed: &model::Matrix) -> Result<()> {
    let name = "lm_head.weight";
    if checkpoint.has(name) && checkpoint.tensor(name, &[embed.rows, embed.cols])? != embed.data {
        bail!(
            "{}: tensor `{name}` differs from the embedding table, but `tie_word_embeddings` is \
             true; set it to false in config.json if the head was trained apart",
            checkpoint.file_of(name).display()
        );
    }
    Ok(())
}

/// A tensor that nobody asked for is a part of the model that would silently be left out.
fn refuse_unused(checkpoint: &Checkpoint, used: &BTreeSet<String>) -> Result<()> {
    // Old checkpoints store the rotary frequencies, which follow from `rope_theta`.
    let unused = |name: &&str| !used.contains(*name) && !name.ends_with("rotary_emb.inv_freq");
    let Some(name) = checkpoint.names().find(unused) else { return Ok(()) };
    bail!(
        "{}: tensor `{name}` has no place in the model that config.json describes; the two are of \
         different models, or a field (num_hidden_layers, attention_bias, ...) is wrong",
        checkpoint.file_of(name).display()
    )
}
