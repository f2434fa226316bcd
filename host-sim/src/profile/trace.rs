//! Activation traces: which neurons every token made active, layer by layer.
//!
//! In: the active sets a probe reports, or a safetensors file any tool can write. Out: [`Trace`],
//! read-only, mapped rather than loaded. Knows nothing of models, placements or storage.
//!
//! The file holds one tensor `active`, U8, `(tokens, layers, ceil(neurons / 8))`: bit `i` of byte
//! `k` is neuron `8k + i` (least significant bit first), and four metadata strings: `neurons`,
//! `bundle_bytes`, `model`, `text`. From a boolean array, with numpy:
//! `packbits(active, axis=-1, bitorder="little")`. A second tensor `tokens`, U32, `(tokens,)`, may say
//! which token each was; without it no pages can be placed. A fifth string `windows` says of a part of a trace
//! which windows of its text it is of.

mod builder;
mod header;
mod parts;

pub use builder::TraceBuilder;
pub use parts::Part;

use crate::process::failure::{bad_input, check_there};
use crate::process::output::write_whole;
use anyhow::{Context, Result, ensure};
use header::{check_header, explain, read_ids};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use rayon::prelude::*;
use safetensors::tensor::SafeTensors;
use serde_json::json;
use std::borrow::Borrow;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

/// The tensor's name.
const ACTIVE: &str = "active";
/// The metadata string that says which windows of a text a part is of.
const WINDOWS: &str = "windows";
/// The name of the tensor of token numbers.
const TOKENS: &str = "tokens";
/// Most neurons in a layer: a neuron's index is a `u16`, as on the board.
const MOST_NEURONS: usize = 65535;

/// What was traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHeader {
    /// Name of the model.
    pub model: String,
    /// Name of the text it read.
    pub text: String,
    /// Transformer layers.
    pub layers: usize,
    /// FFN neurons of one layer.
    pub neurons: usize,
    /// Size of one neuron bundle on the card.
    pub bundle_bytes: u32,
}

impl TraceHeader {
    /// Bytes of one active set: `ceil(neurons / 8)`.
    fn row_bytes(&self) -> usize {
        self.neurons.div_ceil(8)
    }
}

/// The active sets of a text: `(tokens, layers, neurons)`, one bit each.
#[derive(Debug)]
pub struct Trace {
    header: TraceHeader,
    tokens: usize,
    /// `(tokens,)` which token each was, or empty.
    ids: Vec<u32>,
    /// Which windows of a text it is of, if not of all.
    part: Option<Part>,
    bits: Bits,
}

/// The tensor's bytes: recorded here, or mapped from `start` to the end of a file.
#[derive(Debug)]
enum Bits {
    Recorded(Vec<u8>),
    Mapped { file: Mmap, start: usize },
}

impl Trace {
    /// Maps the trace at `path`; the bits stay in the file until they are used.
    ///
    /// # Errors
    /// When the file is not a whole, consistent trace: says what was expected, what was found and
    /// what to do.
    pub fn read(path: &Path) -> Result<Self> {
        check_there(path)?;
        let trace = Self::map(path);
        let trace = trace.with_context(|| format!("{}: not an activation trace", path.display()));
        trace.map_err(bad_input)
    }

    fn map(path: &Path) -> Result<Self> {
        let file = File::open(path).context("the file cannot be opened")?;
        // SAFETY: the map is read-only. Should another process shorten the file meanwhile, reading
        // it faults; the project's own writer replaces files and never shortens one in place.
        #[allow(unsafe_code, reason = "a trace can be larger than memory: it is mapped, not read")]
        let file = unsafe { Mmap::map(&file) }.context("the file cannot be mapped")?;
        let (header_bytes, metadata) =
            SafeTensors::read_metadata(&file).map_err(|e| explain(&file, e))?;
        let (header, tokens, offset) = check_header(&metadata)?;
        let ids = read_ids(&metadata, tokens, &file[8 + header_bytes..])?;
        let notes = metadata.metadata().as_ref();
        let part = notes.and_then(|notes| notes.get(WINDOWS)).map(|text| Part::parse(text));
        let part = part.transpose()?;
        let bits = Bits::Mapped { start: 8 + header_bytes + offset, file };
        let trace = Self { header, tokens, ids, part, bits };
        trace.check_stray_bits()?;
        Ok(trace)
    }

