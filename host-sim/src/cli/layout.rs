//! `ripple derive --model`: the layout of a language model's image, step by step.

use super::source::{Source, open_shape};
use super::summary::{bytes, table_with_words};
use crate::cost::Preset;
use crate::import::Options;
use crate::layout::{Layout, LayoutFile, Step, derive, layer, standard_geometry};
use crate::process::failure::{bad_input, ensure_usage};
use crate::process::output::{note, print, write_whole};
use anyhow::{Context, Result, anyhow};
use ripple_app::Board;
use ripple_kernel::image::Quants;
use std::fmt::Write as _;
use std::path::Path;

/// Derives the layout of `model` for `board`, prints it, and writes the plan.
pub fn run(
    model: &Path,
    board: &Board,
    card: &Preset,
    active: f64,
    output: Option<&Path>,
) -> Result<()> {
    let name = || model.display().to_string();
    ensure_usage!(
        (0.0..=1.0).contains(&active),
        "--active: expected a share from 0 to 1, found {active}"
    );
    let Source::Model(found) = open_shape(model, &Options::default())? else {
        let error = anyhow!("{}: an image, which is packed already; expected a model", name());
        return Err(bad_input(error));
    };
    let model = &found.model;
    let tokenizer = u32::try_from(model.tokenizer.pack()?.len())?;
    let standard = standard_geometry(model, Quants::Q8);
    let layout = derive(&standard, tokenizer, board, card, active).with_context(name)?;
    print(&report(&layout, &layer(&standard.config), &model.name, board, card)?)?;
    if let Some(path) = output {
        let file = LayoutFile::new(&layout, &model.name, board.name);
        let text = serde_json::to_string_pretty(&file)? + "\n";
        write_whole(path, |out| Ok(out.write_all(text.as_bytes())?))
            .with_context(|| path.display().to_string())?;
        note(&format!("{} on {} -> {}", model.name, board.name, path.display()));
    }
    Ok(())
}

fn report(
    layout: &Layout,
    equations: &str,
    model: &str,
    board: &Board,
    card: &Preset,
) -> Result<String> {
    let mut out = format!("{model} on {}, card {}: a layer is\n\n", board.name, card.name);
    for line in equations.lines() {
        writeln!(out, "  {line}")?;
    }
    let pair = |(before, after): (f64, f64), unit: &dyn Fn(f64) -> String| {
        format!("{} -> {}", unit(before), unit(after))
    };
    let row = |step: &Step| {
        let words =
            step.declined.as_ref().map_or("taken".to_owned(), |why| format!("declined: {why}"));
        vec![
            step.rule.clone(),
            pair(step.commands, &|n| format!("{n:.1}")),
            pair(step.bytes, &|n| bytes(n)),
            pair(step.nanoseconds, &|n| format!("{:.3}", n / 1e6)),
            words,
        ]
    };
    let header = ["rule", "commands", "bytes", "ms of the card", ""];
    let rows = layout.records.steps.iter().map(row).collect();
    write!(out, "\na layer and token, before and after:\n\n{}", table_with_words(&header, rows))?;
    let (before, after) = layout.records.kept;
    let (mapped, flash) = layout.front.mapped;
    writeln!(
        out,
        "\na record has the rows {} of a neuron{}; between first and last row {after} numbers are kept, not {before}",
        layout.records.rows.join(", "),
        if layout.records.first_apart { ", the first in the predictor alone" } else { "" }
    )?;
    writeln!(out, "in front, mapped: {mapped} bytes of {flash} that the flash has")?;
    for (kind, cost) in &layout.front.behind {
        writeln!(out, "  behind the bundles: {kind}, {:.3} ms a token", cost / 1e6)?;
    }
    let same = if layout.plan == layout.standard { "is" } else { "is not" };
    writeln!(out, "the plan {same} the standard one")?;
    Ok(out)
}
