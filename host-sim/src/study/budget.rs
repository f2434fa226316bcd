//! Where the bytes of a token go: asked for, brought along, and what a floor says.
//!
//! In: the bench's rows of one cache size. Out: [`Budget`].

use crate::bench::run::bundles;
use crate::bench::{Case, Floor, Row};
use anyhow::Result;
use serde::Serialize;

/// Bytes a token of the FFN, on one card with one cache.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Budget {
    /// All bundles of all layers.
    pub whole: f64,
    /// The active ones, in memory or not.
    pub active: f64,
    /// What a cache of the same size must read that knows the future.
    pub floor: f64,
    /// What each policy reads.
    pub policies: Vec<Spent>,
}

/// What one policy reads, bytes a token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spent {
    /// Its name.
    pub policy: String,
    /// Bundles that it had to read.
    pub asked: f64,
    /// Everything else that its reads brought: gaps, ends of blocks, directories of pages.
    pub brought_along: f64,
}

impl Budget {
    /// The budget with a cache of `share` of the FFN's bytes.
    ///
    /// # Errors
    /// When bundles are of no size.
    pub fn of(case: &Case<'_>, rows: &[Row], share: f64) -> Result<Self> {
        let trace = case.test;
        let stride = f64::from(bundles(case)?.stride);
        let all = (trace.layers() * trace.neurons()) as f64;
        let density: f64 = (0..trace.layers()).map(|layer| trace.density(layer)).sum();
        // As many as the bench holds.
        let held = (share * all) as u32 as usize;
        let spent = |row: &Row| {
            let asked = row.bytes_per_token / row.read_amplification;
            let asked = if asked.is_finite() { asked } else { 0.0 };
            Spent { policy: row.policy.clone(), asked, brought_along: row.bytes_per_token - asked }
        };
        Ok(Self {
            whole: all * stride,
            active: density * trace.neurons() as f64 * stride,
            floor: Floor::of(trace, held).missed_per_token() * stride,
            policies: rows.iter().filter(|row| row.cache_ratio == share).map(spent).collect(),
        })
    }
}
