//! The sparse FFN of a layer: find active sets, add their neurons, and again if not all fitted.
//!
//! In: the residual stream after attention. Out: the residual stream, the FFN added.

use crate::config::Order;
use crate::image::{Geometry, Page, Predictor, SectionKind, Table};
use crate::layer::active::{ActiveSets, Room};
#[cfg(feature = "low-rank")]
use crate::layer::gemv::{Output, gemv};
use crate::layer::join::{Branch, join};
use crate::layer::neuron::{self, Active};
use crate::layer::predictor::{Search, predict};
use crate::layer::{Chunk, normalised};
use crate::math::Inputs;
use crate::math::accumulate::{Accumulators, square_sum};
use crate::memory::WantedSlots;
use crate::memory::cache::Cache;
use crate::read::fetch::{FetchError, Io, Records};
use crate::read::page::Begun;
use crate::read::probe::{Probe, Stage};
#[cfg(feature = "low-rank")]
use crate::slices::{Rows, copy};
use crate::slices::{front, front_mut, part, part_mut, split_mut};
use ripple_hal::BlockDevice;

/// The sparse FFN of a layer, under way.
pub(super) struct SparseFfn<'a, 'm> {
    geometry: &'a Geometry,
    layer: u32,
    positions: &'a [u32],
    rows: Table<'m>,
    bundles: Table<'m>,
    page: Option<Page>,
    cache: &'a mut Cache<'m>,
    /// `(positions, dim)`.
    x: &'a mut [f32],
    vectors: &'a [f32],
    threshold: f32,
    inputs: Inputs<'a>,
    planes: &'a [u32],
    #[cfg(feature = "low-rank")]
    codes: Inputs<'a>,
    wanted: &'a mut WantedSlots<'m>,
    sets: ActiveSets<'a>,
    sums: Accumulators<'a>,
    /// What attention gave, where it has not been added yet, and scratch: see `RunState::branch`.
    branch: &'a mut [f32],
    squares: &'a mut [u32],
    /// Neurons that the predictor has seen.
    seen: u32,
}

impl<'a, 'm> SparseFfn<'a, 'm> {
    /// Its inputs, from the residual stream after attention.
    pub fn new<D: BlockDevice, P: Probe>(
        records: &mut Records<'_, '_, D, P>,
        chunk: &'a mut Chunk<'_, 'm, D, P>,
        layer: u32,
    ) -> Result<Self, FetchError<D::Error>> {
        let geometry = &chunk.image.header.geometry;
        let rows = chunk.image.table(SectionKind::Predictor, layer);
        let bundles = chunk.image.table(SectionKind::Ffn, layer);
        let page = chunk.page(layer, &bundles);
        let Chunk { state, cache, count, .. } = chunk;
        let count = *count;
        let dim = geometry.config.dim as usize;
        let (x, vectors) = (&mut *state.x, &*state.layer_vectors);
        let inputs = normalised(
            &mut state.inputs,
            x,
            count,
            vectors,
            (1, SectionKind::Ffn),
            geometry,
            state.planes,
        );
        #[cfg(feature = "low-rank")]
        let codes = {
            let rank = geometry.rank() as usize;
            let coded = if rank > 0 { count } else { 0 };
            let grouped = geometry.groups_inputs(SectionKind::Predictor);
            if rank > 0 {
                let table = chunk.image.table(SectionKind::Projection, layer);
                let out = Output::Write(state.products.projected());
                gemv(records, Stage::Predictor, &table, inputs, out)?;
            }
            let projected = Rows { cells: state.products.projected(), columns: rank };
            for i in 0..coded {
                copy(state.codes.vector(i, rank).0, projected.at(i));
                state.codes.pack(i, rank, grouped);
            }
            state.codes.inputs(coded, rank, grouped)
        };
        #[cfg(not(feature = "low-rank"))]
        let _ = records;
        let values = match geometry.predictor {
            Predictor::Exact => state.products.outputs(),
            _ => &mut [],
        };
        let room = Room { slots: state.active, bits: state.bits, values };
        let sets = ActiveSets::new(room, count);
        let (narrow, left) = (front_mut(state.narrow, count * dim), front_mut(state.left, count));
        let sums = Accumulators::new(dim, narrow, state.high, left);
        Ok(Self {
            geometry,
            layer,
            positions: front(state.places.positions(), count),
            rows,
            bundles,
            page,
            cache,
            x: front_mut(x, count * dim),
            vectors,
            threshold: threshold(geometry, vectors),
            inputs,
            planes: state.planes,
            #[cfg(feature = "low-rank")]
            codes,
            wanted: &mut state.wanted,
            sets,
            sums,
            branch: state.branch,
            squares: {
                state.squares.iter_mut().for_each(|square| *square = 0);
                state.squares
            },
            seen: 0,
        })
    }

