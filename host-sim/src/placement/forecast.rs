//! What placing can give on a card, told before it is done.
//!
//! In: a trace, what reads cost, the share of all bundles that is held. Out: a [`Forecast`]. Knows nothing of
//! orders but that by frequency, and nothing of pages.

use super::admission::hot_prefix;
use super::{Method, Order, PlaceOptions, ReadCost, place};
use crate::profile::trace::Trace;
use anyhow::Result;
use rayon::prelude::*;

/// Tokens that it looks at, spread over the trace: enough for two digits, and quick.
const SAMPLE: usize = 1024;

/// What a layer's reads will be without any order but that by frequency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerForecast {
    /// Active neurons a token.
    pub active: f64,
    /// Those among them that are not held.
    pub missed: f64,
    /// `p_miss * gap / bundle`: missed bundles, of those that are not held, in as many bytes as a command is worth.
    /// Far below 1, what is missed lies far apart, and an order that brings it together saves commands; far above
    /// 1, reading through is as good.
    pub rho: f64,
    /// Picoseconds a token by frequency, merged across the gap, the most frequent neurons held.
    pub by_frequency: f64,
    /// Picoseconds a token of reading each missed bundle once and side by side, its command left out.
    pub least: f64,
}

/// What reads a token will be, by layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// By layer.
    pub layers: Vec<LayerForecast>,
    /// Picoseconds of a command.
    pub command: f64,
}

impl Forecast {
    /// Of reads that cost `cost`, on a device that [stays open](ReadCost::staying_open) `open`, with the most
    /// frequent `share` of all bundles held.
    ///
    /// # Errors
    /// When the trace is empty.
    pub fn of(trace: &Trace, cost: &ReadCost, open: &ReadCost, share: f64) -> Result<Self> {
        let options = PlaceOptions { hot: hot_prefix(trace, share), ..PlaceOptions::default() };
        let placement = place(trace, Method::Frequency, &options, &|_| ())?;
        let step = trace.tokens().div_ceil(SAMPLE).max(1);
        let tokens: Vec<usize> = (0..trace.tokens()).step_by(step).collect();
        let of_token = 1.0 / tokens.len().max(1) as f64;
        let gap = cost.gap().bytes() as f64 / f64::from(cost.stride());
        let layer = |(layer, (order, &hot)): (usize, (&Order, &usize))| {
            let mut sum = LayerForecast::default();
            let mut slots = Vec::new();
            for &token in &tokens {
                slots.clear();
                slots.extend(trace.active(token, layer).map(|n| order.slots()[usize::from(n)]));
                sum.active += slots.len() as f64;
                slots.retain(|&slot| usize::from(slot) >= hot);
                slots.sort_unstable();
                sum.missed += slots.len() as f64;
                sum.by_frequency += cost.extents(slots.iter().copied()) as f64;
                let read = open.sequential(slots.len());
                sum.least += read.saturating_sub(open.command()) as f64;
            }
            LayerForecast {
                active: sum.active * of_token,
                missed: sum.missed * of_token,
                rho: sum.missed * of_token / (trace.neurons() - hot).max(1) as f64 * gap,
                by_frequency: sum.by_frequency * of_token,
                least: sum.least * of_token,
            }
        };
        let layers = placement.layers().par_iter().zip(placement.hot()).enumerate().map(layer);
        Ok(Self { layers: layers.collect(), command: open.command() as f64 })
    }

    /// Picoseconds a token by frequency.
    pub fn by_frequency(&self) -> f64 {
        self.layers.iter().map(|layer| layer.by_frequency).sum()
    }

    /// Picoseconds a token that no order and no pages can better: each missed bundle once, in one command.
    pub fn least(&self) -> f64 {
        self.command + self.layers.iter().map(|layer| layer.least).sum::<f64>()
    }
}
