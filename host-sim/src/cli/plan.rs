//! `ripple plan`: what a model needs of a board, and how fast it would be, before anything is flashed.

use super::args::RowArgs;
use super::board::{board_parser, cache_share, model_at};
use super::prepare::{Target, prepare};
use super::run::{Stream, read_image, stream};
use super::summary::bytes;
use crate::cost::Preset;
use crate::machine::{Core, Machine, Mapped, calibrated_gap, header};
use crate::process::output;
use crate::run::generate::{Overflow, Request};
use crate::run::report::Report;
use anyhow::{Context, Result, anyhow};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};
use ripple_app::{Board, Budget};
use ripple_kernel::Region;
use ripple_kernel::image::Header;
use ripple_kernel::text::sample::SamplerOptions;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// Show what a model needs of a board: RAM and flash by region, bytes and seconds a token.
///
/// RAM and flash are exact: what the model needs is computed as the firmware computes it, what the
/// firmware itself needs was measured on the board. Seconds are simulated.
#[derive(Args)]
#[command(after_help = "Example:\n  ripple plan --board lm3s6965evb story-nano")]
pub struct Plan {
    /// Image, model file, Hugging Face directory, or the name of a demo model; without it, the
    /// board's own.
    model: Option<PathBuf>,
    /// Board.
    #[arg(long, value_parser = board_parser())]
    board: &'static Board,
    /// Card; without it, the board's own.
    #[arg(long, value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    card: Option<&'static Preset>,
    #[command(flatten)]
    rows: RowArgs,
    /// Text to go on from, for bytes and seconds.
    #[arg(short, long, default_value = "One day,", allow_hyphen_values = true)]
    prompt: String,
    /// Most tokens to generate for them.
    #[arg(short = 'n', long, default_value_t = 64, value_parser = value_parser!(u32).range(1..))]
    tokens: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The plan; all sizes in bytes.
#[derive(Serialize)]
struct Json {
    board: &'static str,
    model: String,
    card: &'static str,
    ram: Ram,
    flash: Flash,
    /// What does not fit.
    too_small: Option<String>,
    simulated: Simulated,
}

/// RAM by region.
#[derive(Serialize)]
struct Ram {
    work: usize,
    staging: usize,
    cache: usize,
    index: usize,
    kv: usize,
    prompt: usize,
    drivers: usize,
    statics: usize,
    stack: u32,
    used: usize,
    has: u32,
}

/// Flash by region.
#[derive(Serialize)]
struct Flash {
    code: usize,
    mapped: usize,
    used: usize,
    has: u32,
}

/// What a token costs, after the prompt; simulated.
#[derive(Serialize)]
struct Simulated {
    bytes_per_token: f64,
    reads_per_token: f64,
    seconds_per_token: f64,
    dense_seconds_per_token: f64,
    tokens: u64,
}

impl Plan {
    pub fn run(&self) -> Result<()> {
        let board = self.board;
        let card = self.card.map_or_else(|| Preset::by_name(board.card), Ok)?;
        let (name, image) = self.image(card)?;
        let header = header(&image).with_context(|| name.clone())?;
        let budget = Budget::of(board, &header);
        let too_small = budget.check(board).err().map(|error| error.to_string());
        let report = self.simulate(&image, &header, card).with_context(|| name.clone())?;
        let json = self.report(name, card, &budget, too_small.clone(), &report);
        if self.json {
            output::print_json(&json)?;
        } else {
            output::print(&text(board, &json))?;
        }
        too_small.map_or(Ok(()), |error| Err(anyhow!("{error}")))
    }

    /// The image to plan for: as it is, or made from the model for the board.
    fn image(&self, card: &'static Preset) -> Result<(String, Arc<[u8]>)> {
        let own = || self.board.models.first().map(PathBuf::from);
        let path = self.model.clone().or_else(own).context("expected a model")?;
        if path.extension().is_some_and(|extension| extension == "img") {
            return Ok((path.display().to_string(), read_image(&path)?));
        }
        let (directory, model) = model_at(&path)?;
        let target = Target {
            card,
            staging: Some(self.board.options.staging),
            cache_share: cache_share(&model, self.rows.quants(), self.board),
            page_mib: 0,
            quants: self.rows.quants(),
        };
        let prepared = prepare(&model, &directory.join("profile.txt"), &target)?;
        Ok((model.name, prepared.image.into()))
    }

