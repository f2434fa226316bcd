//! Attention of one new position over all kept ones.
//!
//! In: a query, and the KV cache. Out: the mixed values. Grouped heads share keys and values.

use crate::config::ModelConfig;
use crate::math::accumulate::Accumulator;
use crate::math::{self, Packed, quant, softmax::softmax};
use crate::memory::PackRoom;
use crate::memory::kv::{KvCache, KvKind, Side, Vector};

/// Scratch of [`attend`]; contents do not matter before or after.
pub(crate) struct Scratch<'a> {
    /// `(context,)`.
    pub scores: &'a mut [f32],
    /// For `(head_dim,)`, at least.
    pub room: PackRoom<'a>,
    /// At least `(head_dim,)`.
    pub narrow: &'a mut [i32],
    /// At least `(head_dim,)`.
    pub high: &'a mut [i32],
}

/// `out_h = sum_t softmax_t(q_h . k_t / sqrt(head_dim)) v_t` over positions `0..=position`.
///
/// `query`, `out`: `(heads * head_dim,)`. Positions are summed in ascending order.
pub(crate) fn attend(
    out: &mut [f32],
    query: &[f32],
    cache: &KvCache<'_>,
    config: &ModelConfig,
    layer: u32,
    position: u32,
    scratch: Scratch<'_>,
) {
    // At least 4, checked with the header; the compiler must see that it is not 0.
    let head_dim = config.head_dim.max(1) as usize;
    let factor = 1.0 / libm::sqrtf(config.head_dim as f32);
    let Scratch { scores, room: PackRoom { quantised, packed }, narrow, high } = scratch;
    let scores = scores.get_mut(..=position as usize).unwrap_or_default();
    let quantised = quantised.get_mut(..head_dim).unwrap_or_default();
    let high = high.get_mut(..head_dim).unwrap_or_default();
    let narrow = narrow.get_mut(..head_dim).unwrap_or_default();
    // `heads` is a multiple of `kv_heads` (checked with the header): count groups, do not divide.
    let mut kv_head = 0;
    let mut in_group = 0;
    let group = config.heads.checked_div(config.kv_heads).unwrap_or(1);
    for (query, out) in query.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)) {
        let (scale, packed) = match cache.kind() {
            KvKind::F16 => (0.0, Packed::of(&[], 0)),
            KvKind::Q8 => (quant::quantise(query, quantised), Packed::new(quantised, packed)),
        };
        let keys = cache.vectors(layer, position, Side::Key, kv_head);
        for (score, key) in scores.iter_mut().zip(keys) {
            *score = factor * self::score(query, scale, packed, key);
        }
        softmax(scores);
        let mut left = 0;
        let mut sum = Accumulator::new(narrow, high, &mut left);
        out.iter_mut().for_each(|out| *out = 0.0);
        let mut integers = false;
        let values = cache.vectors(layer, position, Side::Value, kv_head);
        for (weight, value) in scores.iter().zip(values) {
            match value {
                Vector::F16(value) => {
                    for (out, v) in out.iter_mut().zip(value) {
                        *out += weight * math::half_to_f32(*v);
                    }
                }
                Vector::Q8 { scale, row } => {
                    integers = true;
                    sum.add(weight * scale, row);
                }
            }
        }
        if integers {
            sum.finish(|j, y| {
                if let Some(out) = out.get_mut(j) {
                    *out = y;
                }
            });
        }
        in_group += 1;
        if in_group == group {
            (kv_head, in_group) = (kv_head + 1, 0);
        }
    }
}

/// `query . key`; `scale * packed` is the query in 8 bits.
#[inline(always)]
pub(crate) fn score(query: &[f32], scale: f32, packed: Packed<'_>, key: Vector<'_>) -> f32 {
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
