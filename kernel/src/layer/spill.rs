//! Attention over keys and values of which the oldest lie on the card.
//!
//! In: a query, the KV cache, reads. Out: the mixed values, with the bits of
//! [`attention::attend`](crate::layer::attention::attend): the same products, summed in the same order. Every
//! row on the card is read once for all heads, keys first, then values.

use crate::config::ModelConfig;
use crate::layer::attention::{self, Scratch};
use crate::math::accumulate::Accumulators;
use crate::math::{self, Packed, quant, softmax::softmax};
use crate::memory::PackRoom;
use crate::memory::kv::{KvCache, KvKind, Side, Vector};
use crate::read::collapse::collapse;
use crate::read::fetch::{FetchError, Io};
use crate::read::probe::{Probe, Stage};
use core::ops::Range;
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockDevice};

// The bytes of a row are the same in memory and on the card.
const _: () = assert!(cfg!(target_endian = "little"));

/// As [`attention::attend`]; of `scratch`, `scores` is `(heads, context)` here, `narrow` and `high` are
/// `(heads * head_dim,)`. `left`: `(heads,)`, scratch.
#[allow(clippy::too_many_arguments, reason = "those of `attend`, and what reads")]
pub(crate) fn attend<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    out: &mut [f32],
    query: &[f32],
    cache: &KvCache<'_>,
    config: &ModelConfig,
    layer: u32,
    position: u32,
    scratch: Scratch<'_>,
    left: &mut [u32],
) -> Result<(), FetchError<D::Error>> {
    let head_dim = config.head_dim as usize;
    let heads = config.heads.max(1) as usize;
    let group = config.heads.checked_div(config.kv_heads).unwrap_or(1);
    let kv_head = |head: u32| head.checked_div(group).unwrap_or(0);
    let factor = 1.0 / libm::sqrtf(config.head_dim as f32);
    let Scratch { scores, room: PackRoom { quantised, packed }, narrow, high } = scratch;
    let context = scores.len() / heads;
    let quantised = quantised.get_mut(..head_dim).unwrap_or_default();
    let seen = position as usize + 1;

    each_row(io, cache, layer, position, Side::Key, &mut |positions, rows| {
        for head in 0..config.heads {
            let query = query.get(nth(head, head_dim)).unwrap_or(&[]);
            let scores = scores.get_mut(nth(head, context)).unwrap_or_default();
            let (scale, packed) = match cache.kind() {
                KvKind::F16 => (0.0, Packed::of(&[], 0)),
                KvKind::Q8 => (quant::quantise(query, quantised), Packed::new(quantised, packed)),
            };
            for position in positions.clone() {
                let key = cache.vector(rows.at(position), kv_head(head));
                if let Some(score) = scores.get_mut(position as usize) {
                    *score = factor * attention::score(query, scale, packed, key);
                }
            }
        }
    })?;
    for head in 0..config.heads {
        let scores = scores.get_mut(nth(head, context)).and_then(|scores| scores.get_mut(..seen));
        softmax(scores.unwrap_or_default());
    }
    out.iter_mut().for_each(|out| *out = 0.0);
    let narrow = narrow.get_mut(..heads * head_dim).unwrap_or_default();
    let mut sums =
        Accumulators::new(head_dim, narrow, high, left.get_mut(..heads).unwrap_or_default());
    each_row(io, cache, layer, position, Side::Value, &mut |positions, rows| {
        for head in 0..config.heads {
            let out = out.get_mut(nth(head, head_dim)).unwrap_or_default();
            let weights = scores.get(nth(head, context)).unwrap_or(&[]);
            let Some(mut sum) = sums.at(head as usize) else { continue };
            for position in positions.clone() {
                let weight = weights.get(position as usize).copied().unwrap_or(0.0);
                match cache.vector(rows.at(position), kv_head(head)) {
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
    if cache.kind() == KvKind::Q8 {
        for head in 0..config.heads {
            let out = out.get_mut(nth(head, head_dim)).unwrap_or_default();
            let Some(sum) = sums.at(head as usize) else { continue };
            sum.finish(|j, y| {
                if let Some(out) = out.get_mut(j) {
                    *out = y;
                }
            });
        }
    }
    Ok(())
}

/// Where the `len` numbers of a head are.
fn nth(head: u32, len: usize) -> Range<usize> {
    let at = head as usize * len;
    at..at + len
}

/// Keys or values of consecutive positions, in memory or as they arrived.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    first: u32,
    /// Bytes of a row, and from one to the next.
    row: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    fn at(&self, position: u32) -> &'a [u8] {
        let at = position.saturating_sub(self.first) as usize * self.stride;
        self.bytes.get(at..).and_then(|bytes| bytes.get(..self.row)).unwrap_or(&[])
    }
}

/// Visits one side of positions `0..=position` in ascending order, many at a time.
fn each_row<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    cache: &KvCache<'_>,
    layer: u32,
    position: u32,
    side: Side,
    visit: &mut dyn FnMut(Range<u32>, Rows<'_>),
) -> Result<(), FetchError<D::Error>> {
    let (spilled, bytes) = (cache.spilled(), cache.row_bytes());
    let row = bytes as usize;
    let mut extents = collapse(0..spilled, bytes, BlockCount(0), io.half());
    io.fetch(Stage::Attention, cache.table(layer, side), None, &mut extents, &mut |_, arrived| {
        if let Some((extent, bytes)) = arrived {
            let first = extent.first_slot;
            let skip = (u64::from(first) * row as u64)
                .saturating_sub(u64::from(extent.start) * BLOCK_BYTES as u64);
            let bytes = bytes.get(skip as usize..).unwrap_or(&[]);
            visit(first..first + extent.wanted, Rows { bytes, first, row, stride: row });
        }
        Ok(())
    })?;
    let bytes = cache.rows(layer, side);
    visit(spilled..position + 1, Rows { bytes, first: spilled, row, stride: 2 * row });
    Ok(())
}