    /// Generates some text on the simulated card and core.
    fn simulate(
        &self,
        image: &Arc<[u8]>,
        header: &Header,
        card: &'static Preset,
    ) -> Result<Report> {
        let core =
            <Core as ValueEnum>::from_str(self.board.core, true).map_err(|e| anyhow!("{e}"))?;
        let mut options = self.board.options;
        options.collapse_gap = calibrated_gap(card, &header.geometry, &options);
        let machine = Machine { preset: card, core, mapped: Mapped::Dense, options };
        let request = Request {
            prompt: self.prompt.clone(),
            tokens: self.tokens,
            sampler: SamplerOptions::GREEDY,
            speculate: 0,
            chat: false,
            stop: Vec::new(),
            overflow: Overflow::Stop,
        };
        Ok(stream(image, &machine, &request, Stream::Nothing)?.report)
    }

    fn report(
        &self,
        model: String,
        card: &'static Preset,
        budget: &Budget,
        too_small: Option<String>,
        report: &Report,
    ) -> Json {
        let (board, plan) = (self.board, &budget.plan);
        let stack = if board.firmware.stack > 0 { board.firmware.stack } else { board.stack };
        Json {
            board: board.name,
            model,
            card: card.name,
            ram: Ram {
                work: plan.region_bytes(Region::Work),
                staging: plan.region_bytes(Region::Staging),
                cache: plan.region_bytes(Region::Cache),
                index: plan.region_bytes(Region::Index),
                kv: plan.region_bytes(Region::Kv),
                prompt: budget.desk,
                drivers: budget.drivers,
                statics: budget.statics(),
                stack,
                used: budget.statics() + stack as usize,
                has: board.ram,
            },
            flash: Flash {
                code: budget.code,
                mapped: budget.mapped,
                used: budget.flash(),
                has: board.flash,
            },
            too_small,
            simulated: Simulated {
                bytes_per_token: report.bytes_per_token,
                reads_per_token: report.reads_per_token,
                seconds_per_token: report.ms_per_token / 1e3,
                dense_seconds_per_token: report.dense.io_ns / 1e9,
                tokens: report.tokens,
            },
        }
    }
}

/// The plan as a person reads it.
fn text(board: &Board, json: &Json) -> String {
    let Json { ram, flash, simulated, .. } = json;
    let measured = if board.firmware.code > 0 { "measured" } else { "not measured" };
    let row = |what: &str, bytes: usize, note: &str| {
        format!("  {what:<8}{:>11}  {note}\n", grouped(bytes as u64))
    };
    let of = |bytes: u32| format!("of {}", grouped(bytes.into()));
    let kept = if board.firmware.stack > 0 { measured } else { "kept" };
    let sizes = [
        row("work", ram.work, "activations, logits"),
        row("staging", ram.staging, "where reads arrive"),
        row("cache", ram.cache, "neurons held"),
        row("index", ram.index, "what is where in it"),
        row("kv", ram.kv, "keys and values"),
        row("prompt", ram.prompt, "the line being typed"),
        row("drivers", ram.drivers, measured),
        row("stack", ram.stack as usize, kept),
        row("RAM", ram.used, &of(ram.has)),
        row("code", flash.code, measured),
        row("mapped", flash.mapped, "the image up to the FFN"),
        row("flash", flash.used, &of(flash.has)),
    ]
    .concat();
    let dense = simulated.dense_seconds_per_token;
    format!(
        "{} on {}: {}\n\n{sizes}\n\
         simulated, {} card, {} core, {} tokens of greedy text:\n  \
         {} in {:.1} reads a token\n  \
         {:.3} s a token; a dense engine with the same memory waits {dense:.3} s for the card alone\n",
        json.model,
        board.name,
        board.about,
        json.card,
        board.core,
        simulated.tokens,
        bytes(simulated.bytes_per_token),
        simulated.reads_per_token,
        simulated.seconds_per_token,
    )
}

/// `1234` as `1,234`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|c| std::str::from_utf8(c).unwrap_or("")).collect();
    parts.join(",")
}
