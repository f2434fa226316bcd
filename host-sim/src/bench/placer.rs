//! Where a policy puts the bundles: everything it decides before the first held-out token.
//!
//! In: a profile trace, a card, a cache size, a policy. Out: a placement. Knows nothing of held-out
//! text.

use super::policy::Policy;
use crate::cost::Preset;
use crate::placement::admission::hot_prefix;
use crate::placement::{Method, PlaceOptions, Placement, ReadCost, pages, place, place_for_card};
use crate::profile::trace::Trace;
use anyhow::Result;
use ripple_hal::BlockCount;
use std::cell::RefCell;
use std::collections::HashMap;

/// What a placement depends on: the method, the hot prefix of each layer, whether a command stays open, and
/// whether there are pages.
type Asked = (Method, Vec<usize>, bool, bool);

/// What reads cost on the card, by whether a read may go on with the command of the one before.
#[derive(Clone, Debug)]
pub struct Costs {
    /// Each read has a command of its own.
    pub apart: ReadCost,
    /// The device stays open.
    pub open: ReadCost,
}

impl Costs {
    /// Those on a card, for layers of `neurons` bundles of `stride` bytes; staging as
    /// [`ReadCost::on`] has it.
    pub fn on(card: &Preset, stride: u32, neurons: usize, staging: Option<BlockCount>) -> Self {
        let apart = ReadCost::on(card, stride, neurons, staging);
        Self { open: apart.staying_open(card, neurons), apart }
    }
}

/// Places as policies do.
#[derive(Debug)]
pub struct Placer<'a> {
    /// Activations of profiling text.
    pub profile: &'a Trace,
    /// The cache, as a share of all bundles.
    pub cache_ratio: f64,
    /// What reads cost on the card.
    pub costs: &'a Costs,
    /// Blocks of the card that pages may take.
    pub page_blocks: u64,
    /// What was placed, by all that a policy decides of it. What has pages has them of use to those
    /// that want none.
    made: RefCell<HashMap<Asked, Placement>>,
}

impl<'a> Placer<'a> {
    /// One that has placed nothing yet.
    pub fn new(profile: &'a Trace, cache_ratio: f64, costs: &'a Costs, page_blocks: u64) -> Self {
        Self { profile, cache_ratio, costs, page_blocks, made: RefCell::default() }
    }

    /// The placement that `policy` would make.
    ///
    /// # Errors
    /// When the profile is empty or inconsistent.
    pub fn placement(&self, policy: &Policy) -> Result<Placement> {
        let share = self.cache_ratio * f64::from(policy.hot_permille) / 1000.0;
        let hot = if policy.dense {
            // Whole layers, the first ones: nothing of them lies in the way of the command for the others.
            let (layers, neurons) = (self.profile.layers(), self.profile.neurons());
            let pinned = (self.cache_ratio * (layers * neurons) as f64) as usize;
            (0..layers).map(|layer| pinned.saturating_sub(layer * neurons).min(neurons)).collect()
        } else {
            hot_prefix(self.profile, share)
        };
        let cost = if policy.open { &self.costs.open } else { &self.costs.apart };
        let key = |pages| (policy.method, hot.clone(), policy.open, pages);
        if let Some(made) = self.made.borrow().get(&key(policy.pages)) {
            return Ok(made.clone());
        }
        if let Some(made) = self.made.borrow().get(&key(true)) {
            return Ok(made.clone().with_pages(None));
        }
        let page_blocks = if policy.pages { self.page_blocks } else { 0 };
        let placement = if policy.method == Method::Card {
            place_for_card(self.profile, cost, share, page_blocks, &|_| ())?
        } else {
            self.by(policy.method, hot.clone(), cost, page_blocks)?
        };
        self.made.borrow_mut().insert(key(policy.pages), placement.clone());
        Ok(placement)
    }

    /// By a method that knows no card.
    fn by(
        &self,
        method: Method,
        hot: Vec<usize>,
        cost: &ReadCost,
        page_blocks: u64,
    ) -> Result<Placement> {
        let options = PlaceOptions { hot, ..PlaceOptions::default() };
        let placement = place(self.profile, method, &options, &|_| ())?;
        if page_blocks == 0 || self.profile.ids().is_empty() {
            return Ok(placement);
        }
        let pages = pages(self.profile, &placement, cost, page_blocks, &|_| ())?;
        Ok(placement.with_pages(Some(pages)))
    }
}
