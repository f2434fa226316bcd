//! `ripple bench`: policies side by side, on every card; or, with `--device`, what a real device does.
//!
//! In: models with a profile and a held-out text, or traces of both. Out: a table, and files. What
//! a policy costs is asked of whoever calls [`Bench::run`]; nothing here knows a policy.

use super::args::{PAGE_MIB, page_blocks};
use super::texts::{Texts, Traced};
use crate::bench::speed::{Speed, speed_markdown};
use crate::bench::{Case, Row, Settings, chart, csv, json, markdown, table};
use crate::cost::Preset;
use crate::machine::Core;
use crate::process::failure::{Interrupted, ensure_usage};
use crate::process::interrupt;
use crate::process::output::{self, check_path, note, progress, write_whole};
use anyhow::{Context, Result};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};
use ripple_hal::BlockCount;
use std::path::PathBuf;

mod measured;

use measured::MeasuredArgs;

/// The cache size that the chart shows when it can choose.
const CHARTED: f64 = 0.1;

/// Compare policies on held-out text: card and core time, reads, bytes, all times simulated. Or, with --device, measure
/// tokens a second on a real one.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  ripple bench story-nano --preset spi,uhs-sdr104 --cache 0,0.1\n  ripple bench my.model --profile profile.txt --held-out other.txt --svg card-time.svg\n  ripple bench --device my.image --ram 1.5,0.3 --pp 128 --tg 64 --dense --json speed.json"
)]
pub struct Bench {
    /// Model files, Hugging Face directories or names of demo models; without any, all demo models.
    #[arg(conflicts_with = "profile_trace")]
    models: Vec<PathBuf>,
    /// Card; may be given several times. Without it, all.
    #[arg(long = "preset", alias = "card", value_delimiter = ',', value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    presets: Vec<&'static Preset>,
    /// Neuron caches, as shares of the FFN's bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.05, 0.1, 0.2], value_parser = share, allow_negative_numbers = true)]
    cache: Vec<f64>,
    /// Policies; without it, all.
    #[arg(long, value_delimiter = ',')]
    policies: Vec<String>,
    /// Add rows for ours with a part left out.
    #[arg(long)]
    ablations: bool,
    /// Core, for the simulated compute time.
    #[arg(long, default_value = "cortex-m7")]
    core: Core,
    /// Staging, both halves, in blocks of 512 bytes; without it, eight collapse gaps of the card, 64
    /// to 256 blocks.
    #[arg(long, value_parser = value_parser!(u32).range(1..=65536))]
    staging: Option<u32>,
    /// Room on the card for pages, in MiB; `make` gives them four times the model's FFN, 64 MiB to 1 GiB.
    #[arg(long, default_value_t = PAGE_MIB)]
    page_mib: u32,
    #[command(flatten)]
    texts: Texts,
    #[command(flatten)]
    measured: MeasuredArgs,
    #[command(flatten)]
    files: Files,
}

/// What is written besides the table.
#[derive(Args)]
struct Files {
    /// Write the rows as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the rows as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a page in Markdown: a summary and a table for each card.
    #[arg(long, value_name = "FILE")]
    md: Option<PathBuf>,
    /// Write a chart of the card times with one cache size.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// That cache size; without it, the one nearest 0.1.
    #[arg(long, value_name = "SHARE", requires = "svg", value_parser = share)]
    svg_cache: Option<f64>,
}

/// A share of the FFN's bytes.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 1".to_owned())
}

impl Bench {
    /// Replays every model with every cache size on every card, and shows what came of it.
    ///
    /// `policies`: the names of those there are, for `--policies`. `replay`: the rows of one model,
    /// card and cache size; it is called for all cards of a cache size in turn, and for all cache
    /// sizes of a model, so that it can keep what does not depend on the card.
    ///
    /// # Errors
    /// When a model, text or trace cannot be read, an output cannot be written, or `replay` fails.
    pub fn run(
        &self,
        policies: &[&str],
        replay: impl FnMut(&Case<'_>, &Settings, &'static Preset, f64) -> Result<Vec<Row>>,
    ) -> Result<()> {
        if let Some(device) = self.measured.device() {
            return self.measured.run(device, self.staging, self.texts.held_out(), &self.files);
        }
        output::print(&self.compare(policies, replay)?)
    }

