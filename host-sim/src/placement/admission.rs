//! Admission: which neurons are worth holding in RAM for good.
//!
//! In: a trace and a budget. Out: for each layer, the length of its hot prefix. Placement then puts
//! the layer's most frequent neurons there.

use crate::profile::trace::Trace;
use std::cmp::Reverse;

/// Lengths of the hot prefixes when `share` of all bundles is held: the most frequent ones of the
/// whole model, wherever they are; `(layers,)`.
///
/// Among equally frequent ones those of earlier layers are held; neurons that never fired are not.
pub fn hot_prefix(trace: &Trace, share: f64) -> Vec<usize> {
    let layers = trace.layers();
    let budget = (share.clamp(0.0, 1.0) * (layers * trace.neurons()) as f64) as usize;
    let mut all: Vec<(u32, usize)> = trace
        .frequencies()
        .into_iter()
        .enumerate()
        .flat_map(|(layer, frequency)| frequency.into_iter().map(move |f| (f, layer)))
        .filter(|(frequency, _)| *frequency > 0)
        .collect();
    all.sort_by_key(|&(frequency, layer)| (Reverse(frequency), layer));
    let mut hot = vec![0; layers];
    for (_, layer) in all.into_iter().take(budget) {
        hot[layer] += 1;
    }
    hot
}
