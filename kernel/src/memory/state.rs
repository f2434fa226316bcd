//! What changes during a pass: activations, active sets, logits.
//!
//! In: words, a model's geometry and the caller's options. Out: named slices.

use super::{Options, max};
use crate::image::{Geometry, Predictor};
use crate::math::{Inputs, Packed, quant};
use crate::memory::region::{Carver, MemoryError, Region, words};

/// The sizes of [`RunState`]'s slices, in elements.
pub(super) struct Sizes {
    batch: u32,
    residual: u32,
    vector: u32,
    projections: u32,
    pub context: u32,
    scores: u32,
    left: u32,
    rope: u32,
    layer_floats: u32,
    final_floats: u32,
    packed: u32,
    sums: u32,
    neurons: u32,
    bits: u32,
    pages: u32,
    planes: u32,
    rank: u32,
    codes: u32,
    code_scales: u32,
    vocab: u32,
}

impl Sizes {
    pub const fn of(geometry: &Geometry, options: &Options) -> Self {
        let c = &geometry.config;
        let batch = options.batch_of(c);
        let vector = max(c.dim, c.query_dim());
        let values = match geometry.predictor {
            Predictor::Exact => c.neurons,
            _ => 0,
        };
        let spill = options.spill_of(c);
        let rank = geometry.rank();
        let qkv = max(c.query_dim() + 2 * c.kv_dim(), rank);
        Self {
            batch,
            residual: batch.saturating_mul(c.dim),
            vector,
            projections: max(batch.saturating_mul(qkv), values),
            context: options.context_of(c),
            scores: if spill > 0 {
                c.heads.saturating_mul(options.context_of(c) + spill)
            } else {
                options.context_of(c)
            },
            rope: batch.saturating_mul(geometry.frequencies()),
            layer_floats: geometry.layer_floats(),
            final_floats: geometry.final_floats(),
            packed: batch.saturating_mul(Packed::words(vector)),
            sums: max(
                batch.saturating_mul(c.dim),
                if spill > 0 { c.query_dim() } else { c.head_dim },
            ),
            left: if spill > 0 { max(batch, c.heads) } else { batch },
            neurons: c.neurons,
            bits: c.neurons.saturating_mul(batch.div_ceil(8)),
            pages: if geometry.page_blocks.0 > 0 { 1 + c.layers } else { 0 },
            planes: batch.saturating_mul(geometry.planes() * c.dim.div_ceil(32)),
            rank,
            codes: if rank > 0 { batch.saturating_mul(Packed::words(rank)) } else { 0 },
            code_scales: if rank > 0 { batch } else { 0 },
            vocab: c.vocab,
        }
    }

    pub const fn words(&self) -> usize {
        let slices = [
            (self.residual, 4),
            (self.vector, 4),
            (self.vector, 1),
            (self.packed, 4),
            (self.batch, 4),
            (self.projections, 4),
            (self.scores, 4),
            (self.rope, 4),
            (self.rope, 4),
            (self.layer_floats, 4),
            (self.final_floats, 4),
            (self.sums, 4),
            (self.sums, 4),
            (self.left, 4),
            (self.neurons, 2),
            (self.bits, 1),
            (self.neurons, 4),
            (self.pages, 4),
            (self.planes, 4),
            (self.rank, 4),
            (self.rank, 1),
            (self.codes, 4),
            (self.code_scales, 4),
            (self.batch, 4),
            (self.batch, 4),
            (self.batch, 4),
            (self.vocab, 4),
        ];
        let mut sum: usize = 0;
        let mut rest = slices.as_slice();
        while let [(count, bytes), more @ ..] = rest {
            sum = sum.saturating_add(words(*count, *bytes));
            rest = more;
        }
        sum
    }
}

