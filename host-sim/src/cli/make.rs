//! `ripple make`: from a checkpoint to an image in one go.
//!
//! In: a model in any form, a text like those that it will write. Out: its image; and first, on standard
//! error, what that will cost.

use super::args::{CARD, Cache, PageArgs, Reads, RowArgs, ffn_bytes};
use super::board::{board_parser, cache_share};
use super::import::{CALIBRATION_TOKENS, ImportArgs, about};
use super::prepare::{PROFILE_TOKENS, Target, prepare};
use super::source::{demo_folder, folder_of};
use super::summary::bytes;
use crate::cost::Preset;
use crate::import::kind::Kind;
use crate::model::Model;
use crate::model::forward::window_losses;
use crate::model::text::read_tokens;
use crate::pack::plan;
use crate::predictor::{Format, PredictorChoice};
use crate::process::failure::{bad_input, bad_usage, ensure_usage};
use crate::process::output::{check_path, note, replace_file};
use anyhow::{Context, Result, anyhow};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, value_parser};
use indicatif::HumanDuration;
use ripple_app::{Board, Budget};
use ripple_hal::BLOCK_BYTES;
use ripple_kernel::image::SectionKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Tokens that the estimate is measured on.
const SAMPLE: usize = 64;

const EXAMPLES: &str = "\
Examples:
  ripple make ./my-relu-llama --text stories.txt -o my.image
  ripple make story-nano --board lm3s6965evb -o model.img
  ripple make my.gguf --activation silu --context 1024 --threshold 0.8 --text some.txt -o my.image
  ripple make my.gguf --activation silu --context 1024 --threshold 1 --text some.txt -o my.image
  ripple run my.image --prompt 'Once'

The last two are of a SiLU model: 0.8 leaves a fifth of its neurons out, which costs quality, and how much is
measured; 1 keeps all and loses nothing.

It does what `ripple import`, `trace`, `place` and `pack` do one by one: reads the checkpoint, notes which
neurons the text makes active, orders them so that those which fire together lie together on the card, and
writes the image that a board reads. What the neurons do on the text decides where they lie: take one like
those that the model will write.";

/// Make an image of a model in one go: import, trace, place, pack.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Make {
    /// Hugging Face directory, GGUF file, .bin of llama2.c, model file, or the name of a demo model; without
    /// it, the board's own.
    #[arg(required_unless_present = "board")]
    model: Option<PathBuf>,
    /// Text to calibrate and place by; without it, profile.txt beside the model.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Most tokens of it to trace.
    #[arg(long, default_value_t = PROFILE_TOKENS, value_parser = value_parser!(u32).range(2..))]
    tokens: u32,
    #[command(flatten)]
    import: ImportArgs,
    /// Board: its card, cache and staging are placed for, and the image must fit it. Without pages, unless
    /// --page-mib gives them room.
    #[arg(long, value_parser = board_parser(), conflicts_with_all = ["card", "cache"])]
    board: Option<&'static Board>,
    /// Card to place for.
    #[arg(long, default_value = CARD, value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    card: &'static Preset,
    /// Neuron cache to place for, in RAM: a share of the FFN's bytes from 0 to 1, or bytes with a unit. So
    /// many of the most frequent neurons of each layer lie in front, to be held there.
    #[arg(long, default_value = "0.1", value_name = "SHARE|BYTES", allow_negative_numbers = true)]
    cache: Cache,
    #[command(flatten)]
    rows: RowArgs,
    #[command(flatten)]
    pages: PageArgs,
    /// Image to write.
    #[arg(short, long)]
    output: PathBuf,
}

impl Make {
    pub fn run(&self) -> Result<()> {
        check_path(&self.output)?;
        let own = || self.board.and_then(|board| board.models.first()).map(PathBuf::from);
        let path = self.model.clone().or_else(own).context("expected a model")?;
        let path = demo_folder(&path)?.unwrap_or(path);
        let beside = folder_of(&path).join("profile.txt");
        let text = self.text.clone().or_else(|| Some(beside).filter(|beside| beside.is_file()));
        let Some(text) = text else {
            return Err(bad_usage(anyhow!(
                "--text: {} has no profile.txt beside it; expected a text like those that the model will write",
                path.display()
            )));
        };
        let model = self.read(&path, &text)?;
        let target = self.target(&model)?;
        let prepared = prepare(&model, &text, self.tokens, &target)?;
        let mut bytes = 0;
        replace_file(&self.output, |file| {
            bytes = prepared.write(&model, file)?;
            Ok(())
        })?;
        let card = format!("an {} card", target.reads.card.name);
        note(&format!(
            "{}: {bytes} bytes, placed for {} by {} tokens -> {}",
            model.name,
            self.board.map_or(&*card, |board| board.name),
            prepared.tokens,
            self.output.display()
        ));
        Ok(())
    }

