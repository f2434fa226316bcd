//! Which neurons of a layer will be active at which positions: the active sets, ascending.
//!
//! In: the FFN's inputs, in 8 bits or as planes of one bit. Out: slots, and their first-layer
//! outputs where the predictor computes them anyway. Knows nothing of the cache or of the bundles.

use crate::image::row::Row;
use crate::image::{Geometry, Predictor, Record, Table};
use crate::layer::active::ActiveSets;
use crate::math::{self, Inputs, activation::coefficient};
use crate::read::fetch::{FetchError, Records};
use crate::read::probe::{Probe, Stage};
use crate::slices::Rows;
use core::ops::Range;
use ripple_hal::BlockDevice;

/// What a predictor looks at: the inputs of all positions of a pass.
pub(crate) struct Search<'a> {
    /// The layer's.
    pub threshold: f32,
    pub inputs: Inputs<'a>,
    /// `(positions, planes, dim / 32)` bits of the inputs, as [`slice()`] makes them.
    pub planes: &'a [u32],
    /// What a low-rank predictor's projection made of the inputs.
    #[cfg(feature = "low-rank")]
    pub codes: Inputs<'a>,
}

/// Adds the active neurons among `slots` to `sets`, with `act(w_first . x + b)` if [`Predictor::Exact`].
pub(crate) fn predict<D: BlockDevice, P: Probe>(
    records: &mut Records<'_, '_, D, P>,
    geometry: &Geometry,
    table: &Table<'_>,
    slots: Range<u32>,
    search: Search<'_>,
    sets: &mut ActiveSets<'_>,
) -> Result<(), FetchError<D::Error>> {
    let Search { threshold, inputs, planes, .. } = search;
    let activation = geometry.config.activation();
    let cols = table.layout.cols;
    let mut each = Each { records, table, slots, sets, positions: inputs.scales.len() };
    match geometry.predictor {
        #[cfg(ripple_isa = "x86")]
        Predictor::Exact if inputs.scales.len() >= math::TOGETHER => {
            each.score_together(cols, inputs, |x| coefficient(activation, threshold, x))
        }
        Predictor::Exact => each.score(cols, |record, position| {
            let (row, x) = (Row::of(record, 0), inputs.at(position));
            // Only a ReLU's threshold is never below 0.
            let output = if activation.lossy() { Some(row.dot(x)) } else { row.dot_above_zero(x) };
            output.and_then(|x| coefficient(activation, threshold, x))
        }),
        #[cfg(feature = "low-rank")]
        Predictor::LowRank { .. } => each.score(cols, |record, position| {
            (Row::of(record, 0).dot(search.codes.at(position)) >= 0.0).then_some(0.0)
        }),
        // Refused with the header.
        #[cfg(not(feature = "low-rank"))]
        Predictor::LowRank { .. } => Ok(()),
        Predictor::Signs { planes: bits } => {
            let words = cols.div_ceil(32) as usize;
            let planes = Rows { cells: planes, columns: bits as usize * words };
            // A word of signs is about as much work as four multiply-accumulates.
            each.score(bits * words as u32 * 4, |row, position| {
                let score = score(row.words(0), planes.at(position), words, cols);
                (score as f32 >= row.scale(0)).then_some(0.0)
            })
        }
    }
}

/// The rows of a predictor, and what they find.
struct Each<'a, 'b, 'i, 's, 't, D, P> {
    records: &'a mut Records<'b, 'i, D, P>,
    table: &'a Table<'t>,
    slots: Range<u32>,
    sets: &'a mut ActiveSets<'s>,
    positions: usize,
}

impl<D: BlockDevice, P: Probe> Each<'_, '_, '_, '_, '_, D, P> {
    /// [`score`](Self::score) of what is a product with a row: several positions at once.
    #[cfg(ripple_isa = "x86")]
    fn score_together(
        &mut self,
        work: u32,
        inputs: Inputs<'_>,
        score: impl Fn(f32) -> Option<f32>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { records, table, slots, sets, positions } = self;
        records.for_each(Stage::Predictor, table, slots.clone(), &mut |probe, slot, record| {
            let mut active = false;
            Row::of(&record, 0).dot_each(inputs, |position, product| {
                if let Some(value) = score(product) {
                    sets.mark(position, value);
                    active = true;
                }
            });
            if active {
                sets.close(slot);
            }
            probe.compute(Stage::Predictor, work * *positions as u32);
        })
    }

    /// Scores each row at each position: where there is something, the neuron is active, with that as
    /// its first-layer output if the predictor knows it. `work`: multiply-accumulates of a score.
    fn score(
        &mut self,
        work: u32,
        score: impl Fn(&Record<'_>, usize) -> Option<f32>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { records, table, slots, sets, positions } = self;
        records.for_each(Stage::Predictor, table, slots.clone(), &mut |probe, slot, record| {
            let mut active = false;
            for position in 0..*positions {
                if let Some(value) = score(&record, position) {
                    sets.mark(position, value);
                    active = true;
                }
            }
            if active {
                sets.close(slot);
            }
            probe.compute(Stage::Predictor, work * *positions as u32);
        })
    }
}

