//! Where the time of a token goes: one run of the kernel on every card.
//!
//! In: an image, a machine. Out: [`PresetTime`]. All times are simulated.

use crate::machine::{ImageBytes, Machine};
use crate::model::tokenizer::open;
use crate::run::generate::{Overflow, Request, generate};
use crate::run::report::report;
use anyhow::{Context, Result};
use ripple_kernel::Stage;
use ripple_kernel::image::Image;
use ripple_kernel::text::sample::SamplerOptions;
use serde::Serialize;

/// A token on one card, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PresetTime {
    /// Name of the card.
    pub preset: String,
    /// Card and core together, overlap subtracted.
    pub ms_per_token: f64,
    /// The stages of a step, in their order; together they are more than `ms_per_token` where the
    /// card works beside the core.
    pub stages: Vec<StageTime>,
    /// The card, where every weight that is not mapped or cached is streamed.
    pub dense_card_ms: f64,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageTime {
    /// Its name.
    pub stage: String,
    /// Milliseconds a token that the card was busy for it.
    pub card_ms: f64,
    /// Milliseconds a token that the core computed for it.
    pub core_ms: f64,
    /// Read commands a token.
    pub reads: f64,
    /// Bytes read a token.
    pub bytes: f64,
}

/// Generates `tokens` tokens from the beginning of a text, greedily, without drafts.
pub fn time(image: &ImageBytes, machine: &Machine, tokens: u32) -> Result<PresetTime> {
    let header = crate::machine::header(image)?;
    let mut memory = machine.memory(image, &header)?;
    let mut decoder = machine.open(image, &mut memory)?;
    let section = Image::new(header, image);
    let section = section.tokenizer().context("the image has no tokenizer section")?;
    let tokenizer = open(section)?;
    decoder.probe_mut().reset();
    decoder.device_mut().take_stats();
    let sampler = SamplerOptions::GREEDY;
    let request = Request {
        prompt: String::new(),
        chat: None,
        tokens,
        sampler,
        speculate: 0,
        stop: Vec::new(),
        overflow: Overflow::Stop,
        ignore_eos: false,
    };
    let generated = generate(&mut decoder, &tokenizer, &request, |_| (), |_, _, _| ())?;
    let fed = generated.fed().max(1) as f64;
    let report = report(&mut decoder, machine, image, generated.fed())?;
    let picoseconds = machine.core.picoseconds() as f64;
    let stages = Stage::ALL.iter().zip(report.stages).filter(|(stage, _)| **stage != Stage::Open);
    let stages = stages.map(|(_, stage)| StageTime {
        card_ms: stage.counts.card_ps as f64 * 1e-9 / fed,
        core_ms: stage.counts.multiply_accumulates as f64 * picoseconds * 1e-9 / fed,
        reads: stage.counts.reads as f64 / fed,
        bytes: stage.counts.bytes as f64 / fed,
        stage: stage.stage,
    });
    Ok(PresetTime {
        preset: machine.preset.name.to_owned(),
        ms_per_token: report.ms_per_token,
        stages: stages.collect(),
        dense_card_ms: report.dense.io_ns / 1e6,
    })
}
