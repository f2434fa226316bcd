//! Keys and values of past positions, in 16 or 8 bits.
//!
//! In: keys and values of one position. Out: views of one head at one position. Knows nothing of
//! attention.

use crate::config::ModelConfig;
#[cfg(ripple_isa = "x86")]
use crate::math::halves::HalfRows;
use crate::math::{self, quant};
use crate::slices;
use half::f16;
use zerocopy::{FromBytes, IntoBytes};

/// Numbers of the KV cache. Their codes stand in files: they stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum KvKind {
    /// `f16`.
    F16 = 0,
    /// 8 bits and one scale for each head and position: half the memory, and integer arithmetic.
    Q8 = 1,
}

impl KvKind {
    /// Words of one head's key, or value, at one position.
    const fn head_words(self, head_dim: u32) -> u32 {
        match self {
            Self::F16 => head_dim / 2,
            Self::Q8 => 1 + head_dim / 4,
        }
    }

    /// Words of one position of one layer.
    pub const fn entry_words(self, config: &ModelConfig) -> u32 {
        self.entry_words_of(config.kv_heads, config.head_dim)
    }

    const fn entry_words_of(self, kv_heads: u32, head_dim: u32) -> u32 {
        2 * kv_heads * self.head_words(head_dim)
    }
}

/// One head's key or value at one position.
pub(crate) enum Vector<'a> {
    F16(&'a [u16]),
    Q8 { scale: f32, row: &'a [i8] },
}

/// Which of the two.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Key,
    Value,
}

/// See the [module](self).
pub(crate) struct KvCache<'m> {
    kind: KvKind,
    context: u32,
    kv_heads: u32,
    head_dim: u32,
    /// The first position in memory; those before it are on the card.
    first: u32,
    /// `(layers, context, 2, kv_heads)` vectors.
    words: &'m mut [u32],
}

/// Keys, or values, of consecutive positions: those in memory, or a few that came from the card.
#[derive(Clone, Copy)]
pub(crate) struct KvRows<'a> {
    /// `(positions, kv_heads)` vectors.
    pub words: &'a [u32],
    /// Words from a position to the next.
    pub stride: usize,
    /// The first of the positions.
    pub first: u32,
}

impl<'m> KvCache<'m> {
    pub fn new(words: &'m mut [u32], kind: KvKind, config: &ModelConfig, context: u32) -> Self {
        let (kv_heads, head_dim) = (config.kv_heads, config.head_dim);
        Self { kind, context, kv_heads, head_dim, first: 0, words }
    }

    /// The first positions, which are on the card: as many as this.
    pub fn spilled(&self) -> u32 {
        self.first
    }

    /// How its numbers are kept.
    pub fn kind(&self) -> KvKind {
        self.kind
    }

    /// Positions it can hold.
    pub fn context(&self) -> u32 {
        self.context
    }

    /// Bytes that `positions` of `layers` layers take; saturates.
    pub fn bytes(&self, layers: u32, positions: u32) -> u32 {
        let entry = self.kind.entry_words_of(self.kv_heads, self.head_dim);
        entry.saturating_mul(4).saturating_mul(layers).saturating_mul(positions)
    }

    /// Keeps the key and value of one position. `key`, `value`: `(kv_heads * head_dim,)`.
    pub fn store(&mut self, layer: u32, position: u32, key: &[f32], value: &[f32]) {
        for (side, x) in [(Side::Key, key), (Side::Value, value)] {
            self.put(layer, position, side, x);
        }
    }

    #[inline(always)]
    fn put(&mut self, layer: u32, position: u32, side: Side, x: &[f32]) {
        for (head, x) in x.chunks_exact(self.head_dim.max(1) as usize).enumerate() {
            let (at, words) = self.place(layer, position, side, head as u32);
            let Some(out) = self.words.get_mut(at..).and_then(|w| w.get_mut(..words)) else {
                continue;
            };
            match self.kind {
                KvKind::F16 => {
                    let Ok(out) = <[u16]>::mut_from_bytes(out.as_mut_bytes()) else { continue };
                    for (out, x) in out.iter_mut().zip(x) {
                        *out = f16::from_f32(x.clamp(-65504.0, 65504.0)).to_bits();
                    }
                }
                KvKind::Q8 => {
                    let Some((scale, row)) = out.split_first_mut() else { continue };
                    let Ok(row) = <[i8]>::mut_from_bytes(row.as_mut_bytes()) else { continue };
                    *scale = quant::quantise(x, row).to_bits();
                }
            }
        }
    }

