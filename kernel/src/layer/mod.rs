//! One transformer layer: attention, then the sparse FFN, each on a normalised copy of the residual.
//!
//! In: the residual stream at the positions of a chunk. Out: the same, one layer further. Every weight
//! is read once and applied to all positions; a position sees those before it in the KV cache.

pub(crate) mod active;
mod attention;
mod ffn;
pub(crate) mod gemv;
pub mod predictor;
#[cfg(feature = "spill")]
mod spill;

use crate::config::Norm;
use crate::image::{Geometry, Image, Page, Predictor, SectionKind, Table};
use crate::layer::active::{ActiveSets, Room};
use crate::layer::attention::{Scratch, attend};
use crate::layer::ffn::Active;
use crate::layer::gemv::{Output, gemv};
use crate::layer::predictor::{Search, predict, slice};
use crate::math::accumulate::Accumulators;
use crate::math::{Inputs, norm, rope};
use crate::memory::RunState;
use crate::memory::cache::Cache;
use crate::memory::kv::KvCache;
use crate::read::fetch::{FetchError, Io, Records};
use crate::read::page::{Begun, PageReader};
use crate::read::probe::{Probe, Stage};
use ripple_hal::BlockDevice;
use zerocopy::{FromBytes, IntoBytes};

/// What a layer works on: the residual stream of a chunk, and what outlives it.
pub(crate) struct Chunk<'a, 'm> {
    pub image: &'a Image<'m>,
    pub state: &'a mut RunState<'m>,
    pub kv: &'a mut KvCache<'m>,
    pub cache: &'a mut Cache<'m>,
    /// Positions: the first of `state.positions`.
    pub count: usize,
    /// See [`Options::read_ahead`](crate::Options::read_ahead).
    pub read_ahead: bool,
}

impl Chunk<'_, '_> {
    /// The page of `layer`. Pages are of one token.
    fn page(&self, layer: u32, bundles: &Table<'_>) -> Option<Page> {
        if !cfg!(feature = "pages") {
            return None;
        }
        let pages = self.image.header.section(SectionKind::Pages).start;
        let page = Page::of_layer(self.state.pages, layer, bundles.layout.stride(), pages);
        page.filter(|_| self.count == 1)
    }
}

/// Runs `layer` on `state.x` at the positions of the chunk.
pub(crate) fn forward<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    chunk: &mut Chunk<'_, '_>,
    layer: u32,
) -> Result<(), FetchError<D::Error>> {
    let mut begun = None;
    // Not a pair: it would be copied, and the deepest call is under this one.
    let mut ffn = match page_ahead(io, chunk, layer) {
        Some(page) => {
            let (ffn, page) = page.read_ahead(io, |records| begin(records, chunk, layer))?;
            begun = page;
            ffn
        }
        None => begin(&mut io.records(), chunk, layer)?,
    };
    loop {
        ffn.apply(io, begun.take())?;
        if !ffn.predict(&mut io.records())? {
            break;
        }
    }
    ffn.finish();
    Ok(())
}

/// The layer's page, if it can be read while all before the FFN is computed: what that needs is mapped.
fn page_ahead<D: BlockDevice, P: Probe>(
    io: &Io<'_, D, P>,
    chunk: &Chunk<'_, '_>,
    layer: u32,
) -> Option<PageReader> {
    use SectionKind::{Ffn, LayerVectors, Output, Predictor, Projection, Qkv};
    let mapped = |kind| {
        let table = chunk.image.table(kind, layer);
        table.mapped_records == table.count
    };
    let bundles = chunk.image.table(Ffn, layer);
    let page = chunk.page(layer, &bundles).filter(|_| {
        chunk.read_ahead
            && bundles.mapped_records == 0
            && [LayerVectors, Qkv, Output, Projection, Predictor].into_iter().all(mapped)
    })?;
    PageReader::new(page, io.merging(bundles.layout.stride()))
}

/// Computes `layer` up to its first active sets.
fn begin<'a, 'm, D: BlockDevice, P: Probe>(
    records: &mut Records<'_, '_, D, P>,
    chunk: &'a mut Chunk<'_, 'm>,
    layer: u32,
) -> Result<SparseFfn<'a, 'm>, FetchError<D::Error>> {
    let geometry = &chunk.image.header.geometry;
    records.probe().enter(Stage::Attention, layer);
    let vectors = chunk.image.table(SectionKind::LayerVectors, layer);
    load_floats(records, Stage::Attention, &vectors, chunk.state.layer_vectors)?;
    attention(records, chunk, geometry, layer)?;
    records.probe().enter(Stage::Predictor, layer);
    let mut ffn = SparseFfn::new(records, chunk, layer)?;
    ffn.predict(records)?;
    Ok(ffn)
}

