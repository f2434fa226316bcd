//! One transformer layer: attention, then the sparse FFN, each on a normalised copy of the residual.
//!
//! In: the residual stream at the positions of a chunk. Out: the same, one layer further. Every weight
//! is read once and applied to all positions; a position sees those before it in the KV cache.

pub(crate) mod active;
#[cfg(feature = "adapters")]
mod adapter;
mod attention;
mod coming;
mod ffn;
pub(crate) mod gemv;
mod join;
mod neuron;
pub mod predictor;
pub(crate) mod spilled;

#[cfg(feature = "adapters")]
use crate::adapter::Adapter;
use crate::config::{Norm, Order};
use crate::image::{Geometry, Image, Page, SectionKind, Table};
use crate::layer::attention::attention;
use crate::layer::ffn::SparseFfn;
use crate::layer::predictor::slice;
use crate::layer::spilled::Spilled;
use crate::math::{Inputs, norm};
use crate::memory::cache::Cache;
use crate::memory::kv::KvCache;
use crate::memory::{InputBuffer, RunState};
use crate::read::fetch::{FetchError, Io, Records};
use crate::read::page::PageReader;
use crate::read::probe::{Probe, Stage};
use crate::slices::{Rows, RowsMut, copy, part};
use ripple_hal::{BlockCount, BlockDevice};

/// What a layer works on: the residual stream of a chunk, and what outlives it.
pub(crate) struct Chunk<'a, 'm, D: BlockDevice, P> {
    pub image: &'a Image<'m>,
    pub state: &'a mut RunState<'m>,
    pub kv: &'a mut KvCache<'m>,
    /// The positions that are on the card, if any are.
    pub spilled: Option<&'a Spilled<D, P>>,
    pub cache: &'a mut Cache<'m>,
    /// What is added beside the matrices of attention, if anything is.
    #[cfg(feature = "adapters")]
    pub adapter: Option<&'a mut Adapter<'m>>,
    /// Positions: the first of `state.places`.
    pub count: usize,
    /// Blocks that fronts of pages can be read into together.
    pub page_buffer: BlockCount,
    /// See [`Options::read_ahead`](crate::Options::read_ahead).
    pub read_ahead: bool,
}

impl<D: BlockDevice, P> Chunk<'_, '_, D, P> {
    /// The page of `layer`. Pages are of one token.
    fn page(&self, layer: u32, bundles: &Table<'_>) -> Option<Page> {
        if !cfg!(feature = "pages") {
            return None;
        }
        let pages = self.image.header.section(SectionKind::Pages).start;
        let (words, number) = (&*self.state.pages, self.image.header.number);
        let stride = bundles.layout.stride();
        let page = Page::of_layer(words, number, layer, stride, pages, self.page_buffer);
        page.filter(|_| self.count == 1)
    }
}

/// Runs `layer` on `state.x` at the positions of the chunk.
pub(crate) fn forward<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    chunk: &mut Chunk<'_, '_, D, P>,
    layer: u32,
) -> Result<(), FetchError<D::Error>> {
    coming::tell(io, chunk, layer.saturating_add(1));
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
    chunk: &Chunk<'_, '_, D, P>,
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
    chunk: &'a mut Chunk<'_, 'm, D, P>,
    layer: u32,
) -> Result<SparseFfn<'a, 'm>, FetchError<D::Error>> {
    records.probe().enter(Stage::Attention, layer);
    let vectors = chunk.image.table(SectionKind::LayerVectors, layer);
    load_floats(records, Stage::Attention, &vectors, chunk.state.layer_vectors)?;
    attention(records, chunk, layer)?;
    records.probe().enter(Stage::Predictor, layer);
    let mut ffn = SparseFfn::new(records, chunk, layer)?;
    ffn.predict(records)?;
    Ok(ffn)
}

/// The inputs of the matrices of `kind`: `x`, `(positions, dim)`, at `count` positions, normalised with norm
/// number `which` of `vectors`. `planes`: where they go in bits too, for a sign predictor.
pub(crate) fn normalised<'a>(
    inputs: &'a mut InputBuffer<'_>,
    x: &[f32],
    count: usize,
    vectors: &[f32],
    (which, kind): (u32, SectionKind),
    geometry: &Geometry,
    planes: &mut [u32],
) -> Inputs<'a> {
    let (dim, bits) = (geometry.config.dim as usize, geometry.planes());
    let x = Rows { cells: x, columns: dim };
    let columns = bits as usize * dim.div_ceil(32);
    let (sliced, grouped) = (!planes.is_empty(), geometry.groups_inputs(kind));
    let mut planes = RowsMut { cells: planes, columns };
    for i in 0..count {
        let (out, _) = inputs.vector(i, dim);
        match geometry.config.variant().order {
            // It has been, behind the branch before.
            Order::After => copy(out, x.at(i)),
            Order::Before | Order::Around | Order::Parallel => {
                normalise(out, x.at(i), vectors, which, geometry);
            }
        }
        if sliced {
            slice(out, bits, planes.at(i));
        }
        inputs.pack(i, dim, grouped);
    }
    inputs.inputs(count, dim, grouped)
}

/// Normalises with norm number `which` of `vectors`.
///
/// Once a matrix: a copy in each of its callers would only be code.
#[inline(never)]
fn normalise(out: &mut [f32], x: &[f32], vectors: &[f32], which: u32, geometry: &Geometry) {
    let dim = geometry.config.dim as usize;
    let at = (which * geometry.norm_vectors()) as usize * dim;
    let weight = part(vectors, at, dim);
    match geometry.config.norm() {
        Norm::Rms => norm::rms(out, x, weight, geometry.config.norm_eps),
        Norm::Layer => {
            let bias = part(vectors, at + dim, dim);
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
