//! Attention: each new position looks at all that are kept up to itself.
//!
//! In: the residual stream, and the KV cache. Out: the residual stream, the mixed values added. Grouped
//! heads share keys and values. What is kept comes in chunks: what is in memory is one, and before it
//! comes what may lie on the card.

use crate::config::{ModelConfig, Order};
use crate::image::SectionKind;
use crate::layer::gemv::{Output, gemv};
use crate::layer::join::{Branch, join};
use crate::layer::{Chunk, normalised};
use crate::math::accumulate::Accumulators;
use crate::math::{
    self, Packed, norm, quant, rope,
    softmax::{capped, softmax},
};
use crate::memory::kv::{KvCache, KvKind, KvRows, Side, Vector};
use crate::memory::{PackRoom, RunState};
use crate::read::fetch::{FetchError, Records};
use crate::read::probe::{Probe, Stage};
use crate::slices::{self, Rows, RowsMut, front, front_mut, split_mut};
use core::convert::Infallible;
use ripple_hal::BlockDevice;

/// `x += W_o attention(W_qkv norm(x))` at each position of the chunk.
pub(super) fn attention<D: BlockDevice, P: Probe>(
    records: &mut Records<'_, '_, D, P>,
    chunk: &mut Chunk<'_, '_, D, P>,
    layer: u32,
) -> Result<(), FetchError<D::Error>> {
    let Chunk { image, state, kv, count, spilled, .. } = chunk;
    #[cfg(feature = "adapters")]
    let adapter = &mut chunk.adapter;
    let (geometry, count, spilled) = (&image.header.geometry, *count, *spilled);
    let config = &geometry.config;
    let (query_dim, kv_dim) = (config.query_dim() as usize, config.kv_dim() as usize);
    let columns = query_dim + 2 * kv_dim;

    let vectors = &*state.layer_vectors;
    let inputs = normalised(
        &mut state.inputs,
        state.x,
        count,
        vectors,
        (0, SectionKind::Qkv),
        geometry,
        &mut [],
    );
    let qkv = state.products.qkv();
    let table = image.table(SectionKind::Qkv, layer);
    gemv(records, Stage::Attention, &table, inputs, Output::Write(qkv))?;
    #[cfg(feature = "adapters")]
    if let Some(adapter) = adapter {
        let work = adapter.add_to_qkv(state, geometry, layer, count);
        records.probe().compute(Stage::Attention, work);
    }
    let (qkv, vectors) = (state.products.qkv(), &*state.layer_vectors);

    // All keys and values first: the last position sees those of the whole pass.
    let half = geometry.frequencies() as usize;
    let cos = Rows { cells: state.cos, columns: half };
    let sin = Rows { cells: state.sin, columns: half };
    let positions = front(state.places.positions(), count);
    let mut qkv = RowsMut { cells: qkv, columns };
    for (i, &at) in positions.iter().enumerate() {
        let (query, key_value) = split_mut(qkv.at(i), query_dim);
        let (key, value) = split_mut(key_value, kv_dim);
        if config.variant().head_norm {
            let (at, dim) = (geometry.head_norms_at() as usize, config.head_dim as usize);
            norm::heads(query, slices::part(vectors, at, dim), config.norm_eps);
            norm::heads(key, slices::part(vectors, at + dim, dim), config.norm_eps);
        }
        let (cos, sin) = (cos.at(i), sin.at(i));
        rope::rotate(query, cos, sin);
        rope::rotate(key, cos, sin);
        kv.store(layer, at, key, value);
    }

    let grouped = geometry.groups_inputs(SectionKind::Output);
    for i in 0..count {
        match spilled {
            None => attend_in_memory(state, kv, config, layer, i),
            Some(spilled) => (spilled.attend)(spilled, records, state, kv, config, layer, i)?,
        }
        #[cfg(feature = "adapters")]
        if let Some(adapter) = adapter {
            adapter.look_at_output(config, layer, i, state.inputs.vector(i, query_dim).0);
        }
        if config.variant().sub_norm {
            norm::unit(state.inputs.vector(i, query_dim).0, config.norm_eps);
        }
        state.inputs.pack(i, query_dim, grouped);
        let seen = state.places.positions().get(i).map_or(0, |position| position + 1);
        records.probe().compute(Stage::Attention, 2 * config.query_dim() * seen);
    }
    let inputs = state.inputs.inputs(count, query_dim, grouped);
    let table = image.table(SectionKind::Output, layer);
    if !geometry.has_branch() {
        gemv(records, Stage::Attention, &table, inputs, Output::Add(state.x))?;
        // Models that have a branch take no adapter.
        #[cfg(feature = "adapters")]
        if let Some(adapter) = adapter {
            let work = adapter.add_to_stream(state.x, config, layer, count);
            records.probe().compute(Stage::Attention, work);
        }
        return Ok(());
    }
    gemv(records, Stage::Attention, &table, inputs, Output::Write(state.branch))?;
    if config.variant().order != Order::Parallel {
        let dim = config.dim as usize;
        let (mut x, y) = (RowsMut { cells: state.x, columns: dim }, &*state.branch);
        let y = Rows { cells: y, columns: dim };
        for i in 0..count {
            let (scratch, _) = state.inputs.vector(i, dim);
            join(x.at(i), y.at(i), scratch, state.layer_vectors, Branch::Attention, geometry);
        }
    }
    Ok(())
}

