//! One case of the bench: every policy on one card with one cache size.
//!
//! In: a case, the settings, a card, a cache size. Out: a [`Row`] for each policy.

use super::placer::{Costs, Placer};
use super::policy::Policy;
use super::replay::{Board, Replayed, replay};
use super::{Case, Floor, Row, Settings};
use crate::cost::Preset;
use crate::machine::shared_staging;
use crate::predictor::{PredictorChoice, geometry};
use anyhow::{Context, Result, ensure};
use ripple_hal::BLOCK_BYTES;
use ripple_kernel::decode::replay::Bundles;
use ripple_kernel::image::{Quant, RecordLayout};

/// The rows of one model on one card with a cache of `cache_ratio` of the FFN's bytes.
///
/// # Errors
/// When traces are not of one shape, or a policy is unknown.
pub fn rows(
    case: &Case<'_>,
    settings: &Settings,
    preset: &'static Preset,
    cache_ratio: f64,
) -> Result<Vec<Row>> {
    let bundles = bundles(case)?;
    let timing = preset.timing();
    let costs = Costs::on(preset, bundles.stride, bundles.neurons as usize, settings.staging);
    let (gap, staging) = (costs.apart.gap(), costs.apart.staging());
    let all = f64::from(bundles.layers) * f64::from(bundles.neurons);
    let held = (cache_ratio * all) as u32;
    let bytes = u64::from(held) * u64::from(bundles.stride);
    let cache_bytes = u32::try_from(bytes).context("a cache beyond 4 GiB")?;
    let core = settings.core;
    let board = Board { timing: &timing, gap, core, cache_bytes, staging };
    let floor_ms = Floor::of(case.test, held as usize).floor_ms(&timing, bundles.stride);
    let placer = Placer::new(case.profile, cache_ratio, &costs, settings.page_blocks);
    let named = settings
        .policies
        .iter()
        .map(|name| Policy::by_name(name).with_context(|| format!("no policy is called `{name}`")));
    let ablations = Policy::ABLATIONS.into_iter().filter(|_| settings.ablations).map(Ok);
    named
        .chain(ablations)
        .map(|policy| {
            let policy = policy?;
            let mut placement = placer.placement(&policy)?;
            if policy.together {
                let (_, buffer) = shared_staging(staging);
                let pages = placement.pages().map(|pages| pages.clone().with_buffer(buffer.0));
                placement = placement.with_pages(pages);
            }
            let replayed = replay(case.test, bundles, &placement, &policy, &board)?;
            let names = (case.name, preset.name, policy.name);
            let page_blocks = placement.pages().map_or(0, |pages| pages.blocks(bundles.stride));
            let row = row(names, cache_ratio, bundles, floor_ms, &replayed);
            let tokens = placement.pages().map_or(0, |pages| pages.tokens() as u64);
            let index_bytes = tokens * u64::from(index_layout(bundles.layers).stride());
            Ok(Row { page_bytes: page_blocks * BLOCK_BYTES as u64, index_bytes, ..row })
        })
        .collect()
}

/// The index record of a token with pages, in a model of so many layers: that of an image's geometry, which a case
/// without a model has not.
pub fn index_layout(layers: u32) -> RecordLayout {
    RecordLayout { quant: Quant::F32, rows: 1, cols: 1 + layers, bias: false }
}

/// The bundles of a case: as the packer stores them by default.
pub(crate) fn bundles(case: &Case<'_>) -> Result<Bundles> {
    let (layers, neurons) = (case.test.layers() as u32, case.test.neurons() as u32);
    let (stride, work) = match case.model {
        Some(model) => {
            let layout = geometry(model, &PredictorChoice::Exact).bundle_layout();
            (layout.stride(), layout.rows * layout.cols)
        }
        None => (case.bundle_bytes.next_multiple_of(4), case.bundle_bytes),
    };
    ensure!(stride >= 8, "bundles of {stride} bytes: expected at least 8");
    Ok(Bundles { layers, neurons, stride, work })
}

fn row(
    (model, preset, policy): (&str, &str, &str),
    cache_ratio: f64,
    bundles: Bundles,
    floor_ms: f64,
    replayed: &Replayed,
) -> Row {
    let Replayed { tokens, card, compute_ps, hits, misses, token_ps } = replayed;
    let per_token = |count: u64| count as f64 / (*tokens).max(1) as f64;
    let ms = |ps: u64| per_token(ps) * 1e-9;
    let mut sorted = token_ps.clone();
    sorted.sort_unstable();
    let p99 = sorted.get((sorted.len() * 99).div_ceil(100).saturating_sub(1)).copied();
    let missed_bytes = misses * u64::from(bundles.stride);
    Row {
        model: model.to_owned(),
        preset: preset.to_owned(),
        cache_ratio,
        policy: policy.to_owned(),
        ms_per_token: ms(token_ps.iter().sum()),
        io_ms: ms(card.busy_ps),
        compute_ms: ms(*compute_ps),
        reads_per_token: per_token(card.reads),
        bytes_per_token: per_token(card.bytes()),
        mean_run_bundles: *misses as f64 / card.reads.max(1) as f64,
        read_amplification: card.bytes() as f64 / missed_bytes.max(1) as f64,
        hit_rate: *hits as f64 / (hits + misses).max(1) as f64,
        p99_ms: p99.unwrap_or(0) as f64 * 1e-9,
        floor_ms,
        ffn_bytes: bundles.layer_blocks().bytes() * u64::from(bundles.layers),
        page_bytes: 0,
        index_bytes: 0,
    }
}
