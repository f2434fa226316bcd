//! A row of weights: the one place where its number format matters.
//!
//! In: a record's row. Out: its product with an input, its sum with other rows, its numbers. Integers
//! as far as they go, whatever the format.

#[cfg(any(feature = "q4", feature = "grouped"))]
use crate::image::Quant;
use crate::image::Record;
use crate::math::accumulate::Accumulator;
#[cfg(feature = "grouped")]
use crate::math::grouped;
use crate::math::{self, Input, Inputs};

/// A row of a record, with its scales and the record's bias.
pub(crate) struct Row<'a> {
    weights: Weights<'a>,
    bias: f32,
}

enum Weights<'a> {
    Q8 {
        row: &'a [i8],
        scale: f32,
    },
    #[cfg(feature = "q4")]
    Q4(math::groups::Groups<'a>),
    /// `scale` of a multiplier of 1.
    #[cfg(feature = "grouped")]
    Q8G {
        row: &'a [i8],
        multipliers: &'a [u8],
        scale: f32,
    },
}

impl<'a> Row<'a> {
    #[inline]
    pub fn of(record: &Record<'a>, i: usize) -> Self {
        #[cfg(feature = "q4")]
        if record.quant() == Quant::Q4 {
            let (scales, bytes) = record.grouped(i);
            let groups = math::groups::Groups { scales, numbers: bytes.as_chunks().0 };
            return Self { weights: Weights::Q4(groups), bias: record.bias() };
        }
        #[cfg(feature = "grouped")]
        if record.quant() == Quant::Q8G {
            let (row, multipliers, scale) = (record.row(i), record.multipliers(i), record.scale(i));
            return Self { weights: Weights::Q8G { row, multipliers, scale }, bias: record.bias() };
        }
        let weights = Weights::Q8 { row: record.row(i), scale: record.scale(i) };
        Self { weights, bias: record.bias() }
    }

    /// `row . x + bias`.
    #[inline]
    pub fn dot(&self, x: Input<'_>) -> f32 {
        let product = match self.weights {
            #[cfg(feature = "grouped")]
            Weights::Q8 { row, scale } if !x.groups.is_empty() => {
                grouped::dot(row, &grouped::ONES, x.packed, x.groups) as f32 * (scale * x.scale)
            }
            Weights::Q8 { row, scale } => math::dot(row, x.packed) as f32 * (scale * x.scale),
            #[cfg(all(feature = "q4", feature = "grouped"))]
            Weights::Q4(groups) if !x.groups.is_empty() => {
                math::groups::dot_grouped(groups, x.packed, x.groups) * x.scale
            }
            #[cfg(feature = "q4")]
            Weights::Q4(groups) => math::groups::dot(groups, x.packed) * x.scale,
            #[cfg(feature = "grouped")]
            Weights::Q8G { row, multipliers, scale } => {
                grouped::dot(row, multipliers, x.packed, x.groups) as f32
                    * (scale * (1.0 / grouped::WHOLE) * x.scale)
            }
        };
        product + self.bias
    }

    /// Calls `out(position, row . x_position + bias)` for each position, ascending.
    #[inline]
    pub fn dot_each(&self, inputs: Inputs<'_>, mut out: impl FnMut(usize, f32)) {
        let done = 0;
        #[cfg(ripple_isa = "x86")]
        let (inputs, done) = {
            let (mut inputs, mut done) = (inputs, done);
            while let Some(xs) = inputs.several() {
                self.dots(xs).into_iter().zip(done..).for_each(|(y, position)| out(position, y));
                done += math::TOGETHER;
            }
            (inputs, done)
        };
        for (position, x) in (done..).zip(inputs) {
            out(position, self.dot(x));
        }
    }

    /// [`dot`](Self::dot) with each of several inputs: the row is loaded once.
    #[cfg(ripple_isa = "x86")]
    #[inline]
    pub fn dots(&self, xs: [Input<'_>; math::TOGETHER]) -> [f32; math::TOGETHER] {
        #[cfg(feature = "grouped")]
        if xs.iter().any(|x| !x.groups.is_empty()) {
            return xs.map(|x| self.dot(x));
        }
        let packed = xs.map(|x| x.packed);
        let mut products = match self.weights {
            Weights::Q8 { row, .. } => math::dots(row, packed).map(|product| product as f32),
            #[cfg(feature = "q4")]
            Weights::Q4(groups) => math::groups::dots(groups, packed),
            #[cfg(feature = "grouped")]
            Weights::Q8G { .. } => return xs.map(|x| self.dot(x)),
        };
        let scale = match self.weights {
            Weights::Q8 { scale, .. } => scale,
            #[cfg(feature = "q4")]
            Weights::Q4(_) => 1.0,
            #[cfg(feature = "grouped")]
            Weights::Q8G { .. } => 1.0,
        };
        for (product, x) in products.iter_mut().zip(xs) {
            *product = *product * (scale * x.scale) + self.bias;
        }
        products
    }

    /// `row . x + bias`, or `None` where the integers say that it is not above 0: four in five times,
    /// before the first operation on floats, which some cores do in software.
    #[inline]
    pub fn dot_above_zero(&self, x: Input<'_>) -> Option<f32> {
        match self.weights {
            #[cfg(feature = "grouped")]
            Weights::Q8 { .. } if !x.groups.is_empty() => Some(self.dot(x)),
            // Scales are not negative.
            Weights::Q8 { row, scale } if self.bias == 0.0 => {
                let product = math::dot(row, x.packed);
                if product <= 0 { None } else { Some(product as f32 * (scale * x.scale)) }
            }
            _ => Some(self.dot(x)),
        }
    }

    /// Adds `coefficient * row` to `sum`.
    #[inline]
    pub fn add_to(&self, sum: &mut Accumulator<'_>, coefficient: f32) {
        match self.weights {
            Weights::Q8 { row, scale } => sum.add(coefficient * scale, row),
            #[cfg(feature = "q4")]
            Weights::Q4(groups) => sum.add_groups(coefficient, groups),
            #[cfg(feature = "grouped")]
            Weights::Q8G { row, multipliers, scale } => {
                sum.add_multiplied(coefficient * scale, row, multipliers);
            }
        }
    }

    /// Hands each number of `out` its number of the row.
    #[inline]
    pub fn for_each(&self, out: &mut [f32], with: impl Fn(&mut f32, f32)) {
        match self.weights {
            Weights::Q8 { row, scale } => {
                for (out, &w) in out.iter_mut().zip(row) {
                    with(out, f32::from(w) * scale);
                }
            }
            #[cfg(feature = "grouped")]
            Weights::Q8G { row, multipliers, scale } => {
                // By the number and not in chunks, which could panic for all that the compiler sees.
                for (j, (out, &w)) in out.iter_mut().zip(row).enumerate() {
                    let Some(&m) = multipliers.get(j / grouped::GROUP) else { return };
                    let step = f32::from(m) * (scale * (1.0 / grouped::WHOLE));
                    with(out, f32::from(w) * step);
                }
            }
            #[cfg(feature = "q4")]
            Weights::Q4(groups) => groups.for_each(|j, w| {
                if let Some(out) = out.get_mut(j) {
                    with(out, w);
                }
            }),
        }
    }
}

impl Record<'_> {
    /// Writes the numbers of row `i`, a row of weights, to `out`, `(cols,)`.
    pub fn numbers(&self, i: usize, out: &mut [f32]) {
        Row::of(self, i).for_each(out, |out, w| *out = w);
    }
}