/// A position that attends, and scratch, whose contents do not matter before or after.
pub(crate) struct Query<'a> {
    /// `(heads, head_dim)`.
    out: &'a mut [f32],
    /// `(heads, head_dim)`.
    query: &'a [f32],
    kv: &'a KvCache<'a>,
    config: &'a ModelConfig,
    layer: u32,
    position: u32,
    /// `(heads at once, positions)`.
    scores: &'a mut [f32],
    /// For `(head_dim,)`, at least.
    room: PackRoom<'a>,
    /// `(heads at once, head_dim)`, at least.
    narrow: &'a mut [i32],
    high: &'a mut [i32],
    /// `(heads at once,)`, at least.
    left: &'a mut [u32],
}

impl<'a> Query<'a> {
    /// Position `i` of the chunk, whose query has been computed.
    #[inline(always)]
    pub fn new(
        state: &'a mut RunState<'_>,
        kv: &'a KvCache<'a>,
        config: &'a ModelConfig,
        layer: u32,
        i: usize,
    ) -> Self {
        let query_dim = config.query_dim() as usize;
        let columns = query_dim + 2 * config.kv_dim() as usize;
        let (out, room) = state.inputs.vector(i, query_dim);
        Self {
            out,
            query: slices::part(state.products.qkv(), i * columns, query_dim),
            kv,
            config,
            layer,
            position: state.places.positions().get(i).copied().unwrap_or(0),
            scores: state.scores,
            room,
            narrow: state.narrow,
            high: state.high,
            left: state.left,
        }
    }
}

/// Where what was kept comes from.
///
/// A trait, not a `dyn`: what is in memory, all that most firmware has, costs no call and cannot fail.
pub(crate) trait Chunks {
    /// Why it did not come.
    type Error;

    /// Visits one side of the positions up to that of the query, ascending, many at a time.
    fn each(
        &mut self,
        kv: &KvCache<'_>,
        layer: u32,
        side: Side,
        last: u32,
        visit: impl FnMut(KvRows<'_>),
    ) -> Result<(), Self::Error>;
}

/// All positions in memory are one chunk.
struct InMemory;

impl Chunks for InMemory {
    type Error = Infallible;