/// Everything that changes during a pass, by name and shape.
pub(crate) struct RunState<'m> {
    /// `(batch, dim)` residual stream.
    pub x: &'m mut [f32],
    /// Inputs or outputs of a sub-block.
    pub inputs: InputBuffer<'m>,
    /// `(batch, query_dim + 2 kv_dim)` query, key, value; then, where the predictor knows them, as
    /// many first-layer outputs of active neurons, but room for a whole layer of one position.
    pub projections: &'m mut [f32],
    /// `(context,)` attention scores of one head; `(heads, context)` where positions may be on the card.
    pub scores: &'m mut [f32],
    /// `(batch, head_dim / 2)` each, cosines and sines of the positions; empty without rotary ones.
    pub cos: &'m mut [f32],
    pub sin: &'m mut [f32],
    /// The layer's norms and biases: see `Geometry::layer_floats`.
    pub layer_vectors: &'m mut [f32],
    /// The final norm and the rotary frequencies.
    pub final_vectors: &'m mut [f32],
    /// `(batch, dim)`, at least `(head_dim,)`, or `(query_dim,)` with some on the card: integer sums.
    pub narrow: &'m mut [i32],
    /// What of them is beyond 32 bits.
    pub high: &'m mut [i32],
    /// `(batch,)`, at least `(heads,)` with some on the card: how far they may still grow.
    pub left: &'m mut [u32],
    /// `(neurons,)` the union of the active sets: slots, ascending.
    pub active: &'m mut [u16],
    /// `(neurons, ceil(batch / 8))` bits: where each of them is active.
    pub bits: &'m mut [u8],
    /// `(neurons,)` what must be read: see `misses::Wanted`.
    pub misses: &'m mut [u32],
    /// `(1 + layers,)` the token's record of the page index; empty without pages.
    pub pages: &'m mut [u32],
    /// `(batch, planes, dim / 32)` bits of the input, for a sign predictor.
    pub planes: &'m mut [u32],
    /// What a low-rank predictor's projection makes of the inputs; empty without one.
    #[cfg_attr(not(feature = "low-rank"), allow(dead_code, reason = "always empty"))]
    pub codes: InputBuffer<'m>,
    /// `(batch,)` the tokens of the pass; then the likeliest after each, and their logits.
    pub tokens: &'m mut [u32],
    pub best: &'m mut [f32],
    /// `(batch,)` where they stand, ascending.
    pub positions: &'m mut [u32],
    /// `(vocab,)`.
    pub logits: &'m mut [f32],
}

impl<'m> RunState<'m> {
    pub fn carve(
        work: &'m mut [u32],
        geometry: &Geometry,
        options: &Options,
    ) -> Result<Self, MemoryError> {
        let s = Sizes::of(geometry, options);
        let mut rest = Carver::new(Region::Work, work, s.words())?;
        Ok(Self {
            x: rest.take(s.residual),
            inputs: InputBuffer {
                vector: rest.take(s.vector),
                quantised: rest.take(s.vector),
                packed: rest.take(s.packed),
                scales: rest.take(s.batch),
            },
            projections: rest.take(s.projections),
            scores: rest.take(s.scores),
            cos: rest.take(s.rope),
            sin: rest.take(s.rope),
            layer_vectors: rest.take(s.layer_floats),
            final_vectors: rest.take(s.final_floats),
            narrow: rest.take(s.sums),
            high: rest.take(s.sums),
            left: rest.take(s.left),
            active: rest.take(s.neurons),
            bits: rest.take(s.bits),
            misses: rest.take(s.neurons),
            pages: rest.take(s.pages),
            planes: rest.take(s.planes),
            codes: InputBuffer {
                vector: rest.take(s.rank),
                quantised: rest.take(s.rank),
                packed: rest.take(s.codes),
                scales: rest.take(s.code_scales),
            },
            tokens: rest.take(s.batch),
            best: rest.take(s.batch),
            positions: rest.take(s.batch),
            logits: rest.take(s.vocab),
        })
    }
}

/// Where the inputs of a matrix are quantised and packed.
pub(crate) struct InputBuffer<'m> {
    /// `(longest,)` one of them: `max(dim, query_dim)`, or the rank.
    vector: &'m mut [f32],
    /// `(longest,)` the same one, in 8 bits.
    quantised: &'m mut [i8],
    /// `(batch, Packed::words(longest))` all of them, packed.
    packed: &'m mut [u32],
    /// `(batch,)`.
    scales: &'m mut [f32],
}

/// Room for a vector that is not longer than an input; contents do not matter before or after.
pub(crate) struct PackRoom<'a> {
    /// `(cols,)`.
    pub quantised: &'a mut [i8],
    /// `(Packed::words(cols),)`.
    pub packed: &'a mut [u32],
}

/// Makes the vector of a position; what it is given beside its place, `(cols,)`, is scratch.
type Write<'a> = dyn FnMut(usize, &mut [f32], PackRoom<'_>) + 'a;

impl InputBuffer<'_> {
    /// Quantises and packs `positions` vectors of `cols` numbers, which `write` makes.
    pub fn fill(&mut self, positions: usize, cols: usize, write: &mut Write<'_>) -> Inputs<'_> {
        let vector = self.vector.get_mut(..cols).unwrap_or_default();
        let quantised = self.quantised.get_mut(..cols).unwrap_or_default();
        let rooms = self.packed.chunks_exact_mut(Packed::words(cols as u32) as usize);
        for (i, (packed, scale)) in rooms.zip(self.scales.iter_mut()).take(positions).enumerate() {
            write(i, vector, PackRoom { quantised: &mut *quantised, packed: &mut *packed });
            *scale = quant::quantise(vector, quantised);
            Packed::new(quantised, packed);
        }
        let scales = self.scales.get(..positions).unwrap_or(&[]);
        Inputs { packed: self.packed, cols, scales }
    }
}
