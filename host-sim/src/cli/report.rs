//! `ripple report`: a page of HTML that shows a model, its placement and what reads cost.

use super::args::{MachineArgs, PAGE_MIB, page_blocks};
use super::place::place_for_card;
use super::texts::{Texts, Traced};
use crate::bench::policy::Policy;
use crate::bench::{Settings, run::bundles};
use crate::cost::Preset;
use crate::html::page;
use crate::machine::{ImageBytes, Machine, Mapped, header};
use crate::pack::pack;
use crate::predictor::PredictorChoice;
use crate::process::failure::ensure_usage;
use crate::process::output::{self, check_path, note, progress, write_whole};
use crate::study::{Scope, Study};
use anyhow::{Context, Result};
use clap::{Args, value_parser};
use ripple_hal::BlockCount;
use ripple_kernel::Options;
use std::path::PathBuf;

/// The cache sizes of the curve, beside the one that is asked for.
const CACHES: [f64; 5] = [0.0, 0.05, 0.1, 0.2, 0.4];

/// Write a page of HTML about a model: which neurons fire, together and how often, how long reads
/// are before and after placement, what a cache is worth, where time and bytes go.
///
/// The page needs no network and no script. All times in it are simulated.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    ripple report story-nano -o story.html\n  \
    ripple report my.model --profile profile.txt --held-out other.txt --card sdio-hs -o my.html\n  \
    ripple report --profile-trace a.trace --test-trace b.trace -o traces.html")]
pub struct ReportArgs {
    /// Model file, Hugging Face directory or name of a demo model.
    #[arg(required_unless_present = "profile_trace", conflicts_with = "profile_trace")]
    model: Option<PathBuf>,
    #[command(flatten)]
    texts: Texts,
    #[command(flatten)]
    machine: MachineArgs,
    /// Room on the card for pages, in MiB; 0 for none.
    #[arg(long, default_value_t = PAGE_MIB)]
    page_mib: u32,
    /// Layer whose co-activation is shown; without it, the middle one.
    #[arg(long)]
    layer: Option<usize>,
    /// Tokens to generate on each card, for the time by part.
    #[arg(long, default_value_t = 48, value_parser = value_parser!(u32).range(1..))]
    generate: u32,
    /// Page to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Write the numbers as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl ReportArgs {
    pub fn run(&self) -> Result<()> {
        check_path(&self.output)?;
        self.json.as_deref().map_or(Ok(()), check_path)?;
        let models: Vec<PathBuf> = self.model.iter().cloned().collect();
        let traced = self.texts.traced(&models)?;
        let traced = traced.first().context("expected a model")?;
        let study = self.study(traced)?;
        let html = page(&study, &command())?;
        write_whole(&self.output, |out| Ok(out.write_all(html.as_bytes())?))?;
        if let Some(path) = &self.json {
            let json = output::json(&study)?;
            write_whole(path, |out| Ok(out.write_all(json.as_bytes())?))?;
        }
        note(&format!(
            "{}: {} bytes; open it in a browser -> {}",
            traced.name,
            html.len(),
            self.output.display()
        ));
        Ok(())
    }

    fn study(&self, traced: &Traced) -> Result<Study> {
        let case = traced.case();
        let layers = case.test.layers();
        let layer = self.layer.unwrap_or(layers / 2);
        ensure_usage!(
            layer < layers,
            "--layer {layer}: expected less than {layers}, the layers of `{}`",
            case.name
        );
        let ffn = case.test.layers() * case.test.neurons();
        let bytes = ffn as f64 * f64::from(bundles(&case)?.stride);
        let cache = self.machine.cache.share_of(bytes as u64).min(1.0);
        let mut caches = CACHES.to_vec();
        if !caches.contains(&cache) {
            caches.push(cache);
            caches.sort_by(f64::total_cmp);
        }
        let image = self.image(traced, cache)?;
        let (machine, machines) = match &image {
            Some(image) => self.machines(image)?,
            None => (self.bare(), Vec::new()),
        };
        let settings = Settings {
            core: self.machine.core,
            staging: self.machine.staging.map(BlockCount),
            page_blocks: page_blocks(self.page_mib),
            policies: Policy::ALL.iter().map(|policy| policy.name.to_owned()).collect(),
            ablations: false,
        };
        let scope = Scope { settings, machine: &machine, cache, caches, machines, layer };
        let bar = progress(scope.steps(), "report");
        let study = Study::of(&case, &scope, image.as_ref(), self.generate, &|| bar.inc(1));
        bar.finish_and_clear();
        study
    }

    /// The model, placed for the card and packed; nothing where there are traces only.
    fn image(&self, traced: &Traced, cache: f64) -> Result<Option<ImageBytes>> {
        let Some(model) = &traced.model else { return Ok(None) };
        let (profile, page_blocks) = (&traced.profile, page_blocks(self.page_mib));
        let placement = place_for_card(profile, &self.machine.reads(), cache, page_blocks)?;
        Ok(Some(pack(model, &placement, &PredictorChoice::Exact, &[])?.into()))
    }

    /// The machine that was asked for, and the same with every card.
    fn machines(&self, image: &[u8]) -> Result<(Machine, Vec<Machine>)> {
        let header = header(image)?;
        let with = |card| MachineArgs { card, ..self.machine.clone() }.machine(&header);
        let all = Preset::names().into_iter().map(|name| with(Preset::by_name(name)?));
        Ok((with(self.machine.card)?, all.collect::<Result<_>>()?))
    }

    /// A machine for traces, which nothing runs on.
    fn bare(&self) -> Machine {
        let (preset, core) = (self.machine.card, self.machine.core);
        let options = Options::DEFAULT;
        Machine { preset, core, mapped: Mapped::Dense, stays_open: true, options }
    }
}

/// The command that the process was started with, as a shell would take it.
pub(super) fn command() -> String {
    let words = std::env::args().skip(1).map(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
        match word.is_empty() || !word.chars().all(plain) {
            true => format!("'{}'", word.replace('\'', "'\\''")),
            false => word,
        }
    });
    std::iter::once("ripple".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
