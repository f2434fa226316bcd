//! `ripple run`: generates text from an image on a simulated card.

use super::args::{MachineArgs, RequestArgs};
use super::summary::summary;
use crate::failure::{Interrupted, bad_input};
use crate::generate::{End, Generated, Request, generate};
use crate::interrupt;
use crate::output;
use crate::report::{Report, report};
use crate::simulate::{Machine, header};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use ripple_kernel::tokenizer::Tokenizer;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Generate text from an image on a simulated card.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ripple run my.image --prompt \"Once\" --card sdio-hs --map dense --cache 0.1"
)]
pub struct Run {
    /// Image, as `ripple pack` writes it.
    image: PathBuf,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print the report as JSON on standard output (the text then goes to standard error).
    #[arg(long)]
    json: bool,
}

impl Run {
    pub fn run(&self) -> Result<()> {
        interrupt::listen();
        let name = self.image.display();
        let image = read_image(&self.image)?;
        let header = header(&image).with_context(|| name.to_string())?;
        let machine = self.machine.machine(&header)?;
        let request = self.request.request()?;
        let outcome = stream(&image, &machine, &request, Stream::beside(self.json))
            .with_context(|| name.to_string())?;
        outcome.print(&name.to_string(), &machine, self.json)
    }
}

/// Reads an image file.
pub fn read_image(path: &Path) -> Result<Arc<[u8]>> {
    let bytes = std::fs::read(path);
    let bytes = bytes.with_context(|| format!("{}: the image cannot be read", path.display()));
    Ok(bytes.map_err(bad_input)?.into())
}

/// What came of a run.
pub struct Outcome {
    generated: Generated,
    text: String,
    /// What was read and computed for it.
    pub report: Report,
    prompt_bytes: u64,
}

/// Where generated text goes as it comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error: standard output holds something else.
    Error,
    /// Nowhere.
    Nothing,
}

impl Stream {
    /// For a report that is JSON, or is not.
    pub const fn beside(json: bool) -> Self {
        if json { Self::Error } else { Self::Output }
    }

    fn print(self, piece: &str) -> Result<()> {
        match self {
            Self::Output => output::print(piece),
            Self::Error => {
                let _ = std::io::stderr().write_all(piece.as_bytes());
                Ok(())
            }
            Self::Nothing => Ok(()),
        }
    }
}

impl Outcome {
    fn parts(&self) -> Parts {
        let (generated, report) = (&self.generated, &self.report);
        let prompt = generated.prompt.len().max(1) as f64;
        let all = report.bytes_per_token * report.tokens as f64;
        let decoded = report.tokens as f64 - prompt;
        Parts {
            prompt_bytes_per_token: self.prompt_bytes as f64 / prompt,
            decode_bytes_per_token: (all - self.prompt_bytes as f64) / decoded.max(1.0),
            tokens_per_pass: decoded / f64::from(generated.passes.max(1)),
            drafted: generated.drafted,
            accepted: generated.accepted,
        }
    }
}

/// Prompt and generated text apart.
#[derive(Serialize)]
pub struct Parts {
    /// Bytes a token of the prompt.
    pub prompt_bytes_per_token: f64,
    /// Bytes a token fed after it.
    pub decode_bytes_per_token: f64,
    /// Tokens a pass after the prompt.
    pub tokens_per_pass: f64,
    /// Tokens drafted.
    pub drafted: u32,
    /// Of these, the ones that were right.
    pub accepted: u32,
}

/// A run as JSON; every time in it is simulated.
#[derive(Serialize)]
struct Json<'a> {
    image: &'a str,
    text: &'a str,
    prompt_tokens: usize,
    generated_tokens: usize,
    end: End,
    parts: Parts,
    simulated: &'a Report,
}

impl Outcome {
    /// Prints the report, after the text or, with `json`, with it.
    pub fn print(&self, image: &str, machine: &Machine, json: bool) -> Result<()> {
        if !json {
            let text = summary(&self.report, machine, &self.generated, &self.parts());
            output::print(&format!("\n{text}"))?;
            return self.whole();
        }
        output::print_json(&Json {
            image,
            text: &self.text,
            prompt_tokens: self.generated.prompt.len(),
            generated_tokens: self.generated.tokens.len(),
            end: self.generated.end,
            parts: self.parts(),
            simulated: &self.report,
        })?;
        self.whole()
    }

    /// An error where the user stopped the run.
    fn whole(&self) -> Result<()> {
        if self.generated.end == End::Interrupted { Err(Interrupted.into()) } else { Ok(()) }
    }
}

/// Generates text, printing it token by token, and reports.
pub fn stream(
    image: &Arc<[u8]>,
    machine: &Machine,
    request: &Request,
    to: Stream,
) -> Result<Outcome> {
    let header = header(image)?;
    let mut memory = machine.memory(&header);
    let mut decoder = machine.open(image, &mut memory)?;
    // The tokenizer is read in place where it is mapped; the host can always map it.
    let section = ripple_kernel::image::Image::new(header, image);
    let section = section.tokenizer().context("the image has no tokenizer section")?;
    let tokenizer = Tokenizer::parse(section)
        .map_err(|e| anyhow!("section `tokenizer`: {e}; pack the model again"))?;
    decoder.probe_mut().reset();
    decoder.device_mut().take_stats();
    let terminal = to != Stream::Nothing && std::io::stderr().is_terminal();
    let mut text = String::new();
    let mut printed = Ok(());
    let mut prompt_bytes = 0;
    let generated = generate(
        &mut decoder,
        &tokenizer,
        request,
        |piece| {
            text.push_str(piece);
            if printed.is_ok() {
                printed = to.print(piece);
            }
        },
        |decoder, done, all| {
            prompt_bytes = decoder.device_mut().stats().bytes();
            if terminal && all > 16 {
                let end = if done == all { "\r\x1b[K" } else { "" };
                let _ = write!(std::io::stderr(), "\rprompt {done}/{all}{end}");
            }
        },
    );
    // An error starts a line of its own.
    if !text.is_empty() {
        to.print("\n")?;
    }
    printed?;
    let generated = generated?;
    let report = report(&mut decoder, machine, image, generated.fed())?;
    Ok(Outcome { generated, text, report, prompt_bytes })
}
