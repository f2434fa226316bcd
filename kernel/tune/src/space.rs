//! The arena, carved: every buffer of a step by name and shape.
//!
//! In: words, a plan. Out: slices. What is used twice says so.

use crate::arms::{AttentionTape, FfnTape, InputTape, Store};
use crate::attention::Heads;
use crate::columns::Entry;
use crate::options::TuneOptions;
use crate::plan::{Carver, TunePlan};
use crate::real::Real;
use crate::region::TuneRegion;
use crate::shape::{Shape, attention_bytes, kept_neurons, leaves_out, product};
use crate::tape::Tape;
use crate::vector::{front_mut, row, row_mut};
use half::f16;
use ripple_kernel::image::Geometry;
use zerocopy::{FromBytes, IntoBytes};

/// Every buffer of a step.
pub(crate) struct Space<'m, R> {
    /// All adapters, layer by layer.
    pub adapters: &'m mut [R],
    /// Two for each number, or none.
    pub moments: &'m mut [R],
    /// Of all layers, or of one.
    pub gradients: &'m mut [R],
    /// `(tokens, dim)`.
    pub stream: &'m mut [R],
    /// `(tokens, max(dim, query_dim))`.
    pub inputs: &'m mut [R],
    /// `(tokens, dim)`, or as large as the inputs: see the plan.
    pub slopes: &'m mut [R],
    /// What layers begin with.
    pub layer_inputs: Tape<'m>,
    /// Queries, keys, values, outputs.
    pub attention: AttentionStore<'m, R>,
    /// What is behind attention.
    pub middle: Tape<'m>,
    /// `(layers, neurons, values, tokens)`, or none.
    pub values: &'m mut [R],
    /// `(layers, neurons, tokens / 8)`, or of one layer.
    pub masks: &'m mut [u8],
    pub columns: KeptNeurons<'m, R>,
    /// `(tokens, vocab)`, or none.
    pub logits: &'m mut [R],
    /// See [`TuneRegion::Scratch`].
    pub scratch: &'m mut [u64],
    pub rows: Rows<'m>,
    pub vectors: Vectors<'m, R>,
    /// `(layers, tokens)`: which tokens attention keeps, or none.
    pub kept: &'m mut [u16],
    /// What blocks of tokens are judged by, layer by layer, or none.
    pub guide: &'m mut [R],
    /// `(layers,)`, of what waits on the card, or none.
    pub checksums: &'m mut [u32],
}

/// The neurons that the way back goes through, where it does not go through all.
pub(crate) struct KeptNeurons<'m, R> {
    /// `(layers, kept)`.
    pub entries: &'m mut [Entry],
    /// `(kept,)`, of the layer that is worked on.
    pub scores: &'m mut [R],
}

/// Rows of the image.
pub(crate) struct Rows<'m> {
    /// `(3, wide)`.
    pub numbers: &'m mut [f32],
    /// `(window, stride)` of neurons' first rows, as they came.
    pub held: &'m mut [u8],
}

/// What is short.
pub(crate) struct Vectors<'m, R> {
    /// The layer's.
    pub layer: &'m mut [f32],
    /// The final norm and the frequencies.
    pub last: &'m mut [f32],
    /// `(4, tokens, rank)`: `A x` of each target.
    pub inner: &'m mut [R],
    /// `(tokens,)`: the largest logits, the sums of exponentials, the labels' logits.
    pub largest: &'m mut [R],
    pub sums: &'m mut [R],
    pub labels: &'m mut [R],
    /// `(tokens,)`.
    pub scores: &'m mut [R],
    /// `(wide,)`.
    pub one: &'m mut [R],
    /// `(head_dim,)`.
    pub angles: &'m mut [R],
    /// `(rank,)`.
    pub dt: &'m mut [R],
}

/// Queries, keys, values and outputs: of every layer, or of the one that is worked on.
pub(crate) struct AttentionStore<'m, R> {
    shape: Shape,
    options: TuneOptions,
    /// What is kept, layer by layer.
    tape: &'m mut [u64],
    /// Of one layer, where it is not worked on in the tape.
    work: &'m mut [u64],
    number: core::marker::PhantomData<R>,
}