fn attention<D: BlockDevice, P: Probe>(
    records: &mut Records<'_, '_, D, P>,
    chunk: &mut Chunk<'_, '_>,
    geometry: &Geometry,
    layer: u32,
) -> Result<(), FetchError<D::Error>> {
    let config = &geometry.config;
    let (dim, query_dim) = (config.dim as usize, config.query_dim() as usize);
    let kv_dim = config.kv_dim() as usize;
    let qkv_dim = query_dim + 2 * kv_dim;
    let Chunk { image, state, kv, count, .. } = chunk;
    let count = *count;

    let (x, vectors) = (&*state.x, &*state.layer_vectors);
    let inputs = state.inputs.fill(count, dim, &mut |i, out, _| {
        normalise(out, nth(x, i, dim), vectors, 0, geometry);
    });
    let table = image.table(SectionKind::Qkv, layer);
    gemv(records, Stage::Attention, &table, inputs, Output::Write(state.projections))?;

    // All keys and values first: the last position sees those of the whole chunk.
    let rope_dim = geometry.frequencies() as usize;
    let all = state.projections.chunks_exact_mut(qkv_dim.max(1)).take(count);
    for (i, (qkv, &at)) in all.zip(state.positions.iter()).enumerate() {
        let (query, key_value) = qkv.split_at_mut_checked(query_dim).unwrap_or_default();
        let (key, value) = key_value.split_at_mut_checked(kv_dim).unwrap_or_default();
        let (cos, sin) = (nth(state.cos, i, rope_dim), nth(state.sin, i, rope_dim));
        rope::rotate(query, cos, sin);
        rope::rotate(key, cos, sin);
        kv.store(layer, at, key, value);
    }

    let (qkv, positions) = (&*state.projections, &*state.positions);
    let scores = &mut *state.scores;
    let (narrow, high) = (&mut *state.narrow, &mut *state.high);
    #[cfg(feature = "spill")]
    let (left, mut read) = (&mut *state.left, Ok(()));
    let inputs = state.inputs.fill(count, query_dim, &mut |i, out, room| {
        let query = nth(qkv, i, qkv_dim).get(..query_dim).unwrap_or(&[]);
        let at = positions.get(i).copied().unwrap_or(0);
        let scratch = Scratch { scores, room, narrow, high };
        #[cfg(feature = "spill")]
        if kv.spilled() > 0
            && let Records::Io(io) = records
        {
            if read.is_ok() {
                read = spill::attend(io, out, query, kv, config, layer, at, scratch, left);
                records.probe().compute(Stage::Attention, 2 * config.query_dim() * (at + 1));
            }
            return;
        }
        attend(out, query, kv, config, layer, at, scratch);
        records.probe().compute(Stage::Attention, 2 * config.query_dim() * (at + 1));
    });
    #[cfg(feature = "spill")]
    read?;
    let table = image.table(SectionKind::Output, layer);
    gemv(records, Stage::Attention, &table, inputs, Output::Add(state.x))
}

/// The sparse FFN of a layer, under way.
struct SparseFfn<'a, 'm> {
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
    misses: &'a mut [u32],
    sets: ActiveSets<'a>,
    sums: Accumulators<'a>,
    /// Neurons that the predictor has seen.
    seen: u32,
}

impl<'a, 'm> SparseFfn<'a, 'm> {
    /// Its inputs, from the residual stream after attention.
    fn new<D: BlockDevice, P: Probe>(
        records: &mut Records<'_, '_, D, P>,
        chunk: &'a mut Chunk<'_, 'm>,
        layer: u32,
    ) -> Result<Self, FetchError<D::Error>> {
        let geometry = &chunk.image.header.geometry;
        let rows = chunk.image.table(SectionKind::Predictor, layer);
        let bundles = chunk.image.table(SectionKind::Ffn, layer);
        let page = chunk.page(layer, &bundles);
        let Chunk { state, cache, count, .. } = chunk;
        let count = *count;
        let dim = geometry.config.dim as usize;
        let (x, vectors, planes) = (&mut *state.x, &*state.layer_vectors, &mut *state.planes);
        let bits = geometry.planes();
        let words = bits as usize * dim.div_ceil(32);
        let inputs = state.inputs.fill(count, dim, &mut |i, out, _| {
            normalise(out, nth(x, i, dim), vectors, 1, geometry);
            if bits > 0 {
                let planes = planes.get_mut(i * words..).and_then(|planes| planes.get_mut(..words));
                slice(out, bits, planes.unwrap_or_default());
            }
        });
        #[cfg(feature = "low-rank")]
        let codes = {
            let rank = geometry.rank() as usize;
            if rank > 0 {
                let table = chunk.image.table(SectionKind::Projection, layer);
                let out = Output::Write(state.projections);
                gemv(records, Stage::Predictor, &table, inputs, out)?;
            }
            let products = &*state.projections;
            state.codes.fill(if rank > 0 { count } else { 0 }, rank, &mut |i, out, _| {
                out.iter_mut().zip(nth(products, i, rank)).for_each(|(out, x)| *out = *x);
            })
        };
        #[cfg(not(feature = "low-rank"))]
        let _ = records;
        let values = match geometry.predictor {
            Predictor::Exact => &mut *state.projections,
            _ => &mut [],
        };
        let room = Room { slots: state.active, bits: state.bits, values };
        let sets = ActiveSets::new(room, count);
        let narrow = state.narrow.get_mut(..count * dim).unwrap_or_default();
        let left = state.left.get_mut(..count).unwrap_or_default();
        let sums = Accumulators::new(dim, narrow, state.high, left);
        let x = x.get_mut(..count * dim).unwrap_or_default();
        let misses = &mut *state.misses;
        let positions = state.positions.get(..count).unwrap_or(&[]);
        Ok(Self {
            geometry,
            layer,
            positions,
            rows,
            bundles,
            page,
            cache,
            x,
            vectors,
            threshold: threshold(geometry, vectors),
            inputs,
            planes,
            #[cfg(feature = "low-rank")]
            codes,
            misses,
            sets,
            sums,
            seen: 0,
        })
    }

