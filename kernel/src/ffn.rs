//! The sparse FFN: cached neurons at once, missing ones as they arrive.
//!
//! In: the active set and the quantised input. Out: the layer's output added to the residual.
//! The sum is exact in integers ([`Accumulator`]), so it does not depend on what was cached.

use crate::bundles::{Place, Source, Wanted, visit};
use crate::cache::Cache;
use crate::config::Ffn;
use crate::fetch::{Corrupt, FetchError, Io, dot};
use crate::image::{Bundle, Geometry, Page, Record, Table};
use crate::math::accumulate::Accumulator;
use crate::probe::{Probe, Stage};
use ripple_hal::BlockDevice;

/// The active neurons of a layer and what they are applied to.
pub(crate) struct Active<'a> {
    /// Ascending.
    pub slots: &'a [u16],
    /// First-layer outputs, if the predictor computed them; else anything.
    pub values: &'a [f32],
    /// `(neurons,)` scratch.
    pub misses: &'a mut [u32],
    /// Where copies of the likely ones are.
    pub page: Option<Page>,
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
    let Active { slots, values, misses, page, quantised, scale } = active;
    let neuron = Neuron { geometry, quantised, scale };
    let (start, stride, mapped) = (table.start, table.layout.stride(), table.mapped_records);
    let source = Source { layer, start, stride, mapped, page };
    visit(io, source, cache, Wanted { slots, misses }, |probe, bundle| {
        let slot = bundle.slot;
        let record = match bundle.bytes {
            Place::Mapped => table.mapped(slot),
            Place::Cached(bytes) => table.layout.view(bytes),
            Place::Arrived(bytes) => table.arrived(slot, bytes),
        };
        let value = values.get(bundle.index).copied().unwrap_or(0.0);
        let work = neuron.add(&record.ok_or(Corrupt { slot })?, value, sum);
        probe.compute(Stage::Ffn, work);
        Ok(())
    })
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
