//! Files of llama2.c: a `.bin` of float32 weights, and its tokenizer's.
//!
//! In: their paths. Out: a [`Model`] of Llama's shape with SiLU gates. Knows nothing of other formats.
//!
//! A `.bin` is seven whole numbers and then tensors without names (`export.py` of llama2.c, versions
//! 0 and 1; version 2 is quantised). A tokenizer is the length of its longest piece, then a score, a
//! length and the bytes of every piece.

use super::rotary::halves_of_neighbours;
use super::sentencepiece::{self, Piece};
use super::{Options, activation};
use crate::model::tokenizer::TokenizerSpec;
use crate::model::{self, Model};
use anyhow::{Context, Result, bail, ensure};
use ripple_kernel::config::{Activation, AttentionBias, Ffn, ModelConfig, Norm, Position, Variant};
use ripple_kernel::text::tokenizer::Prefix;
use std::collections::HashMap;
use std::path::Path;

/// `ak42`, where a version follows.
const MAGIC: u32 = 0x616b_3432;
const HEADER_V0: usize = 28;
const HEADER_V1: usize = 256;
/// Token that begins a text, and that ends one: llama2.c stops at it.
const BEGIN: u32 = 1;

/// Reads `path` and the vocabulary in `tokenizer`.
pub(super) fn import(path: &Path, options: &Options<'_>) -> Result<Model> {
    let shown = path.display();
    let beside = path.with_file_name("tokenizer.bin");
    let tokenizer = options.tokenizer.unwrap_or(&beside);
    let bytes = std::fs::read(path).with_context(|| format!("{shown}: cannot be read"))?;
    let header = Header::parse(&bytes).with_context(|| shown.to_string())?;
    let written = (header.config.activation, header.config.threshold);
    activation::decide("activation of llama2.c", Some(written), options.activation)
        .with_context(|| shown.to_string())?;
    let mut config = header.config;
    super::check(&mut config, options, str::to_owned).with_context(|| shown.to_string())?;
    let tensors = header.tensors();
    let expected = header.start + 4 * tensors.values().map(|&(_, count)| count).sum::<usize>();
    ensure!(
        bytes.len() == expected,
        "{shown}: {} bytes, expected {expected} of a llama2.c model of dim {}, {} layers, vocabulary {}; \
         copy or export it again (`export.py --version 0` or `1`)",
        bytes.len(),
        config.dim,
        config.layers,
        config.vocab
    );
    let weights = model::build(&config, &mut |name, shape| {
        let (start, count) = header.place(&tensors, name)?;
        ensure!(count == shape.iter().product::<usize>(), "tensor `{name}`: {count} values");
        let bytes = &bytes[start..start + 4 * count];
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if let Some(i) = values.iter().position(|value| !value.is_finite()) {
            bail!(
                "{shown}: tensor `{name}` holds {} at element {i}, expected finite values; the file is \
                 damaged: copy it again",
                values[i]
            );
        }
        Ok(match name.rsplit('.').nth(1) {
            Some("query" | "key") => {
                halves_of_neighbours(&values, config.head_dim as usize, shape[1]).into()
            }
            _ => values.into(),
        })
    })?;
    let tokenizer = read_tokenizer(tokenizer, config.vocab)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Model::new(name, config, 10000.0, weights, tokenizer))
}

/// Whether a file that begins so is one of llama2.c, or says that it is.
pub(super) fn looks_like(begin: &[u8]) -> bool {
    let plausible = |header: Header| {
        let c = &header.config;
        c.layers <= 1024 && c.vocab <= 1 << 20 && c.check().is_ok()
    };
    begin.starts_with(&MAGIC.to_le_bytes()) || Header::parse(begin).is_ok_and(plausible)
}

