//! One transformer layer: attention, then the sparse FFN, each on a normalised copy of the residual.
//!
//! In: the residual stream at the positions of a pass. Out: the same, one layer further. Every weight
//! is read once and applied to all positions; a position sees those before it in the KV cache.

use crate::active::{ActiveSets, Room};
use crate::attention::{Scratch, attend};
use crate::cache::Cache;
use crate::config::Norm;
use crate::fetch::{FetchError, Io, Output};
use crate::ffn::{self, Active};
use crate::image::{Geometry, Image, Page, Predictor, SectionKind};
use crate::kv::KvCache;
use crate::math::accumulate::Accumulators;
use crate::math::{norm, rope};
use crate::memory::RunState;
use crate::predictor::{Search, predict, slice};
use crate::probe::{Probe, Stage};
use ripple_hal::BlockDevice;
use zerocopy::{FromBytes, IntoBytes};

/// What a layer works on.
pub(crate) struct Pass<'a, 'm> {
    pub image: &'a Image<'m>,
    pub state: &'a mut RunState<'m>,
    pub kv: &'a mut KvCache<'m>,
    pub cache: &'a mut Cache<'m>,
    /// The first position.
    pub position: u32,
    /// Positions.
    pub count: usize,
}

/// Runs `layer` on `state.x` at `count` positions from `position` on.
pub(crate) fn forward<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    pass: &mut Pass<'_, '_>,
    layer: u32,
) -> Result<(), FetchError<D::Error>> {
    let geometry = pass.image.header.geometry;
    io.probe.enter(Stage::Attention, layer);
    let vectors = pass.image.table(SectionKind::LayerVectors, layer);
    load_floats(io, Stage::Attention, &vectors, pass.state.layer_vectors)?;
    attention(io, pass, &geometry, layer)?;
    sparse_ffn(io, pass, &geometry, layer)
}

fn attention<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    pass: &mut Pass<'_, '_>,
    geometry: &Geometry,
    layer: u32,
) -> Result<(), FetchError<D::Error>> {
    let config = &geometry.config;
    let (dim, query_dim) = (config.dim as usize, config.query_dim() as usize);
    let kv_dim = config.kv_dim() as usize;
    let qkv_dim = query_dim + 2 * kv_dim;
    let Pass { image, state, kv, position, count, .. } = pass;
    let (position, count) = (*position, *count);

    let (x, vectors) = (&*state.x, &*state.layer_vectors);
    let inputs = state.inputs.fill(count, dim, |i, out, _| {
        normalise(out, nth(x, i, dim), vectors, 0, geometry);
    });
    let table = image.table(SectionKind::Qkv, layer);
    io.gemv(Stage::Attention, &table, inputs, Output::Write(state.projections))?;

    // All keys and values first: the last position sees those of the whole pass.
    let rope_dim = geometry.frequencies() as usize;
    let all = state.projections.chunks_exact_mut(qkv_dim.max(1)).take(count);
    for (i, (qkv, at)) in all.zip(position..).enumerate() {
        let (query, key_value) = qkv.split_at_mut_checked(query_dim).unwrap_or_default();
        let (key, value) = key_value.split_at_mut_checked(kv_dim).unwrap_or_default();
        let (cos, sin) = (nth(state.cos, i, rope_dim), nth(state.sin, i, rope_dim));
        rope::rotate(query, cos, sin);
        rope::rotate(key, cos, sin);
        kv.store(layer, at, key, value);
    }

    let (qkv, scores) = (&*state.projections, &mut *state.scores);
    let (narrow, high) = (&mut *state.narrow, &mut *state.high);
    let inputs = state.inputs.fill(count, query_dim, |i, out, quantised| {
        let query = nth(qkv, i, qkv_dim).get(..query_dim).unwrap_or(&[]);
        let at = position + i as u32;
        let scratch = Scratch { scores, quantised, narrow, high };
        attend(out, query, kv, config, layer, at, scratch);
        io.probe.compute(Stage::Attention, 2 * config.query_dim() * (at + 1));
    });
    let table = image.table(SectionKind::Output, layer);
    io.gemv(Stage::Attention, &table, inputs, Output::Add(state.x))
}

