//! The order of one layer's neurons, and what it is worth.
//!
//! In: a permutation. Out: [`Order`], checked, and its expected reads. Knows nothing of how it was
//! found.

use crate::profile::coactivation::CoActivation;
use thiserror::Error;

/// A permutation: which neuron of the checkpoint lies in each slot on the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    neurons: Vec<u16>,
}

/// A list that is not an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OrderError {
    /// A neuron lies in two slots (so another lies in none).
    #[error("not a permutation: neuron {neuron} lies in slot {first} and again in slot {second}")]
    Duplicate {
        /// The neuron.
        neuron: u32,
        /// Where it was found first.
        first: usize,
        /// Where it was found again.
        second: usize,
    },
    /// A neuron the layer does not have.
    #[error("not a permutation: slot {slot} holds neuron {neuron}, expected less than {neurons}")]
    OutOfRange {
        /// The slot.
        slot: usize,
        /// What it holds.
        neuron: u32,
        /// Slots, and so neurons, of the layer.
        neurons: usize,
    },
}

impl Order {
    /// Checks that `slots`, the neuron in each slot, holds each neuron once.
    ///
    /// # Errors
    /// The first slot that is wrong.
    pub fn new(slots: &[u32]) -> Result<Self, OrderError> {
        let mut found = vec![None; slots.len()];
        let mut neurons = Vec::with_capacity(slots.len());
        for (slot, &neuron) in slots.iter().enumerate() {
            let out_of_range = OrderError::OutOfRange { slot, neuron, neurons: slots.len() };
            let index = u16::try_from(neuron).map_err(|_| out_of_range)?;
            let before = found.get_mut(usize::from(index)).ok_or(out_of_range)?;
            if let Some(first) = before.replace(slot) {
                return Err(OrderError::Duplicate { neuron, first, second: slot });
            }
            neurons.push(index);
        }
        Ok(Self { neurons })
    }

    /// Takes over a list known to be a permutation.
    pub(super) fn of_permutation(neurons: Vec<u16>) -> Self {
        debug_assert!(Self::new(&neurons.iter().map(|&n| n.into()).collect::<Vec<_>>()).is_ok());
        Self { neurons }
    }

    /// Neurons of the layer.
    pub fn len(&self) -> usize {
        self.neurons.len()
    }

    /// Whether the layer has no neurons.
    pub fn is_empty(&self) -> bool {
        self.neurons.is_empty()
    }

    /// The neuron in each slot: `(neurons,)`.
    pub fn neurons(&self) -> &[u16] {
        &self.neurons
    }

    /// The slot of each neuron, the inverse permutation: `(neurons,)`.
    pub fn slots(&self) -> Vec<u16> {
        let mut slots = vec![0; self.neurons.len()];
        for (slot, &neuron) in self.neurons.iter().enumerate() {
            slots[usize::from(neuron)] = slot as u16;
        }
        slots
    }
}

/// How often the neurons of adjacent slots were active together:
/// `sum over k of pairs(order[k], order[k + 1])`.
///
/// # Panics
/// When the counts are of a narrower layer.
pub fn path_weight(order: &Order, counts: &CoActivation) -> u64 {
    order.neurons.windows(2).map(|ends| u64::from(counts.pairs(ends[0], ends[1]))).sum()
}

/// Reads per token, without cache and without collapse:
/// `E[reads] = sum of p_i - sum of p(i, i+1)` over the slots, exact for the traced tokens.
///
/// Every active bundle begins a read, save where the bundle before it is active too. So the order
/// of the greatest [`path_weight`] is the one of the fewest reads. 0 without tokens.
///
/// # Panics
/// When the counts are of a narrower layer.
pub fn expected_reads(order: &Order, counts: &CoActivation) -> f64 {
    let bundles: u64 = counts.frequency().iter().map(|&count| u64::from(count)).sum();
    (bundles - path_weight(order, counts)) as f64 / counts.tokens().max(1) as f64
}
