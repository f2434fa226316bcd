//! What a run did, in numbers.
//!
//! In: a decoder after a run, and the machine it ran on. Out: [`Report`]. All times are simulated.

use crate::machine::meter::StageCounts;
use crate::machine::{Core, Dense, Machine, SimDecoder};
use anyhow::Result;
use ripple_kernel::image::SectionKind;
use ripple_kernel::{Stage, Usage};
use serde::Serialize;

/// What a run did, per token where it says so.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Tokens fed: prompt and generated.
    pub tokens: u64,
    /// The card and its simulated time model.
    pub preset: String,
    /// The core and its simulated time model.
    pub core: Core,
    /// Simulated milliseconds a token.
    pub ms_per_token: f64,
    /// Of these, the card busy.
    pub io_ms: f64,
    /// Of these, the core busy. Both overlap.
    pub compute_ms: f64,
    /// Reads a token, all stages.
    pub reads_per_token: f64,
    /// Bytes a token, all stages.
    pub bytes_per_token: f64,
    /// Of these, of the FFN.
    pub ffn_reads_per_token: f64,
    /// Missed bundles a read of the FFN brought, on average.
    pub mean_run_bundles: f64,
    /// Bytes asked for and brought, by busy time of the card: MB/s.
    pub effective_mb_per_s: f64,
    /// Share of the active neurons that were in memory.
    pub hit_rate: f64,
    /// Counts by stage, of all tokens.
    pub stages: Vec<StageReport>,
    /// Streaming everything instead, in the same passes, per token.
    pub dense: Dense,
    /// Bytes of the image.
    pub image_bytes: u64,
    /// Of these, mapped: never read from the card.
    pub mapped_bytes: u64,
    /// Blocks of the collapse gap.
    pub gap_blocks: u32,
    /// Bytes of each region, planned and at most used.
    pub memory: Vec<RegionUse>,
}

/// What one stage did.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// Its name.
    pub stage: String,
    /// What it did.
    #[serde(flatten)]
    pub counts: StageCounts,
}

/// One region of memory.
#[derive(Clone, Debug, Serialize)]
pub struct RegionUse {
    /// Its name.
    pub region: &'static str,
    /// Bytes lent.
    pub planned: u32,
    /// Bytes ever used.
    pub peak: u32,
}

impl From<Usage> for RegionUse {
    fn from(usage: Usage) -> Self {
        Self { region: usage.region.name(), planned: usage.planned, peak: usage.peak }
    }
}

/// The report of a decoder that has fed `tokens` since its meter and card were reset.
pub fn report(
    decoder: &mut SimDecoder<'_>,
    machine: &Machine,
    image: &[u8],
    tokens: u64,
) -> Result<Report> {
    let per_token = 1.0 / tokens.max(1) as f64;
    let card = decoder.device_mut().stats();
    let memory = decoder.usage().map(RegionUse::from).to_vec();
    let header = *decoder.header();
    let meter = decoder.probe_mut();
    // A dense engine runs the same passes, and streams each weight once in each. It too reads the
    // rows of the tokens and of their positions, and the head only for logits.
    let (passes, heads) = meter.passes();
    let per_pass = machine.dense(image, heads as f64 / passes.max(1) as f64)?;
    let mut dense = per_pass.times(passes as f64 * per_token);
    let rows = meter.stage(Stage::Embedding);
    dense.reads += rows.reads as f64 * per_token;
    dense.bytes += rows.bytes as f64 * per_token;
    dense.io_ns += rows.card_ps as f64 / 1000.0 * per_token;
    let (hits, misses) = meter.lookups();
    let ffn = meter.stage(Stage::Ffn);
    // Tables that are streamed whole are wanted whole; of the others, the records asked for.
    let record_bytes = |kind| header.geometry.table(kind).map_or(0, |(_, layout)| layout.stride());
    let wanted: u64 = Stage::ALL
        .into_iter()
        .map(|stage| match stage {
            Stage::Ffn => misses * u64::from(record_bytes(SectionKind::Ffn)),
            Stage::Embedding => rows.wanted * u64::from(record_bytes(SectionKind::Embedding)),
            stage => meter.stage(stage).bytes,
        })
        .sum();
    let io_ns = card.busy_ns() as f64;
    Ok(Report {
        tokens,
        preset: machine.preset.name.to_owned(),
        core: machine.core,
        ms_per_token: (meter.compute_ps() as f64 / 1000.0 + card.waited_ns() as f64) * per_token
            / 1e6,
        io_ms: io_ns * per_token / 1e6,
        compute_ms: meter.compute_ps() as f64 * per_token / 1e9,
        reads_per_token: card.reads as f64 * per_token,
        bytes_per_token: card.bytes() as f64 * per_token,
        ffn_reads_per_token: ffn.reads as f64 * per_token,
        mean_run_bundles: misses as f64 / ffn.reads.max(1) as f64,
        effective_mb_per_s: if io_ns > 0.0 { wanted as f64 * 1e3 / io_ns } else { 0.0 },
        hit_rate: hits as f64 / (hits + misses).max(1) as f64,
        stages: Stage::ALL
            .iter()
            .map(|stage| StageReport {
                stage: format!("{stage:?}").to_lowercase(),
                counts: meter.stage(*stage),
            })
            .collect(),
        dense,
        image_bytes: header.blocks.bytes(),
        mapped_bytes: header.blocks.bytes().min(machine.mapped.of(&header, image).len() as u64),
        gap_blocks: machine.options.collapse_gap.0,
        memory,
    })
}
