//! `ripple plan`: what a model needs of a board, and how fast it would be, before anything is flashed.
//!
//! In: arguments. Out: what `need` and `learn` say of the model, and, where it is asked for, some text generated on the
//! board's simulated card and core.

mod learn;
mod need;

use super::args::{PageArgs, Reads, RowArgs};
use super::board::{board_parser, cache_share};
use super::import::CheckpointArgs;
use super::learning::Learning;
use super::prepare::{PROFILE_TOKENS, Target, prepare, prepare_unplaced};
use super::run::stream;
use super::source::{Found, Source, open_shape};
use super::summary::{bytes, table_with_words};
use super::tell::Stream;
use crate::cost::Preset;
use crate::import::lossy;
use crate::machine::{Core, ImageBytes, Machine, Mapped, calibrated_gap, header};
use crate::pack;
use crate::predictor::{Format, PredictorChoice};
use crate::process::failure::ensure_usage;
use crate::process::output;
use crate::run::generate::{Overflow, Request};
use crate::run::report::Report;
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};
use need::{Need, Simulated, grouped};
use ripple_app::{Board, board};
use ripple_hal::BLOCK_BYTES;
use ripple_kernel::image::{Geometry, SectionKind};
use ripple_kernel::text::sample::SamplerOptions;
use serde::Serialize;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  ripple plan story-nano                                  which boards it fits on
  ripple plan my.gguf --activation silu --board pico2     RAM and flash there, by region
  ripple plan my.image --board pico2 --simulate           and bytes and seconds a token
  ripple plan my.image --tune --arena 512K --arm lean     the longest text of a step that learns";

/// Show what a model needs of boards: RAM and flash, and with --simulate bytes and seconds a token.
///
/// Without --board, of each board that there is. RAM and flash are exact: what the model needs is
/// computed as the firmware computes it, what the firmware itself needs was measured on the board, where
/// it ran. Seconds are simulated.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Plan {
    /// Image, model file, GGUF file, Hugging Face directory, or the name of a demo model; without it,
    /// the board's own.
    #[arg(required_unless_present = "board")]
    model: Option<PathBuf>,
    /// Board; without it, all of them.
    #[arg(long, value_parser = board_parser())]
    board: Option<&'static Board>,
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// Keep a checkpoint within this many positions.
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    context: Option<u32>,
    #[command(flatten)]
    rows: RowArgs,
    /// Show the longest text that a step of `ripple tune` takes instead, in each arm, and memory by region.
    #[arg(long, conflicts_with_all = ["board", "simulate"])]
    tune: bool,
    #[command(flatten)]
    learning: Learning,
    /// Generate some text on the board's simulated card and core, and show what a token costs.
    #[arg(long, requires = "board")]
    simulate: bool,
    /// Card that is simulated; without it, the board's own.
    #[arg(long, requires = "simulate", value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    card: Option<&'static Preset>,
    /// Text that a model's neurons are placed by; without it, profile.txt beside the model, and without that
    /// they lie as in the checkpoint. An image is placed already.
    #[arg(long, requires = "simulate")]
    text: Option<PathBuf>,
    /// Text to go on from.
    #[arg(
        short,
        long,
        requires = "simulate",
        default_value = "One day,",
        allow_hyphen_values = true
    )]
    prompt: String,
    /// Most tokens to generate.
    #[arg(short = 'n', long, requires = "simulate", default_value_t = 64, value_parser = value_parser!(u32).range(1..))]
    tokens: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The plan for all of them.
#[derive(Serialize)]
struct All {
    model: String,
    boards: Vec<Need>,
}

/// What is planned for, and how large it is.
struct Subject {
    name: String,
    source: Source,
    geometry: Geometry,
    /// Bytes of the front, up to the FFN.
    mapped: usize,
    image_bytes: u64,
}

impl Plan {
    pub fn run(&self) -> Result<()> {
        let subject = self.subject()?;
        if self.tune {
            return learn::print(&subject.name, &subject.geometry, &self.learning, self.json);
        }
        let learning = Learning::unsaid();
        ensure_usage!(
            self.learning == learning,
            "what is trained is planned with --tune alone: add it, or leave --arena, --rank, --alpha, \
             --targets, --arm, --optimiser, --by-layer, --keep, --decay and --staging away"
        );
        let Some(board) = self.board else { return self.all(&subject) };
        let card = self.card.map_or_else(|| Preset::by_name(board.card), Ok)?;
        let mut json = subject.on(board, card);
        if !self.json {
            output::print(&json.text(board))?;
        }
        if self.simulate && json.too_small.is_none() {
            let simulated = self.simulate(subject, board, card)?;
            if !self.json {
                output::print(&simulated.text(board, card))?;
            }
            json.simulated = Some(simulated);
        }
        if self.json {
            output::print_json(&json)?;
        } else if !self.simulate && json.too_small.is_none() {
            output::print("\n--simulate shows bytes and seconds a token\n")?;
        }
        match json.too_small {
            None => Ok(()),
            Some(error) if self.simulate => bail!("{error}; no board runs it so: not simulated"),
            Some(error) => bail!("{error}"),
        }
    }

