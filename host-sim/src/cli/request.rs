//! What a text is to be, on the command line: its prompt, its sampler, where it ends.
//!
//! In: arguments, standard input. Out: a [`Request`]. Knows nothing of models or machines.

use crate::process::failure::{bad_input, bad_usage, check_there};
use crate::run::generate::{Overflow, Request};
use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum, value_parser};
use ripple_kernel::text::sample::{Sampler, SamplerOptions};
#[cfg(unix)]
use std::fs::File;
#[cfg(not(unix))]
use std::io::IsTerminal;
use std::io::Read;
use std::path::PathBuf;

/// What to generate.
#[derive(Args, Clone)]
pub struct RequestArgs {
    /// Text to go on from; `-` reads it from standard input.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// The same, from a file.
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub file: Option<PathBuf>,
    /// Most tokens to generate.
    #[arg(short = 'n', long, default_value_t = 200, value_parser = value_parser!(u32).range(1..))]
    pub tokens: u32,
    /// Temperature; 0 takes the likeliest token.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    pub top_k: u32,
    /// Keep the likeliest tokens that are together this probable.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub top_p: f32,
    /// Keep tokens at least this probable beside the likeliest.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub min_p: f32,
    /// Divides the logits of recent tokens.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub repeat_penalty: f32,
    /// Seed of the sampler.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Most tokens drafted from what came before and verified in one pass of `--batch`; at
    /// temperature 0 the text is the same, in fewer passes where it repeats itself. 0 drafts none.
    #[arg(long, default_value_t = 8)]
    pub speculate: u32,
    /// Never choose the token that ends a text: the text goes on to the most tokens.
    #[arg(long)]
    pub ignore_eos: bool,
    /// Ends the text where it says this, which is not printed; can be given more than once.
    #[arg(long, value_name = "STRING", allow_hyphen_values = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// When the KV cache is full: stop, or let a window slide over the text.
    #[arg(long, value_enum, default_value_t = OverflowArg::Stop)]
    pub overflow: OverflowArg,
    /// Positions at the beginning of the text that a sliding window keeps (attention sinks).
    #[arg(long, default_value_t = 4)]
    pub sinks: u32,
}

/// [`Overflow`] on the command line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverflowArg {
    /// The text ends.
    Stop,
    /// The oldest quarter goes, save the attention sinks; rotary positions only.
    Window,
}

impl RequestArgs {
    /// The text to go on from: what `--prompt` or `--file` says, or, where `piped`, what a program sends to
    /// standard input; nothing where nobody says anything.
    ///
    /// # Errors
    /// When it cannot be read, or is not UTF-8.
    pub fn text(&self, piped: bool) -> Result<String> {
        let input = || {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input")?;
            anyhow::Ok(text)
        };
        let mut text = match (&self.prompt, &self.file) {
            (Some(prompt), _) if prompt != "-" => return Ok(prompt.clone()),
            (None, Some(path)) => {
                let shown = path.display();
                check_there(path)?;
                let read = std::fs::read_to_string(path);
                read.with_context(|| format!("--file {shown}: cannot be read"))
                    .map_err(bad_input)?
            }
            (None, None) if !(piped && input_is_sent()) => return Ok(String::new()),
            _ => input()?,
        };
        // Editors and `echo` end a text with a line's end that is no part of it.
        if text.ends_with('\n') {
            text.pop();
        }
        Ok(text)
    }

    /// The request, to go on from `prompt`.
    ///
    /// # Errors
    /// The first option of the sampler that is out of range.
    pub fn request(&self, prompt: String) -> Result<Request> {
        let sampler = SamplerOptions {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repeat_penalty,
            seed: self.seed,
        };
        Sampler::new(sampler, &mut []).map_err(|error| {
            let option = match error.field {
                "repetition_penalty" => "repeat-penalty".to_owned(),
                field => field.replace('_', "-"),
            };
            bad_usage(anyhow!("--{option} {}: expected {}", error.found, error.expected))
        })?;
        let overflow = match self.overflow {
            OverflowArg::Stop => Overflow::Stop,
            OverflowArg::Window => Overflow::Window { sinks: self.sinks },
        };
        let Self { tokens, speculate, ignore_eos, .. } = *self;
        let stop = self.stop.clone();
        Ok(Request { prompt, chat: None, tokens, sampler, speculate, stop, overflow, ignore_eos })
    }
}

/// Whether standard input is a file or a pipe: neither a terminal, nor closed, nor `/dev/null`.
#[cfg(unix)]
fn input_is_sent() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;
    let input = std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let kind = input.and_then(|input| input.metadata()).map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_file())
}

#[cfg(not(unix))]
fn input_is_sent() -> bool {
    !std::io::stdin().is_terminal()
}
