//! `ripple tune`: trains adapters of an image on a text, on a simulated card.

use super::args::CARD;
use super::source::open_image;
use super::summary::{bytes, table};
use crate::cost::Preset;
use crate::machine::adapter::Saved;
use crate::machine::{Core, ImageBytes, Mapped, collapse_gap, header};
use crate::model::text::encode;
use crate::process::failure::{Interrupted, bad_input, bad_usage, check_there, ensure_usage};
use crate::process::interrupt;
use crate::process::output::{self, check_path, note, progress};
use crate::tune::train::{Event, Outcome, Training, memory_of, windows};
use anyhow::{Context, Result, anyhow, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};
use ripple_hal::BlockCount;
use ripple_kernel::adapter::{Target, Targets};
use ripple_kernel::image::{Header, Image};
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use ripple_tune::{
    Arms, AttentionTape, FfnTape, Gradients, InputTape, Optimiser, Schedule, Store, TuneOptions,
    TunePlan,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ripple tune my.image --text notes.txt -o notes.lora
  ripple tune my.image --text notes.txt --arena 512K --rank 4 --arm lean -o notes.lora
  ripple tune my.image --text notes.txt --plan
  ripple run my.image --adapter notes.lora --prompt 'Dear diary'
  ripple adapter my.image notes.lora --export notes-peft";

/// Train low-rank adapters of an image on a text, on a simulated card.
///
/// The image stays as it is: `ripple run --adapter` adds what was learnt. The same image, text and options
/// give the same adapters to the last bit, as a board does. After Ctrl-C the last whole step is kept.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Tune {
    /// Image, as `ripple pack` writes it.
    image: PathBuf,
    /// Text to learn from.
    #[arg(long)]
    text: Option<PathBuf>,
    /// Text to judge it on; without it, the last tenth of the windows of the text.
    #[arg(long)]
    held_out: Option<PathBuf>,
    /// Most windows of it.
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(1..))]
    windows: u32,
    /// Memory that there is for it, all together, in bytes, or with K or M behind; without it, what it takes.
    #[arg(long, value_parser = size)]
    arena: Option<u64>,
    /// Tokens of a step's text; without it, as many as the arena holds, 128 at most.
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    tokens: Option<u32>,
    /// Rank of the adapters.
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=256))]
    rank: u32,
    /// What they count, times the rank; without it, twice the rank.
    #[arg(long)]
    alpha: Option<f32>,
    /// Which matrices of attention have one: letters of q, k, v, o.
    #[arg(long, default_value = "qv", value_parser = targets)]
    targets: Targets,
    /// What is kept of the forward pass.
    #[arg(long, value_enum, default_value_t = Arm::Exact)]
    arm: Arm,
    /// How adapters follow their gradients.
    #[arg(long, value_enum, default_value_t = Follow::Adamw)]
    optimiser: Follow,
    /// Let each layer follow its gradients at once, so that those of one layer are held alone.
    #[arg(long, conflicts_with = "texts")]
    by_layer: bool,
    /// The highest rate; without it, 0.002 for adamw and 0.3 for sgd.
    #[arg(long)]
    rate: Option<f32>,
    /// Steps.
    #[arg(short = 'n', long, default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
    steps: u32,
    /// Windows of the text whose gradients are added up for a step.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=1024))]
    texts: u32,
    /// Steps until the rate is at its highest; from there it falls to 0.
    #[arg(long, default_value_t = 5)]
    warm_up: u32,
    /// Longer gradients are shortened to this length; 0 for any.
    #[arg(long, default_value_t = 1.0)]
    clip: f32,
    /// What a number loses of itself in a step, times the rate; adamw only.
    #[arg(long, default_value_t = 0.0)]
    decay: f32,
    /// Seed of the adapters' beginning and of the order of the windows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take the windows of the text one after the other, as boards do.
    #[arg(long)]
    in_order: bool,
    /// Look at the held-out windows after so many steps.
    #[arg(long, default_value_t = 25, value_parser = value_parser!(u32).range(1..))]
    every: u32,
    /// Adapter to go on from; rank, alpha and targets are its own.
    #[arg(long, conflicts_with_all = ["rank", "alpha", "targets"])]
    adapter: Option<PathBuf>,
    /// Adapter file to write.
    #[arg(short, long, required_unless_present = "plan")]
    output: Option<PathBuf>,
    /// Say what it would take, and train nothing.
    #[arg(long)]
    plan: bool,
    /// Card, for the simulated time of reads.
    #[arg(long, default_value = CARD, value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    card: &'static Preset,
    /// Core, for the simulated compute time.
    #[arg(long, default_value = "cortex-m7")]
    core: Core,
    /// What is mapped: none, dense (all but the FFN), all, or a number of bytes.
    #[arg(long, default_value = "none", allow_negative_numbers = true)]
    map: Mapped,
    /// Staging, both halves, in blocks of 512 bytes; raised to what the largest record needs.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(..=65536))]
    staging: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// [`Arms`] on the command line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arm {
    /// All activations and all logits: to compare with.
    Plain,
    /// All activations, one read of the head.
    Tiled,
    /// Which neurons were active: the same gradients.
    Exact,
    /// The same, and layers' inputs are recovered.
    Recovered,
    /// The same, and attention is computed again.
    Again,
    /// Layers' inputs in 8 bits, and all the rest is computed again: least memory.
    Lean,
    /// The exact arm with all that is kept in 16 bits.
    Half,
    /// Layers' inputs alone: what others do.
    Layer,
}

