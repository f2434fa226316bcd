//! `ripple bench`: policies side by side, on every card.
//!
//! In: models with a profile and a held-out text, or traces of both. Out: a table, and files. What
//! a policy costs is asked of whoever calls [`Bench::run`]; nothing here knows a policy.

use super::args::PAGE_MIB;
use crate::bench::{Case, Row, Settings, chart, csv, json, markdown, table};
use crate::card::Preset;
use crate::model::Model;
use crate::models;
use crate::output::{self, check_path, progress, write_whole};
use crate::record::record;
use crate::simulate::Core;
use crate::text::read_tokens;
use crate::trace::Trace;
use anyhow::{Context, Result, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};
use ripple_hal::BlockCount;
use std::path::{Path, PathBuf};

/// The cache size that the chart shows when it can choose.
const CHARTED: f64 = 0.1;

/// Compare policies on held-out text: card and core time, reads, bytes. All times are simulated.
#[derive(Args)]
pub struct Bench {
    /// Model files, Hugging Face directories or names of demo models; without any, all demo models.
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
    /// Room on the card for pages, in MiB.
    #[arg(long, default_value_t = PAGE_MIB)]
    page_mib: u32,
    #[command(flatten)]
    texts: Texts,
    #[command(flatten)]
    files: Files,
}

/// What is read: texts by each model, or traces of one.
#[derive(Args)]
struct Texts {
    /// Text to place with; without it, profile.txt beside each model.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Text to replay; without it, held-out.txt beside each model.
    #[arg(long, value_name = "FILE")]
    held_out: Option<PathBuf>,
    /// Most tokens to place with.
    #[arg(long, default_value_t = 32 * 1024, value_parser = value_parser!(u32).range(1..))]
    profile_tokens: u32,
    /// Most tokens to replay.
    #[arg(long, default_value_t = 4096, value_parser = value_parser!(u32).range(1..))]
    tokens: u32,
    /// Trace to place with, instead of models and texts; as `ripple trace` writes it.
    #[arg(long, value_name = "TRACE", requires = "test_trace", conflicts_with_all = ["models", "profile", "held_out", "profile_tokens", "tokens"])]
    profile_trace: Option<PathBuf>,
    /// Trace to replay.
    #[arg(long, value_name = "TRACE", requires = "profile_trace")]
    test_trace: Option<PathBuf>,
    /// Size of a neuron bundle on the card; without it, what the traces say.
    #[arg(long, requires = "profile_trace", value_parser = value_parser!(u32).range(8..))]
    bundle_bytes: Option<u32>,
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

/// A model and its traces.
struct Traced {
    name: String,
    model: Option<Model>,
    profile: Trace,
    test: Trace,
    bundle_bytes: u32,
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
        let traced = self.traced()?;
        let bar = progress((traced.len() * ratios.len() * presets.len()) as u64, "bench");
        let mut rows = Vec::new();
        for case in traced.iter().map(Traced::case) {
            for &ratio in &ratios {
                for &preset in &presets {
                    let more = replay(&case, &settings, preset, ratio).with_context(|| {
                        format!("{} on {} with a cache of {ratio}", case.name, preset.name)
                    })?;
                    rows.extend(more);
                    bar.inc(1);
                }
            }
        }
        bar.finish_and_clear();
        let about = self.about(&traced);
        self.files.write(&rows, charted, &about)?;
        Ok(format!("{about}\n\n{}", table(&rows)))
    }

    fn settings(&self, known: &[&str]) -> Result<Settings> {
        for name in &self.policies {
            ensure!(
                known.contains(&name.as_str()),
                "--policies: no policy is called `{name}`; there are: {}",
                known.join(", ")
            );
        }
        let all = || known.iter().map(|name| (*name).to_owned()).collect();
        Ok(Settings {
            core: self.core,
            staging: self.staging.map(BlockCount),
            page_blocks: u64::from(self.page_mib) * 2048,
            policies: if self.policies.is_empty() { all() } else { once(&self.policies) },
            ablations: self.ablations,
        })
    }

    /// Reads or records the traces, all before the first is replayed: what is missing is missed
    /// early.
    fn traced(&self) -> Result<Vec<Traced>> {
        if let (Some(profile), Some(test)) = (&self.texts.profile_trace, &self.texts.test_trace) {
            return Ok(vec![read_traces(profile, test, self.texts.bundle_bytes)?]);
        }
        let paths = match self.models.as_slice() {
            [] => models::list().iter().map(|name| models::path(name)).collect::<Result<_>>()?,
            paths => paths.iter().map(|path| model_path(path)).collect::<Result<Vec<_>>>()?,
        };
        let mut texts = Vec::new();
        for path in &paths {
            let text = self.texts.read(path)?;
            ensure!(
                texts.iter().all(|other: &ModelTexts| other.model.name != text.model.name),
                "{}: a second model called `{}`; rename one, their rows could not be told apart",
                path.display(),
                text.model.name
            );
            texts.push(text);
        }
        let all: usize = texts.iter().map(|text| text.profile.1.len() + text.test.1.len()).sum();
        let bar = progress(all as u64, "trace");
        let traced = texts.into_iter().map(|text| text.trace(&|tokens| bar.inc(tokens))).collect();
        bar.finish_and_clear();
        Ok(traced)
    }

