//! Active neurons: the cached ones at once, missing ones as they arrive.
//!
//! In: the active sets and the quantised inputs. Out: the layer's output at each position, summed.
//! Sums are exact in integers ([`Accumulators`]), so they do not depend on what was cached.

use crate::config::Ffn;
use crate::image::row::Row;
use crate::image::{Geometry, Page, Predictor, Record, Table};
use crate::layer::active::ActiveSets;
use crate::math::Inputs;
#[cfg(ripple_isa = "x86")]
use crate::math::TOGETHER;
use crate::math::accumulate::Accumulators;
use crate::math::accumulate::add_square;
use crate::math::activation::{coefficient, factor};
use crate::memory::cache::Cache;
use crate::read::fetch::{Corrupt, FetchError, Io};
use crate::read::misses::Wanted;
use crate::read::page::Begun;
use crate::read::probe::{Probe, Stage};
use crate::read::visit::visit;
use crate::read::visitor::{Bytes, Found, Source};
use ripple_hal::BlockDevice;

/// The active neurons of a layer and what they are applied to.
pub(crate) struct Active<'a> {
    /// The layer's.
    pub threshold: f32,
    pub sets: &'a ActiveSets<'a>,
    /// `(neurons,)` scratch.
    pub misses: &'a mut [u32],
    /// Where copies of the likely ones are.
    pub page: Option<Page>,
    /// The same, if its first extent was read ahead.
    pub begun: Option<Begun>,
    /// `(positions, dim)`.
    pub inputs: Inputs<'a>,
    /// `(positions, 2)` sums of the squares of what goes to the output rows; empty where none are needed.
    pub squares: &'a mut [u32],
}

/// Adds the active neurons of `layer` to the `sums` of the positions where they are active, reading
/// those that are not in memory.
pub(crate) fn apply<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    geometry: &Geometry,
    table: &Table<'_>,
    cache: &mut Cache<'_>,
    layer: u32,
    active: Active<'_>,
    sums: &mut Accumulators<'_>,
) -> Result<(), FetchError<D::Error>> {
    let Active { threshold, sets, misses, page, begun, inputs, squares } = active;
    let mut neuron = Neuron { geometry, threshold, inputs, squares };
    let (start, stride, mapped) = (table.start, table.layout.stride(), table.mapped_records);
    let source = Source { layer, start, stride, mapped, page };
    let mut positions = sets.positions();
    let wanted = Wanted { slots: sets.slots(), memory: misses };
    visit(io, source, cache, wanted, begun, |probe, Found { index, slot, bytes }| {
        let bundle = match bytes {
            Bytes::Mapped => table.mapped(slot),
            Bytes::Cached(bytes) => table.layout.view(bytes),
            Bytes::Arrived(bytes) => table.arrived(slot, bytes),
        };
        let bundle = bundle.ok_or(Corrupt { slot })?;
        let work = neuron.add(&bundle, positions.at(index), sums);
        probe.compute(Stage::Ffn, work);
        Ok(())
    })
}

/// What every neuron of a layer is applied to.
struct Neuron<'a> {
    geometry: &'a Geometry,
    threshold: f32,
    inputs: Inputs<'a>,
    squares: &'a mut [u32],
}

impl Neuron<'_> {
    /// Adds one neuron: `y += act(gate . x) * (up . x) * down`, or `y += act(up . x + b) * down`, at
    /// each position where it is active.
    ///
    /// `active`: positions, and the activations there, if the predictor knows them. Returns
    /// the multiply-accumulates.
    ///
    /// Row-column bundling: Alizadeh et al., "LLM in a flash", 2023.
    fn add(
        &mut self,
        bundle: &Record<'_>,
        active: impl Iterator<Item = (usize, f32)>,
        sums: &mut Accumulators<'_>,
    ) -> u32 {
        let config = &self.geometry.config;
        let exact = matches!(self.geometry.predictor, Predictor::Exact);
        let next = self.geometry.bundle_holds_first() as usize;
        let (up, down) = match config.ffn() {
            Ffn::Plain => (None, next),
            Ffn::Gated => (Some(Row::of(bundle, next)), next + 1),
        };
        let first = (!exact).then(|| Row::of(bundle, 0));
        let down = Row::of(bundle, down);
        let mut work = 0;
        #[cfg(ripple_isa = "x86")]
        let active =
            self.add_together([first.as_ref(), up.as_ref(), Some(&down)], active, sums, &mut work);
        for (position, value) in active {
            let x = self.inputs.at(position);
            let hidden = match &first {
                Some(row) => {
                    work += config.dim;
                    coefficient(config.activation(), self.threshold, row.dot(x))
                }
                None => Some(value),
            };
            let Some(mut hidden) = hidden else { continue };
            if let Some(row) = &up {
                work += config.dim;
                hidden *= factor(config.activation(), row.dot(x));
            }
            if config.variant().sub_norm {
                add_square(self.squares, position, hidden);
            }
            work += config.dim;
            if let Some(mut sum) = sums.at(position) {
                down.add_to(&mut sum, hidden);
            }
        }
        work
    }

    /// The same for as many positions as are computed together, again and again; returns those that are left.
    ///
    /// `rows`: first-layer, if it is computed here; up, if there is one; down.
    #[cfg(ripple_isa = "x86")]
    fn add_together(
        &mut self,
        [first, up, down]: [Option<&Row<'_>>; 3],
        mut active: impl Iterator<Item = (usize, f32)>,
        sums: &mut Accumulators<'_>,
        work: &mut u32,
    ) -> core::iter::Take<core::array::IntoIter<(usize, f32), TOGETHER>> {
        let config = &self.geometry.config;
        loop {
            let (mut some, mut count) = ([(0, 0.0); TOGETHER], 0);
            for (place, next) in some.iter_mut().zip(&mut active) {
                (*place, count) = (next, count + 1);
            }
            if count < TOGETHER {
                return some.into_iter().take(count);
            }
            let xs = some.map(|(position, _)| self.inputs.at(position));
            let firsts = first.map(|row| row.dots(xs));
            let ups = up.map_or([1.0; TOGETHER], |row| row.dots(xs));
            for (i, ((position, value), up_dot)) in some.into_iter().zip(ups).enumerate() {
                let hidden = match firsts {
                    Some(dots) => {
                        *work += config.dim;
                        let dot = dots.get(i).copied().unwrap_or(0.0);
                        coefficient(config.activation(), self.threshold, dot)
                    }
                    None => Some(value),
                };
                let Some(mut hidden) = hidden else { continue };
                if up.is_some() {
                    *work += config.dim;
                    hidden *= factor(config.activation(), up_dot);
                }
                if config.variant().sub_norm {
                    add_square(self.squares, position, hidden);
                }
                *work += config.dim;
                if let (Some(mut sum), Some(down)) = (sums.at(position), down) {
                    down.add_to(&mut sum, hidden);
                }
            }
        }
    }
}
