//! The recipe of a placement for a card: what `ripple place` does unless it is told otherwise, what
//! every image that a command makes is placed by, and the policy `ours` of the bench.
//!
//! In: a trace, what reads cost, the memory. Out: [`Placement`], with pages where the trace names its
//! tokens. Knows nothing of how a card is measured.

use super::admission::hot_prefix;
use super::{Method, PlaceOptions, Placement, ReadCost, pages, place, refine};
use crate::profile::trace::Trace;
use anyhow::Result;

/// Places `trace` for reads that cost `cost`.
///
/// The most frequent `cache_share` of all bundles are hot. The others lie in the better of the orders
/// by frequency and by co-activation, improved for what reads cost. Tokens have pages, `page_blocks`
/// in all; 0 for none. `done` is told how many of the [`steps`] more are done.
///
/// # Errors
/// When the trace is empty.
pub fn place_for_card(
    trace: &Trace,
    cost: &ReadCost,
    cache_share: f64,
    page_blocks: u64,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Placement> {
    let options = PlaceOptions { hot: hot_prefix(trace, cache_share), ..PlaceOptions::default() };
    let starts = [
        place(trace, Method::Frequency, &options, &|_| ())?,
        place(trace, Method::Coactivation, &options, done)?,
    ];
    let placement = refine(trace, &starts.each_ref(), cost, done)?;
    if !has_pages(trace, page_blocks) {
        return Ok(placement);
    }
    let pages = pages(trace, &placement, cost, page_blocks, done)?;
    Ok(placement.with_pages(Some(pages)))
}

/// Steps that [`place_for_card`] takes: one for each neuron and pass over it.
pub fn steps(trace: &Trace, page_blocks: u64) -> u64 {
    let passes = if has_pages(trace, page_blocks) { 3 } else { 2 };
    (passes * trace.layers() * trace.neurons()) as u64
}

fn has_pages(trace: &Trace, page_blocks: u64) -> bool {
    page_blocks > 0 && !trace.ids().is_empty()
}
