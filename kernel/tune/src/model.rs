//! The model that is trained, and its rows as they arrive.
//!
//! In: an image, options. Out: rows as numbers, norms, adapters. Knows nothing of gradients.

use crate::adapter::Places;
use crate::norm::Weights;
use crate::options::TuneOptions;
use crate::shape::Shape;
use crate::vector::{front_mut, row};
use core::ops::Range;
use ripple_hal::BlockDevice;
use ripple_kernel::image::{Image, SectionKind, Table};
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::{Probe, Stage};

/// What does not change while it is trained.
#[derive(Clone, Copy)]
pub(crate) struct Frozen<'m> {
    pub image: Image<'m>,
    pub shape: Shape,
    pub options: TuneOptions,
    pub places: Places,
}

impl Frozen<'_> {
    /// Norm number `which` of a layer's or the final vectors.
    pub fn norm<'a>(&self, vectors: &'a [f32], which: usize) -> Weights<'a> {
        let (dim, count) = (self.shape.dim, self.image.header.geometry.norm_vectors() as usize);
        let config = &self.image.header.geometry.config;
        Weights {
            norm: config.norm,
            eps: config.norm_eps,
            weight: row(vectors, which * count, dim),
            bias: if count > 1 { row(vectors, which * count + 1, dim) } else { &[] },
        }
    }

    /// The bias of the FFN's output, or none.
    pub fn ffn_bias<'a>(&self, vectors: &'a [f32]) -> &'a [f32] {
        let geometry = &self.image.header.geometry;
        if !geometry.config.ffn_bias {
            return &[];
        }
        row(vectors, 2 * geometry.norm_vectors() as usize, self.shape.dim)
    }

    /// What the FFN's outputs are multiplied with, or nothing.
    pub fn output_scales<'a>(&self, vectors: &'a [f32]) -> &'a [f32] {
        let geometry = &self.image.header.geometry;
        let from = vectors.get(geometry.output_scales_at() as usize..);
        let scales = from.and_then(|from| from.get(..geometry.output_scales() as usize));
        scales.unwrap_or(&[])
    }

    /// What makes a neuron active.
    pub fn threshold(&self, vectors: &[f32]) -> f32 {
        let config = &self.image.header.geometry.config;
        if config.activation.lossy() {
            vectors.last().copied().unwrap_or(0.0)
        } else {
            config.threshold
        }
    }

    /// Rotary frequencies, or none.
    pub fn frequencies<'a>(&self, last: &'a [f32]) -> &'a [f32] {
        let count = self.image.header.geometry.frequencies() as usize;
        last.get(last.len().saturating_sub(count)..).unwrap_or(&[])
    }

    /// Where the rows of the head lie.
    pub fn head(&self) -> Table<'_> {
        let tied = self.image.header.geometry.config.tied_head;
        self.image.table(if tied { SectionKind::Embedding } else { SectionKind::Head }, 0)
    }
}

/// Hands the rows `range` of a table of rows to `visit`, as numbers, with their biases. `work`:
/// multiply-accumulates of one.
pub(crate) fn each_row<D: BlockDevice, P: Probe>(
    reader: &mut Reader<'_, D, P>,
    stage: Stage,
    table: &Table<'_>,
    range: Range<u32>,
    numbers: &mut [f32],
    work: u64,
    visit: &mut dyn FnMut(usize, &[f32], f32),
) -> Result<(), FetchError<D::Error>> {
    let numbers = front_mut(numbers, table.layout.cols as usize);
    reader.each(stage, table, range, &mut |probe, slot, record| {
        record.numbers(0, numbers);
        visit(slot as usize, numbers, record.bias());
        count(probe, stage, work);
    })
}

/// Reports multiply-accumulates.
pub(crate) fn count<P: Probe>(probe: &mut P, stage: Stage, work: u64) {
    probe.compute(stage, u32::try_from(work).unwrap_or(u32::MAX));
}

/// Copies the one record of a table of floats.
pub(crate) fn load_floats<D: BlockDevice, P: Probe>(
    reader: &mut Reader<'_, D, P>,
    stage: Stage,
    table: &Table<'_>,
    out: &mut [f32],
) -> Result<(), FetchError<D::Error>> {
    reader.each(stage, table, 0..1, &mut |_, _, record| {
        for (out, word) in out.iter_mut().zip(record.words(0)) {
            *out = f32::from_le_bytes(*word);
        }
    })
}