impl<R: Real> AttentionStore<'_, R> {
    /// What the tape has of `layer`, if it is not what is worked on: the way back begins with the last layer,
    /// which is worked on still.
    fn packed(&self, layer: usize) -> Option<Store> {
        match self.options.arms.attention {
            AttentionTape::Kept { values: Store::Full, .. } | AttentionTape::Nothing => None,
            AttentionTape::Kept { .. } if layer + 1 >= self.shape.layers => None,
            AttentionTape::Kept { values, .. } => Some(values),
        }
    }

    fn in_place(&self) -> bool {
        matches!(self.options.arms.attention, AttentionTape::Kept { values: Store::Full, .. })
    }

    fn of_layer(&mut self, layer: usize, store: Store) -> &mut [u64] {
        let (shape, arms, real) = (self.shape, self.options.arms, size_of::<R>());
        let words = |layer| (attention_bytes(&shape, &arms, store, layer, real) / 8) as usize;
        let start = (0..shape.place(layer)).map(words).sum::<usize>();
        let rest = self.tape.get_mut(start..).unwrap_or_default();
        front_mut(rest, words(layer))
    }

    /// The vectors of `layer`, of `count` tokens; without a way back, for which `all` attend, of any layer.
    pub fn heads(&mut self, layer: usize, count: usize, all: bool) -> Heads<'_, R> {
        let Shape { query, kv, heads, .. } = self.shape;
        let words = match (self.in_place(), all) {
            (true, true) => {
                let words = count * self.shape.attention_numbers() * size_of::<R>();
                front_mut(self.tape, words.div_ceil(8))
            }
            (true, false) => self.of_layer(layer, Store::Full),
            (false, _) => &mut *self.work,
        };
        let numbers = reals(words);
        let (q, rest) = numbers.split_at_mut_checked(count * query).unwrap_or_default();
        let (k, rest) = rest.split_at_mut_checked(count * kv).unwrap_or_default();
        let (v, rest) = rest.split_at_mut_checked(count * kv).unwrap_or_default();
        let (output, rest) = rest.split_at_mut_checked(count * query).unwrap_or_default();
        let log_sums = front_mut(rest, count * heads);
        Heads { query: q, key: k, value: v, output, log_sums, count }
    }

    /// Keeps what was worked out of `layer`.
    pub fn keep(&mut self, layer: usize, count: usize) {
        let Some(store) = self.packed(layer) else { return };
        let vectors = count * (self.shape.attention_numbers() - self.shape.heads);
        let sums = count * self.shape.heads;
        let work = core::mem::take(&mut self.work);
        let tape = self.of_layer(layer, store);
        let (halves, rest) = packed(tape, vectors);
        let numbers = reals::<R>(work);
        for (half, x) in halves.iter_mut().zip(numbers.iter()) {
            *half = f16::from_f32(x.narrow()).to_bits();
        }
        let rest = front_mut(reals(rest), sums);
        rest.iter_mut().zip(numbers.iter().skip(vectors)).for_each(|(kept, x)| *kept = *x);
        self.work = work;
    }

    /// Brings back what was kept of `layer`.
    pub fn restore(&mut self, layer: usize, count: usize) {
        let Some(store) = self.packed(layer) else { return };
        let vectors = count * (self.shape.attention_numbers() - self.shape.heads);
        let sums = count * self.shape.heads;
        let work = core::mem::take(&mut self.work);
        let tape = self.of_layer(layer, store);
        let (halves, rest) = packed(tape, vectors);
        let numbers = reals::<R>(work);
        for (x, half) in numbers.iter_mut().zip(halves.iter()) {
            *x = R::of(f16::from_bits(*half).to_f32());
        }
        let rest = front_mut(reals::<R>(rest), sums);
        numbers.iter_mut().skip(vectors).zip(rest).for_each(|(x, kept)| *x = *kept);
        self.work = work;
    }
}

/// `count` numbers of 16 bits, and the words behind them.
fn packed(words: &mut [u64], count: usize) -> (&mut [u16], &mut [u64]) {
    let (halves, rest) = words.split_at_mut_checked(count.div_ceil(4)).unwrap_or_default();
    let halves = <[u16]>::mut_from_bytes(halves.as_mut_bytes()).unwrap_or_default();
    (front_mut(halves, count), rest)
}

/// Words as numbers.
pub(crate) fn reals<R: Real>(words: &mut [u64]) -> &mut [R] {
    <[R]>::mut_from_bytes(words.as_mut_bytes()).unwrap_or_default()
}

impl<'m, R: Real> Space<'m, R> {
    /// The tape, where it has that of one layer: all bytes that the way back needs.
    pub fn tape(&mut self) -> [&mut [u8]; 6] {
        let arms = self.attention.options.arms;
        let middle = match arms.attention {
            AttentionTape::Kept { .. } => self.middle.bytes(),
            AttentionTape::Nothing => &mut [],
        };
        let masks = if arms.ffn == FfnTape::Mask { &mut *self.masks } else { &mut [] };
        [
            self.layer_inputs.bytes(),
            self.attention.tape.as_mut_bytes(),
            middle,
            self.values.as_mut_bytes(),
            masks,
            self.columns.entries.as_mut_bytes(),
        ]
    }

