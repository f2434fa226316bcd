//! A text as it comes: printed piece by piece, and timed.
//!
//! In: an open decoder, what is to be generated. Out: [`Told`]. Knows nothing of what the decoder reads from.

use super::summary::Host;
use crate::process::output;
use crate::run::generate::{Generated, Request, generate};
use anyhow::Result;
use ripple_hal::WriteDevice;
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::{Decoder, Probe};
use std::io::{IsTerminal, Write};
use std::time::Instant;

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

/// What was told.
pub struct Told {
    pub generated: Generated,
    pub text: String,
    /// What it took by this machine's clock.
    pub host: Host,
}

/// Generates what is asked for; `prompt` gets the decoder after each pass of the prompt.
pub fn tell<D: WriteDevice, P: Probe>(
    decoder: &mut Decoder<'_, D, P>,
    tokenizer: &Tokenizer<'_>,
    request: &Request,
    to: Stream,
    mut prompt: impl FnMut(&mut Decoder<'_, D, P>),
) -> Result<Told> {
    let terminal = to != Stream::Nothing && std::io::stderr().is_terminal();
    let mut text = String::new();
    let mut printed = Ok(());
    let begun = Instant::now();
    let mut prompt_seconds = 0.0;
    let generated = generate(
        decoder,
        tokenizer,
        request,
        |piece| {
            text.push_str(piece);
            if printed.is_ok() {
                printed = to.print(piece);
            }
        },
        |decoder, done, all| {
            prompt(decoder);
            prompt_seconds = begun.elapsed().as_secs_f64();
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
    let seconds = begun.elapsed().as_secs_f64() - prompt_seconds;
    let tokens_per_second = match generated.tokens.len() {
        0 => 0.0,
        tokens => tokens as f64 / seconds,
    };
    let host = Host { prompt_seconds, seconds, tokens_per_second };
    Ok(Told { generated, text, host })
}
