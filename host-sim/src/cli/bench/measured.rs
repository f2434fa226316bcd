//! `ripple bench --device`: tokens a second on a real device.
//!
//! In: an image on a device, how much memory, which tests. Out: a table of what was measured, and files. Nothing here
//! is simulated, and no row of it stands in a table with one that is.

use super::super::args::{Cache, Kv, MachineArgs};
use super::super::on_device::{DeviceArgs, Ram, Ready};
use super::super::summary::table;
use super::{Files, once};
use crate::bench::speed::{Engine, LEGEND, Sample, Speed, Test, speed_lines};
use crate::cost::Preset;
use crate::device::{Held, OnDevice, Opened, RealDecoder, Streamer, dense_bytes, weights};
use crate::machine::memory::HostMemory;
use crate::machine::{Core, Mapped};
use crate::model::text::encode;
use crate::model::tokenizer::open;
use crate::process::failure::{Interrupted, bad_input, ensure_usage};
use crate::process::interrupt;
use crate::process::output::{self, note, progress};
use crate::run::measured::Device;
use anyhow::{Context, Result, anyhow};
use clap::{Args, value_parser};
use ripple_kernel::text::sample::{Sampler, SamplerOptions};
use ripple_kernel::text::tokenizer::EncodeOptions;
use ripple_kernel::{MemoryPlan, Options};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is timed on a real device.
#[derive(Args)]
pub struct MeasuredArgs {
    /// Time prompt and generation on a real device with this machine's clock, in the place of the simulated cards: an
    /// image file, or a card as `ripple card` writes it.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["models", "presets", "policies", "ablations", "cache", "core", "page_mib", "profile", "profile_tokens", "tokens", "profile_trace", "svg"])]
    device: Option<PathBuf>,
    /// Memory for the model, with --device: shares of its weights, or bytes with K, M or G behind.
    #[arg(long, value_name = "SHARE|BYTES", value_delimiter = ',', requires = "device", default_values = ["1.5", "0.6", "0.3", "0.15"])]
    ram: Vec<Ram>,
    /// Tokens of a prompt, with --device; 0 for none.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', requires = "device", default_values_t = [128])]
    pp: Vec<u32>,
    /// Tokens one by one, with --device; 0 for none.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', requires = "device", default_values_t = [64])]
    tg: Vec<u32>,
    /// Repetitions of each test; the tests take turns, after one that does not count.
    #[arg(short, long, requires = "device", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Add an engine that reads all weights for each pass, in one stream, with the same memory.
    #[arg(long, requires = "device")]
    dense: bool,
    /// Most positions of a pass, with --device.
    #[arg(long, requires = "device", default_value_t = 32, value_parser = value_parser!(u32).range(1..))]
    batch: u32,
    /// Numbers of the KV cache, with --device.
    #[arg(long, requires = "device", value_enum, default_value_t = Kv::F16)]
    kv: Kv,
    /// Read through the page cache, with --device.
    #[arg(long, requires = "device")]
    page_cache: bool,
}

impl MeasuredArgs {
    /// The device, where there is one.
    pub fn device(&self) -> Option<&Path> {
        self.device.as_deref()
    }

    /// Times every test with every amount of memory, and prints a table. `text`: whose tokens are read; without it, what the model writes.
    pub fn run(
        &self,
        path: &Path,
        staging: Option<u32>,
        text: Option<&Path>,
        files: &Files,
    ) -> Result<()> {
        files.check()?;
        interrupt::listen();
        let args = DeviceArgs { device: None, ram: None, page_cache: self.page_cache };
        let machine = self.machine(staging);
        let mut found = OnDevice::find(path, !self.page_cache)?;
        let named = || path.display().to_string();
        let calibration = found.calibrate().with_context(named)?;
        let header = *found.header();
        let (all, context) = (weights(&header), header.geometry.config.context);
        let tests = self.tests(context)?;
        drop(found);

        let rams: Vec<u64> = once(&self.ram).into_iter().map(|ram| ram.of(all)).collect();
        let ready =
            |ram: u64| Ready::new(path, &args, &machine, Some(Ram::Bytes(ram)), Some(calibration));
        let longest = tests.iter().map(|test| test.tokens()).max().unwrap_or(0) as usize;
        let most = ready(rams.iter().copied().max().unwrap_or(all))?;
        let about = about(&most.device, most.options.batch);
        let (tokens, from) = tokens(most, text, longest)?;
        let about = format!("{about}; tokens {from}");
        let mut arms = Vec::new();
        for &ram in &rams {
            arms.push(Arm::new(ready(ram)?, ram, None));
            if self.dense {
                // It computes with all of it in memory; what does not fit `ram` is read for each pass.
                let whole = ready(all.saturating_mul(4).saturating_add(1 << 30))?;
                let beside = MemoryPlan::for_model(&header.geometry, &whole.options).bytes() as u64;
                let weights = dense_bytes(&header);
                let held = ram.saturating_sub(beside).min(weights);
                let streamer = Streamer::new(Opened::at(path, !self.page_cache)?)?;
                arms.push(Arm::new(whole, ram, Some((streamer, all - (weights - held)..all))));
            }
        }

        let mut engines = Vec::new();
        for arm in &mut arms {
            engines.push((arm.ram, arm.engine()?));
        }
        let rounds = self.repetitions as usize + 1;
        let bar = progress((rounds * engines.len() * tests.len()) as u64, "bench");
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); engines.len() * tests.len()];
        'rounds: for round in 0..rounds {
            for (at, (_, engine)) in engines.iter_mut().enumerate() {
                for (test, samples) in tests.iter().zip(samples.iter_mut().skip(at * tests.len())) {
                    if interrupt::requested() {
                        break 'rounds;
                    }
                    let sample = engine.run(*test, &tokens).with_context(named)?;
                    // The first fills caches, and wakes what sleeps.
                    if round > 0 {
                        samples.push(sample);
                    }
                    bar.inc(1);
                }
            }
        }
        bar.finish_and_clear();
        let mut rows = Vec::new();
        for (at, samples) in samples.iter().enumerate().filter(|(_, samples)| !samples.is_empty()) {
            let (ram, engine) = &engines[at / tests.len()];
            let (device, test) = (named(), tests[at % tests.len()]);
            rows.push(Speed::of((&device, engine.name()), (*ram, all), test, samples));
        }
        let (columns, lines) = speed_lines(&rows);
        output::print(&format!("{about}\n\n{}\n{LEGEND}\n", table(&columns, lines)))?;
        if interrupt::requested() {
            note("interrupted: no file was written");
            return Err(Interrupted.into());
        }
        files.write_measured(&rows, &about)
    }

    fn tests(&self, context: u32) -> Result<Vec<Test>> {
        let prompts = once(&self.pp).into_iter().map(|n| ("--pp", n, Test::Prompt(n)));
        let all =
            prompts.chain(once(&self.tg).into_iter().map(|n| ("--tg", n, Test::Generation(n))));
        let mut tests = Vec::new();
        for (option, tokens, test) in all.filter(|(_, tokens, _)| *tokens > 0) {
            ensure_usage!(
                tokens <= context,
                "{option} {tokens}: expected at most {context}, the model's context"
            );
            tests.push(test);
        }
        ensure_usage!(!tests.is_empty(), "--pp 0 --tg 0: expected tokens of one of them");
        Ok(tests)
    }

    fn machine(&self, staging: Option<u32>) -> MachineArgs {
        MachineArgs {
            card: &Preset::ALL[0],
            core: Core::CortexM7,
            map: Mapped::Dense,
            cache: Cache::Share(0.0),
            hot_permille: 1000,
            gap: None,
            staging,
            kv: self.kv,
            batch: self.batch,
            no_read_ahead: false,
            no_stay_open: true,
            context: None,
        }
    }
}