    /// What was run, in words.
    fn about(&self, traced: &[Traced]) -> String {
        let texts = traced.iter().map(|t| {
            format!(
                "placed by {} ({} tokens), replayed on {} ({} tokens)",
                t.profile.text(),
                t.profile.tokens(),
                t.test.text(),
                t.test.tokens()
            )
        });
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

/// A model, and the name and tokens of its texts.
struct ModelTexts {
    model: Model,
    profile: (String, Vec<u32>),
    test: (String, Vec<u32>),
}

impl Texts {
    fn read(&self, path: &Path) -> Result<ModelTexts> {
        let model = Model::load(path)?;
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let tokens = |given: &Option<PathBuf>, default: &str, option: &str, most: u32| {
            let file = given.clone().unwrap_or_else(|| folder.join(default));
            let mut tokens = read_tokens(&model, &file).with_context(|| {
                format!("--{option}: expected a text for `{}`; give one", model.name)
            })?;
            tokens.truncate(most as usize);
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok::<_, anyhow::Error>((name, tokens))
        };
        let profile = tokens(&self.profile, "profile.txt", "profile", self.profile_tokens)?;
        let test = tokens(&self.held_out, "held-out.txt", "held-out", self.tokens)?;
        Ok(ModelTexts { model, profile, test })
    }
}

impl ModelTexts {
    fn trace(self, done: &(dyn Fn(u64) + Sync)) -> Traced {
        let Self { model, profile, test } = self;
        let profile = record(&model, &profile.0, &profile.1, done);
        let test = record(&model, &test.0, &test.1, done);
        let bundle_bytes = test.bundle_bytes();
        Traced { name: model.name.clone(), model: Some(model), profile, test, bundle_bytes }
    }
}

impl Traced {
    fn case(&self) -> Case<'_> {
        let Self { name, model, profile, test, bundle_bytes } = self;
        Case { name, model: model.as_ref(), profile, test, bundle_bytes: *bundle_bytes }
    }
}

/// The model at `path`, or the demo model of that name.
fn model_path(path: &Path) -> Result<PathBuf> {
    match path.to_str() {
        Some(name) if !path.exists() && models::list().contains(&name) => models::path(name),
        _ => Ok(path.to_owned()),
    }
}

fn read_traces(profile: &Path, test: &Path, bundle_bytes: Option<u32>) -> Result<Traced> {
    let traces = [Trace::read(profile)?, Trace::read(test)?];
    for (trace, path) in traces.iter().zip([profile, test]) {
        let path = path.display();
        ensure!(
            trace.tokens() > 0,
            "{path}: expected at least one token, found none; trace a text"
        );
    }
    let [profile, test_trace] = traces;
    ensure!(
        (profile.layers(), profile.neurons()) == (test_trace.layers(), test_trace.neurons()),
        "{}: expected {} layers of {} neurons as in the profile's trace, found {} of {}; trace the \
         same model",
        test.display(),
        profile.layers(),
        profile.neurons(),
        test_trace.layers(),
        test_trace.neurons()
    );
    let bundle_bytes = bundle_bytes.unwrap_or(test_trace.bundle_bytes());
    let name = test_trace.model().to_owned();
    Ok(Traced { name, model: None, profile, test: test_trace, bundle_bytes })
}

impl Files {
    fn check(&self) -> Result<()> {
        let all = [&self.json, &self.csv, &self.md, &self.svg];
        all.into_iter().flatten().try_for_each(|path| check_path(path))
    }

    /// The cache size that the chart shows.
    fn charted(&self, ratios: &[f64]) -> Result<f64> {
        let far = |ratio: &f64| (ratio - CHARTED).abs();
        let nearest = ratios.iter().copied().min_by(|a, b| far(a).total_cmp(&far(b)));
        let wanted = self.svg_cache.or(nearest).unwrap_or(CHARTED);
        ensure!(
            self.svg_cache.is_none() || ratios.contains(&wanted),
            "--svg-cache {wanted}: expected one of --cache, found {ratios:?}; add it there"
        );
        Ok(wanted)
    }

    fn write(&self, rows: &[Row], charted: f64, about: &str) -> Result<()> {
        let write = |path: &Option<PathBuf>, text: &dyn Fn() -> Result<String>| match path {
            Some(path) => write_whole(path, |out| Ok(out.write_all(text()?.as_bytes())?)),
            None => Ok(()),
        };
        write(&self.json, &|| json(rows))?;
        write(&self.csv, &|| csv(rows))?;
        write(&self.md, &|| Ok(markdown(rows, about)))?;
        write(&self.svg, &|| Ok(chart(rows, charted, about)))
    }
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