    /// Writes the trace to `path`, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written; whatever was there is then untouched.
    pub fn write(&self, path: &Path) -> Result<()> {
        let Self { header, tokens, ids, part, .. } = self;
        Self::write_parts(path, header, *tokens, ids, part.as_ref(), [self])
    }

    /// Writes traces of successive tokens, `tokens` in all, to `path` as one: for a trace larger
    /// than memory, made part by part. It does not name its tokens.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Panics
    /// When a part is not of `header`, or the parts are not of `tokens`.
    pub fn write_joined<T: Borrow<Self>>(
        path: &Path,
        header: &TraceHeader,
        tokens: usize,
        parts: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        Self::write_parts(path, header, tokens, &[], None, parts)
    }

    fn write_parts<T: Borrow<Self>>(
        path: &Path,
        header: &TraceHeader,
        tokens: usize,
        ids: &[u32],
        part: Option<&Part>,
        parts: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        let token_bytes = header.layers * header.row_bytes();
        // Written here rather than by `safetensors::serialize`, which would hold a second copy of
        // the bits and put the metadata in a different order at every run.
        let bytes = tokens * token_bytes;
        let ids_end = bytes + 4 * ids.len();
        let mut json = json!({
            "__metadata__": {
                "bundle_bytes": header.bundle_bytes.to_string(),
                "model": header.model,
                "neurons": header.neurons.to_string(),
                "text": header.text,
            },
            ACTIVE: {
                "dtype": "U8",
                "shape": [tokens, header.layers, header.row_bytes()],
                "data_offsets": [0, bytes],
            },
        });
        if !ids.is_empty() {
            json[TOKENS] = json!({
                "dtype": "U32", "shape": [tokens], "data_offsets": [bytes, ids_end],
            });
        }
        if let Some(part) = part {
            json["__metadata__"][WINDOWS] = json!(part.to_string());
        }
        let mut json = json.to_string();
        json.push_str(&" ".repeat(json.len().next_multiple_of(8) - json.len()));
        write_whole(path, |out: &mut dyn Write| {
            out.write_all(&(json.len() as u64).to_le_bytes())?;
            out.write_all(json.as_bytes())?;
            let mut written = 0;
            for part in parts {
                let part = part.borrow();
                assert_eq!(part.header, *header, "a part of another trace");
                out.write_all(&part.bytes()[..part.tokens * token_bytes])?;
                written += part.tokens;
            }
            assert_eq!(written, tokens, "tokens of the parts");
            for id in ids {
                out.write_all(&id.to_le_bytes())?;
            }
            Ok(())
        })
    }

    /// What was traced.
    pub fn header(&self) -> &TraceHeader {
        &self.header
    }

    /// Name of the model.
    pub fn model(&self) -> &str {
        &self.header.model
    }

    /// Name of the text.
    pub fn text(&self) -> &str {
        &self.header.text
    }

    /// Tokens traced.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Which token each was: `(tokens,)`, or empty where the trace does not say.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Which windows of a text it is of, if not of all.
    pub fn part(&self) -> Option<&Part> {
        self.part.as_ref()
    }

    /// The same, of some windows of a text.
    #[must_use]
    pub fn of_part(mut self, part: Part) -> Self {
        self.part = Some(part);
        self
    }

    /// Transformer layers.
    pub fn layers(&self) -> usize {
        self.header.layers
    }

    /// FFN neurons of one layer.
    pub fn neurons(&self) -> usize {
        self.header.neurons
    }

    /// Size of one neuron bundle on the card.
    pub fn bundle_bytes(&self) -> u32 {
        self.header.bundle_bytes
    }

    /// The same activations, of bundles of another size.
    #[must_use]
    pub fn of_bundles(mut self, bundle_bytes: u32) -> Self {
        self.header.bundle_bytes = bundle_bytes;
        self
    }

