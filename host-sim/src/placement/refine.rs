//! Placement for the true objective: what the reads of a card cost after the cache.
//!
//! In: a trace, placements to start from, what reads cost. Out: the best of them, layer by layer,
//! improved by local search. The paper's search counts how often neighbours fire together; here a
//! gap costs `min(t0, gap / BW)`, blocks are shared, and what the cache holds does not count.
//!
//! Two neurons change places where that lowers the cost of the positions they fire in: one is drawn
//! at random, the other is a neighbour of a neuron the first one fires with. Searched on some
//! positions, judged on others: an order that only fits the first ones is not kept.

use super::cost::ReadCost;
use super::{Method, Order, Placement};
use crate::profile::trace::Trace;
use anyhow::{Context, Result};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;

/// Positions searched on, and as many judged on, at most.
const MOST_POSITIONS: usize = 6144;
/// Misses in them, at most: a dense layer needs fewer positions to say as much.
const MOST_MISSES: usize = 80_000;
/// Exchanges tried for each neuron.
const TRIES: usize = 48;
/// Distance from the partner's neighbour.
const NEAR: usize = 3;

/// The cheapest of `starts`, layer by layer, improved by local search; all of one hot prefix.
///
/// `done` is told how many neurons more are done.
///
/// # Errors
/// When there is nothing to start from, or a placement is not of the trace's shape.
pub fn refine(
    trace: &Trace,
    starts: &[&Placement],
    cost: &ReadCost,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Placement> {
    let first = *starts.first().context("no placement to refine")?;
    for start in starts {
        start.check_shape(trace.layers(), trace.neurons())?;
    }
    let layers = (0..trace.layers())
        .into_par_iter()
        .map(|layer| {
            let orders: Vec<_> = starts.iter().map(|start| &start.layers()[layer]).collect();
            refine_layer(trace, layer, first.hot()[layer], &orders, cost, done)
        })
        .collect();
    Ok(first.clone().with_layers(Method::Card, layers))
}

fn refine_layer(
    trace: &Trace,
    layer: usize,
    hot: usize,
    starts: &[&Order],
    cost: &ReadCost,
    done: &(dyn Fn(u64) + Sync),
) -> Order {
    // Even and odd positions of the profile, thinned out.
    let missed: usize = trace.frequency(layer).iter().map(|&count| count as usize).sum();
    let mean = missed.div_ceil(trace.tokens().max(1)).max(1);
    let positions = MOST_POSITIONS.min(MOST_MISSES / mean).max(1);
    let step = 2 * trace.tokens().div_ceil(2 * positions).max(1);
    let sample = |first: usize, order: &Order| {
        let slots = order.slots();
        let positions = (first * step / 2..trace.tokens()).step_by(step);
        Sample::new(order.len(), hot, positions, |position| {
            trace.active(position, layer).map(|n| slots[usize::from(n)]).collect()
        })
    };
    let judged = |order: &Order| sample(1, order).cost(cost);
    let searched = |order: &Order| sample(0, order).cost(cost);
    let start = starts.iter().min_by_key(|order| searched(order) + judged(order));
    let Some(start) = start else { return starts[0].clone() };
    let mut search = sample(0, start);
    let moved = search.improve(cost, &mut Xoshiro256PlusPlus::seed_from_u64(layer as u64), done);
    let refined = Order::of_permutation(
        moved.iter().map(|&slot| start.neurons()[usize::from(slot)]).collect(),
    );
    if judged(&refined) < judged(start) { refined } else { (*start).clone() }
}

/// The misses of some positions of a layer, by slot.
struct Sample {
    neurons: usize,
    hot: usize,
    /// Ascending slots of each position.
    misses: Vec<Vec<u16>>,
    /// The positions each slot is missed in, ascending.
    missed_in: Vec<Vec<u32>>,
}

impl Sample {
    fn new(
        neurons: usize,
        hot: usize,
        positions: impl Iterator<Item = usize>,
        active: impl Fn(usize) -> Vec<u16>,
    ) -> Self {
        let mut missed_in = vec![Vec::new(); neurons];
        let mut misses = Vec::new();
        for position in positions {
            let mut slots = active(position);
            slots.retain(|&slot| usize::from(slot) >= hot);
            slots.sort_unstable();
            for &slot in &slots {
                missed_in[usize::from(slot)].push(misses.len() as u32);
            }
            misses.push(slots);
        }
        Self { neurons, hot, misses, missed_in }
    }

    fn cost(&self, cost: &ReadCost) -> u64 {
        self.misses.iter().map(|slots| cost.extents(slots.iter().copied())).sum()
    }

    /// Gives, for each slot, the slot whose neuron it should hold.
    fn improve(
        &mut self,
        cost: &ReadCost,
        random: &mut Xoshiro256PlusPlus,
        done: &(dyn Fn(u64) + Sync),
    ) -> Vec<u16> {
        let mut holds: Vec<u16> = (0..self.neurons).map(|slot| slot as u16).collect();
        let mut reads = vec![Vec::new(); self.misses.len()];
        let mut costs: Vec<u64> = self
            .misses
            .iter()
            .zip(&mut reads)
            .map(|(slots, reads)| cost.reads(slots, reads))
            .collect();
        if self.neurons < self.hot + 2 {
            done(self.neurons as u64);
            return holds;
        }
        done(self.hot as u64);
        let mut slots = Vec::new();
        for tried in 0..TRIES * (self.neurons - self.hot) {
            if tried % TRIES == 0 {
                done(1);
            }
            let a = random.random_range(self.hot..self.neurons);
            let Some(b) = self.partner(a, random) else { continue };
            let positions = only_in_one(&self.missed_in[a], &self.missed_in[b]);
            let mut gain = 0i64;
            for &position in &positions {
                let position = position as usize;
                slots.clone_from(&self.misses[position]);
                let places = exchange(&mut slots, a as u16, b as u16);
                let after = cost.changed(&slots, places, &reads[position], costs[position]);
                gain += costs[position] as i64 - after as i64;
            }
            if gain > 0 {
                for &position in &positions {
                    let position = position as usize;
                    exchange(&mut self.misses[position], a as u16, b as u16);
                    costs[position] = cost.reads(&self.misses[position], &mut reads[position]);
                }
                self.missed_in.swap(a, b);
                holds.swap(a, b);
            }
        }
        holds
    }

    /// A slot close to one that is missed together with `a`.
    fn partner(&self, a: usize, random: &mut Xoshiro256PlusPlus) -> Option<usize> {
        let positions = &self.missed_in[a];
        let b = if positions.is_empty() {
            random.random_range(self.hot..self.neurons)
        } else {
            let position = positions[random.random_range(0..positions.len())];
            let slots = &self.misses[position as usize];
            let friend = usize::from(slots[random.random_range(0..slots.len())]);
            let near = friend + random.random_range(0..=2 * NEAR);
            near.checked_sub(NEAR)?
        };
        (b != a && (self.hot..self.neurons).contains(&b)).then_some(b)
    }
}

/// Merges two ascending lists, leaving out what is in both.
fn only_in_one(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::with_capacity(a.len() + b.len());
    loop {
        match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) if x == y => (i, j) = (i + 1, j + 1),
            (Some(x), Some(y)) if x < y => {
                out.push(*x);
                i += 1;
            }
            (_, Some(y)) => {
                out.push(*y);
                j += 1;
            }
            (Some(x), None) => {
                out.push(*x);
                i += 1;
            }
            (None, None) => return out,
        }
    }
}