fn sparse_ffn<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    pass: &mut Pass<'_, '_>,
    geometry: &Geometry,
    layer: u32,
) -> Result<(), FetchError<D::Error>> {
    let Pass { image, state, cache, position, count, .. } = pass;
    let dim = geometry.config.dim as usize;
    io.probe.enter(Stage::Predictor, layer);
    let (x, vectors, planes) = (&*state.x, &*state.layer_vectors, &mut *state.planes);
    let bits = geometry.planes();
    let words = bits as usize * dim.div_ceil(32);
    let inputs = state.inputs.fill(*count, dim, |i, out, _| {
        normalise(out, nth(x, i, dim), vectors, 1, geometry);
        if bits > 0 {
            let planes = planes.get_mut(i * words..).and_then(|planes| planes.get_mut(..words));
            slice(out, bits, planes.unwrap_or_default());
        }
    });
    let values = match geometry.predictor {
        Predictor::Exact => &mut *state.projections,
        Predictor::Signs { .. } => &mut [],
    };
    let room = Room { slots: state.active, bits: state.bits, values };
    let mut sets = ActiveSets::new(room, *count);
    let narrow = state.narrow.get_mut(..*count * dim).unwrap_or_default();
    let left = state.left.get_mut(..*count).unwrap_or_default();
    let mut sums = Accumulators::new(dim, narrow, state.high, left);
    let rows = image.table(SectionKind::Predictor, layer);
    let bundles = image.table(SectionKind::Ffn, layer);
    let pages = image.header.section(SectionKind::Pages).start;
    let page = Page::of_layer(state.pages, layer, bundles.layout.stride(), pages);
    let page = page.filter(|_| *count == 1);
    let mut next = 0;
    while next < rows.count {
        // Once all but always: there is room for the outputs of as many neurons as can be active at
        // one position, and for a few hundred at each position of a pass.
        let end = next.saturating_add(sets.neurons_that_fit().max(1)).min(rows.count);
        let search = Search { inputs, planes: state.planes };
        predict(io, geometry, &rows, next..end, search, &mut sets)?;
        next = end;
        if next < rows.count && !sets.are_nearly_full() {
            continue;
        }
        let scratch = <[u16]>::mut_from_bytes(state.misses.as_mut_bytes()).unwrap_or_default();
        for (i, at) in (*position..).enumerate().take(*count) {
            io.probe.active(layer, at, sets.of(i, scratch));
        }
        io.probe.enter(Stage::Ffn, layer);
        let active = Active { sets: &sets, misses: state.misses, page, inputs };
        ffn::apply(io, geometry, &bundles, cache, layer, active, &mut sums)?;
        sets.clear();
    }
    let at = 2 * geometry.norm_vectors() as usize * dim;
    let bias = match geometry.config.ffn_bias {
        true => state.layer_vectors.get(at..).unwrap_or(&[]),
        false => &[],
    };
    for (i, x) in state.x.chunks_exact_mut(dim.max(1)).take(*count).enumerate() {
        let Some(sum) = sums.at(i) else { continue };
        sum.finish(|j, y| {
            if let Some(x) = x.get_mut(j) {
                *x += y;
            }
        });
        x.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
    Ok(())
}

/// The vector of position `i`, of `len` numbers.
pub(crate) fn nth(vectors: &[f32], i: usize, len: usize) -> &[f32] {
    vectors.get(i * len..).and_then(|rest| rest.get(..len)).unwrap_or(&[])
}

/// Normalises with norm number `which` of `vectors`.
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
    match geometry.config.norm {
        Norm::Rms => norm::rms(out, x, weight, geometry.config.norm_eps),
        Norm::Layer => {
            let bias = vectors.get(at + dim..).and_then(|v| v.get(..dim)).unwrap_or(&[]);
            norm::layer(out, x, weight, bias, geometry.config.norm_eps);
        }
    }
}

/// Copies the one record of a table of floats.
pub(crate) fn load_floats<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    stage: Stage,
    table: &crate::image::Table<'_>,
    out: &mut [f32],
) -> Result<(), FetchError<D::Error>> {
    io.for_each(stage, table, 0..1, |_, _, record| {
        for (out, word) in out.iter_mut().zip(record.words(0)) {
            *out = f32::from_le_bytes(*word);
        }
    })
}