/// What was run, in words.
fn about(device: &Device, batch: u32) -> String {
    let cost = match (device.t0_us, device.mb_per_s) {
        (Some(t0), Some(speed)) => format!("{t0:.0} us + {speed:.1} MB/s"),
        _ => "reads take no time".to_owned(),
    };
    let Device { path, through, gap_blocks, .. } = device;
    format!(
        "Measured. {path}, {}; calibrated to {cost}, gap {gap_blocks} blocks; prompts in passes of {batch}",
        through.words()
    )
}

/// Tokens to feed, and where they are from: of `text`, or what the model writes.
fn tokens(ready: Ready, text: Option<&Path>, count: usize) -> Result<(Vec<u32>, String)> {
    let tokenizer = open(ready.held.tokenizer())?;
    if let Some(path) = text {
        let read = std::fs::read_to_string(path).with_context(|| path.display().to_string());
        let mut tokens = encode(&tokenizer, &read.map_err(bad_input)?, EncodeOptions::TEXT)?;
        ensure_usage!(
            tokens.len() >= count,
            "--held-out {}: it has {} tokens, expected {count} at least",
            path.display(),
            tokens.len()
        );
        tokens.truncate(count);
        return Ok((tokens, format!("of {}", path.display())));
    }
    let mut memory = ready.memory();
    let mut decoder = ready.found.open(&ready.held, &mut memory, &ready.options)?;
    let tokens = drawn(&mut decoder, tokenizer.begin().unwrap_or(0), count)?;
    // Drawn: the likeliest of a small model repeat themselves.
    Ok((tokens, "that the model writes".to_owned()))
}

/// So many tokens from the beginning of a text on, each drawn by what the model makes of those before.
fn drawn(decoder: &mut RealDecoder<'_>, begin: u32, count: usize) -> Result<Vec<u32>> {
    let options =
        SamplerOptions { temperature: 1.0, top_p: 0.9, seed: 1, ..SamplerOptions::GREEDY };
    let mut sampler = Sampler::new(options, &mut [])
        .map_err(|e| anyhow!("{}: expected {}, found {}", e.field, e.expected, e.found))?;
    let mut tokens = vec![begin];
    while tokens.len() < count {
        let last = tokens.last().copied().unwrap_or(begin);
        let logits = decoder.step(last).map_err(|error| anyhow!("{error}"))?;
        tokens.push(sampler.sample(logits));
    }
    Ok(tokens)
}

/// What is read by which engine, before its decoder is opened.
struct Arm {
    ram: u64,
    found: Option<OnDevice>,
    held: Held,
    memory: HostMemory,
    options: Options,
    stream: Option<(Streamer, Range<u64>)>,
}

impl Arm {
    fn new(ready: Ready, ram: u64, stream: Option<(Streamer, Range<u64>)>) -> Self {
        let memory = ready.memory();
        let Ready { found, held, options, .. } = ready;
        Self { ram, found: Some(found), held, memory, options, stream }
    }

    fn engine(&mut self) -> Result<Engine<'_>> {
        let found = self.found.take().context("it is open")?;
        let traffic = found.traffic();
        let decoder = found.open(&self.held, &mut self.memory, &self.options)?;
        Ok(match self.stream.take() {
            Some((streamer, bytes)) => Engine::Dense(decoder, Box::new(streamer), bytes),
            None => Engine::Ripple(decoder, traffic),
        })
    }
}
