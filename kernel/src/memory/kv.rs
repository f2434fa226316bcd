//! Keys and values of past positions, in 16 or 8 bits.
//!
//! In: keys and values of one position. Out: views of one head at one position. Knows nothing of
//! attention.

use crate::config::ModelConfig;
use crate::math::{self, quant};
use crate::slices;
use half::f16;
#[cfg(feature = "spill")]
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockIdx};
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
    /// `(layers, context, 2, kv_heads)` vectors.
    words: &'m mut [u32],
    #[cfg(feature = "spill")]
    spill: Spill,
}

/// What of a KV cache lies on the card: the first positions, each layer's keys and values in tables.
#[cfg(feature = "spill")]
#[derive(Clone, Copy)]
struct Spill {
    /// Positions.
    count: u32,
    /// The first block, and blocks of a table.
    start: BlockIdx,
    blocks: BlockCount,
}

impl<'m> KvCache<'m> {
    pub fn new(words: &'m mut [u32], kind: KvKind, config: &ModelConfig, context: u32) -> Self {
        let (kv_heads, head_dim) = (config.kv_heads, config.head_dim);
        #[cfg(feature = "spill")]
        let spill = Spill { count: 0, start: BlockIdx(0), blocks: BlockCount(0) };
        Self {
            kind,
            context,
            kv_heads,
            head_dim,
            words,
            #[cfg(feature = "spill")]
            spill,
        }
    }

    /// The first positions, which are on the card: as many as this.
    #[cfg(feature = "spill")]
    pub fn spilled(&self) -> u32 {
        self.spill.count
    }

    /// None are on the card.
    #[cfg(not(feature = "spill"))]
    pub fn spilled(&self) -> u32 {
        0
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
            match self.vectors(layer, to, Side::Key, head as u32).nth(to as usize) {
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

    /// The words of the first `positions` of a layer.
    pub fn kept(&self, layer: u32, positions: u32) -> &[u32] {
        let (at, end) = self.ends(layer, positions);
        self.words.get(at..end).unwrap_or(&[])
    }

    /// The same, to be written.
    pub fn kept_mut(&mut self, layer: u32, positions: u32) -> &mut [u32] {
        let (at, end) = self.ends(layer, positions);
        self.words.get_mut(at..end).unwrap_or_default()
    }

    fn ends(&self, layer: u32, positions: u32) -> (usize, usize) {
        let at = |position| self.place(layer, position, Side::Key, 0).0;
        (at(self.spilled()), at(positions))
    }

    /// What was kept of one head at positions `0..=position`, in this order.
    pub fn vectors(
        &self,
        layer: u32,
        position: u32,
        side: Side,
        head: u32,
    ) -> impl Iterator<Item = Vector<'_>> {
        let (at, words) = self.place(layer, self.spilled(), side, head);
        let entry = self.kind.entry_words_of(self.kv_heads, self.head_dim) as usize;
        let all = self.words.get(at..).unwrap_or(&[]);
        // The last entry of the cache may end with this head: its chunk is shorter.
        all.chunks(entry.max(1)).take(position as usize + 1).map(move |entry| {
            let words = entry.get(..words).unwrap_or(&[]);
            match self.kind {
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

    fn place(&self, layer: u32, position: u32, side: Side, head: u32) -> (usize, usize) {
        let words = self.kind.head_words(self.head_dim) as usize;
        let position = position.wrapping_sub(self.spilled()) as usize;
        let entry = (layer as usize * self.context as usize + position) * 2 + side as usize;
        ((entry * self.kv_heads as usize + head as usize) * words, words)
    }
}

/// With some positions on the card.
#[cfg(feature = "spill")]
impl KvCache<'_> {
    /// Says that tables for `positions` begin at the block behind `blocks`.
    pub fn set_tables(&mut self, blocks: BlockCount, positions: u32) {
        let bytes = u64::from(positions) * u64::from(self.row_bytes());
        let table = bytes.div_ceil(BLOCK_BYTES as u64);
        self.spill.blocks = BlockCount(u32::try_from(table).unwrap_or(u32::MAX));
        self.spill.start = BlockIdx(blocks.0);
    }

    /// The first block of a table; one that no device has where that is beyond 2 TiB.
    pub fn table(&self, layer: u32, side: Side) -> BlockIdx {
        let tables = (2 * layer + side as u32).saturating_mul(self.spill.blocks.0);
        BlockIdx(self.spill.start.0.saturating_add(tables))
    }

    /// Bytes of the keys, or values, of one position.
    pub fn row_bytes(&self) -> u32 {
        4 * self.kv_heads * self.kind.head_words(self.head_dim)
    }

    /// The keys, or values, of one position in memory.
    pub fn row(&self, layer: u32, position: u32, side: Side) -> &[u32] {
        let (at, words) = self.place(layer, position, side, 0);
        let row = words * self.kv_heads as usize;
        self.words.get(at..).and_then(|words| words.get(..row)).unwrap_or(&[])
    }

    /// The rows of all positions in memory, those of both sides in turn.
    pub fn rows(&self, layer: u32, side: Side) -> &[u8] {
        let (at, _) = self.place(layer, self.spill.count, side, 0);
        self.words.get(at..).unwrap_or(&[]).as_bytes()
    }

    /// One head's vector of a row.
    pub fn vector<'r>(&self, row: &'r [u8], head: u32) -> Vector<'r> {
        let bytes = 4 * self.kind.head_words(self.head_dim) as usize;
        let at = head as usize * bytes;
        let vector = row.get(at..).and_then(|row| row.get(..bytes)).unwrap_or(&[]);
        match self.kind {
            KvKind::F16 => Vector::F16(<[u16]>::ref_from_bytes(vector).unwrap_or(&[])),
            KvKind::Q8 => match vector.split_first_chunk() {
                Some((scale, row)) => Vector::Q8 {
                    scale: f32::from_le_bytes(*scale),
                    row: <[i8]>::ref_from_bytes(row).unwrap_or(&[]),
                },
                None => Vector::Q8 { scale: 0.0, row: &[] },
            },
        }
    }

    /// Says that the first `count` positions are on the card.
    pub fn set_spilled(&mut self, count: u32) {
        self.spill.count = count;
    }

    /// Moves the `left` positions behind the first `count` in memory to the front: those are on the card.
    pub fn forget(&mut self, layers: u32, count: u32, left: u32) {
        let entry = self.kind.entry_words_of(self.kv_heads, self.head_dim) as usize;
        for layer in 0..layers {
            let (to, _) = self.place(layer, self.spill.count, Side::Key, 0);
            let from = to + count as usize * entry;
            for i in 0..left as usize * entry {
                let word = self.words.get(from + i).copied().unwrap_or(0);
                if let Some(place) = self.words.get_mut(to + i) {
                    *place = word;
                }
            }
        }
        self.spill.count += count;
    }
}
