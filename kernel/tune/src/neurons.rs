//! The neurons of a layer: which are active where, their rows, and what is kept of them.
//!
//! In: a layer's tables, normalised inputs. Out: masks, products, rows as numbers. Knows nothing of sums.

use crate::activation::{active, slope};
use crate::arms::{ColumnScore, Columns, FfnTape};
use crate::columns::{Entry, Heap};
use crate::model::{Frozen, count};
use crate::real::Real;
use crate::shape::{Shape, kept_neurons};
use crate::vector::{copy, dot, front_mut, row, row_mut};
use core::ops::Range;
use ripple_hal::BlockDevice;
use ripple_kernel::image::{Record, SectionKind, Table};
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::{Probe, Stage};

/// Which tokens a neuron is active at, for all neurons of a layer.
pub(crate) struct Masks<'a> {
    pub bytes: &'a mut [u8],
    /// Bytes of a neuron.
    pub columns: usize,
}

impl Masks<'_> {
    pub fn set(&mut self, slot: usize, token: usize) {
        if let Some(byte) = row_mut(self.bytes, slot, self.columns).get_mut(token / 8) {
            *byte |= 1 << (token % 8);
        }
    }

    /// Whether a neuron is active anywhere.
    pub fn any(&self, slot: u32) -> bool {
        row(self.bytes, slot as usize, self.columns).iter().any(|&byte| byte != 0)
    }

    /// Those of `range` that are active anywhere, or all of it.
    pub fn wanted(&self, range: Range<u32>, all: bool) -> impl Iterator<Item = u32> + Clone + '_ {
        range.filter(move |&slot| all || self.any(slot))
    }

    /// The tokens of a neuron, ascending.
    pub fn tokens(&self, slot: usize) -> impl Iterator<Item = usize> + '_ {
        let bytes = row(self.bytes, slot, self.columns).iter().enumerate();
        bytes.flat_map(|(i, &byte)| {
            let mut byte = byte;
            core::iter::from_fn(move || {
                let bit = byte.trailing_zeros();
                byte &= byte.wrapping_sub(1);
                (bit < 8).then_some(8 * i + bit as usize)
            })
        })
    }
}

/// The tables of a layer's neurons, and what makes one active.
pub(crate) struct Neurons<'m, R> {
    pub frozen: Frozen<'m>,
    pub first: Table<'m>,
    pub bundles: Table<'m>,
    pub threshold: R,
    pub layer: usize,
}

impl<'m, R: Real> Neurons<'m, R> {
    pub fn new(frozen: &Frozen<'m>, layer: usize, vectors: &[f32]) -> Self {
        let table = |kind| frozen.image.table(kind, layer as u32);
        Self {
            frozen: *frozen,
            first: table(SectionKind::Predictor),
            bundles: table(SectionKind::Ffn),
            threshold: R::of(frozen.threshold(vectors)),
            layer,
        }
    }

    /// The coefficient and its slope, 0 and 0 where the neuron is not active.
    pub fn coefficient(&self, first: R) -> Option<(R, R)> {
        active(self.frozen.image.header.geometry.config.activation, self.threshold, first)
    }

    /// The same, active or not.
    pub fn slope(&self, first: R) -> (R, R) {
        slope(self.frozen.image.header.geometry.config.activation, first)
    }

