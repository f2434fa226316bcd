//! One transformer layer: attention, then the sparse FFN, each on a normalised copy of the residual.
//!
//! In: the residual stream at one position. Out: the same, one layer further.

use crate::attention::{Scratch, attend};
use crate::cache::Cache;
use crate::config::Norm;
use crate::fetch::{FetchError, Io};
use crate::ffn::{self, Active};
use crate::image::{Geometry, Image, Page, SectionKind};
use crate::kv::KvCache;
use crate::math::accumulate::Accumulator;
use crate::math::{norm, quant, rope};
use crate::memory::RunState;
use crate::predictor::{Search, predict};
use crate::probe::{Probe, Stage};
use ripple_hal::BlockDevice;

/// What a layer works on.
pub(crate) struct Pass<'a, 'm> {
    pub image: &'a Image<'m>,
    pub state: &'a mut RunState<'m>,
    pub kv: &'a mut KvCache<'m>,
    pub cache: &'a mut Cache<'m>,
    pub position: u32,
}

/// Runs `layer` on `state.x` at `position`.
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
    let Pass { image, state, kv, position, .. } = pass;

    let xb = state.xb.get_mut(..dim).unwrap_or_default();
    normalise(xb, state.x, state.layer_vectors, 0, geometry);
    let quantised = state.quantised.get_mut(..dim).unwrap_or_default();
    let scale = quant::quantise(xb, quantised);
    let qkv = &mut *state.qkv;
    let table = image.table(SectionKind::Qkv, layer);
    io.gemv(Stage::Attention, &table, quantised, scale, |i, y| put(qkv, i, y))?;

    let (query, key_value) = qkv.split_at_mut_checked(query_dim).unwrap_or_default();
    let (key, value) = key_value.split_at_mut_checked(kv_dim).unwrap_or_default();
    rope::rotate(query, state.cos, state.sin);
    rope::rotate(key, state.cos, state.sin);
    kv.store(layer, *position, key, value);

    let xb = state.xb.get_mut(..query_dim).unwrap_or_default();
    let scratch = Scratch {
        scores: state.scores,
        quantised: state.quantised,
        narrow: state.narrow,
        wide: state.wide,
    };
    attend(xb, query, kv, config, layer, *position, scratch);
    io.probe.compute(Stage::Attention, 2 * config.query_dim() * (*position + 1));

    let quantised = state.quantised.get_mut(..query_dim).unwrap_or_default();
    let scale = quant::quantise(xb, quantised);
    let x = &mut *state.x;
    let table = image.table(SectionKind::Output, layer);
    io.gemv(Stage::Attention, &table, quantised, scale, |i, y| {
        if let Some(x) = x.get_mut(i as usize) {
            *x += y;
        }
    })
}

fn sparse_ffn<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    pass: &mut Pass<'_, '_>,
    geometry: &Geometry,
    layer: u32,
) -> Result<(), FetchError<D::Error>> {
    let Pass { image, state, cache, .. } = pass;
    let dim = geometry.config.dim as usize;
    io.probe.enter(Stage::Predictor, layer);
    let xb = state.xb.get_mut(..dim).unwrap_or_default();
    normalise(xb, state.x, state.layer_vectors, 1, geometry);
    let quantised = state.quantised.get_mut(..dim).unwrap_or_default();
    let scale = quant::quantise(xb, quantised);
    let count = predict(
        io,
        geometry,
        &image.table(SectionKind::Predictor, layer),
        Search {
            x: xb,
            quantised,
            scale,
            planes: state.planes,
            active: state.active,
            values: state.values,
        },
    )?;
    let slots = state.active.get(..count).unwrap_or(&[]);
    let values = state.values.get(..count).unwrap_or(&[]);
    io.probe.active(layer, slots);

    io.probe.enter(Stage::Ffn, layer);
    let narrow = state.narrow.get_mut(..dim).unwrap_or_default();
    let mut sum = Accumulator::new(narrow, state.wide);
    let table = image.table(SectionKind::Ffn, layer);
    let pages = image.header.section(SectionKind::Pages).start;
    let page = Page::of_layer(state.pages, layer, table.layout.stride(), pages);
    let active = Active { slots, values, misses: state.misses, page, quantised, scale };
    ffn::apply(io, geometry, &table, cache, layer, active, &mut sum)?;
    let x = &mut *state.x;
    sum.finish(|j, y| {
        if let Some(x) = x.get_mut(j) {
            *x += y;
        }
    });
    if geometry.config.ffn_bias {
        let at = 2 * geometry.norm_vectors() as usize * dim;
        let bias = state.layer_vectors.get(at..).unwrap_or(&[]);
        x.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
    Ok(())
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

pub(crate) fn put(out: &mut [f32], i: u32, y: f32) {
    if let Some(out) = out.get_mut(i as usize) {
        *out = y;
    }
}
