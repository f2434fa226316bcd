//! Placement files: JSON, one line a layer.
//!
//! In: a placement, or such a file. Out: the other one, checked.

use super::{Method, Order, PagePlan, Pages, Placement, Settings, check_hot};
use crate::output::write_whole;
use anyhow::{Context, Result, ensure};
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
    layers: Vec<Vec<u32>>,
    /// Token by token, layer by layer: how many are read ahead, then the neurons.
    #[serde(default)]
    pages: Option<Vec<Vec<Vec<u16>>>>,
}

fn unpack(pages: &[Vec<Vec<u16>>], layers: usize, neurons: usize) -> Result<Pages> {
    let mut plans = Vec::new();
    for (token, page) in pages.iter().enumerate() {
        ensure!(
            page.len() == layers,
            "pages of token {token}: expected {layers} layers, found {}",
            page.len()
        );
        plans.extend(page.iter().map(|page| match page.split_first() {
            Some((&ahead, neurons)) => PagePlan { neurons: neurons.to_vec(), ahead },
            None => PagePlan::default(),
        }));
    }
    Pages::new(layers, neurons, plans)
}

impl PagePlan {
    /// As it stands in a file; nothing for no page.
    fn line(&self) -> Vec<u16> {
        let ahead = (!self.neurons.is_empty()).then_some(self.ahead);
        ahead.into_iter().chain(self.neurons.iter().copied()).collect()
    }
}

impl Placement {
    /// Reads the placement at `path`.
    ///
    /// # Errors
    /// When it is not a whole, consistent placement: says which layer, what was expected and what
    /// was found.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path).with_context(|| format!("{}: not a placement", path.display()))
    }

    fn parse(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).context("the file cannot be read")?;
        let file: Unchecked = serde_json::from_str(&text)
            .context("expected JSON as `ripple place` writes it; place again")?;
        ensure!(
            file.format == FORMAT,
            "expected format `{FORMAT}`, found `{}`; place again with this version",
            file.format
        );
        ensure!(!file.layers.is_empty(), "expected at least one layer, found none");
        check_hot(&file.hot, file.layers.len(), file.neurons)?;
        let check = |(layer, slots): (usize, &Vec<u32>)| {
            ensure!(
                slots.len() == file.neurons,
                "layer {layer}: expected {} neurons, found {}",
                file.neurons,
                slots.len()
            );
            Order::new(slots).with_context(|| format!("layer {layer}"))
        };
        let layers: Vec<_> = file.layers.iter().enumerate().map(check).collect::<Result<_>>()?;
        let Unchecked { model, method, settings, hot, pages, neurons, .. } = file;
        let pages = pages.map(|pages| unpack(&pages, layers.len(), neurons)).transpose()?;
        Ok(Self { model, method, settings, hot, layers, pages })
    }

    /// Writes the placement to `path`, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written; whatever was there is then untouched.
    pub fn write(&self, path: &Path) -> Result<()> {
        let head = [
            ("format", json!(FORMAT)),
            ("model", json!(self.model)),
            ("neurons", json!(self.neurons())),
            ("method", json!(self.method)),
            ("settings", json!(self.settings)),
            ("hot", json!(self.hot)),
        ];
        write_whole(path, |out: &mut dyn Write| {
            writeln!(out, "{{")?;
            for (key, value) in &head {
                writeln!(out, "\"{key}\": {value},")?;
            }
            writeln!(out, "\"layers\": [")?;
            for (layer, order) in self.layers.iter().enumerate() {
                serde_json::to_writer(&mut *out, order.neurons())?;
                writeln!(out, "{}", if layer + 1 < self.layers.len() { "," } else { "" })?;
            }
            if let Some(pages) = &self.pages {
                writeln!(out, "],\n\"pages\": [")?;
                for token in 0..pages.tokens() {
                    let line: Vec<Vec<u16>> = pages.of(token).iter().map(PagePlan::line).collect();
                    serde_json::to_writer(&mut *out, &line)?;
                    writeln!(out, "{}", if token + 1 < pages.tokens() { "," } else { "" })?;
                }
            }
            writeln!(out, "]}}")?;
            Ok(())
        })
    }
}