    fn each(
        &mut self,
        kv: &KvCache<'_>,
        layer: u32,
        side: Side,
        last: u32,
        mut visit: impl FnMut(KvRows<'_>),
    ) -> Result<(), Infallible> {
        visit(kv.rows(layer, side, last));
        Ok(())
    }
}

/// Never inlined: the deepest call reads, and need not carry what only this needs.
#[inline(never)]
fn attend_in_memory(
    state: &mut RunState<'_>,
    kv: &KvCache<'_>,
    config: &ModelConfig,
    layer: u32,
    i: usize,
) {
    let Ok(()) = attend(Query::new(state, kv, config, layer, i), 1, &mut InMemory);
}

/// `out_h = sum_t softmax_t(q_h . k_t / sqrt(head_dim)) v_t` over positions `0..=position`.
///
/// `at_once` heads, of which there is a multiple, share each chunk. Chunks ascend, as do the positions in
/// each: that is the order in which a head is summed, however many there are of either.
#[inline(always)]
pub(crate) fn attend<C: Chunks>(
    query: Query<'_>,
    at_once: usize,
    chunks: &mut C,
) -> Result<(), C::Error> {
    let Query { out, query, kv, config, layer, position, scores, room, narrow, high, left } = query;
    let PackRoom { quantised, packed } = room;
    // At least 4, checked with the header; the compiler must see that it is not 0.
    let head_dim = config.head_dim.max(1) as usize;
    let factor = 1.0 / libm::sqrtf(config.head_dim as f32);
    let cap = config.variant().attention_cap;
    let seen = position as usize + 1;
    let quantised = front_mut(quantised, head_dim);
    let narrow = front_mut(narrow, at_once * head_dim);
    let query = Rows { cells: query, columns: head_dim };
    let mut out = RowsMut { cells: out, columns: head_dim };
    let mut scores = RowsMut { cells: scores, columns: seen };
    let group = config.heads.checked_div(config.kv_heads).unwrap_or(1);
    let kv_head = |head: usize| (head as u32).checked_div(group).unwrap_or(0);
    let mut first = 0;
    while first < config.heads as usize {
        chunks.each(kv, layer, Side::Key, position, |rows| {
            for i in 0..at_once {
                let query = query.at(first + i);
                let (scale, packed) = match kv.kind() {
                    KvKind::F16 => (0.0, Packed::all(&[])),
                    KvKind::Q8 => {
                        (quant::quantise(query, quantised), Packed::new(quantised, packed))
                    }
                };
                #[cfg(ripple_isa = "x86")]
                if let Some(keys) = kv.halves(rows, kv_head(first + i)) {
                    let scores = slices::rest_mut(scores.at(i), rows.first as usize);
                    let scores = front_mut(scores, keys.count());
                    math::half_dots(query, keys, scores);
                    scores.iter_mut().for_each(|score| *score = capped(factor * *score, cap));
                    continue;
                }
                let scores = scores.at(i).iter_mut().skip(rows.first as usize);
                for (place, key) in scores.zip(kv.vectors(rows, kv_head(first + i))) {
                    *place = capped(factor * score(query, scale, packed, key), cap);
                }
            }
        })?;
        for i in 0..at_once {
            softmax(scores.at(i));
            out.at(first + i).iter_mut().for_each(|out| *out = 0.0);
        }
        let mut sums = Accumulators::new(head_dim, narrow, high, left);
        chunks.each(kv, layer, Side::Value, position, |rows| {
            for i in 0..at_once {
                let Some(mut sum) = sums.at(i) else { continue };
                let out = out.at(first + i);
                #[cfg(ripple_isa = "x86")]
                if let Some(values) = kv.halves(rows, kv_head(first + i)) {
                    let weights = slices::rest(scores.at(i), rows.first as usize);
                    math::add_halves(out, weights, values);
                    continue;
                }
                let weights = scores.at(i).iter().skip(rows.first as usize);
                for (weight, value) in weights.zip(kv.vectors(rows, kv_head(first + i))) {
                    match value {
                        Vector::F16(value) => {
                            for (out, v) in out.iter_mut().zip(value) {
                                *out += weight * math::half_to_f32(*v);
                            }
                        }
                        Vector::Q8 { scale, row } => sum.add(weight * scale, row),
                    }
                }
            }
        })?;
        if kv.kind() == KvKind::Q8 {
            for i in 0..at_once {
                let out = out.at(first + i);
                let Some(sum) = sums.at(i) else { continue };
                sum.finish(|j, y| {
                    if let Some(out) = out.get_mut(j) {
                        *out = y;
                    }
                });
            }
        }
        first += at_once;
    }
    Ok(())
}

/// `query . key`; `scale * packed` is the query in 8 bits.
#[inline(always)]
fn score(query: &[f32], scale: f32, packed: Packed<'_>, key: Vector<'_>) -> f32 {
    match key {
        Vector::F16(key) => dot_f16(query, key),
        Vector::Q8 { scale: key_scale, row } => math::dot(row, packed) as f32 * (scale * key_scale),
    }
}

/// Four partial sums, as [`math::dot_f32`].
fn dot_f16(query: &[f32], key: &[u16]) -> f32 {
    let mut sums = [0.0f32; 4];
    for (q, k) in query.chunks_exact(4).zip(key.chunks_exact(4)) {
        for (sum, (q, k)) in sums.iter_mut().zip(q.iter().zip(k)) {
            *sum += q * math::half_to_f32(*k);
        }
    }
    let [s0, s1, s2, s3] = sums;
    (s0 + s1) + (s2 + s3)
}
