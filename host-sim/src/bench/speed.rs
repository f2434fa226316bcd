//! Tokens a second on a real device, as `llama-bench` has them: a prompt, or tokens one by one, again and again.
//!
//! In: decoders that are open, tokens. Out: a [`Speed`] for each test. Every number is measured by this machine's
//! clock, or counted; none is simulated.

use crate::device::{RealDecoder, Streamer, Traffic};
use anyhow::{Result, anyhow};
use serde::Serialize;
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// So many tokens in passes of as many as a pass may have.
    Prompt(u32),
    /// So many, one by one.
    Generation(u32),
}

impl Test {
    /// As `llama-bench` calls it.
    pub fn name(self) -> String {
        match self {
            Self::Prompt(tokens) => format!("pp{tokens}"),
            Self::Generation(tokens) => format!("tg{tokens}"),
        }
    }

    /// Tokens of it.
    pub const fn tokens(self) -> u32 {
        match self {
            Self::Prompt(tokens) | Self::Generation(tokens) => tokens,
        }
    }
}

/// One run of a test.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What it took.
    pub seconds: f64,
    /// What was read for it.
    pub traffic: Traffic,
    /// Active neurons that were in memory, and that were not.
    pub lookups: (u64, u64),
}

/// What tokens are computed with.
pub enum Engine<'m> {
    /// The kernel, which reads what it needs of the device.
    Ripple(RealDecoder<'m>, Rc<Cell<Traffic>>),
    /// One that reads all weights it does not hold, for each pass, in one stream beside what is computed; the kernel
    /// computes for it, with everything in memory, so that its core is never slower.
    Dense(RealDecoder<'m>, Box<Streamer>, Range<u64>),
}

impl<'m> Engine<'m> {
    /// What it is called in a row.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ripple(..) => "ripple",
            Self::Dense(..) => "dense",
        }
    }

    /// Runs `test` on the first of `tokens` from the beginning of a text, and times it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn run(&mut self, test: Test, tokens: &[u32]) -> Result<Sample> {
        let tokens = tokens.get(..test.tokens() as usize).unwrap_or(tokens);
        let (lookups, traffic) = (self.lookups(), self.traffic());
        let decoder = self.decoder();
        decoder.rewind(0);
        let batch = match test {
            Test::Prompt(_) => decoder.batch().max(1) as usize,
            Test::Generation(_) => 1,
        };
        let mut streamed = 0;
        let passes = tokens.chunks(batch).len();
        let begun = Instant::now();
        for (at, chunk) in tokens.chunks(batch).enumerate() {
            // A prompt is read for the logits behind it.
            let logits = batch == 1 || at + 1 == passes;
            streamed += self.pass(chunk, logits)?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let mut traffic = self.traffic().since(traffic);
        traffic.bytes += streamed;
        traffic.device_bytes += streamed;
        let (hits, misses) = self.lookups();
        let lookups = (hits - lookups.0, misses - lookups.1);
        Ok(Sample { seconds, traffic, lookups })
    }

    /// One pass; bytes that were streamed for it.
    fn pass(&mut self, chunk: &[u32], logits: bool) -> Result<u64> {
        match self {
            Self::Ripple(decoder, _) => fed(decoder, chunk, logits).map(|()| 0),
            Self::Dense(decoder, streamer, bytes) => {
                let (read, done) =
                    streamer.read_while(bytes.clone(), || fed(decoder, chunk, logits))?;
                done.map(|()| read)
            }
        }
    }

    fn decoder(&mut self) -> &mut RealDecoder<'m> {
        match self {
            Self::Ripple(decoder, _) | Self::Dense(decoder, ..) => decoder,
        }
    }

    fn lookups(&mut self) -> (u64, u64) {
        self.decoder().probe_mut().lookups()
    }

    fn traffic(&self) -> Traffic {
        match self {
            Self::Ripple(_, traffic) => traffic.get(),
            Self::Dense(..) => Traffic::default(),
        }
    }
}

fn fed(decoder: &mut RealDecoder<'_>, chunk: &[u32], logits: bool) -> Result<()> {
    let at = decoder.position();
    let done = if logits { decoder.prefill(chunk).map(|_| ()) } else { decoder.feed(chunk) };
    done.map_err(|error| anyhow!("token {at}: {error}"))
}

