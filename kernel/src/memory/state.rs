//! What changes during a pass: activations, active sets, logits.
//!
//! In: words, a model's geometry and the caller's options. Out: named slices.

use super::{Options, max};
use crate::image::{Geometry, Predictor};
#[cfg(feature = "grouped")]
use crate::math::grouped;
use crate::math::{Inputs, Packed, quant};
use crate::memory::region::{Carver, MemoryError, Region, words};
#[cfg(feature = "grouped")]
use crate::slices::rest;
use crate::slices::{front, front_mut, part_mut};
use zerocopy::{FromBytes, IntoBytes};

/// Declares buffers, each once: `name: [element; count]` is a slice, `name: (Type [element; count])` one
/// that has several meanings, `name: {Type; shape}` what has such a table itself, of its own shape. Sizing
/// and carving both walk the table.
macro_rules! buffers {
    ($(#[$about:meta])* struct $name:ident($shape:ident: $Shape:ty) {
        $($(#[$what:meta])* $field:ident: $buffer:tt,)*
    }) => {
        $(#[$about])*
        pub(crate) struct $name<'m> {
            $($(#[$what])* pub $field: buffers!(@type $buffer),)*
        }

        impl<'m> $name<'m> {
            /// Words of all of them; saturates.
            pub const fn words($shape: $Shape) -> usize {
                total(&Self::counts($shape), &[$(buffers!(@bytes $buffer)),*])
            }

            /// Elements of each, in order.
            const fn counts($shape: $Shape) -> [u32; [$(stringify!($field)),*].len()] {
                [$(buffers!(@count $buffer)),*]
            }

            /// Takes them from a region with as many words.
            fn take($shape: $Shape, region: &mut Carver<'m>) -> Self {
                let [$($field),*] = Self::counts($shape);
                Self { $($field: buffers!(@take region $field $buffer),)* }
            }
        }
    };
    (@type [$element:ty; $count:expr]) => { &'m mut [$element] };
    (@type ($meanings:ident [$element:ty; $count:expr])) => { $meanings<'m> };
    (@type {$table:ident; $shape:expr}) => { $table<'m> };
    (@count [$element:ty; $count:expr]) => { $count };
    (@count ($meanings:ident [$element:ty; $count:expr])) => { $count };
    (@count {$table:ident; $shape:expr}) => { count($table::words($shape)) };
    (@bytes [$element:ty; $count:expr]) => { size_of::<$element>() as u8 };
    (@bytes ($meanings:ident [$element:ty; $count:expr])) => { size_of::<$element>() as u8 };
    (@bytes {$table:ident; $shape:expr}) => { 4 };
    (@take $region:ident $count:ident [$element:ty; $of:expr]) => { $region.take($count) };
    (@take $region:ident $count:ident ($meanings:ident [$element:ty; $of:expr])) => {
        $meanings($region.take($count))
    };
    (@take $region:ident $words:ident {$table:ident; $shape:expr}) => {{
        let _ = $words;
        $table::take($shape, $region)
    }};
}

/// A number of words as one of elements; saturates.
const fn count(words: usize) -> u32 {
    if words > u32::MAX as usize { u32::MAX } else { words as u32 }
}

/// Words of buffers of so many elements of so many bytes; saturates.
const fn total(mut counts: &[u32], mut bytes: &[u8]) -> usize {
    let mut sum: usize = 0;
    while let ([count, more_counts @ ..], [size, more_bytes @ ..]) = (counts, bytes) {
        sum = sum.saturating_add(words(*count, *size as u32));
        (counts, bytes) = (more_counts, more_bytes);
    }
    sum
}

/// The numbers that the sizes of buffers are made of. No product of those of a geometry that passes its
/// check exceeds 32 bits: 65,536 positions of 49,152 queries, keys and values are the most.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    batch: u32,
    dim: u32,
    /// The longest input of a matrix but the low-rank predictor's.
    longest: u32,
    /// Whether groups of their numbers have multipliers.
    #[cfg(feature = "grouped")]
    grouped: bool,
    projections: u32,
    pub context: u32,
    /// Heads that attention computes at once: all of them where positions may lie on the card, so that
    /// each is read once.
    heads: u32,
    head_dim: u32,
    /// Positions that attention may see.
    seen: u32,
    checks: u32,
    frequencies: u32,
    layer_floats: u32,
    final_floats: u32,
    neurons: u32,
    pages: u32,
    planes: u32,
    rank: u32,
    vocab: u32,
    branch: u32,
    squares: u32,
}

impl Sizes {
    pub const fn of(geometry: &Geometry, options: &Options) -> Self {
        let c = &geometry.config;
        let batch = options.batch_of(c);
        let outputs = match geometry.predictor {
            Predictor::Exact => c.neurons,
            _ => 0,
        };
        let (context, spill) = (options.context_of(c), options.spill_of(c));
        let rank = geometry.rank();
        let qkv = max(c.query_dim() + 2 * c.kv_dim(), rank);
        Self {
            batch,
            dim: c.dim,
            longest: max(c.dim, c.query_dim()),
            #[cfg(feature = "grouped")]
            grouped: geometry.groups_any_inputs(),
            projections: max(batch * qkv, outputs),
            context,
            heads: if spill > 0 { c.heads } else { 1 },
            head_dim: c.head_dim,
            seen: context + spill,
            checks: if spill > 0 { 2 * c.layers } else { 0 },
            frequencies: geometry.frequencies(),
            layer_floats: geometry.layer_floats(),
            final_floats: geometry.final_floats(),
            neurons: c.neurons,
            pages: if geometry.page_blocks.0 > 0 { 1 + c.layers } else { 0 },
            planes: geometry.planes() * c.dim.div_ceil(32),
            rank,
            vocab: c.vocab,
            branch: if geometry.has_branch() { (batch + 1) * c.dim } else { 0 },
            squares: if c.variant().sub_norm { 2 * batch } else { 0 },
        }
    }

    /// Sums in integers: a vector for each position, or the heads that attention computes at once.
    const fn sums(self) -> u32 {
        max(self.batch * self.dim, self.heads * self.head_dim)
    }

    /// What the inputs of the matrices take, and those of a low-rank predictor.
    const fn inputs(self) -> InputShape {
        self.input_shape(self.batch, self.longest)
    }

    const fn codes(self) -> InputShape {
        self.input_shape(if self.rank > 0 { self.batch } else { 0 }, self.rank)
    }

    #[cfg(feature = "grouped")]
    const fn input_shape(self, batch: u32, cols: u32) -> InputShape {
        (batch, cols, if self.grouped { grouped::groups(cols) } else { 0 })
    }

    #[cfg(not(feature = "grouped"))]
    const fn input_shape(self, batch: u32, cols: u32) -> InputShape {
        (batch, cols)
    }
}

/// `(batch, cols, groups)`: a build without groups does not pay for their number.
#[cfg(feature = "grouped")]
type InputShape = (u32, u32, u32);
#[cfg(not(feature = "grouped"))]
type InputShape = (u32, u32);

/// Words of a position's groups.
const fn group_words(shape: InputShape) -> u32 {
    #[cfg(feature = "grouped")]
    return shape.2;
    #[cfg(not(feature = "grouped"))]
    {
        let _ = shape;
        0
    }
}

buffers! {
    /// Everything that changes during a pass, by name and shape.
    struct RunState(s: Sizes) {
        /// `(batch, dim)` residual stream.
        x: [f32; s.batch * s.dim],
        /// Inputs or outputs of a sub-block.
        inputs: {InputBuffer; s.inputs()},
        /// Products of matrices that are not added to the residual stream.
        products: (Products [f32; s.projections]),
        /// `(context,)` attention scores of one head; `(heads, positions)` where some may be on the card.
        scores: [f32; s.heads * s.seen],
        /// `(batch, head_dim / 2)` cosines of the positions; empty without rotary ones.
        cos: [f32; s.batch * s.frequencies],
        /// The sines.
        sin: [f32; s.batch * s.frequencies],
        /// The layer's norms and biases: see `Geometry::layer_floats`.
        layer_vectors: [f32; s.layer_floats],
        /// The final norm and the rotary frequencies.
        final_vectors: [f32; s.final_floats],
        /// `(batch, dim)`, or the heads of `scores` times `head_dim`: integer sums.
        narrow: [i32; s.sums()],
        /// What of them is beyond 32 bits.
        high: [i32; s.sums()],
        /// `(batch,)`, or as many as heads: how far they may still grow.
        left: [u32; max(s.batch, s.heads)],
        /// `(neurons,)` the union of the active sets: slots, ascending.
        active: [u16; s.neurons],
        /// `(neurons, ceil(batch / 8))` bits: where each of them is active.
        bits: [u8; s.neurons * (s.batch.div_ceil(8))],
        /// Which of the union are read, or which are active at one position.
        wanted: (WantedSlots [u32; s.neurons]),
        /// `(1 + layers,)` the token's record of the page index; empty without pages.
        pages: [u32; s.pages],
        /// `(batch, planes, dim / 32)` bits of the input, for a sign predictor.
        planes: [u32; s.batch * s.planes],
        /// What a low-rank predictor's projection makes of the inputs; empty without one.
        #[cfg_attr(not(feature = "low-rank"), allow(dead_code, reason = "always empty"))]
        codes: {InputBuffer; s.codes()},
        /// `(batch,)` the tokens of the pass; then the likeliest after each.
        tokens: [u32; s.batch],
        /// Where the tokens stand; then the logits of the likeliest.
        places: (Places [u32; s.batch]),
        /// `(layers, 2)` checksums of the keys and values that are on the card.
        checks: [u32; s.checks],
        /// `(batch + 1, dim)` what attention or the FFN adds, where it is not added at once, and scratch;
        /// else empty.
        branch: [f32; s.branch],
        /// `(batch, 2)` sums of squares, where the FFN is divided by their root; else empty.
        squares: [u32; s.squares],
        /// `(vocab,)`.
        logits: [f32; s.vocab],
    }
}

buffers! {
    /// Where the inputs of a matrix are quantised and packed; of `(batch, cols)`, or of groups besides.
    struct InputBuffer(s: InputShape) {
        /// `(cols,)` one of them.
        vector: [f32; s.1],
        /// `(cols,)` the same one, in 8 bits.
        quantised: [i8; s.1],
        /// `(batch, Packed::words(cols))` all of them, packed; then, from the end, `(batch, groups)` of their groups.
        packed: [u32; s.0 * (Packed::words(s.1) + group_words(s))],
        /// `(batch,)`.
        scales: [f32; s.0],
    }
}

/// One memory that is four things, one after the other: each method begins a new use of it.
pub(crate) struct Products<'m>(&'m mut [f32]);

/// One memory that is two things, one after the other.
pub(crate) struct WantedSlots<'m>(&'m mut [u32]);

/// One memory that is two things, one after the other.
pub(crate) struct Places<'m>(&'m mut [u32]);

impl<'m> RunState<'m> {
    /// `words`: as the plan says.
    pub fn carve(
        work: &'m mut [u32],
        words: usize,
        geometry: &Geometry,
        options: &Options,
    ) -> Result<Self, MemoryError> {
        let mut region = Carver::new(Region::Work, work, words)?;
        Ok(Self::take(Sizes::of(geometry, options), &mut region))
    }
}

impl Products<'_> {
    /// `(positions, query_dim + 2 kv_dim)`: query, key, value.
    pub fn qkv(&mut self) -> &mut [f32] {
        self.0
    }

    /// `(kv_dim,)`: a key that is moved.
    pub fn key(&mut self) -> &mut [f32] {
        self.0
    }

    /// `(positions, rank)`: what a low-rank predictor's projection gives.
    #[cfg(feature = "low-rank")]
    pub fn projected(&mut self) -> &mut [f32] {
        self.0
    }

    /// First-layer outputs of active neurons, if the predictor knows them: as many as there is room for,
    /// but those of a whole layer at one position.
    pub fn outputs(&mut self) -> &mut [f32] {
        self.0
    }
}

impl WantedSlots<'_> {
    /// `(neurons,)` what must be read: see `misses::Wanted`.
    pub fn misses(&mut self) -> &mut [u32] {
        self.0
    }

    /// `(neurons,)` the active set of one position, for a probe.
    pub fn active(&mut self) -> &mut [u16] {
        <[u16]>::mut_from_bytes(self.0.as_mut_bytes()).unwrap_or_default()
    }
}

impl Places<'_> {
    /// `(batch,)` where the tokens of the pass stand, ascending.
    pub fn positions(&mut self) -> &mut [u32] {
        self.0
    }

    /// `(batch,)` logits of the likeliest tokens, once all layers have run.
    pub fn best(&mut self) -> &mut [f32] {
        <[f32]>::mut_from_bytes(self.0.as_mut_bytes()).unwrap_or_default()
    }
}

