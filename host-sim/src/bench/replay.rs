//! Replays a held-out trace under one policy, through the kernel's cache, plan and fetch loop.
//!
//! In: a trace, where its bundles are, a policy, a card. Out: [`Replayed`], exact counts and
//! simulated times. Knows nothing of how the bundles were placed.

use super::blank::BlankCard;
use super::policy::{Merge, Policy};
use crate::cost::Timing;
use crate::machine::Core;
use crate::machine::memory::HostMemory;
use crate::machine::meter::Meter;
use crate::machine::{SimCard, Stats, VirtualClock, shared_staging};
use crate::placement::{Order, Placement};
use crate::profile::trace::Trace;
use anyhow::{Result, anyhow};
use ripple_hal::{BlockCount, BlockDevice};
use ripple_kernel::Options;
use ripple_kernel::decode::replay::{Bundles, Replay};

/// Tokens between two looks of the paper's bottleneck detector at the bandwidth.
const DETECTOR_TOKENS: usize = 16;
/// Share of the card's bandwidth at which it holds the card for saturated.
const DETECTOR_SHARE: f64 = 0.9;

/// Where a replay runs.
#[derive(Clone, Copy, Debug)]
pub struct Board<'a> {
    /// The card.
    pub timing: &'a Timing,
    /// Blocks across which reads are merged on it.
    pub gap: BlockCount,
    /// The core.
    pub core: Core,
    /// Bytes of the neuron cache.
    pub cache_bytes: u32,
    /// Blocks of staging, both halves; a page buffer is taken out of them.
    pub staging: BlockCount,
}

/// What a replay did, in all.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Tokens replayed.
    pub tokens: usize,
    /// What the card did.
    pub card: Stats,
    /// Picoseconds the core computed.
    pub compute_ps: u64,
    /// Active bundles that were in memory.
    pub hits: u64,
    /// Active bundles that were not.
    pub misses: u64,
    /// Picoseconds of each token.
    pub token_ps: Vec<u64>,
}

/// Replays `trace`, placed by `placement`.
///
/// # Errors
/// When the placement is not of the trace's shape.
pub fn replay(
    trace: &Trace,
    bundles: Bundles,
    placement: &Placement,
    policy: &Policy,
    board: &Board<'_>,
) -> Result<Replayed> {
    placement.check_shape(trace.layers(), trace.neurons())?;
    let exact = if policy.merge == Merge::Never { BlockCount(0) } else { board.gap };
    let (staging, page_buffer) = match policy.together {
        true => shared_staging(board.staging),
        false => (board.staging, BlockCount(0)),
    };
    let options = Options {
        staging,
        page_buffer,
        cache_bytes: board.cache_bytes,
        hot_permille: policy.hot_permille,
        admission: policy.admission,
        eviction: policy.eviction,
        collapse_gap: exact,
        ..Options::DEFAULT
    };
    let mut memory = HostMemory::new(&bundles.plan(&options));
    let clock = VirtualClock::new();
    let blank = BlankCard::new(&bundles, placement);
    let mut card = SimCard::new(&blank, board.timing.clone(), clock.clone());
    card.stay_open(policy.open.then_some(exact))?;
    let meter = Meter::new(clock.clone(), board.core);
    let hot = |layer: u32| placement.hot()[layer as usize] as u32;
    let mut replay = Replay::new(card, bundles, memory.lend(), &options, hot, meter)
        .map_err(|error| anyhow!("{error}"))?;
    let slots: Vec<_> = placement.layers().iter().map(Order::slots).collect();
    let all: Vec<u16> = (0..trace.neurons()).map(|slot| slot as u16).collect();
    let mut wanted = Vec::new();
    let mut token_ps = Vec::with_capacity(trace.tokens());
    let mut seen = Stats::default();
    for token in 0..trace.tokens() {
        let start = clock.now_ps();
        let id = trace.ids().get(token).copied();
        for (layer, slots) in slots.iter().enumerate() {
            wanted.clear();
            if policy.dense {
                wanted.extend_from_slice(&all);
            } else {
                wanted.extend(trace.active(token, layer).map(|n| slots[usize::from(n)]));
                wanted.sort_unstable();
            }
            let page = blank.page(id, layer as u32, options.page_buffer);
            replay.layer(layer as u32, &wanted, page).map_err(|error| anyhow!("{error}"))?;
        }
        token_ps.push(clock.now_ps() - start);
        if policy.merge == Merge::Detector && (token + 1) % DETECTOR_TOKENS == 0 {
            let now = replay.device_mut().stats();
            let speed = now.since(&seen).busy_bytes_per_second();
            let saturated = speed >= DETECTOR_SHARE * board.timing.bytes_per_second as f64;
            replay.set_collapse_gap(if saturated { BlockCount(0) } else { exact });
            seen = now;
        }
    }
    let card = replay.device_mut().stats();
    let meter = replay.probe_mut();
    let (hits, misses) = meter.lookups();
    let compute_ps = meter.compute_ps();
    Ok(Replayed { tokens: trace.tokens(), card, compute_ps, hits, misses, token_ps })
}