    /// `arena`: as many words as the plan says.
    pub fn carve(
        arena: &'m mut [u64],
        plan: &TunePlan,
        geometry: &Geometry,
        options: &TuneOptions,
    ) -> Self {
        arena.iter_mut().for_each(|word| *word = 0);
        let shape = Shape::of(geometry, options);
        let mut carver = Carver { rest: arena };
        let bytes = |region| plan.region_bytes(region);
        let arms = options.arms;
        let adapters = carver.take(bytes(TuneRegion::Adapters));
        let moments = carver.take(bytes(TuneRegion::Moments));
        let gradients = carver.take(bytes(TuneRegion::Gradients));
        let stream = carver.take(bytes(TuneRegion::Stream));
        let inputs = carver.take(bytes(TuneRegion::Inputs));
        let slopes = carver.take(bytes(TuneRegion::Slopes));
        let tape = |words, store| Tape::new::<R>(words, store, shape.tokens, shape.dim);
        let layer_inputs = tape(
            carver.take(bytes(TuneRegion::LayerInputs)),
            match arms.input {
                InputTape::Kept(store) => store,
                InputTape::Recovered => Store::Full,
            },
        );
        let attention = AttentionStore {
            shape,
            options: *options,
            tape: carver.take(bytes(TuneRegion::Attention)),
            work: carver.take(bytes(TuneRegion::AttentionWork)),
            number: core::marker::PhantomData,
        };
        let middle = tape(
            carver.take(bytes(TuneRegion::Middle)),
            match arms.attention {
                AttentionTape::Kept { middle, .. } => middle,
                AttentionTape::Nothing => Store::Full,
            },
        );
        let values = carver.take(bytes(TuneRegion::Values));
        let masks = carver.take(bytes(TuneRegion::Masks));
        let entries = product(kept_neurons(&shape, &arms) * shape.held, size_of::<Entry>());
        let columns = KeptNeurons {
            entries: carver.take(entries),
            scores: carver.take(bytes(TuneRegion::Columns).saturating_sub(entries)),
        };
        let logits = carver.take(bytes(TuneRegion::Logits));
        let scratch = carver.take(bytes(TuneRegion::Scratch));
        let rows = (4 * 3 * shape.wide as u64).next_multiple_of(8);
        let rows = Rows {
            numbers: carver.take(rows),
            held: carver.take(bytes(TuneRegion::Rows).saturating_sub(rows)),
        };
        let (layer, last) = (geometry.layer_floats() as usize, geometry.final_floats() as usize);
        let floats = (4 * (layer + last) as u64).next_multiple_of(8);
        let (layer, rest) =
            carver.take::<f32>(floats).split_at_mut_checked(layer).unwrap_or_default();
        let last = front_mut(rest, last);
        let mut reals: &mut [R] = carver.take(bytes(TuneRegion::Vectors).saturating_sub(floats));
        let mut next = |count| {
            let rest = core::mem::take(&mut reals);
            let (taken, rest) = rest.split_at_mut_checked(count).unwrap_or_default();
            reals = rest;
            taken
        };
        let vectors = Vectors {
            layer,
            last,
            inner: next(4 * shape.tokens * shape.rank),
            largest: next(shape.tokens),
            sums: next(shape.tokens),
            labels: next(shape.tokens),
            scores: next(shape.tokens),
            one: next(shape.wide),
            angles: next(shape.head_dim),
            dt: next(shape.rank),
        };
        let kept = carver.take(bytes(TuneRegion::Kept));
        let guide = carver.take(bytes(TuneRegion::Guide));
        let checksums = carver.take(bytes(TuneRegion::Sums));
        debug_assert!(carver.rest.is_empty(), "{} words left", carver.rest.len());
        Self {
            adapters,
            moments,
            gradients,
            stream,
            inputs,
            slopes,
            layer_inputs,
            attention,
            middle,
            values,
            masks,
            columns,
            logits,
            scratch,
            rows,
            vectors,
            kept,
            guide,
            checksums,
        }
    }
}

/// Which tokens attention of a layer works on, ascending.
#[derive(Clone, Copy)]
pub(crate) enum Kept<'a> {
    /// All of so many.
    All(usize),
    /// These.
    Some(&'a [u16]),
}

impl<'a> Kept<'a> {
    /// Those of `layer`, as they were chosen: `(layers, 1 + most)` numbers, the first how many.
    pub fn of(
        kept: &'a [u16],
        options: &TuneOptions,
        layer: usize,
        most: usize,
        count: usize,
    ) -> Self {
        if kept.is_empty() || !leaves_out(&options.arms, layer, most) {
            return Self::All(count);
        }
        let row = row(kept, layer, most);
        let end = row.iter().skip(1).zip(row).position(|(next, this)| next <= this);
        Self::Some(row.get(..end.map_or(row.len(), |end| end + 1)).unwrap_or(row))
    }

    pub fn count(self) -> usize {
        match self {
            Self::All(count) => count,
            Self::Some(tokens) => tokens.len(),
        }
    }

    #[inline]
    pub fn at(self, i: usize) -> usize {
        match self {
            Self::All(_) => i,
            Self::Some(tokens) => tokens.get(i).map_or(0, |&token| usize::from(token)),
        }
    }
}

/// The row of a layer in the list of kept tokens, to write.
pub(crate) fn kept_row(kept: &mut [u16], layer: usize, most: usize) -> &mut [u16] {
    row_mut(kept, layer, most)
}