    /// Finds active sets, of as many more neurons as they hold; `false` when none was left.
    ///
    /// Once for a layer all but always: there is room for the outputs of as many neurons as can be
    /// active at one position, and for a few hundred at each position of a chunk.
    fn predict<D: BlockDevice, P: Probe>(
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
    fn apply<D: BlockDevice, P: Probe>(
        &mut self,
        io: &mut Io<'_, D, P>,
        begun: Option<Begun>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { geometry, layer, page, threshold, sets, misses, inputs, .. } = self;
        let (page, threshold, inputs) = (*page, *threshold, *inputs);
        let scratch = <[u16]>::mut_from_bytes(misses.as_mut_bytes()).unwrap_or_default();
        for (i, at) in self.positions.iter().enumerate() {
            io.probe.active(*layer, *at, sets.of(i, scratch));
        }
        io.probe.enter(Stage::Ffn, *layer);
        let active = Active { threshold, sets, misses, page, begun, inputs };
        ffn::apply(io, geometry, &self.bundles, self.cache, *layer, active, &mut self.sums)
    }

    /// Adds the sums and the bias to the residual stream.
    fn finish(mut self) {
        let config = &self.geometry.config;
        let dim = config.dim as usize;
        let at = 2 * self.geometry.norm_vectors() as usize * dim;
        let bias = if config.ffn_bias { self.vectors.get(at..).unwrap_or(&[]) } else { &[] };
        for (i, x) in self.x.chunks_exact_mut(dim.max(1)).enumerate() {
            let Some(sum) = self.sums.at(i) else { continue };
            sum.finish(|j, y| {
                if let Some(x) = x.get_mut(j) {
                    *x += y;
                }
            });
            x.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
        }
    }
}

/// What makes a neuron active: the model's or, last of the layer's vectors, the layer's.
fn threshold(geometry: &Geometry, vectors: &[f32]) -> f32 {
    if geometry.config.activation().lossy() {
        vectors.last().copied().unwrap_or(0.0)
    } else {
        geometry.config.threshold
    }
}

/// The vector of position `i`, of `len` numbers, to write.
pub(crate) fn nth_mut(vectors: &mut [f32], i: usize, len: usize) -> &mut [f32] {
    vectors.get_mut(i * len..).and_then(|rest| rest.get_mut(..len)).unwrap_or_default()
}

/// The vector of position `i`, of `len` numbers.
pub(crate) fn nth(vectors: &[f32], i: usize, len: usize) -> &[f32] {
    vectors.get(i * len..).and_then(|rest| rest.get(..len)).unwrap_or(&[])
}

/// Normalises with norm number `which` of `vectors`.
///
/// Once a matrix: a copy in each of its callers would only be code.
#[inline(never)]
pub(crate) fn normalise(
    out: &mut [f32],
    x: &[f32],
    vectors: &[f32],
    which: u32,
    geometry: &Geometry,
) {
    let dim = geometry.config.dim as usize;
    let at = (which * geometry.norm_vectors()) as usize * dim;
    let weight = vectors.get(at..).and_then(|v| v.get(..dim)).unwrap_or(&[]);
    match geometry.config.norm() {
        Norm::Rms => norm::rms(out, x, weight, geometry.config.norm_eps),
        Norm::Layer => {
            let bias = vectors.get(at + dim..).and_then(|v| v.get(..dim)).unwrap_or(&[]);
            norm::layer(out, x, weight, bias, geometry.config.norm_eps);
        }
    }
}

/// Copies the one record of a table of floats.
pub(crate) fn load_floats<D: BlockDevice, P: Probe>(
    records: &mut Records<'_, '_, D, P>,
    stage: Stage,
    table: &Table<'_>,
    out: &mut [f32],
) -> Result<(), FetchError<D::Error>> {
    records.for_each(stage, table, 0..1, &mut |_, _, record| {
        for (out, word) in out.iter_mut().zip(record.words(0)) {
            *out = f32::from_le_bytes(*word);
        }
    })
}
