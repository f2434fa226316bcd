//! Hugging Face directories.
//!
//! In: a directory. Out: a [`Model`]. Knows nothing of other formats.

use super::checkpoint::Checkpoint;
use super::config::{self, Family, Parsed};
use super::fold::product;
use super::keys::{Format, GENERATION};
use super::names::Names;
use super::{Options, chat_template, json, tokenizer};
use crate::model::tokenizer::TokenizerSpec;
use crate::model::{self, Matrix, Model, TensorSource, Values};
use anyhow::{Context, Result, bail};
use ripple_kernel::config::ModelConfig;
use std::collections::BTreeSet;
use std::path::Path;

/// Rows in front of OPT's table of positions that no position uses.
const OPT_OFFSET: usize = 2;

/// Reads the checkpoint in `directory`.
pub(super) fn import(directory: &Path, options: &Options<'_>) -> Result<Model> {
    let parsed = config::read(&directory.join("config.json"), options)?;
    let Parsed { family, config, .. } = parsed;
    check_keys(&directory.join(GENERATION.name), &GENERATION, options)?;
    let checkpoint = Checkpoint::open_directory(directory)?;
    let tokenizer = read_tokenizer(directory, &config, options)?;
    let names = Names::of(family, &checkpoint)?;
    let mut used = BTreeSet::new();
    let weights = model::build(&config, &mut |name, shape| {
        let theirs = names.translate(name);
        let mut tensor = |theirs: &str, shape: &[usize]| {
            used.insert(theirs.to_owned());
            checkpoint.stored(theirs, shape)
        };
        if let (Some(width), "embed.weight" | "head.weight") = (parsed.projected, name) {
            return projected(name, &names, width as usize, shape, &mut tensor).map(Values::from);
        }
        if family == Family::Opt && name == "positions.weight" {
            let (rows, cols) = (shape[0], shape[1]);
            let all = tensor(&theirs, &[parsed.positions as usize + OPT_OFFSET, cols])?;
            return Ok(all.of(OPT_OFFSET * cols..(OPT_OFFSET + rows) * cols).into_owned().into());
        }
        if let Some((fused, rows)) = names.fused(name, &config) {
            let cols = shape.get(1).copied().unwrap_or(1);
            let whole = [&[rows.all][..], &shape[1..]].concat();
            let values = tensor(&fused, &whole)?;
            return Ok(rows.of(&values.of(0..values.len()), cols).into());
        }
        let mut values = tensor(&theirs, shape)?;
        if let (true, Some(norm)) = (config.variant.sub_norm, names.sub_norm(name)) {
            let norm = tensor(&norm, &[shape[1]])?.into_held();
            let mut held = values.into_held();
            held.chunks_exact_mut(shape[1]).for_each(|row| {
                row.iter_mut().zip(&norm).for_each(|(value, norm)| *value *= norm);
            });
            values = held.into();
        }
        Ok(values)
    })?;
    if let (Some(width), true) = (parsed.projected, checkpoint.has("lm_head.weight")) {
        // The projected table is the embedding's.
        let (rows, cols) = (config.vocab as usize, width as usize);
        let table = checkpoint.stored(&names.translate("embed.weight"), &[rows, cols])?;
        check_tied(&checkpoint, &Matrix::new(rows, cols, table))?;
        used.insert("lm_head.weight".to_owned());
    }
    if config.tied_head {
        check_tied(&checkpoint, &weights.embed)?;
        used.insert("lm_head.weight".to_owned());
    }
    refuse_unused(&checkpoint, &used)?;
    let name = directory.canonicalize().ok();
    let name = name.as_deref().and_then(Path::file_name).unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let chat_template = chat_template::of_directory(directory, false)?;
    let mut weights = weights;
    parsed.fold.apply(&config, &parsed.rope, &mut weights);
    let rope_frequencies = parsed.rope.frequencies(config.head_dim);
    let model = Model::new(name, config, parsed.rope.theta, weights, tokenizer);
    Ok(Model { chat_template, rope_frequencies, ..model })
}

/// OPT-350m's tables: the embedding times the projection to the model's width, and, for the head, times
/// that from it. Two tables of the model's width take the place of one that is narrower.
fn projected(
    name: &str,
    names: &Names,
    width: usize,
    shape: &[usize],
    tensor: &mut TensorSource<'_>,
) -> Result<Vec<f32>> {
    let (vocab, dim) = (shape[0], shape[1]);
    let data = tensor(&names.translate("embed.weight"), &[vocab, width])?;
    let table = Matrix::new(vocab, width, data);
    let prefix = names.prefix();
    let rows = if name == "embed.weight" {
        let data = tensor(&format!("{prefix}project_in.weight"), &[dim, width])?;
        Matrix::new(dim, width, data)
    } else {
        let data = tensor(&format!("{prefix}project_out.weight"), &[width, dim])?;
        Matrix::new(width, dim, data).transposed()
    };
    Ok(product(&table, &rows).values().into_owned())
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

/// A tied head may be stored all the same; then it must be the embedding table.
fn check_tied(checkpoint: &Checkpoint, embed: &model::Matrix) -> Result<()> {
    let name = "lm_head.weight";
    if !checkpoint.has(name) {
        return Ok(());
    }
    let head = checkpoint.stored(name, &[embed.rows, embed.cols])?;
    if Matrix::new(embed.rows, embed.cols, head) != *embed {
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
