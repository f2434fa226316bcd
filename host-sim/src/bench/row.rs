//! What one policy did on one card: a row of the bench.

use serde::{Deserialize, Serialize};

/// One policy on one card with one cache size, over a whole held-out trace. Times are simulated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the model.
    pub model: String,
    /// Name of the card preset.
    pub preset: String,
    /// Neuron cache, as a share of the FFN's bytes.
    pub cache_ratio: f64,
    /// Name of the policy.
    pub policy: String,
    /// Milliseconds a token, card and core together, overlap subtracted.
    pub ms_per_token: f64,
    /// Milliseconds a token that the card was busy.
    pub io_ms: f64,
    /// Milliseconds a token that the core computed.
    pub compute_ms: f64,
    /// Commands a token: reads that did not go on with the one before.
    pub reads_per_token: f64,
    /// Bytes read a token.
    pub bytes_per_token: f64,
    /// Missed bundles a command brought, on average.
    pub mean_run_bundles: f64,
    /// Bytes read for each byte of a missed bundle.
    pub read_amplification: f64,
    /// Share of the active bundles that were in memory.
    pub hit_rate: f64,
    /// 99th percentile of the milliseconds a token took.
    pub p99_ms: f64,
    /// No policy with a cache of the same size keeps the card busy for less, in milliseconds a token: see
    /// [`Floor::floor_ms`](super::Floor::floor_ms).
    pub floor_ms: f64,
    /// Bytes of the FFN on the card.
    pub ffn_bytes: u64,
    /// Bytes that pages take on the card besides.
    pub page_bytes: u64,
    /// Bytes of their index, which is mapped: a record for each token up to the last that the profile has.
    pub index_bytes: u64,
}