/// Puts the one of `a` and `b` that is in `slots` in the other one's place; gives the first and the last place
/// that changed.
fn exchange(slots: &mut [u16], a: u16, b: u16) -> (usize, usize) {
    let (from, to) = if slots.binary_search(&a).is_ok() { (a, b) } else { (b, a) };
    let Ok(at) = slots.binary_search(&from) else { return (0, 0) };
    let behind = slots.partition_point(|&slot| slot < to);
    // Those between the two move up by one, or down.
    let place = if behind > at { behind - 1 } else { behind };
    match behind > at {
        true => slots.copy_within(at + 1..behind, at),
        false => slots.copy_within(behind..at, behind + 1),
    }
    slots[place] = to;
    (at.min(place), at.max(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_keeps_the_list_ascending() {
        let mut slots = [2, 5, 9];
        assert_eq!(exchange(&mut slots, 5, 1), (0, 1));
        assert_eq!(slots, [1, 2, 9]);
        assert_eq!(exchange(&mut slots, 30, 2), (1, 2));
        assert_eq!(slots, [1, 9, 30]);
        assert_eq!(exchange(&mut slots, 9, 10), (1, 1));
        assert_eq!(slots, [1, 10, 30]);
        assert_eq!(only_in_one(&[1, 3, 4], &[2, 3, 9]), [1, 2, 4, 9]);
    }
}