    /// Writes the files; gives what is to be printed.
    fn compare(
        &self,
        policies: &[&str],
        mut replay: impl FnMut(&Case<'_>, &Settings, &'static Preset, f64) -> Result<Vec<Row>>,
    ) -> Result<String> {
        let settings = self.settings(policies)?;
        let ratios = once(&self.cache);
        let charted = self.files.charted(&ratios)?;
        self.files.check()?;
        let presets = match once(&self.presets) {
            none if none.is_empty() => Preset::names()
                .into_iter()
                .map(|name| Ok(Preset::by_name(name)?))
                .collect::<Result<_>>()?,
            some => some,
        };
        interrupt::listen();
        let traced = self.texts.traced(&self.models)?;
        let bar = progress((traced.len() * ratios.len() * presets.len()) as u64, "bench");
        let (mut rows, mut done) = (Vec::new(), 0);
        for case in traced.iter().map(Traced::case) {
            for &ratio in &ratios {
                for &preset in &presets {
                    if interrupt::requested() {
                        continue;
                    }
                    let more = replay(&case, &settings, preset, ratio).with_context(|| {
                        format!("{} on {} with a cache of {ratio}", case.name, preset.name)
                    })?;
                    rows.extend(more);
                    bar.inc(1);
                    done += 1;
                }
            }
        }
        bar.finish_and_clear();
        let about = self.about(&traced);
        let all = format!("{about}\n\n{}", table(&rows));
        if interrupt::requested() {
            output::print(&all)?;
            let cases = traced.len() * ratios.len() * presets.len();
            note(&format!("these are {done} of {cases} cases; no file was written"));
            return Err(Interrupted.into());
        }
        self.files.write(&rows, charted, &about)?;
        Ok(all)
    }

    fn settings(&self, known: &[&str]) -> Result<Settings> {
        for name in &self.policies {
            ensure_usage!(
                known.contains(&name.as_str()),
                "--policies: no policy is called `{name}`; there are: {}",
                known.join(", ")
            );
        }
        let all = || known.iter().map(|name| (*name).to_owned()).collect();
        Ok(Settings {
            core: self.core,
            staging: self.staging.map(BlockCount),
            page_blocks: page_blocks(self.page_mib),
            policies: if self.policies.is_empty() { all() } else { once(&self.policies) },
            ablations: self.ablations,
        })
    }

    /// What was run, in words.
    fn about(&self, traced: &[Traced]) -> String {
        let texts = traced.iter().map(Traced::texts);
        let texts: Vec<String> = texts.collect();
        let texts = match texts.as_slice() {
            [first, rest @ ..] if rest.iter().all(|text| text == first) => first.clone(),
            _ => {
                let named =
                    traced.iter().zip(&texts).map(|(t, text)| format!("{}: {text}", t.name));
                named.collect::<Vec<_>>().join("; ")
            }
        };
        let core = self.core.to_possible_value();
        let core = core.as_ref().map_or("", |core| core.get_name());
        let staging = match self.staging {
            Some(blocks) => format!("staging of {blocks} blocks"),
            None => "staging of 8 collapse gaps, 64 to 256 blocks".to_owned(),
        };
        format!("Simulated. {texts}; core {core}, {staging}, pages up to {} MiB.", self.page_mib)
    }
}

impl Files {
    /// Writes what was measured; there is no chart of it.
    fn write_measured(&self, rows: &[Speed], about: &str) -> Result<()> {
        self.texts(&|| speed_json(rows, about), &|| csv(rows), &|| Ok(speed_markdown(rows, about)))
    }

    fn check(&self) -> Result<()> {
        let all = [&self.json, &self.csv, &self.md, &self.svg];
        all.into_iter().flatten().try_for_each(|path| check_path(path))
    }

    /// The cache size that the chart shows.
    fn charted(&self, ratios: &[f64]) -> Result<f64> {
        let far = |ratio: &f64| (ratio - CHARTED).abs();
        let nearest = ratios.iter().copied().min_by(|a, b| far(a).total_cmp(&far(b)));
        let wanted = self.svg_cache.or(nearest).unwrap_or(CHARTED);
        ensure_usage!(
            self.svg_cache.is_none() || ratios.contains(&wanted),
            "--svg-cache {wanted}: expected one of --cache, found {ratios:?}; add it there"
        );
        Ok(wanted)
    }

    fn write(&self, rows: &[Row], charted: f64, about: &str) -> Result<()> {
        self.texts(&|| json(rows), &|| csv(rows), &|| Ok(markdown(rows, about)))?;
        write(&self.svg, &|| Ok(chart(rows, charted, about)))
    }

    fn texts(&self, json: Text<'_>, csv: Text<'_>, md: Text<'_>) -> Result<()> {
        write(&self.json, json)?;
        write(&self.csv, csv)?;
        write(&self.md, md)
    }
}

/// A file's text, made where it is asked for.
type Text<'a> = &'a dyn Fn() -> Result<String>;

fn write(path: &Option<PathBuf>, text: Text<'_>) -> Result<()> {
    match path {
        Some(path) => write_whole(path, |out| Ok(out.write_all(text()?.as_bytes())?)),
        None => Ok(()),
    }
}

/// Rows that were measured, and what they are of: `measured`, never `rows`, which are simulated.
fn speed_json(rows: &[Speed], about: &str) -> Result<String> {
    #[derive(serde::Serialize)]
    struct Measured<'r> {
        about: &'r str,
        measured: &'r [Speed],
    }
    output::json(&Measured { about, measured: rows })
}

/// Each item once, where it was first.
fn once<T: Clone + PartialEq>(items: &[T]) -> Vec<T> {
    let mut out: Vec<T> = Vec::new();
    for item in items {
        if !out.contains(item) {
            out.push(item.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests;
