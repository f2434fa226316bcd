//! The neurons of a layer: which are active where, their rows, and what is kept of them.
//!
//! In: a layer's tables, normalised inputs. Out: masks, products, rows as numbers. Knows nothing of sums.

use crate::activation::{active, slope};
use crate::model::{Frozen, count};
use crate::options::FfnTape;
use crate::real::Real;
use crate::vector::{dot, front_mut, row, row_mut};
use core::ops::Range;
use ripple_hal::BlockDevice;
use ripple_kernel::image::{Record, SectionKind, Table};
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::{Probe, Stage};

/// Which tokens a neuron is active at, for all neurons of a layer.
pub(crate) struct Masks<'a> {
    pub words: &'a mut [u32],
    /// Words of a neuron.
    pub columns: usize,
}

impl Masks<'_> {
    pub fn set(&mut self, slot: usize, token: usize) {
        if let Some(word) = row_mut(self.words, slot, self.columns).get_mut(token / 32) {
            *word |= 1 << (token % 32);
        }
    }

    /// Those of `range` that are active anywhere, or all of it.
    pub fn wanted(&self, range: Range<u32>, all: bool) -> impl Iterator<Item = u32> + Clone + '_ {
        range.filter(move |&slot| {
            all || row(self.words, slot as usize, self.columns).iter().any(|&word| word != 0)
        })
    }

    /// The tokens of a neuron, ascending.
    pub fn tokens(&self, slot: usize) -> impl Iterator<Item = usize> + '_ {
        let words = row(self.words, slot, self.columns).iter().enumerate();
        words.flat_map(|(i, &word)| {
            let mut word = word;
            core::iter::from_fn(move || {
                let bit = word.trailing_zeros();
                word &= word.wrapping_sub(1);
                (bit < 32).then_some(32 * i + bit as usize)
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

    pub fn masks<'a>(&self, words: &'a mut [u32]) -> Masks<'a> {
        let columns = self.frozen.shape.mask_words();
        let layer = match self.frozen.options.arms.ffn {
            FfnTape::Mask => self.layer,
            FfnTape::Values | FfnTape::Nothing => 0,
        };
        Masks { words: row_mut(words, layer, self.frozen.shape.neurons * columns), columns }
    }

    /// Of the tape: `(neurons, values, tokens)`.
    pub fn values<'a>(&self, values: &'a mut [R]) -> &'a mut [R] {
        let shape = &self.frozen.shape;
        match self.frozen.options.arms.ffn {
            FfnTape::Values => {
                row_mut(values, self.layer, shape.neurons * shape.values() * shape.tokens)
            }
            FfnTape::Mask | FfnTape::Nothing => &mut [],
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

    pub fn dense(&self) -> bool {
        self.frozen.options.arms.ffn == FfnTape::Values
    }

    /// Reads the first rows of a window: their products with the inputs, `(window, tokens)`, and where they
    /// make their neurons active.
    #[allow(clippy::too_many_arguments, reason = "each is a buffer of its own")]
    pub fn first_rows<D: BlockDevice, P: Probe>(
        &self,
        reader: &mut Reader<'_, D, P>,
        window: Range<u32>,
        inputs: &[R],
        tokens: usize,
        numbers: &mut [f32],
        products: &mut [R],
        masks: &mut Masks<'_>,
    ) -> Result<(), FetchError<D::Error>> {
        let (dim, start) = (self.frozen.shape.dim, window.start);
        let numbers = front_mut(numbers, dim);
        reader.each(Stage::Predictor, &self.first, window, &mut |probe, slot, record| {
            record.numbers(0, numbers);
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
    pub fn unpack(
        frozen: &Frozen<'_>,
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
        let down = next(bundle, at + usize::from(shape.gated));
        Self { first, up, down, bias }
    }
}