    /// Opens what is planned for; nothing is traced, placed or packed.
    fn subject(&self) -> Result<Subject> {
        let own = || self.board.and_then(|board| board.models.first()).map(PathBuf::from);
        let path = self.model.clone().or_else(own).context("expected a model")?;
        let name = || path.display().to_string();
        match open_shape(&path, &self.checkpoint.options(self.context))? {
            Source::Image(image) => {
                ensure!(
                    self.rows == RowArgs::Q8,
                    "{}: an image, whose rows are as they are: leave --ffn, --attn and --head away",
                    name()
                );
                let header = header(&image).with_context(name)?;
                let mapped = header.section(SectionKind::Ffn).start.0 as usize * BLOCK_BYTES;
                Ok(Subject {
                    name: name(),
                    geometry: header.geometry,
                    mapped,
                    image_bytes: header.blocks.bytes(),
                    source: Source::Image(image),
                })
            }
            Source::Model(found) => {
                let format = Format::new(&PredictorChoice::Exact, self.rows.quants());
                let tokenizer = found.model.tokenizer.pack()?.len();
                let plan = pack::plan(format, &found.model, tokenizer, None)?;
                Ok(Subject {
                    name: found.model.name.clone(),
                    geometry: *plan.geometry(),
                    mapped: plan.range(SectionKind::Ffn).start,
                    image_bytes: plan.blocks().bytes(),
                    source: Source::Model(found),
                })
            }
        }
    }

    /// A row for each board.
    fn all(&self, subject: &Subject) -> Result<()> {
        let on = |board: &'static Board| Ok(subject.on(board, Preset::by_name(board.card)?));
        let boards = board::ALL.into_iter().map(on).collect::<Result<Vec<Need>>>()?;
        let fits = boards.iter().find(|json| json.too_small.is_none()).map(|json| json.board);
        if self.json {
            output::print_json(&All { model: subject.name.clone(), boards })?;
        } else {
            let rows = boards.iter().map(|json| {
                let words = match &json.too_small {
                    None => "fits".to_owned(),
                    Some(_) => json.missing(),
                };
                let sizes = [
                    json.ram.used,
                    json.ram.has as usize,
                    json.flash.used,
                    json.flash.has as usize,
                ];
                let mut row = vec![json.board.to_owned()];
                row.extend(sizes.map(|bytes| grouped(bytes as u64)));
                row.push(words);
                row
            });
            let header = ["board", "RAM needed", "it has", "flash needed", "it has", ""];
            output::print(&format!(
                "{}: an image of {}; bytes that it needs of each board:\n\n{}",
                subject.name,
                bytes(subject.image_bytes as f64),
                table_with_words(&header, rows.collect())
            ))?;
            if let Some(board) = fits {
                output::print(&format!("\n--board {board} shows them by region\n"))?;
            }
        }
        ensure!(fits.is_some(), "{}: fits on no board", subject.name);
        Ok(())
    }

    /// Generates some text on the simulated card and core.
    fn simulate(
        &self,
        subject: Subject,
        board: &'static Board,
        card: &'static Preset,
    ) -> Result<Simulated> {
        let name = subject.name;
        let (image, placed) = match subject.source {
            Source::Image(image) => (image, "as in the image".to_owned()),
            Source::Model(found) => self.image(&found, board, card)?,
        };
        let report = self.generate(&image, board, card).context(name)?;
        Ok(Simulated {
            bytes_per_token: report.bytes_per_token,
            reads_per_token: report.reads_per_token,
            seconds_per_token: report.ms_per_token / 1e3,
            dense_seconds_per_token: report.dense.io_ns / 1e9,
            tokens: report.tokens,
            placed,
        })
    }

    /// The image of a model, placed for the board where there is a text.
    fn image(
        &self,
        found: &Found,
        board: &'static Board,
        card: &'static Preset,
    ) -> Result<(ImageBytes, String)> {
        let model = &found.model;
        let activation = model.config.activation;
        if activation.lossy() && model.sparsity.is_none() {
            bail!("{}: {}", model.name, lossy(activation));
        }
        let quants = self.rows.quants();
        let Some(text) = self.text.clone().or_else(|| found.profile()) else {
            let placed = "as in the checkpoint: --text FILE places them".to_owned();
            return Ok((prepare_unplaced(model, quants).image(model)?, placed));
        };
        let target = Target {
            reads: Reads { card, staging: Some(board.options.staging), stays_open: false },
            cache_share: cache_share(model, quants, board),
            pages: PageArgs::new(Some(0)),
            quants,
        };
        let prepared = prepare(model, &text, PROFILE_TOKENS, &target)?;
        let name = text.file_name().unwrap_or_default().to_string_lossy();
        Ok((prepared.image(model)?, format!("placed by {} tokens of {name}", prepared.tokens)))
    }

    fn generate(
        &self,
        image: &ImageBytes,
        board: &'static Board,
        card: &'static Preset,
    ) -> Result<Report> {
        let core = <Core as ValueEnum>::from_str(board.core, true).map_err(|e| anyhow!("{e}"))?;
        let mut options = board.options;
        options.collapse_gap = calibrated_gap(card, &header(image)?.geometry, &options);
        let machine =
            Machine { preset: card, core, mapped: Mapped::Dense, stays_open: false, options };
        let request = Request {
            prompt: self.prompt.clone(),
            tokens: self.tokens,
            sampler: SamplerOptions::GREEDY,
            speculate: 0,
            chat: None,
            stop: Vec::new(),
            overflow: Overflow::Spill,
            ignore_eos: false,
        };
        Ok(stream(image, &machine, &request, None, Stream::Nothing)?.report)
    }
}

impl Subject {
    /// What it needs of `board`.
    fn on(&self, board: &'static Board, card: &'static Preset) -> Need {
        Need::of(&self.name, &self.geometry, self.mapped, board, card)
    }
}
