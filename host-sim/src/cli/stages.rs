//! The offline stages behind the trace, one subcommand each: orders, pack.

use super::args::RowArgs;
use super::prepare::write_packing;
use super::source::open_model;
use super::summary::bytes;
use crate::layout::LayoutFile;
use crate::model::Model;
use crate::model::text::read_tokens;
use crate::pack::Packing;
use crate::placement::Placement;
use crate::placement::runs::order_table;
use crate::predictor::signs::{SignOptions, calibrate};
use crate::predictor::{Format, PredictorChoice};
use crate::predictor::{Goal, Trained};
use crate::process::failure::bad_input;
use crate::process::output::{self, check_path, note, progress, replace_file};
use crate::profile::trace::Trace;
use crate::tune::merge::merge;
use crate::tune::peft;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use ripple_kernel::image::SectionKind;
use std::io;
use std::path::PathBuf;

/// Compare orders: mean run length and reads a token on held-out text, without cache or collapse.
#[derive(Args)]
#[command(after_help = "Example:\n  ripple orders profile.trace held-out.trace")]
pub struct Orders {
    /// Trace of profiling text.
    profile: PathBuf,
    /// Trace of held-out text.
    held_out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Orders {
    pub fn run(&self) -> Result<()> {
        let (profile, held_out) = (Trace::read(&self.profile)?, Trace::read(&self.held_out)?);
        let table = order_table(&profile, &held_out).with_context(|| {
            format!("{} with {}", self.profile.display(), self.held_out.display())
        })?;
        if self.json {
            return output::print_json(&table);
        }
        output::print(&format!("{table}\n"))
    }
}

/// How active neurons are found on the board.
#[derive(Clone, Copy, ValueEnum)]
enum PredictorArg {
    /// First-layer rows held apart and left out of the bundles: no loss.
    Exact,
    /// First-layer rows held apart, and in the bundles too: no loss.
    ExactFull,
    /// Signs of the first-layer rows: a sixth of the memory, some loss.
    Signs,
}

#[derive(Args)]
struct PredictorArgs {
    /// How active neurons are found on the board.
    #[arg(long, value_enum, default_value_t = PredictorArg::Exact)]
    predictor: PredictorArg,
    /// Text to calibrate the sign predictor on.
    #[arg(long, required_if_eq("predictor", "signs"))]
    calibrate: Option<PathBuf>,
    /// Tokens of it.
    #[arg(long, default_value_t = 32 * 1024)]
    calibrate_tokens: usize,
    /// Bits of the input that the sign predictor looks at, 1 to 7.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=7))]
    planes: u32,
    /// Share of the activation that the sign predictor must keep.
    #[arg(long, default_value_t = 0.999)]
    keep: f64,
    /// Predictor file, as `ripple train-predictor` writes it.
    #[arg(long, conflicts_with_all = ["predictor", "calibrate"])]
    trained: Option<PathBuf>,
}

impl PredictorArgs {
    fn choice(&self, model: &Model) -> Result<PredictorChoice> {
        if let Some(path) = &self.trained {
            let trained = Trained::read(path, model)?;
            if trained.model != model.name {
                note(&format!("{}: trained for `{}`", path.display(), trained.model));
            }
            return Ok(trained.choice);
        }
        Ok(match self.predictor {
            PredictorArg::Exact => PredictorChoice::Exact,
            PredictorArg::ExactFull => PredictorChoice::ExactFullBundles,
            PredictorArg::Signs => {
                let text = self.calibrate.as_ref().context("--calibrate: expected a text file")?;
                let tokens = read_tokens(model, text)?;
                let tokens = &tokens[..tokens.len().min(self.calibrate_tokens)];
                let bar = progress(tokens.len() as u64, "calibrate");
                let goal = Goal::Activation(self.keep);
                let options = SignOptions { planes: self.planes, goal };
                let thresholds = calibrate(model, tokens, options, &|n| bar.inc(n));
                bar.finish_and_clear();
                PredictorChoice::Signs(thresholds)
            }
        })
    }
}

/// Write the image for the card.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ripple pack my.model --placement my.placement --trace my.trace -o my.image"
)]
pub struct Pack {
    /// Model file or Hugging Face directory.
    model: PathBuf,
    /// Placement of its neurons.
    #[arg(long)]
    placement: PathBuf,
    /// Trace to note the mean active neurons of each layer from, for `ripple inspect`.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Adapter to merge into the matrices of attention: a folder as `ripple adapter --export` or PEFT writes it.
    #[arg(long, value_name = "FOLDER")]
    adapter: Option<PathBuf>,
    /// Plan of its layout, as `ripple derive --model` writes it; without it, the standard one.
    #[arg(long, conflicts_with_all = ["predictor", "trained"])]
    plan: Option<PathBuf>,
    #[command(flatten)]
    predictor: PredictorArgs,
    #[command(flatten)]
    rows: RowArgs,
    /// Image to write.
    #[arg(short, long)]
    output: PathBuf,
}

impl Pack {
    pub fn run(&self) -> Result<()> {
        check_path(&self.output)?;
        let mut model = open_model(&self.model)?.model;
        if let Some(folder) = &self.adapter {
            let saved = peft::import(folder, &model.config)?;
            merge(&mut model, &saved);
        }
        let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
        let placement = Placement::read(&self.placement)?;
        let mut active = Vec::new();
        if let Some(path) = &self.trace {
            let trace = Trace::read(path)?;
            ensure!(
                trace.layers() == layers && trace.neurons() == neurons,
                "{}: a trace of {} layers of {} neurons, the model `{}` has {layers} of {neurons}; \
                 trace this model",
                path.display(),
                trace.layers(),
                trace.neurons(),
                model.name
            );
            active.extend((0..layers).map(|l| trace.density(l) * neurons as f64));
        }
        let plan = self.plan.as_ref().map(|path| LayoutFile::read(path, &model.name));
        let plan = plan.transpose().map_err(bad_input)?;
        let predictor = match &plan {
            Some(plan) => plan.predictor(),
            None => self.predictor.choice(&model)?,
        };
        let order = plan.as_ref().map_or(Ok(SectionKind::ALL.to_vec()), LayoutFile::order)?;
        let format = Format { order: &order, ..Format::new(&predictor, self.rows.quants()) };
        let shown = || self.placement.display().to_string();
        let packing = Packing::new(format, &model, &placement);
        let packing = packing.with_context(shown).map_err(bad_input)?;
        let pages = match packing.page_bytes() {
            0 => "without pages".to_owned(),
            pages => format!("{} of it pages", bytes(pages as f64)),
        };
        note(&format!("{}: an image of {}, {pages}", model.name, bytes(packing.bytes() as f64)));
        replace_file(&self.output, |file| {
            let written = write_packing(&packing, &active, file);
            let of_disk =
                |error: &anyhow::Error| error.chain().any(|cause| cause.is::<io::Error>());
            written.map(drop).map_err(|error| match of_disk(&error) {
                true => error,
                false => bad_input(error.context(shown())),
            })
        })?;
        if placement.model() != model.name {
            note(&format!(
                "{}: placed for `{}`, packed for `{}`: the same text, but maybe more reads",
                self.placement.display(),
                placement.model(),
                model.name
            ));
        }
        note(&format!("{}: {} bytes -> {}", model.name, packing.bytes(), self.output.display()));
        Ok(())
    }
}