impl Arm {
    fn arms(self) -> Arms {
        let half = AttentionTape::Kept { values: Store::Half, middle: Store::Half };
        match self {
            Self::Plain => Arms::PLAIN,
            Self::Tiled => Arms::TILED,
            Self::Exact => Arms::EXACT,
            Self::Recovered => Arms::RECOVERED,
            Self::Again => Arms { ffn: FfnTape::Mask, ..Arms::LAYER },
            Self::Lean => Arms::LEAN,
            Self::Half => {
                Arms { attention: half, input: InputTape::Kept(Store::Half), ..Arms::EXACT }
            }
            Self::Layer => Arms::LAYER,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Follow {
    /// Two moments of each number are kept.
    Adamw,
    /// Nothing is kept.
    Sgd,
}

fn targets(text: &str) -> Result<Targets, String> {
    let mut found = Vec::new();
    for letter in text.chars() {
        let target = Target::ALL.into_iter().find(|target| target.letter() == letter);
        found.push(
            target.ok_or_else(|| format!("expected letters of q, k, v, o, found `{letter}`"))?,
        );
    }
    if found.is_empty() {
        Err("expected letters of q, k, v, o".to_owned())
    } else {
        Ok(Targets::of(&found))
    }
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.trim_end_matches(['K', 'M', 'k', 'm']) {
        digits if digits.len() + 1 == text.len() => {
            (digits, if text.ends_with(['K', 'k']) { 1 << 10 } else { 1 << 20 })
        }
        _ => (text, 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number
        .ok_or_else(|| format!("expected bytes, or KiB or MiB with K or M behind, found `{text}`"))
}

impl Tune {
    pub fn run(&self) -> Result<()> {
        interrupt::listen();
        if let Some(output) = &self.output {
            check_path(output)?;
        }
        let image = open_image(&self.image)?;
        let name = self.image.display();
        let header = header(&image).with_context(|| name.to_string())?;
        let start = match &self.adapter {
            Some(path) => Some(Saved::read(path, &header)?),
            None => None,
        };
        let options = self.options(&header, start.as_ref())?;
        if self.plan {
            return self.print_plan(&header, &options);
        }
        let Some(text) = self.text.as_deref() else {
            return Err(bad_usage(anyhow!("no --text: expected a text to learn from")));
        };
        let (train, held_out) = self.texts(&header, &image, text, options.tokens)?;
        let as_windows = |tokens| windows(tokens, options.tokens);
        let all = as_windows(&train);
        let (all, held_out) = match &held_out {
            Some(held_out) => (all, as_windows(held_out)),
            None => {
                let judged = (all.len() / 10).max(usize::from(all.len() > 1));
                let (train, judged) = all.split_at(all.len() - judged);
                (train.to_vec(), judged.to_vec())
            }
        };
        let held_out = &held_out[..held_out.len().min(self.windows as usize)];
        let rate = self.rate.unwrap_or(match self.optimiser {
            Follow::Adamw => 0.002,
            Follow::Sgd => 0.3,
        });
        let schedule = Schedule { rate, warm_up: self.warm_up, steps: self.steps, clip: self.clip };
        let training = Training {
            image: &image,
            preset: self.card,
            core: self.core,
            mapped: self.map,
            options,
            schedule,
            steps: self.steps,
            texts: self.texts,
            seed: self.seed,
            in_order: self.in_order,
            start,
            every: self.every,
        };
        let bar = progress(self.steps.into(), "tune");
        let outcome = training.run(&all, held_out, &mut |event| {
            match event {
                Event::Made(made) => {
                    bar.set_message(format!("loss {:.3}", made.loss));
                    bar.inc(1);
                }
                Event::HeldOut(look) if !self.json => bar.suspend(|| {
                    output::print(&format!(
                        "step {:>5}  held-out loss {:.4}  perplexity {:.3}\n",
                        look.step, look.loss, look.perplexity
                    ))
                })?,
                Event::HeldOut(_) => {}
            }
            Ok(())
        });
        bar.finish_and_clear();
        let outcome = outcome.with_context(|| name.to_string())?;
        self.finish(&header, &outcome)
    }

    /// Writes the adapters and prints what it took.
    fn finish(&self, header: &Header, outcome: &Outcome) -> Result<()> {
        if let (Some(saved), Some(output)) = (&outcome.adapters, &self.output) {
            saved.write(output, header)?;
            note(&format!("{} steps -> {}", outcome.steps.len(), output.display()));
        }
        if self.json {
            output::print_json(outcome)?;
        } else {
            let step = &outcome.per_step;
            let rows = outcome.memory.iter();
            let rows =
                rows.map(|memory| vec![memory.region.to_owned(), bytes(memory.bytes as f64)]);
            output::print(&format!(
                "{} tokens a step; a step reads {} in {:.0} commands and multiplies {:.1} million times: \
                 {:.3} s simulated, {:.3} s of them the card's\n{} of memory:\n{}",
                outcome.tokens,
                bytes(step.bytes),
                step.reads,
                step.multiply_accumulates / 1e6,
                step.seconds,
                step.card_seconds,
                bytes(outcome.memory_bytes as f64),
                table(&["region", "bytes"], rows.collect())
            ))?;
        }
        if outcome.interrupted { Err(Interrupted.into()) } else { Ok(()) }
    }

    fn options(&self, header: &Header, start: Option<&Saved>) -> Result<TuneOptions> {
        let gap = collapse_gap(self.card, BlockCount(self.staging));
        let optimiser = match self.optimiser {
            Follow::Sgd => Optimiser::Sgd,
            Follow::Adamw => {
                Optimiser::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: self.decay }
            }
        };
        let mut options = TuneOptions {
            tokens: self.tokens.unwrap_or(128),
            rank: self.rank,
            alpha: self.alpha.unwrap_or(2.0 * self.rank as f32),
            targets: self.targets,
            optimiser,
            gradients: if self.by_layer { Gradients::Layer } else { Gradients::Whole },
            arms: self.arm.arms(),
            window: 32,
            staging: BlockCount(self.staging),
            collapse_gap: gap,
        };
        if let Some(Saved { shape, .. }) = start {
            (options.rank, options.alpha, options.targets) =
                (shape.rank, shape.alpha, shape.targets);
        }
        let geometry = &header.geometry;
        let context = geometry.config.context;
        ensure_usage!(
            self.tokens.unwrap_or(1) <= context,
            "--tokens {}: expected at most {context}, the model's context",
            options.tokens
        );
        options.tokens = options.tokens.min(context);
        let Some(arena) = self.arena else { return Ok(options) };
        let most = TunePlan::most_tokens::<f32>(geometry, &options, arena);
        let needed = |tokens| {
            let options = TuneOptions { tokens, ..options };
            TunePlan::for_model::<f32>(geometry, &options).lent_bytes()
        };
        ensure_usage!(
            most > 0,
            "--arena {arena}: a text of one token needs {} bytes; give more, or a lower --rank, \
             fewer --targets, --optimiser sgd, --by-layer",
            needed(1)
        );
        match self.tokens {
            Some(tokens) => {
                ensure_usage!(
                    tokens <= most,
                    "--arena {arena}: {tokens} tokens need {} bytes; it holds {most} tokens, more with \
                     --arm lean",
                    needed(tokens)
                );
            }
            None => options.tokens = options.tokens.min(most),
        }
        Ok(options)
    }

    fn print_plan(&self, header: &Header, options: &TuneOptions) -> Result<()> {
        let plan = TunePlan::for_model::<f32>(&header.geometry, options);
        let memory = memory_of(&plan);
        if self.json {
            #[derive(Serialize)]
            struct Json<'a> {
                tokens: u32,
                memory: &'a [crate::tune::train::Memory],
                memory_bytes: u64,
            }
            let (tokens, memory_bytes) = (options.tokens, plan.lent_bytes());
            return output::print_json(&Json { tokens, memory: &memory, memory_bytes });
        }
        let rows = memory.iter().map(|m| vec![m.region.to_owned(), bytes(m.bytes as f64)]);
        output::print(&format!(
            "{} tokens a step take {} of memory:\n{}",
            options.tokens,
            bytes(plan.lent_bytes() as f64),
            table(&["region", "bytes"], rows.collect())
        ))
    }

    /// The tokens to learn from, and those to judge by.
    fn texts(
        &self,
        header: &Header,
        image: &ImageBytes,
        text: &Path,
        tokens: u32,
    ) -> Result<(Vec<u32>, Option<Vec<u32>>)> {
        let read = |path: &Path| {
            let found = read_tokens(header, image, path)?;
            if found.len() <= tokens as usize {
                return Err(bad_input(anyhow!(
                    "{}: {} tokens, a step takes {}; give a longer text or fewer --tokens",
                    path.display(),
                    found.len(),
                    tokens + 1
                )));
            }
            Ok(found)
        };
        let train = read(text)?;
        let held_out = self.held_out.as_deref().map(read).transpose()?;
        Ok((train, held_out))
    }
}

/// The tokens of a text, behind the token that begins one if there is one.
fn read_tokens(header: &Header, image: &ImageBytes, path: &Path) -> Result<Vec<u32>> {
    check_there(path)?;
    let read = || {
        let text = std::fs::read(path).context("the text cannot be read")?;
        let text = String::from_utf8(text).context("expected a text in UTF-8; convert it")?;
        ensure!(!text.trim().is_empty(), "the text is empty; expected some to read");
        let view = Image::new(*header, image);
        let section = view.tokenizer().context("the image has no tokenizer section")?;
        let tokenizer = Tokenizer::parse(section)
            .map_err(|e| anyhow!("section `tokenizer`: {e}; pack the model again"))?;
        encode(&tokenizer, &text, EncodeOptions { parse_special: true, ..EncodeOptions::TEXT })
    };
    read().with_context(|| path.display().to_string()).map_err(bad_input)
}
