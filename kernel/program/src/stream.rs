//! Where a run is, and what it reads next: rows of all steps are one stream, in the order in which they are used.
//!
//! In: the steps of an open program. Out: extents of whole rows, as long as a half of staging allows, whatever
//! steps the rows belong to; the rows in an extent that has arrived. Knows nothing of devices and of what is
//! done with a row.

use crate::code::step;
use crate::words::Words;
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockIdx};
use ripple_kernel::image::record::identity;
use ripple_kernel::image::{Quant, Record, RecordLayout, Table};

/// Number of the section that records of programs call themselves of: one that no image of a model has.
const SECTION: u32 = 15;

/// The layout of a row of weights.
pub const fn row_layout(cols: u32) -> RecordLayout {
    RecordLayout { quant: Quant::Q8, rows: 1, cols, bias: false }
}

/// What row 0 of the table of `step` calls itself; see
/// [`identity`](ripple_kernel::image::record::identity).
pub const fn row_identity(step: u32) -> u32 {
    identity(0, SECTION, step, 0)
}

/// A step, and a row of its table: all before it are done.
#[derive(Clone, Copy)]
pub struct At<'m> {
    /// This step and those behind it.
    steps: Words<'m>,
    /// Its number.
    pub step: u32,
    /// The row; 0 where there are none on the card.
    pub row: u32,
}

/// Blocks that one command reads: whole rows, up to `until`.
pub struct Extent<'m> {
    /// The first block.
    pub start: BlockIdx,
    /// How many.
    pub blocks: BlockCount,
    /// The step of its first row.
    pub step: u32,
    /// The first row that is not in it.
    pub until: At<'m>,
}

/// The table of a step, if its rows are on the card.
pub fn table_of(mut words: Words<'_>, step: u32) -> Option<Table<'static>> {
    let card = match words.next() {
        step::PRODUCT => words.next() == 1,
        step::CONV => true,
        _ => false,
    };
    let (at, count, cols) = (words.next() as u32, words.count() as u32, words.count() as u32);
    let table = Table::on_card(count, row_layout(cols), BlockIdx(at), row_identity(step));
    card.then_some(table)
}

/// Block of the image in which byte `at` of a table is.
fn block(table: &Table<'_>, at: u64) -> u32 {
    table.start.0.saturating_add((at / BLOCK_BYTES as u64) as u32)
}

impl<'m> At<'m> {
    /// The begin of a run.
    pub fn begin(steps: Words<'m>) -> Self {
        Self { steps, step: 0, row: 0 }
    }

    /// The step's words.
    pub fn words(mut self) -> Words<'m> {
        self.steps.part()
    }

    /// The next step.
    #[must_use]
    pub fn next(mut self) -> Self {
        self.steps.part();
        Self { steps: self.steps, step: self.step.saturating_add(1), row: 0 }
    }

    /// Whether all steps are done.
    pub fn is_end(self) -> bool {
        self.steps.is_empty()
    }

    /// What is read for the first row from here on that lies on the card, and for those behind it, at most
    /// `most` blocks unless a single row has more; `None` where there is none.
    pub fn extent(self, most: BlockCount) -> Option<Extent<'m>> {
        let mut at = self;
        let mut found: Option<Extent<'m>> = None;
        while !at.is_end() {
            let Some(table) = table_of(at.words(), at.step).filter(|table| at.row < table.count)
            else {
                at = at.next();
                continue;
            };
            let stride = u64::from(table.layout.stride()).max(1);
            let first = block(&table, u64::from(at.row) * stride);
            let start = found.as_ref().map_or(first, |extent| extent.start.0);
            let end = start.saturating_add(most.0);
            let room = u64::from(end.saturating_sub(table.start.0)) * BLOCK_BYTES as u64;
            let fit = (room / stride).min(table.count.into()) as u32;
            // A row that is longer than that comes alone.
            let least = if found.is_none() { at.row.saturating_add(1) } else { at.row };
            let until = fit.max(least);
            // Tables lie one behind the other; what does not is read by itself.
            let follows = found.as_ref().is_none_or(|extent| {
                extent.start.0.saturating_add(extent.blocks.0) == table.start.0
            });
            if until == at.row || !follows {
                break;
            }
            let last = block(&table, (u64::from(until) * stride).saturating_sub(1));
            let blocks = BlockCount(last.saturating_add(1).saturating_sub(start));
            let step = found.as_ref().map_or(at.step, |extent| extent.step);
            let whole = until == table.count;
            at.row = until;
            let next = if whole { at.next() } else { at };
            found = Some(Extent { start: BlockIdx(start), blocks, step, until: next });
            if !whole {
                break;
            }
            at = next;
        }
        found
    }
}

/// Blocks that have arrived.
#[derive(Clone, Copy)]
pub struct Arrived<'a> {
    /// The first of them.
    pub start: BlockIdx,
    /// Their bytes.
    pub bytes: &'a [u8],
}

impl<'a> Arrived<'a> {
    /// Row `number` of `table`; `None` where it is not in here, or is not the one that was written.
    pub fn row(&self, table: &Table<'_>, number: u32) -> Option<Record<'a>> {
        let at = u64::from(number) * u64::from(table.layout.stride());
        let at = at.checked_add(u64::from(table.start.0) * BLOCK_BYTES as u64)?;
        let at = at.checked_sub(u64::from(self.start.0) * BLOCK_BYTES as u64)?;
        let bytes = self.bytes.get(usize::try_from(at).ok()?..)?;
        table.arrived(number, bytes.get(..table.layout.stride() as usize)?)
    }
}