    pub fn masks<'a>(&self, bytes: &'a mut [u8]) -> Masks<'a> {
        let shape = &self.frozen.shape;
        let columns = shape.mask_bytes();
        let layer = match self.frozen.options.arms.ffn {
            FfnTape::Mask => shape.place(self.layer),
            FfnTape::Values | FfnTape::Nothing | FfnTape::Columns(_) => 0,
        };
        Masks { bytes: row_mut(bytes, layer, shape.neurons * columns), columns }
    }

    /// Of the tape: `(neurons, values, tokens)`, of all neurons or those that are kept, and behind all layers a
    /// row for one that is not kept yet; without values none.
    pub fn values<'a>(&self, values: &'a mut [R]) -> (&'a mut [R], &'a mut [R]) {
        let shape = &self.frozen.shape;
        let (row, place) = (shape.values() * shape.tokens, shape.place(self.layer));
        match self.frozen.options.arms.ffn {
            FfnTape::Values => (row_mut(values, place, shape.neurons * row), &mut []),
            FfnTape::Columns(columns) if columns.values => {
                let kept = columns.kept(shape.neurons) * row;
                let (kept_values, spare) =
                    values.split_at_mut_checked(shape.held * kept).unwrap_or_default();
                (row_mut(kept_values, place, kept), front_mut(spare, row))
            }
            FfnTape::Mask | FfnTape::Nothing | FfnTape::Columns(_) => (&mut [], &mut []),
        }
    }

    /// The parts of the layer: neurons whose first rows are held at once, all where they lie in bundles.
    pub fn windows(&self) -> impl Iterator<Item = Range<u32>> + use<R> {
        let (neurons, window) = (self.frozen.shape.neurons as u32, self.frozen.shape.window);
        let window = if self.frozen.shape.whole { neurons } else { window as u32 };
        (0..neurons)
            .step_by(window.max(1) as usize)
            .map(move |start| start..neurons.min(start + window))
    }

    /// Whether neurons that are not active are computed too: they are kept, or their lengths are asked for.
    pub fn dense(&self) -> bool {
        match self.frozen.options.arms.ffn {
            FfnTape::Values => true,
            FfnTape::Columns(columns) => {
                columns.score == ColumnScore::Length && self.frozen.shape.gated
            }
            FfnTape::Mask | FfnTape::Nothing => false,
        }
    }

    /// The scores of neurons that come by, where only some are kept.
    pub fn gauge<'a>(
        &self,
        scores: &'a mut [R],
        entries: &'a mut [Entry],
        spare: &'a mut [R],
    ) -> Option<Gauge<'a, R>> {
        let FfnTape::Columns(Columns { score, .. }) = self.frozen.options.arms.ffn else {
            return None;
        };
        let kept = kept_neurons(&self.frozen.shape, &self.frozen.options.arms);
        let entries = row_mut(entries, self.frozen.shape.place(self.layer), kept);
        let heap = Heap::new(front_mut(scores, kept), entries);
        Some(Gauge { heap, score, spare, sums: [R::ZERO; 3] })
    }

    /// The neurons that are kept of the layer, ascending, where only some are.
    pub fn entries<'a>(&self, entries: &'a [Entry]) -> &'a [Entry] {
        let kept = kept_neurons(&self.frozen.shape, &self.frozen.options.arms);
        row(entries, self.frozen.shape.place(self.layer), kept)
    }

    /// Reads the first rows of a window: their products with the inputs, `(window, tokens)`, and where they
    /// make their neurons active; the rows as they came, if there is room for them.
    #[allow(clippy::too_many_arguments, reason = "each is a buffer of its own")]
    pub fn first_rows<D: BlockDevice, P: Probe>(
        &self,
        reader: &mut Reader<'_, D, P>,
        window: Range<u32>,
        inputs: &[R],
        tokens: usize,
        numbers: &mut [f32],
        products: &mut [R],
        held: &mut [u8],
        masks: &mut Masks<'_>,
    ) -> Result<(), FetchError<D::Error>> {
        let (dim, start) = (self.frozen.shape.dim, window.start);
        let stride = self.first.layout.stride() as usize;
        let numbers = front_mut(numbers, dim);
        reader.each(Stage::Predictor, &self.first, window, &mut |probe, slot, record| {
            record.numbers(0, numbers);
            if !held.is_empty() {
                record.copy_to(row_mut(held, (slot - start) as usize, stride));
            }
            let bias = R::of(record.bias());
            let products = row_mut(products, (slot - start) as usize, tokens);
            for (token, product) in products.iter_mut().enumerate() {
                *product = dot(numbers, row(inputs, token, dim)) + bias;
                if self.coefficient(*product).is_some() {
                    masks.set(slot as usize, token);
                }
            }
            count(probe, Stage::Predictor, (tokens * dim) as u64);
        })
    }
}

