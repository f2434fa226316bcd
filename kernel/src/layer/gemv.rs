//! Matrix times vectors, each row while it is here.
//!
//! In: a table of rows, packed inputs. Out: a product for each row and position, written, added or
//! compared. Knows nothing of what the matrix is for.

use crate::image::Table;
use crate::image::row::Row;
use crate::math::Inputs;
use crate::math::softmax::capped;
use crate::read::fetch::{FetchError, Records};
use crate::read::probe::{Probe, Stage};
use ripple_hal::BlockDevice;

/// `y_position = W x_position + b`.
pub(crate) fn gemv<D: BlockDevice, P: Probe>(
    records: &mut Records<'_, '_, D, P>,
    stage: Stage,
    table: &Table<'_>,
    inputs: Inputs<'_>,
    mut out: Output<'_>,
) -> Result<(), FetchError<D::Error>> {
    let work = table.layout.cols * inputs.scales.len() as u32;
    let rows = table.count as usize;
    records.for_each(stage, table, 0..table.count, &mut |probe, slot, record| {
        let row = Row::of(&record, 0);
        row.dot_each(inputs, |position, y| out.put(position, slot, rows, y));
        probe.compute(stage, work);
    })
}

/// What becomes of a product. An enum, not a closure: one copy of the loop serves all matrices.
pub(crate) enum Output<'a> {
    /// `(positions, rows)`, written.
    Write(&'a mut [f32]),
    /// `(positions, rows)`, added to.
    Add(&'a mut [f32]),
    /// `(positions,)` each: the row with the largest product so far, and the product, within the soft cap
    /// that follows: it can make two products equal.
    Largest(&'a mut [u32], &'a mut [f32], f32),
}

impl Output<'_> {
    #[inline]
    fn put(&mut self, position: usize, row: u32, rows: usize, y: f32) {
        let at = position * rows + row as usize;
        match self {
            Self::Write(out) => {
                if let Some(out) = out.get_mut(at) {
                    *out = y;
                }
            }
            Self::Add(out) => {
                if let Some(out) = out.get_mut(at) {
                    *out += y;
                }
            }
            Self::Largest(found, most, cap) => {
                let y = if cfg!(feature = "variants") { capped(y, *cap) } else { y };
                // As the sampler has it: of equals the first, NaN never, nothing above the largest
                // number.
                if let (Some(found), Some(most)) = (found.get_mut(position), most.get_mut(position))
                    && y > *most
                    && *most < f32::MAX
                {
                    (*found, *most) = (row, y);
                }
            }
        }
    }
}
