//! The orders that are compared, and the runs they leave on held-out text.
//!
//! In: a profile trace, a card. Out: [`Placed`], orders without a hot prefix, and [`OrderRuns`].

use crate::cost::Preset;
use crate::placement::runs::{RunLengths, histogram};
use crate::placement::{Method, PlaceOptions, Placement, ReadCost, place, refine};
use crate::profile::trace::Trace;
use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;

/// Name of the order by frequency.
pub const FREQUENCY: &str = "frequency";
/// Bins of run lengths: 1, 2, 3 to 4, and so on; the last has no end.
pub const BINS: usize = 8;

/// An order by name.
pub struct Placed {
    /// What it is called.
    pub name: &'static str,
    /// The order.
    pub placement: Placement,
}

/// The runs of one order over a whole held-out trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OrderRuns {
    /// Name of the order.
    pub order: String,
    /// Reads a token.
    pub reads_per_token: f64,
    /// Neurons a read, on average.
    pub mean_run: f64,
    /// Neurons of the longest read.
    pub longest: u64,
    /// Reads a token of each length: 1, 2, 3 to 4, 5 to 8 and so on, the last without end.
    pub histogram: [f64; BINS],
}

/// Orders by the checkpoint, frequency, co-activation and for the card, none with a hot prefix.
pub fn placements(profile: &Trace, card: &Preset, stride: u32) -> Result<Vec<Placed>> {
    let by = |method| place(profile, method, &PlaceOptions::default(), &|_| ());
    let methods = [Method::Identity, Method::Frequency, Method::Coactivation];
    let made = methods.into_par_iter().map(by).collect::<Result<Vec<_>>>()?;
    let cost = ReadCost::on(card, stride, profile.neurons(), None);
    let [identity, frequency, coactivation] = [0, 1, 2].map(|at: usize| made[at].clone());
    let refined = refine(profile, &[&frequency, &coactivation], &cost, &|_| ())?;
    let named = [
        ("checkpoint", identity),
        (FREQUENCY, frequency),
        ("co-activation", coactivation),
        ("for the card", refined),
    ];
    Ok(named.into_iter().map(|(name, placement)| Placed { name, placement }).collect())
}

/// The runs of every order.
pub fn runs(trace: &Trace, placed: &[Placed]) -> Result<Vec<OrderRuns>> {
    let runs = |placed: &Placed| {
        let replayed = RunLengths::replay(trace, &placed.placement)?;
        let counts = histogram(trace, &placed.placement)?;
        let mut bins = [0.0; BINS];
        for (at, count) in counts.into_iter().enumerate() {
            bins[bin(at + 1)] += count as f64 / trace.tokens().max(1) as f64;
        }
        Ok(OrderRuns {
            order: placed.name.to_owned(),
            reads_per_token: replayed.reads_per_token(),
            mean_run: replayed.total().mean(),
            longest: replayed.total().longest,
            histogram: bins,
        })
    };
    placed.iter().map(runs).collect()
}

/// The bin of runs of `length`: the logarithm, rounded up.
fn bin(length: usize) -> usize {
    (length.next_power_of_two().ilog2() as usize).min(BINS - 1)
}

/// What a bin holds, in words.
pub fn bin_name(bin: usize) -> String {
    let last = 1_usize << bin;
    match bin {
        0 | 1 => last.to_string(),
        _ if bin + 1 == BINS => format!("{} +", last / 2 + 1),
        _ => format!("{}–{last}", last / 2 + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{BINS, bin, bin_name};

    #[test]
    fn bins_are_powers_of_two() {
        let found = [1, 2, 3, 4, 5, 8, 9, 64, 65, 10_000].map(bin);
        assert_eq!(found, [0, 1, 2, 2, 3, 3, 4, 6, 7, 7]);
        let names: Vec<String> = (0..BINS).map(bin_name).collect();
        assert_eq!(names, ["1", "2", "3–4", "5–8", "9–16", "17–32", "33–64", "65 +"]);
    }
}