    /// Moves what was kept at position `from` to `to`, and puts its key through `turn`.
    ///
    /// `key`: scratch, `(kv_heads * head_dim,)`.
    pub fn move_to(
        &mut self,
        layer: u32,
        from: u32,
        to: u32,
        key: &mut [f32],
        turn: impl FnOnce(&mut [f32]),
    ) {
        let (source, _) = self.place(layer, from, Side::Key, 0);
        let (target, _) = self.place(layer, to, Side::Key, 0);
        let count = self.kind.entry_words_of(self.kv_heads, self.head_dim) as usize;
        slices::copy_within(self.words, source, target, count);
        let heads = key.chunks_exact_mut(self.head_dim.max(1) as usize);
        for (head, key) in heads.take(self.kv_heads as usize).enumerate() {
            let words = self.row(layer, to, Side::Key);
            let row = KvRows { words, stride: words.len(), first: to };
            match self.vectors(row, head as u32).next() {
                Some(Vector::F16(kept)) => {
                    key.iter_mut().zip(kept).for_each(|(x, k)| *x = math::half_to_f32(*k));
                }
                Some(Vector::Q8 { scale, row }) => {
                    key.iter_mut().zip(row).for_each(|(x, k)| *x = scale * f32::from(*k));
                }
                None => {}
            }
        }
        turn(key);
        self.put(layer, to, Side::Key, key);
    }

    /// The words of the first `positions` of a layer, those on the card left out.
    pub fn kept(&self, layer: u32, positions: u32) -> &[u32] {
        let (at, count) = self.span(layer, positions);
        slices::part(self.words, at, count)
    }

    /// The same, to be written.
    pub fn kept_mut(&mut self, layer: u32, positions: u32) -> &mut [u32] {
        let (at, count) = self.span(layer, positions);
        slices::part_mut(self.words, at, count)
    }

    /// Where those in memory are, and how many words.
    fn span(&self, layer: u32, positions: u32) -> (usize, usize) {
        let entry = self.kind.entry_words_of(self.kv_heads, self.head_dim) as usize;
        let (at, _) = self.place(layer, self.first, Side::Key, 0);
        (at, positions.saturating_sub(self.first) as usize * entry)
    }

    /// What is in memory of one side of positions up to `last`.
    pub fn rows(&self, layer: u32, side: Side, last: u32) -> KvRows<'_> {
        let (at, _) = self.place(layer, self.first, side, 0);
        let stride = self.kind.entry_words_of(self.kv_heads, self.head_dim) as usize;
        // Of the last position no more than its own row, which is half of the stride.
        let words = stride * last.saturating_sub(self.first) as usize + self.row_words();
        KvRows { words: slices::part(self.words, at, words), stride, first: self.first }
    }

    /// One head's vectors of `rows`, if they are of 16 bits, as one table.
    #[cfg(ripple_isa = "x86")]
    pub fn halves<'r>(&self, rows: KvRows<'r>, head: u32) -> Option<HalfRows<'r>> {
        let words = self.kind.head_words(self.head_dim) as usize;
        let all = slices::rest(rows.words, head as usize * words);
        let cells = <[u16]>::ref_from_bytes(all.as_bytes()).ok()?;
        let rows = HalfRows { cells, stride: 2 * rows.stride, columns: 2 * words };
        (self.kind == KvKind::F16).then_some(rows)
    }

    /// One head's vectors of `rows`, by position.
    pub fn vectors<'r>(
        &self,
        rows: KvRows<'r>,
        head: u32,
    ) -> impl Iterator<Item = Vector<'r>> + use<'r> {
        let (kind, words) = (self.kind, self.kind.head_words(self.head_dim) as usize);
        let all = slices::rest(rows.words, head as usize * words);
        // What is left of the last position may be shorter than the way to the next.
        all.chunks(rows.stride.max(1)).map(move |row| {
            let words = slices::front(row, words);
            match kind {
                KvKind::F16 => {
                    Vector::F16(<[u16]>::ref_from_bytes(words.as_bytes()).unwrap_or(&[]))
                }
                KvKind::Q8 => match words.split_first() {
                    Some((scale, row)) => Vector::Q8 {
                        scale: f32::from_bits(*scale),
                        row: <[i8]>::ref_from_bytes(row.as_bytes()).unwrap_or(&[]),
                    },
                    None => Vector::Q8 { scale: 0.0, row: &[] },
                },
            }
        })
    }

    /// Words of the keys, or values, of one position.
    pub fn row_words(&self) -> usize {
        (self.kv_heads * self.kind.head_words(self.head_dim)) as usize
    }

    /// The keys, or values, of one position in memory.
    pub fn row(&self, layer: u32, position: u32, side: Side) -> &[u32] {
        let (at, _) = self.place(layer, position, side, 0);
        slices::part(self.words, at, self.row_words())
    }

    /// Says that the first `count` positions are on the card, and moves the `left` that follow to the
    /// front of the memory.
    pub fn forget(&mut self, layers: u32, count: u32, left: u32) {
        let entry = self.kind.entry_words_of(self.kv_heads, self.head_dim) as usize;
        for layer in 0..layers {
            let (to, _) = self.place(layer, self.first, Side::Key, 0);
            let (from, _) = self.place(layer, count, Side::Key, 0);
            slices::copy_within(self.words, from, to, left as usize * entry);
        }
        self.first = count;
    }

    /// Says that none are on the card.
    pub fn empty(&mut self) {
        self.first = 0;
    }

    fn place(&self, layer: u32, position: u32, side: Side, head: u32) -> (usize, usize) {
        let words = self.kind.head_words(self.head_dim) as usize;
        let position = position.wrapping_sub(self.first) as usize;
        let entry = (layer as usize * self.context as usize + position) * 2 + side as usize;
        ((entry * self.kv_heads as usize + head as usize) * words, words)
    }
}