/// Room for a vector that is not longer than an input; contents do not matter before or after.
pub(crate) struct PackRoom<'a> {
    /// `(cols,)`.
    pub quantised: &'a mut [i8],
    /// `(Packed::words(cols),)`.
    pub packed: &'a mut [u32],
}

impl InputBuffer<'_> {
    /// Where the vector of a position is made, `(cols,)`, and room until it is [packed](Self::pack).
    pub fn vector(&mut self, position: usize, cols: usize) -> (&mut [f32], PackRoom<'_>) {
        let columns = Packed::words(cols as u32) as usize;
        let packed = part_mut(self.packed, position * columns, columns);
        (
            front_mut(self.vector, cols),
            PackRoom { quantised: front_mut(self.quantised, cols), packed },
        )
    }

    /// Quantises and packs the vector that was made for a position, with a scale or, `grouped`, a scale for each
    /// group.
    pub fn pack(&mut self, position: usize, cols: usize, grouped: bool) {
        #[cfg(feature = "grouped")]
        if grouped {
            return self.pack_grouped(position, cols);
        }
        debug_assert!(!grouped, "a feature of this build");
        let (vector, PackRoom { quantised, packed }) = self.vector(position, cols);
        let scale = quant::quantise(vector, quantised);
        Packed::new(quantised, packed);
        if let Some(place) = self.scales.get_mut(position) {
            *place = scale;
        }
    }

    #[cfg(feature = "grouped")]
    fn pack_grouped(&mut self, position: usize, cols: usize) {
        let per = grouped::groups(cols as u32) as usize;
        let at = self.packed.len().saturating_sub((position + 1) * per);
        let (vector, quantised) = (front_mut(self.vector, cols), front_mut(self.quantised, cols));
        let unit = grouped::quantise(vector, quantised, part_mut(self.packed, at, per));
        let (_, PackRoom { quantised, packed }) = self.vector(position, cols);
        Packed::new(quantised, packed);
        if let Some(place) = self.scales.get_mut(position) {
            *place = unit;
        }
    }

    /// The first `positions` of them, packed with or without groups.
    pub fn inputs(&self, positions: usize, cols: usize, grouped: bool) -> Inputs<'_> {
        let words = Packed::words(cols as u32) as usize;
        #[cfg(not(feature = "grouped"))]
        let _ = grouped;
        #[cfg(feature = "grouped")]
        let per = if grouped { grouped::groups(cols as u32) as usize } else { 0 };
        Inputs {
            packed: self.packed,
            words,
            scales: front(self.scales, positions),
            #[cfg(feature = "grouped")]
            groups: rest(self.packed, self.packed.len().saturating_sub(positions * per)),
            #[cfg(feature = "grouped")]
            per,
        }
    }
}
