//! Placement files, and those of parts of a placement: JSON, one line a layer.
//!
//! In: a placement or a part, or such a file. Out: the other one, checked. A part's file differs
//! by the key `first_layer`.

use super::{LayerPage, Method, Order, Pages, PartialPlacement, Placement, Settings, check_hot};
use crate::process::failure::{bad_input, check_there};
use crate::process::output::write_whole;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// Names the format and its version.
const FORMAT: &str = "ripple-placement-1";

/// The file before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    format: String,
    model: String,
    neurons: usize,
    method: Method,
    settings: Settings,
    hot: Vec<usize>,
    first_layer: Option<usize>,
    layers: Vec<Vec<u32>>,
    /// Token by token, layer by layer: how many are read ahead, then the neurons.
    pages: Option<Vec<Vec<Vec<u16>>>>,
    /// Blocks of the page buffer that they are grouped for.
    page_buffer: Option<u32>,
}

fn unpack(pages: &[Vec<Vec<u16>>], layers: usize, neurons: usize) -> Result<Pages> {
    let mut layer_pages = Vec::new();
    for (token, page) in pages.iter().enumerate() {
        ensure!(
            page.len() == layers,
            "pages of token {token}: expected {layers} layers, found {}",
            page.len()
        );
        layer_pages.extend(page.iter().map(|page| match page.split_first() {
            Some((&ahead, neurons)) => LayerPage { neurons: neurons.to_vec(), ahead },
            None => LayerPage::default(),
        }));
    }
    Pages::new(layers, neurons, layer_pages)
}

/// The other way; nothing for no page.
fn pack(page: &LayerPage) -> Vec<u16> {
    let ahead = (!page.neurons.is_empty()).then_some(page.ahead);
    ahead.into_iter().chain(page.neurons.iter().copied()).collect()
}

impl Placement {
    /// Reads the placement at `path`.
    ///
    /// # Errors
    /// When it is not a whole, consistent placement: says which layer, what was expected and what
    /// was found.
    pub fn read(path: &Path) -> Result<Self> {
        check_there(path)?;
        let read = || match parse(path)? {
            (all, pages, false) => Ok(Self { all, pages }),
            (part, _, true) => bail!(
                "expected all {} layers, found the part {}..{}; join the parts with `ripple place \
                 --merge`",
                part.hot.len(),
                part.layers().start,
                part.layers().end
            ),
        };
        let read = read().with_context(|| format!("{}: not a placement", path.display()));
        read.map_err(bad_input)
    }

    /// Writes the placement to `path`, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written; whatever was there is then untouched.
    pub fn write(&self, path: &Path) -> Result<()> {
        write(&self.all, self.pages.as_ref(), false, path)
    }
}

impl PartialPlacement {
    /// Reads the part of a placement at `path`.
    ///
    /// # Errors
    /// As [`Placement::read`].
    pub fn read(path: &Path) -> Result<Self> {
        check_there(path)?;
        let read = || match parse(path)? {
            (part, _, true) => Ok(part),
            (_, _, false) => bail!(
                "expected a part, as `ripple place --layers` writes it, found all layers; it needs \
                 no joining"
            ),
        };
        let read = read().with_context(|| format!("{}: not a part of a placement", path.display()));
        read.map_err(bad_input)
    }

    /// Writes the part to `path`, whole or not at all.
    ///
    /// # Errors
    /// As [`Placement::write`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write(self, None, true, path)
    }
}

/// Gives the layers at `path`, their pages, and whether they are but a part.
fn parse(path: &Path) -> Result<(PartialPlacement, Option<Pages>, bool)> {
    let text = std::fs::read_to_string(path).context("the file cannot be read")?;
    let file: Unchecked = serde_json::from_str(&text)
        .context("expected JSON as `ripple place` writes it; place again")?;
    ensure!(
        file.format == FORMAT,
        "expected format `{FORMAT}`, found `{}`; place again with this version",
        file.format
    );
    ensure!(!file.layers.is_empty(), "expected at least one layer, found none");
    let first = file.first_layer.unwrap_or(0);
    let layers = match file.first_layer {
        // A part has a hot prefix for every layer of the model.
        Some(_) => file.hot.len(),
        None => file.layers.len(),
    };
    check_hot(&file.hot, layers, file.neurons)?;
    ensure!(
        first.checked_add(file.layers.len()).is_some_and(|end| end <= layers),
        "expected at most {layers} layers, as many as hot prefixes, found {} from layer {first} on",
        file.layers.len()
    );
    let check = |(at, slots): (usize, &Vec<u32>)| {
        let layer = first + at;
        ensure!(
            slots.len() == file.neurons,
            "layer {layer}: expected {} neurons, found {}",
            file.neurons,
            slots.len()
        );
        Order::new(slots).with_context(|| format!("layer {layer}"))
    };
    let layers: Vec<_> = file.layers.iter().enumerate().map(check).collect::<Result<_>>()?;
    let Unchecked {
        model, method, settings, hot, first_layer, pages, neurons, page_buffer, ..
    } = file;
    let pages = pages.map(|pages| unpack(&pages, hot.len(), neurons)).transpose()?;
    let pages = pages.map(|pages| pages.with_buffer(page_buffer.unwrap_or(0)));
    let part = PartialPlacement { model, method, settings, hot, first, layers };
    Ok((part, pages, first_layer.is_some()))
}

fn write(part: &PartialPlacement, pages: Option<&Pages>, is_part: bool, path: &Path) -> Result<()> {
    let mut head = vec![
        ("format", json!(FORMAT)),
        ("model", json!(part.model)),
        ("neurons", json!(part.neurons())),
        ("method", json!(part.method)),
        ("settings", json!(part.settings)),
        ("hot", json!(part.hot)),
    ];
    head.extend(is_part.then(|| ("first_layer", json!(part.first))));
    head.extend(pages.map(|pages| ("page_buffer", json!(pages.buffer()))));
    write_whole(path, |out: &mut dyn Write| {
        writeln!(out, "{{")?;
        for (key, value) in &head {
            writeln!(out, "\"{key}\": {value},")?;
        }
        writeln!(out, "\"layers\": [")?;
        for (at, order) in part.layers.iter().enumerate() {
            serde_json::to_writer(&mut *out, order.neurons())?;
            writeln!(out, "{}", if at + 1 < part.layers.len() { "," } else { "" })?;
        }
        if let Some(pages) = pages {
            writeln!(out, "],\n\"pages\": [")?;
            for token in 0..pages.tokens() {
                let line: Vec<Vec<u16>> = pages.of(token).iter().map(pack).collect();
                serde_json::to_writer(&mut *out, &line)?;
                writeln!(out, "{}", if token + 1 < pages.tokens() { "," } else { "" })?;
            }
        }
        writeln!(out, "]}}")?;
        Ok(())
    })
}