    /// Reads the model; says what is to come as soon as that is known.
    fn read(&self, path: &Path, text: &Path) -> Result<Model> {
        if Kind::of(path).map_err(bad_input)? == Kind::Model {
            ensure_usage!(
                self.import.is_plain(),
                "{}: a model file, which was imported already: leave --tokenizer, --context and --threshold away",
                path.display()
            );
            let model = Model::load(path)?;
            self.announce(&model, text, 0)?;
            return Ok(model);
        }
        let mut model = self.import.open(path)?;
        let calibrated =
            if self.import.calibrates() { self.tokens.min(CALIBRATION_TOKENS) } else { 0 };
        self.announce(&model, text, calibrated)?;
        self.import
            .sparsify(&mut model, Some(text), calibrated)
            .with_context(|| path.display().to_string())?;
        Ok(model)
    }

    fn target(&self, model: &Model) -> Result<Target> {
        let quants = self.rows.quants();
        let geometry = Format::new(&PredictorChoice::Exact, quants).geometry(model);
        Ok(match self.board {
            Some(board) => Target {
                reads: Reads {
                    card: Preset::by_name(board.card)?,
                    staging: Some(board.options.staging),
                    stays_open: false,
                },
                cache_share: cache_share(model, quants, board),
                pages: self.pages.or(0),
                quants,
            },
            None => Target {
                reads: Reads { card: self.card, staging: None, stays_open: true },
                cache_share: self.cache.share_of(ffn_bytes(&geometry)).min(1.0),
                pages: self.pages,
                quants,
            },
        })
    }

    /// Says how large the image becomes, and how long reading the text takes on this machine, measured on
    /// its first tokens: `calibrated` of them are read twice more than the others.
    fn announce(&self, model: &Model, text: &Path, calibrated: u32) -> Result<()> {
        let format = Format::new(&PredictorChoice::Exact, self.rows.quants());
        let image = plan(format, model, model.tokenizer.pack()?.len(), None)?;
        let target = self.target(model)?;
        let tokens = read_tokens(model, text)?;
        let all = tokens.len().min(self.tokens as usize);
        let most = target.pages.blocks(ffn_bytes(image.geometry()), all) * BLOCK_BYTES as u64;
        let pages = match most {
            0 => "without pages".to_owned(),
            most => {
                format!("and up to {} of pages, copies that make reads few", bytes(most as f64))
            }
        };
        if let Some(board) = self.board {
            let mapped = image.range(SectionKind::Ffn).start;
            let budget = Budget::planned(board, image.geometry(), mapped);
            budget.check(board).map_err(|error| anyhow!("{}: {error}", model.name))?;
        }
        let each = seconds_each(model, &tokens);
        let total = Duration::from_secs_f64(each * (all as f64 + 2.0 * f64::from(calibrated)));
        note(&format!(
            "{}\n  image    {}, {pages}\n  reading  {all} tokens of {}: about {}, then placing",
            about(model),
            bytes(image.blocks().bytes() as f64),
            text.file_name().unwrap_or_default().to_string_lossy(),
            HumanDuration(total.max(Duration::from_secs(1)))
        ));
        Ok(())
    }
}

/// Seconds a token takes on all cores, measured on the first of `tokens`.
fn seconds_each(model: &Model, tokens: &[u32]) -> f64 {
    let sample = &tokens[..tokens.len().min(SAMPLE).min(model.config.context as usize)];
    let begun = Instant::now();
    window_losses(model, &[sample], &mut |_| (), &|_| ());
    begun.elapsed().as_secs_f64() / sample.len().max(1) as f64
}