/// One test of one engine: a row. Every number is measured or counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// What was run, from where.
    pub device: String,
    /// `ripple`, or `dense`: see [`Engine`].
    pub engine: String,
    /// Bytes of memory that it has for the model.
    pub ram_bytes: u64,
    /// As a share of the weights.
    pub ram_share: f64,
    /// `pp` and the tokens of a prompt, `tg` and tokens that came one by one.
    pub test: String,
    /// How often.
    pub repetitions: usize,
    /// Tokens a second: the mean of the repetitions.
    pub tokens_per_second: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// The median of the repetitions, which one that was disturbed does not move.
    pub median: f64,
    /// Reads a token.
    pub reads_per_token: f64,
    /// Bytes a token that were asked for.
    pub bytes_per_token: f64,
    /// Bytes a token that came from the device: whole sectors, and what was read ahead.
    pub device_bytes_per_token: f64,
    /// Share of the time in which the core waited for the device.
    pub waiting: f64,
    /// Share of the active neurons that were in memory.
    pub hit_rate: f64,
}

impl Speed {
    /// The row of these `samples`, which are not none.
    pub fn of(
        (device, engine): (&str, &str),
        (ram_bytes, weights): (u64, u64),
        test: Test,
        samples: &[Sample],
    ) -> Self {
        let tokens = f64::from(test.tokens());
        let count = samples.len().max(1) as f64;
        let mut speeds: Vec<f64> =
            samples.iter().map(|sample| tokens / sample.seconds.max(1e-9)).collect();
        speeds.sort_by(f64::total_cmp);
        let mean = speeds.iter().sum::<f64>() / count;
        let squares: f64 = speeds.iter().map(|speed| (speed - mean).powi(2)).sum();
        let total = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>();
        let per_token = |of: fn(&Sample) -> f64| total(of) / (tokens * count);
        let (hits, all) = samples.iter().fold((0, 0u64), |(hits, all), sample| {
            (hits + sample.lookups.0, all + sample.lookups.0 + sample.lookups.1)
        });
        Self {
            device: device.to_owned(),
            engine: engine.to_owned(),
            ram_bytes,
            ram_share: ram_bytes as f64 / weights.max(1) as f64,
            test: test.name(),
            repetitions: samples.len(),
            tokens_per_second: mean,
            // Of a sample: the mean is found from it too.
            deviation: (squares / (count - 1.0).max(1.0)).sqrt(),
            median: speeds.get(speeds.len() / 2).copied().unwrap_or(0.0),
            reads_per_token: per_token(|s| s.traffic.reads as f64),
            bytes_per_token: per_token(|s| s.traffic.bytes as f64),
            device_bytes_per_token: per_token(|s| s.traffic.device_bytes as f64),
            waiting: total(|s| s.traffic.waited.as_secs_f64()) / total(|s| s.seconds).max(1e-9),
            hit_rate: hits as f64 / all.max(1) as f64,
        }
    }
}

const HEADER: [&str; 10] =
    ["engine", "RAM MiB", "of weights", "test", "t/s", "+-", "median", "reads", "KiB", "hit %"];

fn cells(row: &Speed) -> [String; HEADER.len()] {
    [
        row.engine.clone(),
        format!("{:.1}", row.ram_bytes as f64 / (1 << 20) as f64),
        format!("{:.2}", row.ram_share),
        row.test.clone(),
        format!("{:.2}", row.tokens_per_second),
        format!("{:.2}", row.deviation),
        format!("{:.2}", row.median),
        format!("{:.1}", row.reads_per_token),
        format!("{:.1}", row.device_bytes_per_token / 1024.0),
        format!("{:.1}", 100.0 * row.hit_rate),
    ]
}

/// What the columns mean.
pub const LEGEND: &str = "Measured on this machine, nothing simulated. pp: a prompt of so many tokens, tg: so many one \
by one; t/s: tokens a second, mean, standard deviation and median of the repetitions, which take turns; reads, KiB: a \
token, KiB from the device. dense reads all weights that it has no memory for in one stream for each pass, and \
computes beside it as if all lay in memory.";

/// The rows, to be read in a terminal.
pub fn speed_lines(rows: &[Speed]) -> (Vec<&'static str>, Vec<Vec<String>>) {
    (HEADER.to_vec(), rows.iter().map(|row| cells(row).to_vec()).collect())
}

/// The rows as a table of Markdown.
pub fn speed_markdown(rows: &[Speed], about: &str) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("# Tokens a second, measured\n\n{about}\n\n{LEGEND}\n\n");
    text += &line(&HEADER.map(str::to_owned));
    text += &format!("|---|--:|--:|---|{}\n", "--:|".repeat(HEADER.len() - 4));
    rows.iter().for_each(|row| text += &line(&cells(row)));
    text
}
