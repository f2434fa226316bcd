//! Where a policy puts the bundles: everything it decides before the first held-out token.
//!
//! In: a profile trace, a card, a cache size, a policy. Out: a placement. Knows nothing of held-out
//! text.

use super::policy::{Layout, Policy};
use crate::admission::hot_prefix;
use crate::placement::{Method, PlaceOptions, Placement, ReadCost, pages, place, refine};
use crate::trace::Trace;
use anyhow::Result;

/// What policies place for.
#[derive(Clone, Copy, Debug)]
pub struct Planner<'a> {
    /// Activations of profiling text.
    pub profile: &'a Trace,
    /// The cache, as a share of all bundles.
    pub cache_ratio: f64,
    /// What reads cost on the card.
    pub cost: &'a ReadCost,
    /// Blocks of the card that pages may take.
    pub page_blocks: u64,
}

impl Planner<'_> {
    /// The placement that `policy` would make.
    ///
    /// # Errors
    /// When the profile is empty or inconsistent.
    pub fn placement(&self, policy: &Policy) -> Result<Placement> {
        let hot = if policy.dense {
            let pinned = (self.cache_ratio * self.profile.neurons() as f64) as usize;
            vec![pinned; self.profile.layers()]
        } else {
            hot_prefix(self.profile, self.cache_ratio * f64::from(policy.hot_permille) / 1000.0)
        };
        let options = PlaceOptions { hot, ..PlaceOptions::default() };
        let by = |method| place(self.profile, method, &options, &|_| ());
        let placement = match policy.layout {
            Layout::Identity => by(Method::Identity)?,
            Layout::Frequency => by(Method::Frequency)?,
            Layout::Greedy => by(Method::Coactivation)?,
            Layout::Refined => {
                let starts = [by(Method::Frequency)?, by(Method::Coactivation)?];
                refine(self.profile, &starts.each_ref(), self.cost, &|| ())?
            }
        };
        if !policy.pages || self.profile.ids().is_empty() {
            return Ok(placement);
        }
        let pages = pages(self.profile, &placement, self.cost, self.page_blocks, &|| ())?;
        Ok(placement.with_pages(Some(pages)))
    }
}