/// Which neurons are kept, as they come by: their scores, [`ColumnScore`], over all tokens.
pub(crate) struct Gauge<'a, R> {
    pub heap: Heap<'a, R>,
    score: ColumnScore,
    /// `(values, tokens)` of the neuron that is there, or none.
    spare: &'a mut [R],
    sums: [R; 3],
}

impl<R: Real> Gauge<'_, R> {
    /// Takes what a neuron gives at a token; `second` and `(y, slope)` are 0 where it is not active.
    pub fn take(&mut self, shape: &Shape, token: usize, first: R, second: R, (y, slope): (R, R)) {
        let through = if shape.gated { second * slope } else { slope };
        let squares = match self.score {
            ColumnScore::Length => [first, second, y],
            ColumnScore::Slope => [through, y, R::ZERO],
        };
        self.sums.iter_mut().zip(squares).for_each(|(sum, x)| *sum += x * x);
        let places = self.spare.iter_mut().skip(token).step_by(shape.tokens.max(1));
        places.zip([first, second]).for_each(|(place, value)| *place = value);
    }

    /// The neuron's score is known: keeps it, in `values`, if it is among the best.
    pub fn offer(&mut self, shape: &Shape, slot: u32, bundle: &Bundle<'_>, values: &mut [R]) {
        let [a, b, c] = core::mem::replace(&mut self.sums, [R::ZERO; 3]);
        let square = |x: &[f32]| x.iter().fold(R::ZERO, |sum, x| sum + R::of(*x) * R::of(*x));
        let score = match (self.score, shape.gated) {
            (ColumnScore::Length, true) => a.sqrt() + b.sqrt() + c.sqrt(),
            (ColumnScore::Length, false) => c.sqrt(),
            (ColumnScore::Slope, gated) => {
                let up = if gated { square(bundle.up) * b } else { R::ZERO };
                square(bundle.down).sqrt() * (square(bundle.first) * a + up).sqrt()
            }
        };
        if let Some(row) = self.heap.offer(slot, score)
            && !values.is_empty()
        {
            copy(row_mut(values, row, self.spare.len()), self.spare);
        }
    }
}

/// The rows of a neuron as numbers.
pub(crate) struct Bundle<'a> {
    /// The gate of a gated neuron, the up row of a plain one.
    pub first: &'a [f32],
    /// The up row of a gated neuron.
    pub up: &'a [f32],
    pub down: &'a [f32],
    /// Of the first row.
    pub bias: f32,
}

impl<'a> Bundle<'a> {
    /// From a bundle, and the record of its first row where that is not in it; empty where neither has it.
    ///
    /// `scales`: of the outputs, `(dim,)` or empty.
    pub fn unpack(
        frozen: &Frozen<'_>,
        scales: &[f32],
        numbers: &'a mut [f32],
        bundle: &Record<'_>,
        first: Option<Record<'_>>,
    ) -> Self {
        let shape = &frozen.shape;
        let mut rows = numbers.chunks_exact_mut(shape.wide.max(1));
        let mut next = |record: &Record<'_>, i| {
            let out = front_mut(rows.next().unwrap_or_default(), shape.dim);
            record.numbers(i, out);
            &*out
        };
        let at = usize::from(shape.whole);
        let (first, bias) = match (&first, shape.whole) {
            (_, true) => (next(bundle, 0), bundle.bias()),
            (Some(record), false) => (next(record, 0), record.bias()),
            (None, false) => (&[][..], 0.0),
        };
        let up = if shape.gated { next(bundle, at) } else { &[] };
        let down = front_mut(rows.next().unwrap_or_default(), shape.dim);
        bundle.numbers(at + usize::from(shape.gated), down);
        down.iter_mut().zip(scales).for_each(|(w, scale)| *w *= scale);
        Self { first, up, down, bias }
    }
}
