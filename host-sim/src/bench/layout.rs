//! Where a policy puts the bundles: everything it decides before the first held-out token.
//!
//! In: a profile trace, a card, a cache size, a policy. Out: a placement. Knows nothing of held-out
//! text.

use super::policy::{Layout, Policy};
use crate::placement::admission::hot_prefix;
use crate::placement::{Method, PlaceOptions, Placement, ReadCost, pages, place, refine};
use crate::profile::trace::Trace;
use anyhow::Result;
use std::cell::RefCell;
use std::collections::HashMap;

/// What policies place for.
#[derive(Debug)]
pub struct Planner<'a> {
    /// Activations of profiling text.
    pub profile: &'a Trace,
    /// The cache, as a share of all bundles.
    pub cache_ratio: f64,
    /// What reads cost on the card.
    pub cost: &'a ReadCost,
    /// Blocks of the card that pages may take.
    pub page_blocks: u64,
    /// Placements that several policies share, before pages: by order, and by how many are hot.
    made: RefCell<HashMap<(Layout, Vec<usize>), Placement>>,
}

impl<'a> Planner<'a> {
    /// A planner that has placed nothing yet.
    pub fn new(profile: &'a Trace, cache_ratio: f64, cost: &'a ReadCost, page_blocks: u64) -> Self {
        Self { profile, cache_ratio, cost, page_blocks, made: RefCell::default() }
    }

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
        let placement = self.ordered(policy.layout, hot)?;
        if !policy.pages || self.profile.ids().is_empty() {
            return Ok(placement);
        }
        let pages = pages(self.profile, &placement, self.cost, self.page_blocks, &|| ())?;
        Ok(placement.with_pages(Some(pages)))
    }
    /// Orders without pages; made once.
    fn ordered(&self, layout: Layout, hot: Vec<usize>) -> Result<Placement> {
        if let Some(made) = self.made.borrow().get(&(layout, hot.clone())) {
            return Ok(made.clone());
        }
        let by = |method| {
            let options = PlaceOptions { hot: hot.clone(), ..PlaceOptions::default() };
            place(self.profile, method, &options, &|_| ())
        };
        let placement = match layout {
            Layout::Identity => by(Method::Identity)?,
            Layout::Frequency => by(Method::Frequency)?,
            Layout::Greedy => by(Method::Coactivation)?,
            Layout::Refined => {
                let starts = [Layout::Frequency, Layout::Greedy];
                let starts = starts.map(|start| self.ordered(start, hot.clone()));
                let [frequency, greedy] = starts;
                refine(self.profile, &[&frequency?, &greedy?], self.cost, &|| ())?
            }
        };
        self.made.borrow_mut().insert((layout, hot), placement.clone());
        Ok(placement)
    }
}
