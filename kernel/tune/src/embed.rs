//! Tokens to vectors.
//!
//! In: tokens. Out: the residual stream in front of the first layer.

use crate::model::Frozen;
use crate::real::Real;
use crate::space::Space;
use crate::vector::{copy, front_mut, row, row_mut};
use ripple_hal::BlockDevice;
use ripple_kernel::image::SectionKind;
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::{Position, Probe, Stage};

/// The embeddings of the tokens, at their positions.
pub(crate) fn embed<D: BlockDevice, P: Probe, R: Real>(
    frozen: &Frozen<'_>,
    reader: &mut Reader<'_, D, P>,
    space: &mut Space<'_, R>,
    tokens: &[u32],
) -> Result<(), FetchError<D::Error>> {
    let dim = frozen.shape.dim;
    reader.probe().enter(Stage::Embedding, 0);
    let table = frozen.image.table(SectionKind::Embedding, 0);
    let numbers = front_mut(space.rows.numbers, dim);
    let stream = &mut *space.stream;
    for (i, &token) in tokens.iter().enumerate() {
        if let Some(same) = tokens.iter().take(i).position(|before| *before == token) {
            let (before, here) = stream.split_at_mut_checked(i * dim).unwrap_or_default();
            copy(here, row(before, same, dim));
            continue;
        }
        reader.each(Stage::Embedding, &table, token..token + 1, &mut |_, _, record| {
            record.numbers(0, numbers);
            let out = row_mut(stream, i, dim);
            out.iter_mut().zip(&*numbers).for_each(|(x, w)| *x = R::of(*w));
        })?;
    }
    if frozen.image.header.geometry.config.position == Position::Learned {
        let table = frozen.image.table(SectionKind::Positions, 0);
        let range = 0..tokens.len() as u32;
        reader.each(Stage::Embedding, &table, range, &mut |_, at, record| {
            record.numbers(0, numbers);
            let out = row_mut(stream, at as usize, dim);
            out.iter_mut().zip(&*numbers).for_each(|(x, w)| *x += R::of(*w));
        })?;
    }
    Ok(())
}
