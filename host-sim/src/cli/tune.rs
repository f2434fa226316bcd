//! `ripple tune`: trains adapters of an image on a text, on a simulated card.

use super::args::CARD;
use super::arm::{Arm, PREDICTOR_RANK};
use super::learning::{Course, Follow, Learning};
use super::report::command;
use super::source::open_image;
use super::summary::{bytes, table};
use crate::cost::Preset;
use crate::html::learning::{self, Learnt};
use crate::machine::adapter::Saved;
use crate::machine::{Core, ImageBytes, Mapped, collapse_gap, header};
use crate::model::text::encode;
use crate::process::failure::{Interrupted, bad_input, bad_usage, check_there};
use crate::process::interrupt;
use crate::process::output::{self, check_path, note, progress, write_whole};
use crate::tune::gate;
use crate::tune::guide::{self, Recall, Sight};
use crate::tune::train::{Event, Outcome, Training, windows};
use anyhow::{Context, Result, anyhow, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, value_parser};
use ripple_kernel::image::{Header, Image};
use ripple_kernel::text::tokenizer::EncodeOptions;
use ripple_tune::{Gradients, Schedule};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ripple tune my.image --text notes.txt -o notes.lora
  ripple tune my.image --text notes.txt --arena 512K --rank 4 --arm lean -o notes.lora
  ripple tune my.image --text notes.txt -o notes.lora --report notes.html --beside plain --beside lean
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
    text: PathBuf,
    /// Text to judge it on; without it, the last tenth of the windows of the text.
    #[arg(long)]
    held_out: Option<PathBuf>,
    /// Most windows of it.
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(1..))]
    windows: u32,
    #[command(flatten)]
    learning: Learning,
    /// Tokens of a step's text; without it, as many as the arena holds, 128 at most.
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    tokens: Option<u32>,
    /// The highest rate; without it, 0.002 for adamw and 0.3 for sgd.
    #[arg(long)]
    rate: Option<f32>,
    /// Steps.
    #[arg(short = 'n', long, default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
    steps: u32,
    /// Windows of the text whose gradients are added up for a step.
    #[arg(long, default_value_t = 1, conflicts_with = "by_layer", value_parser = value_parser!(u32).range(1..=1024))]
    texts: u32,
    /// Steps until the rate is at its highest; from there it falls to 0.
    #[arg(long, default_value_t = 5)]
    warm_up: u32,
    /// Longer gradients are shortened to this length; 0 for any.
    #[arg(long, default_value_t = 1.0)]
    clip: f32,
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
    #[arg(short, long)]
    output: PathBuf,
    /// Page to write: the loss as it falls, and what a step took.
    #[arg(long, value_name = "PAGE")]
    report: Option<PathBuf>,
    /// Train with this arm too, for the page; may be given several times.
    #[arg(long, value_enum, value_name = "ARM", requires = "report")]
    beside: Vec<Arm>,
    /// Train the predictor of blocks of tokens on the text, judge it and what costs less on the held-out windows,
    /// and learn nothing else; takes an arm that leaves blocks out.
    #[arg(long, conflicts_with_all = ["report", "adapter"])]
    train_predictor: bool,
    /// Card, for the simulated time of reads.
    #[arg(long, default_value = CARD, value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    card: &'static Preset,
    /// Core, for the simulated compute time.
    #[arg(long, default_value = "cortex-m7")]
    core: Core,
    /// What is mapped: none, dense (all but the FFN), all, or a number of bytes.
    #[arg(long, default_value = "none", allow_negative_numbers = true)]
    map: Mapped,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Tune {
    pub fn run(&self) -> Result<()> {
        interrupt::listen();
        check_path(&self.output)?;
        self.report.as_deref().map_or(Ok(()), check_path)?;
        let image = open_image(&self.image)?;
        let name = self.image.display();
        let header = header(&image).with_context(|| name.to_string())?;
        let start = match &self.adapter {
            Some(path) => Some(Saved::read(path, &header)?),
            None => None,
        };
        let gap = |staging| collapse_gap(self.card, staging);
        let course = Course {
            geometry: &header.geometry,
            gap: &gap,
            texts: self.texts,
            start: start.as_ref(),
        };
        let options = self.learning.options(&course, self.tokens)?;
        let beside = |arm: &Arm| (*arm, self.learning.beside(*arm, &course, &options));
        let arms_beside: Vec<_> = self.beside.iter().map(beside).collect();
        let chosen = self.learning.chosen(&options);
        if !chosen.is_empty() {
            note(&format!("to fit the arena: {}", chosen.join(" ")));
        }
        let arm = self.learning.arm;
        let (train, held_out) = self.texts(&header, &image, &self.text, options.tokens)?;
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
        let sampled = matches!(options.gradients, Gradients::Sampled { .. });
        let rate = self.rate.unwrap_or(match self.learning.optimiser {
            _ if sampled => 1e-4,
            Follow::Adamw => 0.002,
            Follow::Sgd => 0.3,
        });
        let schedule = Schedule { rate, warm_up: self.warm_up, steps: self.steps, clip: self.clip };
        let mut training = Training {
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
            guide: Vec::new(),
            every: self.every,
        };
        if self.train_predictor {
            return self.judge_predictor(&training, &all, held_out);
        }
        settle(&mut training, &all)?;
        if arm.approximate() {
            self.print_gate(arm, &training, &all)?;
        }
        let outcome = self.train(&training, &all, held_out, name.to_string())?;
        let mut beside = Vec::new();
        for (arm, options) in arms_beside {
            if outcome.interrupted {
                break;
            }
            let start = training.start.clone();
            let mut training = Training { options, start, guide: Vec::new(), ..training };
            settle(&mut training, &all)?;
            beside.push((arm.name(), self.train(&training, &all, held_out, arm.name())?));
        }
        if let Some(page) = &self.report {
            self.write_report(page, &outcome, &beside)?;
        }
        self.finish(&header, &outcome)
    }

    /// Says whether an arm that loses something is worth trying.
    fn print_gate(&self, arm: Arm, training: &Training<'_>, windows: &[&[u32]]) -> Result<()> {
        let cosine = gate::cosine(training, &windows[..windows.len().min(4)])?;
        note(&format!(
            "{}: the cosine of its gradient to the exact one is {cosine:.3} ({} is worth trying: {})",
            arm.name(),
            gate::WORTH,
            if cosine >= gate::WORTH { "yes" } else { "no" }
        ));
        Ok(())
    }

    /// How well blocks of tokens are guessed, and by what.
    fn judge_predictor(
        &self,
        training: &Training<'_>,
        windows: &[&[u32]],
        held_out: &[&[u32]],
    ) -> Result<()> {
        let Some(e) = training.options.arms.elimination else {
            return Err(bad_usage(anyhow!(
                "--train-predictor: --arm {} leaves no blocks out; expected scored, predicted, position",
                self.learning.arm.name()
            )));
        };
        let known = Sight::of(training, &windows[..windows.len().min(guide::LOOKS)], &e)?;
        let recalls = Sight::of(training, held_out, &e)?.recalls(&known, PREDICTOR_RANK, self.seed);
        if self.json {
            #[derive(serde::Serialize)]
            struct Recalls<'a> {
                recalls: &'a [Recall],
            }
            return output::print_json(&Recalls { recalls: &recalls });
        }
        let row = |recall: &Recall| {
            vec![
                recall.by.to_owned(),
                format!("{:.3}", recall.of_70),
                format!("{:.3}", recall.of_50),
            ]
        };
        output::print(&table(
            &["blocks guessed by", "found of 70 %", "of 50 %"],
            recalls.iter().map(row).collect(),
        ))
    }

    /// Makes the steps, with a bar that is named `name`.
    fn train(
        &self,
        training: &Training<'_>,
        windows: &[&[u32]],
        held_out: &[&[u32]],
        name: String,
    ) -> Result<Outcome> {
        let bar = progress(self.steps.into(), "tune");
        let outcome = training.run(windows, held_out, &mut |event| {
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
        outcome.with_context(|| name)
    }

    /// Writes the page: of the training that is kept, and of those beside it.
    fn write_report(
        &self,
        page: &Path,
        outcome: &Outcome,
        beside: &[(String, Outcome)],
    ) -> Result<()> {
        let arm = self.learning.arm.name();
        let mut learnt = vec![Learnt { arm: &arm, outcome }];
        learnt.extend(beside.iter().map(|(arm, outcome)| Learnt { arm, outcome }));
        let file =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let title = format!("{} learns from {}", file(&self.image), file(&self.text));
        let html = learning::page(&title, &learnt, &command());
        write_whole(page, |out| Ok(out.write_all(html.as_bytes())?))?;
        note(&format!("open it in a browser -> {}", page.display()));
        Ok(())
    }

    /// Writes the adapters and prints what it took.
    fn finish(&self, header: &Header, outcome: &Outcome) -> Result<()> {
        if let Some(saved) = &outcome.adapters {
            saved.write(&self.output, header)?;
            note(&format!("{} steps -> {}", outcome.steps.len(), self.output.display()));
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

/// Finds what the arm of a training judges blocks of tokens by, and says what was used of two ways to guess them.
fn settle(training: &mut Training<'_>, windows: &[&[u32]]) -> Result<()> {
    if let Some(contest) = guide::settle(training, windows)? {
        note(&format!(
            "blocks of the last quarter of the text that weigh most: the predictor finds {:.3}, the table of places \
             {:.3}: the {} is used",
            contest.predictor,
            contest.table,
            if contest.predictor_wins() { "predictor" } else { "table" }
        ));
    }
    Ok(())
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
        let tokenizer = crate::model::tokenizer::open(section)?;
        encode(&tokenizer, &text, EncodeOptions { parse_special: true, ..EncodeOptions::TEXT })
    };
    read().with_context(|| path.display().to_string()).map_err(bad_input)
}