struct Header {
    config: ModelConfig,
    /// Where tensors begin.
    start: usize,
    version: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let word = |at: usize| -> Result<i32> {
            let word = bytes.get(4 * at..4 * at + 4).and_then(|bytes| bytes.try_into().ok());
            let word = word.with_context(|| {
                format!("{} bytes, too short for a llama2.c model; copy it again", bytes.len())
            })?;
            Ok(i32::from_le_bytes(word))
        };
        let (version, first, start) = if word(0)? as u32 == MAGIC {
            (word(1)? as u32, 2, HEADER_V1)
        } else {
            (0, 0, HEADER_V0)
        };
        ensure!(
            version <= 1,
            "a llama2.c model of version {version}, expected 0 or 1, which hold float32; export it \
             again with `export.py --version 0`"
        );
        let field = |at: usize, name: &str| -> Result<u32> {
            let found = word(first + at)?;
            u32::try_from(found).ok().filter(|&found| found > 0).with_context(|| {
                format!(
                    "`{name}` is {found}, expected more than 0; is this a llama2.c model (`.bin`)? \
                     Export it again with `export.py --version 0`"
                )
            })
        };
        let (dim, heads) = (field(0, "dim")?, field(3, "n_heads")?);
        ensure!(
            dim.is_multiple_of(heads),
            "`dim` is {dim}, expected a multiple of `n_heads`, {heads}; is this a llama2.c model?"
        );
        // Version 0 says by the sign of the vocabulary whether the head is a table of its own.
        let vocab = word(first + 5)?;
        let tied_head = match version {
            0 => vocab > 0,
            _ => bytes.get(4 * (first + 7)).is_some_and(|&shared| shared != 0),
        };
        let config = ModelConfig {
            dim,
            layers: field(2, "n_layers")?,
            neurons: field(1, "hidden_dim")?,
            heads,
            kv_heads: field(4, "n_kv_heads")?,
            head_dim: dim / heads,
            vocab: vocab.unsigned_abs(),
            context: field(6, "seq_len")?,
            norm: Norm::Rms,
            norm_eps: 1e-5,
            position: Position::Rope,
            ffn: Ffn::Gated,
            activation: Activation::Silu,
            variant: Variant::NONE,
            attention_bias: AttentionBias::NONE,
            ffn_bias: false,
            tied_head,
            threshold: 0.0,
        };
        Ok(Self { config, start, version })
    }

    /// Where each tensor (of all layers) begins, and how many values it has.
    fn tensors(&self) -> HashMap<&'static str, (usize, usize)> {
        let c = &self.config;
        let [dim, neurons, layers, vocab] =
            [c.dim, c.neurons, c.layers, c.vocab].map(|n| n as usize);
        let (query_dim, kv_dim) = (c.query_dim() as usize, c.kv_dim() as usize);
        let matrices = [
            ("query", layers * query_dim * dim),
            ("key", layers * kv_dim * dim),
            ("value", layers * kv_dim * dim),
            ("output", layers * dim * query_dim),
        ];
        let ffn = [("gate", neurons), ("down", neurons), ("up", neurons)]
            .map(|(name, neurons)| (name, layers * neurons * dim));
        let (embed, attention_norm) = (("embed", vocab * dim), ("attention_norm", layers * dim));
        let (ffn_norm, final_norm) = (("ffn_norm", layers * dim), ("final_norm", dim));
        let mut order = Vec::new();
        if self.version == 0 {
            order.extend([embed, attention_norm]);
            order.extend(matrices);
            order.push(ffn_norm);
            order.extend(ffn);
            // Sines and cosines of the rotary positions, which follow from their base.
            let rotary = c.context as usize * c.head_dim as usize;
            order.extend([final_norm, ("rotary", rotary)]);
        } else {
            order.extend([attention_norm, ffn_norm, final_norm, embed]);
            order.extend(matrices);
            order.extend(ffn);
        }
        if !c.tied_head {
            order.push(("head", vocab * dim));
        }
        let mut at = self.start;
        let places = order.into_iter().map(|(name, count)| {
            let start = at;
            at += 4 * count;
            (name, (start, count))
        });
        places.collect()
    }

    /// Where the tensor that [`model::build`] calls `name` begins, and how many values it has.
    fn place(
        &self,
        tensors: &HashMap<&'static str, (usize, usize)>,
        name: &str,
    ) -> Result<(usize, usize)> {
        let path = name.strip_suffix(".weight").unwrap_or(name);
        let (layer, part) = match path.strip_prefix("layers.").and_then(|rest| rest.split_once('.'))
        {
            Some((layer, part)) => (Some(layer.parse::<usize>()?), part),
            None => (None, path),
        };
        let &(start, count) =
            tensors.get(part).with_context(|| format!("llama2.c files have no tensor `{name}`"))?;
        Ok(match layer {
            Some(layer) => {
                let count = count / self.config.layers as usize;
                (start + 4 * layer * count, count)
            }
            None => (start, count),
        })
    }
}

/// Reads a tokenizer of `vocab` pieces.
fn read_tokenizer(path: &Path, vocab: u32) -> Result<TokenizerSpec> {
    let shown = path.display();
    let bytes = std::fs::read(path).with_context(|| {
        format!("{shown}: the tokenizer cannot be read; name llama2.c's with --tokenizer FILE")
    })?;
    let mut rest = &bytes[..];
    let mut take = |count: usize| -> Option<&[u8]> {
        let (front, back) = rest.split_at_checked(count)?;
        rest = back;
        Some(front)
    };
    let mut pieces = Vec::new();
    let longest = take(4);
    for id in 0..vocab {
        let piece = longest.and_then(|_| {
            let score = f32::from_le_bytes(take(4)?.try_into().ok()?);
            let length = i32::from_le_bytes(take(4)?.try_into().ok()?);
            Some((score, take(usize::try_from(length).ok()?)?))
        });
        let (score, text) = piece.with_context(|| {
            format!(
                "{shown}: ends in token {id}, expected {vocab} tokens, as the model has; it is cut short \
                 or the tokenizer of another model"
            )
        })?;
        // The exporter puts line ends around the names of control pieces.
        let name = text.strip_prefix(b"\n").and_then(|name| name.strip_suffix(b"\n"));
        pieces.push(match name {
            Some(name) if !name.is_empty() => Piece::by_name(name, score),
            _ => Piece::by_name(text, score),
        });
    }
    ensure!(
        rest.is_empty(),
        "{shown}: {} bytes after token {vocab}, the last one that the model has; it is the tokenizer of \
         another model",
        rest.len()
    );
    let named = || shown.to_string();
    let mut spec = sentencepiece::spec(&pieces, Prefix::Always).with_context(named)?;
    (spec.bos, spec.adds_bos, spec.eos) = (Some(BEGIN), true, vec![BEGIN]);
    spec.pack().with_context(named)?;
    Ok(spec)
}
