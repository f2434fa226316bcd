//! The sparse FFN: cached neurons at once, missing ones as they arrive.
//!
//! In: the active set and the quantised input. Out: the layer's output added to the residual.
//! The sum is exact in integers ([`Accumulator`]), so it does not depend on what was cached.

use crate::cache::Cache;
use crate::config::Ffn;
use crate::fetch::{Corrupt, FetchError, Io, dot};
use crate::image::{Bundle, Geometry, Record, Table};
use crate::math::accumulate::Accumulator;
use crate::plan::collapse;
use crate::probe::{Probe, Stage};
use ripple_hal::BlockDevice;

/// The active neurons of a layer and what they are applied to.
pub(crate) struct Active<'a> {
    /// Ascending.
    pub slots: &'a [u16],
    /// First-layer outputs, if the predictor computed them; else anything.
    pub values: &'a [f32],
    /// `(neurons,)` scratch: indices into `slots` of what must be read.
    pub misses: &'a mut [u16],
    /// `(dim,)`.
    pub quantised: &'a [i8],
    pub scale: f32,
}

/// Adds the active neurons of `layer` to `sum`, reading those that are not in memory.
pub(crate) fn apply<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    geometry: &Geometry,
    table: &Table<'_>,
    cache: &mut Cache<'_>,
    layer: u32,
    active: Active<'_>,
    sum: &mut Accumulator<'_>,
) -> Result<(), FetchError<D::Error>> {
    let Active { slots, values, misses, quantised, scale } = active;
    let misses = find_misses(table, cache, layer, slots, misses);
    io.probe.lookup(layer, (slots.len() - misses.len()) as u32, misses.len() as u32);

    let neuron = Neuron { geometry, quantised, scale };
    let at = |miss: &u16| {
        let slot = slots.get(*miss as usize).copied().unwrap_or(0);
        (u32::from(slot), values.get(*miss as usize).copied().unwrap_or(0.0))
    };
    let (stride, half) = (table.layout.stride(), io.half());
    let wanted = misses.iter().map(|miss| at(miss).0);
    let extents = collapse(wanted, stride, io.collapse.gap, half);
    let mut coming = misses;
    let mut run = Run::default();
    io.fetch(Stage::Ffn, table.start, extents, |probe, arrived| {
        let Some((extent, bytes)) = arrived else {
            return hits(table, cache, layer, slots, values, misses, |value, record| {
                probe.compute(Stage::Ffn, neuron.add(&record, value, sum));
            });
        };
        let (here, later) =
            coming.split_at_checked(extent.wanted as usize).unwrap_or((coming, &[]));
        for (i, miss) in here.iter().enumerate() {
            let (slot, value) = at(miss);
            let record = table.arrived(slot, extent.start, bytes).ok_or(Corrupt { slot })?;
            probe.compute(Stage::Ffn, neuron.add(&record, value, sum));
            let run = run.length(slot, coming.get(i..).unwrap_or(&[]).iter().map(|m| at(m).0));
            if let Some(frame) = cache.admit(layer, slot, run) {
                record.copy_to(frame);
            }
        }
        coming = later;
        Ok(())
    })
}

/// Writes the indices of the active slots that are neither mapped nor cached, and counts the uses
/// of those that are cached.
fn find_misses<'a>(
    table: &Table<'_>,
    cache: &mut Cache<'_>,
    layer: u32,
    slots: &[u16],
    misses: &'a mut [u16],
) -> &'a [u16] {
    let mut count = 0;
    for (i, &slot) in slots.iter().enumerate() {
        let slot = u32::from(slot);
        if slot >= table.mapped_records
            && !cache.touch(layer, slot)
            && let Some(miss) = misses.get_mut(count)
        {
            *miss = i as u16;
            count += 1;
        }
    }
    misses.get(..count).unwrap_or(&[])
}

/// Visits the active slots that are in memory: those whose index is not among the `misses`.
///
/// Runs before anything is admitted, so what was found cached is still there.
fn hits(
    table: &Table<'_>,
    cache: &Cache<'_>,
    layer: u32,
    slots: &[u16],
    values: &[f32],
    misses: &[u16],
    mut visit: impl FnMut(f32, Record<'_>),
) -> Result<(), Corrupt> {
    let mut misses = misses.iter().peekable();
    for (i, (&slot, &value)) in slots.iter().zip(values).enumerate() {
        if misses.next_if(|&&miss| usize::from(miss) == i).is_some() {
            continue;
        }
        let slot = u32::from(slot);
        let record = match table.mapped(slot) {
            Some(record) => Some(record),
            None => cache.get(layer, slot).and_then(|bytes| cache.layout().view(bytes)),
        };
        visit(value, record.ok_or(Corrupt { slot })?);
    }
    Ok(())
}

/// The run of consecutive missed slots that a slot belongs to.
#[derive(Default)]
struct Run {
    end: u32,
    length: u32,
}

impl Run {
    /// `coming`: this slot and the ones after it.
    fn length(&mut self, slot: u32, coming: impl Iterator<Item = u32>) -> u32 {
        if self.length == 0 || slot >= self.end {
            self.length =
                coming.zip(slot..).take_while(|(next, expected)| next == expected).count() as u32;
            self.end = slot + self.length;
        }
        self.length
    }
}

/// What every neuron of a layer is applied to.
struct Neuron<'a> {
    geometry: &'a Geometry,
    quantised: &'a [i8],
    scale: f32,
}

impl Neuron<'_> {
    /// Adds one neuron: `y += act(gate . x) * (up . x) * down`, or `y += act(up . x + b) * down`.
    ///
    /// `value`: the first-layer output, if the predictor knows it. Returns the multiply-accumulates.
    ///
    /// Row-column bundling: Alizadeh et al., "LLM in a flash", 2023.
    fn add(&self, bundle: &Record<'_>, value: f32, sum: &mut Accumulator<'_>) -> u32 {
        let dim = self.geometry.config.dim;
        let mut work = 0;
        let exact = matches!(self.geometry.predictor, crate::image::Predictor::Exact);
        let first = if exact {
            value
        } else {
            work += dim;
            dot(bundle, 0, self.quantised, self.scale)
        };
        if first <= self.geometry.config.threshold {
            return work;
        }
        let next = match self.geometry.bundle {
            Bundle::Full => 1,
            Bundle::Rest => 0,
        };
        let (hidden, down) = match self.geometry.config.ffn {
            Ffn::Plain => (first, next),
            Ffn::Gated => {
                work += dim;
                (first * dot(bundle, next, self.quantised, self.scale), next + 1)
            }
        };
        sum.add(hidden * bundle.scale(down), bundle.row(down));
        work + dim
    }
}