    /// Finds active sets, of as many more neurons as they hold; `false` when none was left.
    ///
    /// Once for a layer all but always: there is room for the outputs of as many neurons as can be
    /// active at one position, and for a few hundred at each position of a chunk.
    pub fn predict<D: BlockDevice, P: Probe>(
        &mut self,
        records: &mut Records<'_, '_, D, P>,
    ) -> Result<bool, FetchError<D::Error>> {
        let Self { geometry, rows, threshold, inputs, planes, sets, .. } = self;
        #[cfg(feature = "low-rank")]
        let codes = &self.codes;
        sets.clear();
        let before = self.seen;
        while self.seen < rows.count && !sets.are_nearly_full() {
            let end = self.seen.saturating_add(sets.neurons_that_fit().max(1)).min(rows.count);
            let search = Search {
                threshold: *threshold,
                inputs: *inputs,
                planes,
                #[cfg(feature = "low-rank")]
                codes: *codes,
            };
            predict(records, geometry, rows, self.seen..end, search, sets)?;
            self.seen = end;
        }
        Ok(self.seen > before)
    }

    /// Adds the neurons of the active sets.
    pub fn apply<D: BlockDevice, P: Probe>(
        &mut self,
        io: &mut Io<'_, D, P>,
        begun: Option<Begun>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { geometry, layer, page, threshold, sets, wanted, inputs, squares, .. } = self;
        let (page, threshold, inputs) = (*page, *threshold, *inputs);
        if io.probe.wants_active() {
            for (i, at) in self.positions.iter().enumerate() {
                io.probe.active(*layer, *at, sets.of(i, wanted.active()));
            }
        }
        io.probe.enter(Stage::Ffn, *layer);
        let misses = wanted.misses();
        let active = Active { threshold, sets, misses, page, begun, inputs, squares };
        neuron::apply(io, geometry, &self.bundles, self.cache, *layer, active, &mut self.sums)
    }

    /// Adds the sums and the bias to the residual stream.
    pub fn finish(mut self) {
        let config = &self.geometry.config;
        let dim = config.dim as usize;
        let at = (self.geometry.norms() * self.geometry.norm_vectors()) as usize * dim;
        let bias = if config.ffn_bias { part(self.vectors, at, dim) } else { &[] };
        if self.geometry.has_branch() {
            return self.finish_apart(bias);
        }
        #[cfg(feature = "grouped")]
        let scales = output_scales(self.geometry, self.vectors);
        for (i, x) in self.x.chunks_exact_mut(dim.max(1)).enumerate() {
            let Some(sum) = self.sums.at(i) else { continue };
            sum.finish(|j, y| {
                #[cfg(feature = "grouped")]
                let y = scaled(scales, j, y);
                if let Some(x) = x.get_mut(j) {
                    *x += y;
                }
            });
            x.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
        }
    }

    /// The same where the sums do not join the residual stream as they are.
    fn finish_apart(mut self, bias: &[f32]) {
        let config = &self.geometry.config;
        let dim = config.dim as usize;
        let variant = config.variant();
        let rows = self.branch.len().saturating_sub(dim);
        let (branch, scratch) = split_mut(self.branch, rows);
        #[cfg(feature = "grouped")]
        let scales = output_scales(self.geometry, self.vectors);
        for (i, x) in self.x.chunks_exact_mut(dim.max(1)).enumerate() {
            let y = part_mut(branch, i * dim, dim);
            let Some(sum) = self.sums.at(i) else { continue };
            if variant.order == Order::Parallel {
                // What attention gave joins first.
                join(x, y, scratch, self.vectors, Branch::Attention, self.geometry);
            }
            let mut factor = 1.0;
            if variant.sub_norm {
                let mean = square_sum(self.squares, i) / config.neurons as f32;
                factor = 1.0 / libm::sqrtf(mean + config.norm_eps);
            }
            sum.finish(|j, sum| {
                #[cfg(feature = "grouped")]
                let sum = scaled(scales, j, sum);
                if let Some(y) = y.get_mut(j) {
                    *y = sum * factor;
                }
            });
            y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            join(x, y, scratch, self.vectors, Branch::Ffn, self.geometry);
        }
    }
}

/// What the outputs are multiplied with; empty where that is nothing.
#[cfg(feature = "grouped")]
#[inline]
fn output_scales<'a>(geometry: &Geometry, vectors: &'a [f32]) -> &'a [f32] {
    match geometry.output_scales() as usize {
        0 => &[],
        count => part(vectors, geometry.output_scales_at() as usize, count),
    }
}

/// Output `j`.
#[cfg(feature = "grouped")]
#[inline]
fn scaled(scales: &[f32], j: usize, y: f32) -> f32 {
    scales.get(j).map_or(y, |scale| y * scale)
}

/// What makes a neuron active: the model's or, last of the layer's vectors, the layer's.
fn threshold(geometry: &Geometry, vectors: &[f32]) -> f32 {
    if geometry.config.activation().lossy() {
        vectors.last().copied().unwrap_or(0.0)
    } else {
        geometry.config.threshold
    }
}