/// Cuts `x` into `bits` planes of one bit: `x ~ step * sum_k 2^k (2 plane_k - 1)`.
///
/// The levels are the odd numbers from `-(2^bits - 1)` to `2^bits - 1`, so each plane is a vector
/// of signs and a dot product with signs is XNOR and population count. Values beyond twice the
/// root mean square are clipped; one bit is the sign alone.
///
/// `planes`: `(bits, ceil(dim / 32))`, least significant plane first. Padding bits are 0, as in the
/// rows, and so always match.
pub fn slice(x: &[f32], bits: u32, planes: &mut [u32]) {
    planes.iter_mut().for_each(|word| *word = 0);
    let words = x.len().div_ceil(32);
    let rms = libm::sqrtf(math::dot_f32(x, x) / x.len() as f32);
    let levels = 1i32 << bits;
    // `2 rms` maps to the end of the range: 2^(bits - 1) steps of 2 from zero.
    let factor = (levels / 2) as f32 / (2.0 * rms);
    for (j, &x) in x.iter().enumerate() {
        // Floor of a bounded value without the library: shift it to be positive, then truncate.
        let level = if x > 0.0 {
            // The squares of numbers below 1e-19 vanish: `rms` is 0 and `factor` infinite.
            (levels / 2).saturating_add((x * factor) as i32)
        } else {
            levels / 2 - 1 - (-x * factor) as i32
        };
        let level = level.clamp(0, levels - 1);
        for k in 0..bits {
            if level >> k & 1 != 0
                && let Some(word) = planes.get_mut(k as usize * words + j / 32)
            {
                *word |= 1 << (j % 32);
            }
        }
    }
}

/// `sum_j sign_j * level_j` for the levels of [`slice()`]: `sum_k 2^k (2 matches_k - dim)`.
pub fn score(signs: &[[u8; 4]], planes: &[u32], words: usize, dim: u32) -> i32 {
    let padding = words as i32 * 32 - dim as i32;
    let mut score = 0;
    for (k, plane) in planes.chunks_exact(words.max(1)).enumerate() {
        let matching = math::matching_signs(plane, signs) as i32 - padding;
        score += (2 * matching - dim as i32) << k;
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_plane_is_the_sign_product() {
        let x = [1.0, -1.0, 0.5, -0.1];
        let mut planes = [0u32; 1];
        slice(&x, 1, &mut planes);
        assert_eq!(planes, [0b0101]);
        // signs + + - -: products + - - +.
        assert_eq!(score(&[0b0011u32.to_le_bytes()], &planes, 1, 4), 0);
        assert_eq!(score(&[0b0101u32.to_le_bytes()], &planes, 1, 4), 4);
    }

    #[test]
    fn numbers_too_small_to_square_keep_their_signs() {
        for bits in 1..=7 {
            let mut planes = [0u32; 7];
            slice(&[1e-30, -1e-30, 0.0, 1e-30], bits, &mut planes);
            for plane in &planes[..bits as usize] {
                assert_eq!(plane & 0b1011, 0b1001, "{bits}");
            }
        }
    }

    #[test]
    fn planes_add_up_to_the_levels() {
        let x = [0.1, 3.0, -0.7, -2.5, 1.1];
        let mut planes = [0u32; 3];
        slice(&x, 3, &mut planes);
        let level =
            |j: usize| -> i32 { (0..3).map(|k| (2 * (planes[k] >> j & 1) as i32 - 1) << k).sum() };
        let signs = 0b10110u32;
        let naive: i32 =
            (0..5).map(|j| if signs >> j & 1 == 1 { level(j) } else { -level(j) }).sum();
        assert_eq!(score(&[signs.to_le_bytes()], &planes, 1, 5), naive);
        assert_eq!(level(1), 7);
        assert_eq!(level(0), 1);
    }
}