    /// The neurons `token` made active in `layer`, ascending.
    ///
    /// # Panics
    /// When `token` or `layer` is out of range.
    pub fn active(&self, token: usize, layer: usize) -> impl Iterator<Item = u16> + '_ {
        self.words(token, layer)
            .enumerate()
            .flat_map(|(w, bits)| set_bits(bits).map(move |bit| (w * 64) as u16 + bit as u16))
    }

    /// The active set of `token` in `layer`, 64 neurons a word: bit `i` of word `w` is neuron
    /// `64w + i`.
    ///
    /// # Panics
    /// When `token` or `layer` is out of range.
    pub fn words(&self, token: usize, layer: usize) -> impl Iterator<Item = u64> + '_ {
        assert!(token < self.tokens && layer < self.header.layers, "token {token}, layer {layer}");
        let row = self.header.row_bytes();
        let start = (token * self.header.layers + layer) * row;
        self.bytes()[start..start + row].chunks(8).map(|chunk| {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(bytes)
        })
    }

    /// How many tokens made each neuron of `layer` active: `(neurons,)`.
    pub fn frequency(&self, layer: usize) -> Vec<u32> {
        let mut frequency = vec![0; self.header.neurons];
        for token in 0..self.tokens {
            for neuron in self.active(token, layer) {
                frequency[usize::from(neuron)] += 1;
            }
        }
        frequency
    }

    /// How many tokens made each neuron of every layer active, in one pass over the trace:
    /// `(layers, neurons)`.
    pub fn frequencies(&self) -> Vec<Vec<u32>> {
        const TOKENS: usize = 1024;
        let (layers, neurons) = (self.header.layers, self.header.neurons);
        let count = |mut counts: Vec<Vec<u32>>, first: usize| {
            let tokens = first..self.tokens.min(first + TOKENS);
            for token in tokens.clone() {
                for (layer, counts) in counts.iter_mut().enumerate() {
                    for neuron in self.active(token, layer) {
                        counts[usize::from(neuron)] += 1;
                    }
                }
            }
            self.release(tokens);
            counts
        };
        let none = || vec![vec![0; neurons]; layers];
        let add = |mut a: Vec<Vec<u32>>, b: Vec<Vec<u32>>| {
            for (a, b) in a.iter_mut().flatten().zip(b.iter().flatten()) {
                *a += b;
            }
            a
        };
        let firsts: Vec<usize> = (0..self.tokens).step_by(TOKENS).collect();
        firsts.into_par_iter().fold(none, count).reduce(none, add)
    }

    /// Gives the memory of `tokens` back where the trace is mapped, so that a pass over a large
    /// file does not hold all of it; what is used again is read again.
    #[cfg_attr(not(unix), expect(unused_variables, reason = "only unix can give memory back"))]
    pub fn release(&self, tokens: Range<usize>) {
        #[cfg(unix)]
        if let Bits::Mapped { file, start } = &self.bits {
            let token_bytes = self.header.layers * self.header.row_bytes();
            let (at, length) = (start + tokens.start * token_bytes, tokens.len() * token_bytes);
            // SAFETY: the map is read-only and of a file: pages dropped come back from the file.
            #[allow(unsafe_code, reason = "a trace can be larger than memory")]
            let _ = unsafe { file.unchecked_advise_range(UncheckedAdvice::DontNeed, at, length) };
        }
    }

    /// Share of the neurons of `layer` that a token makes active, on average; 0 without tokens.
    pub fn density(&self, layer: usize) -> f64 {
        let ones: u64 = (0..self.tokens)
            .flat_map(|token| self.words(token, layer))
            .map(|word| u64::from(word.count_ones()))
            .sum();
        ones as f64 / (self.tokens * self.header.neurons).max(1) as f64
    }

    fn bytes(&self) -> &[u8] {
        match &self.bits {
            Bits::Recorded(bytes) => bytes,
            Bits::Mapped { file, start } => &file[*start..],
        }
    }

    /// Bits beyond the last neuron would become neurons that do not exist.
    fn check_stray_bits(&self) -> Result<()> {
        let (row, used) = (self.header.row_bytes(), self.header.neurons % 8);
        if used == 0 {
            return Ok(());
        }
        let rows = self.tokens * self.header.layers;
        for (at, last) in self.bytes().iter().skip(row - 1).step_by(row).take(rows).enumerate() {
            ensure!(
                last >> used == 0,
                "tensor `{ACTIVE}`: token {}, layer {} sets bits beyond neuron {} (last byte \
                 {last:#04x}); clear the padding bits, and put the least significant bit first",
                at / self.header.layers,
                at % self.header.layers,
                self.header.neurons - 1,
            );
        }
        Ok(())
    }
}

/// The set bits of `bits`, ascending.
pub(crate) fn set_bits(mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        (bits != 0).then(|| {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            bit
        })
    })
}
