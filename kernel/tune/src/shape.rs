//! The numbers that sizes are made of: of a model, and of what is kept of it.
//!
//! In: a model's geometry, the caller's options. Out: sizes, as `const fn`. Knows nothing of regions.

use crate::arms::{Arms, Choice, Elimination, FfnTape, Keep, Store};
use crate::options::TuneOptions;
use ripple_kernel::Ffn;
use ripple_kernel::image::{Geometry, SectionKind};

/// The numbers that sizes are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub tokens: usize,
    pub layers: usize,
    /// Layers whose tape is in the arena.
    pub held: usize,
    pub dim: usize,
    pub query: usize,
    pub kv: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub neurons: usize,
    pub vocab: usize,
    /// The longest vector.
    pub wide: usize,
    pub rank: usize,
    pub window: usize,
    pub gated: bool,
    /// Whether a neuron's first row lies in its bundle.
    pub whole: bool,
}

impl Shape {
    pub const fn of(geometry: &Geometry, options: &TuneOptions) -> Self {
        let c = &geometry.config;
        let tokens = if options.tokens < c.context { options.tokens } else { c.context };
        let (dim, query) = (c.dim as usize, c.query_dim() as usize);
        let window = if options.window == 0 { 1 } else { options.window };
        Self {
            tokens: tokens as usize,
            layers: c.layers as usize,
            held: if options.arms.spill { 1 } else { c.layers as usize },
            dim,
            query,
            kv: c.kv_dim() as usize,
            heads: c.heads as usize,
            kv_heads: c.kv_heads as usize,
            head_dim: c.head_dim as usize,
            neurons: c.neurons as usize,
            vocab: c.vocab as usize,
            wide: if dim > query { dim } else { query },
            rank: options.rank as usize,
            window: if window < c.neurons { window as usize } else { c.neurons as usize },
            gated: matches!(c.ffn, Ffn::Gated),
            whole: geometry.bundle_holds_first(),
        }
    }

    /// Queries, keys, values and outputs of a token, and one number for each head.
    pub const fn attention_numbers(&self) -> usize {
        2 * self.query + 2 * self.kv + self.heads
    }

    /// Bytes of the mask of a neuron.
    pub const fn mask_bytes(&self) -> usize {
        self.tokens.div_ceil(8)
    }

    /// Where the tape of a layer is, counted in layers.
    pub const fn place(&self, layer: usize) -> usize {
        if self.held < self.layers { 0 } else { layer }
    }

    /// Values that are kept of a neuron at a token.
    pub const fn values(&self) -> usize {
        if self.gated { 2 } else { 1 }
    }
}

/// Bytes of `rows` vectors of `columns` numbers of `real` bytes; saturates.
pub(crate) const fn stored(store: Store, rows: usize, columns: usize, real: usize) -> u64 {
    let numbers = product(rows, columns);
    match store {
        Store::Full => numbers.saturating_mul(real as u64),
        Store::Half => numbers.saturating_mul(2),
        // The scales lie behind, each a float.
        Store::Bytes => numbers.next_multiple_of(4).saturating_add(product(rows, 4)),
    }
}

pub(crate) const fn product(a: usize, b: usize) -> u64 {
    (a as u64).saturating_mul(b as u64)
}

pub(crate) const fn most(a: u64, b: u64) -> u64 {
    if a > b { a } else { b }
}

/// Tokens that attention of `layer` keeps at most, of `tokens`.
pub(crate) const fn kept_tokens(arms: &Arms, layer: usize, tokens: usize) -> usize {
    match arms.elimination {
        Some(e) if (e.first as usize) <= layer && layer < e.end as usize && e.block > 0 => {
            let block = e.block as usize;
            let kept = block.saturating_mul(e.blocks_kept(tokens.div_ceil(block)));
            if kept < tokens { kept } else { tokens }
        }
        _ => tokens,
    }
}

/// Whether blocks of tokens are scored by queries and keys of a layer.
pub(crate) const fn is_scored(arms: &Arms) -> bool {
    match arms.elimination {
        Some(e) => matches!(
            e.choice,
            Choice::Oracle { .. } | Choice::Ahead | Choice::KeyLength | Choice::Before
        ),
        None => false,
    }
}

/// Numbers that blocks of tokens are judged by, in a layer: see [`Choice::Predicted`] and
/// [`Keep::Threshold`].
pub(crate) const fn guide_numbers(s: &Shape, e: &Elimination) -> usize {
    let threshold = matches!(e.keep, Keep::Threshold) as usize;
    let block = if e.block == 0 { 1 } else { e.block as usize };
    match e.choice {
        Choice::Predicted { rank } => {
            threshold + s.tokens.div_ceil(block) + rank as usize * (2 + s.dim)
        }
        _ => threshold,
    }
}

/// Neurons that the tape keeps of a layer, of those that are chosen by a score.
pub(crate) const fn kept_neurons(s: &Shape, arms: &Arms) -> usize {
    match arms.ffn {
        FfnTape::Columns(columns) => columns.kept(s.neurons),
        _ => 0,
    }
}

/// Whether tokens may be left out of attention of `layer`, of a text of `tokens`.
pub(crate) const fn leaves_out(arms: &Arms, layer: usize, tokens: usize) -> bool {
    match arms.elimination {
        Some(e) if (e.first as usize) <= layer && layer < e.end as usize => {
            matches!(e.keep, Keep::Threshold) || kept_tokens(arms, layer, tokens) < tokens
        }
        _ => false,
    }
}

/// Bytes of what is kept of attention in `layer`: queries, keys, values, outputs, then a number for each head.
pub(crate) const fn attention_bytes(
    s: &Shape,
    arms: &Arms,
    values: Store,
    layer: usize,
    real: usize,
) -> u64 {
    let rows = kept_tokens(arms, layer, s.tokens);
    let vectors = stored(values, rows, s.attention_numbers() - s.heads, real).next_multiple_of(8);
    vectors.saturating_add(stored(Store::Full, rows, s.heads, real).next_multiple_of(8))
}

/// Bytes of a record of the head.
pub(crate) const fn head_stride(geometry: &Geometry) -> usize {
    let kind = if geometry.config.tied_head { SectionKind::Embedding } else { SectionKind::Head };
    match geometry.table(kind) {
        Some((_, layout)) => layout.stride() as usize,
        None => 0,
    }
}

/// Bytes of a neuron's first row, where it is not in the bundle.
pub(crate) const fn first_stride(geometry: &Geometry) -> usize {
    match geometry.table(SectionKind::Predictor) {
        Some((_, layout)) => layout.stride() as usize,
        None => 0,
    }
}
