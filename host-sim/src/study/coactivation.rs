//! Co-activation as it can be seen: a matrix of few cells, and how it falls with the distance.
//!
//! In: a held-out trace and orders made from another. Out: [`Matrix`] and [`Distances`].

use super::orders::Placed;
use crate::placement::Order;
use crate::profile::trace::Trace;
use serde::Serialize;

/// Most cells of a matrix, each way.
pub const MOST_CELLS: usize = 256;
/// Distances in slots that are looked at.
const DISTANCES: [usize; 9] = [1, 2, 3, 4, 8, 16, 32, 64, 128];

/// Co-activation of one layer, its neurons in the slots of an order, some to a cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix {
    /// Name of the order.
    pub order: String,
    /// Neurons of a cell, each way; the last cell may have fewer.
    pub neurons_per_cell: usize,
    /// Cells, each way.
    pub cells: usize,
    /// `(cells, cells)`, row by row: `mean pairs(i, j) / sqrt(mean f(i) * mean f(j))` over the pairs
    /// of two different neurons in the cell, 0 to 1; `None` where there is none. Left out of JSON.
    #[serde(skip)]
    pub values: Vec<Option<f32>>,
}

/// The matrix of `layer` in `order`.
pub fn matrix(trace: &Trace, layer: usize, order: &Order, name: &str) -> Matrix {
    let neurons = trace.neurons();
    let per_cell = neurons.div_ceil(MOST_CELLS).max(1);
    let cells = neurons.div_ceil(per_cell);
    let slots = order.slots();
    let mut pairs = vec![0_u64; cells * cells];
    let mut fired = vec![0_u64; cells];
    let mut count = vec![0_u64; cells];
    for token in 0..trace.tokens() {
        for neuron in trace.active(token, layer) {
            count[usize::from(slots[usize::from(neuron)]) / per_cell] += 1;
        }
        let counted = count.iter_mut().map(std::mem::take).enumerate();
        let active: Vec<(usize, u64)> = counted.filter(|(_, count)| *count > 0).collect();
        for &(a, in_a) in &active {
            fired[a] += in_a;
            let row = &mut pairs[a * cells..][..cells];
            active.iter().for_each(|&(b, in_b)| row[b] += in_a * in_b);
            // A neuron with itself is no pair.
            row[a] -= in_a;
        }
    }
    let size = |cell: usize| per_cell.min(neurons - cell * per_cell) as f64;
    let value = |at: usize| {
        let (a, b) = (at / cells, at % cells);
        let all = if a == b { size(a) * (size(a) - 1.0) } else { size(a) * size(b) };
        let frequencies = (fired[a] as f64 / size(a)) * (fired[b] as f64 / size(b));
        (all > 0.0).then(|| {
            let mean = pairs[at] as f64 / all;
            if frequencies > 0.0 { (mean / frequencies.sqrt()) as f32 } else { 0.0 }
        })
    };
    let values = (0..cells * cells).map(value).collect();
    Matrix { order: name.to_owned(), neurons_per_cell: per_cell, cells, values }
}

/// How likely the neuron some slots on is active where a neuron is: all layers together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distances {
    /// Distances in slots.
    pub slots: Vec<usize>,
    /// Share of active neurons at any distance: what chance would give.
    pub chance: f64,
    /// By order: at each distance, the share of the active neurons with a neuron that far on whose
    /// neighbour is active. At distance 1 it is `1 - 1 / mean run`, but for the last slots.
    pub orders: Vec<(String, Vec<f64>)>,
}

/// Counts every order.
pub fn distances(trace: &Trace, placed: &[Placed]) -> Distances {
    let neurons = trace.neurons();
    let slots: Vec<usize> = DISTANCES.into_iter().filter(|slots| *slots < neurons).collect();
    let mut all = 0_u64;
    let orders = placed.iter().map(|placed| {
        let mut together = vec![(0_u64, 0_u64); slots.len()];
        let mut active = vec![false; neurons];
        all = 0;
        for (layer, order) in placed.placement.layers().iter().enumerate() {
            let slot_of = order.slots();
            for token in 0..trace.tokens() {
                let here: Vec<usize> =
                    trace.active(token, layer).map(|n| slot_of[usize::from(n)].into()).collect();
                here.iter().for_each(|&slot| active[slot] = true);
                all += here.len() as u64;
                for ((with, both), distance) in together.iter_mut().zip(&slots) {
                    let there = here.iter().filter_map(|slot| active.get(slot + distance));
                    there.for_each(|active| {
                        *with += 1;
                        *both += u64::from(*active);
                    });
                }
                here.iter().for_each(|&slot| active[slot] = false);
            }
        }
        let shares = together.iter().map(|&(with, both)| both as f64 / with.max(1) as f64);
        (placed.name.to_owned(), shares.collect())
    });
    let orders = orders.collect();
    let chance = all as f64 / (trace.tokens().max(1) * trace.layers() * neurons).max(1) as f64;
    Distances { slots, chance, orders }
}
