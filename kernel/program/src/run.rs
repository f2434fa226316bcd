//! The executor: step by step, each table of weights read once while its rows are used.
//!
//! In: an open program, a device with its image, an arena with the inputs in it, staging. Out: the outputs in
//! the arena. Knows nothing of how a program was found.

use crate::code::{DIGITS, step};
use crate::error::{Lent, RunError};
use crate::nest::Nest;
use crate::operator::{Filter, Vectors, Window, pack, packed_words, products, products_within};
use crate::program::Program;
use crate::words::Words;
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx};
use ripple_kernel::Stage;
use ripple_kernel::image::record::identity;
use ripple_kernel::image::{Quant, RecordLayout, Table};
use ripple_kernel::read::reader::{FetchError, Reader};
use zerocopy::little_endian::I32;

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

/// What a run took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Most blocks of staging that were used at once.
    pub staging: BlockCount,
}

/// What a step has of the memory that was lent.
struct Memory<'r, 'm> {
    arena: &'r mut [u32],
    constants: &'m [I32],
}

impl Memory<'_, '_> {
    fn nest(&mut self, nest: Nest<'_>, digits: [i32; DIGITS]) {
        nest.run(digits, self.arena, self.constants);
    }
}

/// The digits of row `number`, the last one fastest.
fn digits_of(number: u32, extents: [u32; DIGITS]) -> [i32; DIGITS] {
    let mut rest = number;
    let [.., a, b, c] = extents;
    let mut next = |extent: u32| {
        let digit = rest.checked_rem(extent).unwrap_or(0) as i32;
        rest = rest.checked_div(extent).unwrap_or(0);
        digit
    };
    let (fourth, third, second) = (next(c), next(b), next(a));
    [rest as i32, second, third, fourth]
}

/// What is done with the products of each row.
struct Rows<'m> {
    vectors: Vectors,
    /// Rows for each product of the batch.
    each: u32,
    digits: [u32; DIGITS],
    group: u32,
    sums: (usize, usize),
    with_each: Words<'m>,
    with_group: Words<'m>,
}

impl<'m> Rows<'m> {
    fn new(count: u32, words: &mut Words<'m>) -> Self {
        let (cols, vectors, batch) = (words.count(), words.count(), words.count());
        let (packed, products) = (words.count(), words.count());
        let digits = [(); DIGITS].map(|()| words.count() as u32);
        let group = words.count() as u32;
        let sums = (words.count(), words.count());
        let (with_each, with_group) = (words.part(), words.part());
        let each = count.checked_div(batch as u32).unwrap_or(0);
        let vectors = Vectors { packed, count: vectors, cols, products };
        Self { vectors, each, digits, group, sums, with_each, with_group }
    }

    /// The vectors that row `number` is multiplied with.
    fn vectors(&self, number: u32) -> Vectors {
        let batch = number.checked_div(self.each).unwrap_or(0) as usize;
        let words = packed_words(self.vectors.cols).saturating_mul(self.vectors.count);
        let packed = self.vectors.packed.saturating_add(batch.saturating_mul(words));
        Vectors { packed, ..self.vectors }
    }

    /// Of every group the first row begins with sums of 0, and behind the last one they are used.
    fn begin(&self, number: u32, memory: &mut Memory<'_, '_>) {
        if number.checked_rem(self.group) == Some(0) {
            let (at, count) = self.sums;
            let sums = memory.arena.get_mut(at..).and_then(|rest| rest.get_mut(..count));
            sums.unwrap_or_default().fill(0);
        }
    }

    fn end(&self, number: u32, memory: &mut Memory<'_, '_>) {
        let digits = digits_of(number, self.digits);
        memory.nest(Nest::new(self.with_each), digits);
        let last = number.wrapping_add(1).checked_rem(self.group) == Some(0);
        if last && !self.with_group.is_empty() {
            memory.nest(Nest::new(self.with_group), digits);
        }
    }
}

impl Program<'_> {
    /// Runs it. `arena`: with the [inputs](Self::input) in it; the [outputs](Self::output) are there afterwards.
    /// Every row of weights is checked.
    ///
    /// # Errors
    /// When too little is lent, the device fails, or a row is damaged: with the step, and the numbers.
    pub fn run<D: BlockDevice>(
        &self,
        mut device: D,
        arena: &mut [u32],
        staging: &mut [Block],
    ) -> Result<Ran, RunError<D::Error>> {
        let lent = |what, needed: usize, given: usize| match needed > given {
            true => Err(RunError::Lent { what, needed: needed as u32, given: given as u32 }),
            false => Ok(()),
        };
        lent(Lent::Arena, self.arena, arena.len())?;
        lent(Lent::Staging, self.staging, staging.len())?;
        let blocks = device.block_count().map_err(|source| RunError::Device {
            step: 0,
            block: 0,
            source,
        })?;
        lent(Lent::Device, self.blocks.0 as usize, blocks.0 as usize)?;
        let staging = staging.get_mut(..self.staging).unwrap_or_default();
        let mut reader = Reader::new(device, staging, BlockCount(0), ());
        let arena = arena.get_mut(..self.arena).unwrap_or_default();
        let mut memory = Memory { arena, constants: self.constants };
        let mut steps = self.steps;
        for number in 0..self.steps() {
            let step = steps.part();
            perform(step, number, &mut memory, &mut reader)?;
        }
        Ok(Ran { staging: reader.peak() })
    }
}

fn perform<D: BlockDevice>(
    mut words: Words<'_>,
    number: u32,
    memory: &mut Memory<'_, '_>,
    reader: &mut Reader<'_, D>,
) -> Result<(), RunError<D::Error>> {
    match words.next() {
        step::NEST => memory.nest(Nest::new(words), [0; DIGITS]),
        step::PACK => pack(words, memory.arena),
        step::PRODUCT => {
            let card = words.next() == 1;
            let (at, count) = (words.count(), words.count() as u32);
            let rows = Rows::new(count, &mut words);
            if card {
                return each_row(number, at, count, rows.vectors.cols, reader, &mut |slot, row| {
                    rows.begin(slot, memory);
                    products(row, rows.vectors(slot), memory.arena);
                    rows.end(slot, memory);
                });
            }
            for slot in 0..count {
                rows.begin(slot, memory);
                let byte = at.saturating_add((slot as usize).saturating_mul(rows.vectors.cols));
                products_within(byte, rows.vectors(slot), memory.arena);
                rows.end(slot, memory);
            }
        }
        code @ (step::WINDOW | step::WINDOW_SUM) => {
            let window = Window::new(&mut words);
            let batch = words.count();
            let nest = Nest::new(words.part());
            for b in 0..batch {
                for position in 0..window.positions {
                    if code == step::WINDOW {
                        window.scores(b, position, memory.arena);
                    } else {
                        window.weighed(b, position, memory.arena);
                    }
                    memory.nest(nest, [0, 0, b as i32, position as i32]);
                }
            }
        }
        step::CONV => {
            let (at, filters, cols) = (words.count(), words.count(), words.count());
            let filter = Filter::new(&mut words);
            let nest = Nest::new(words.part());
            return each_row(number, at, filters as u32, cols, reader, &mut |slot, row| {
                filter.over(row, memory.arena);
                memory.nest(nest, [0, 0, 0, slot as i32]);
            });
        }
        _ => {
            let (at, count) = (words.count(), words.count());
            let words = memory.arena.get_mut(at..).and_then(|rest| rest.get_mut(..count));
            words.unwrap_or_default().fill(0);
        }
    }
    Ok(())
}

/// Every row of the table that begins at block `at`, in order.
fn each_row<D: BlockDevice>(
    step: u32,
    at: usize,
    count: u32,
    cols: usize,
    reader: &mut Reader<'_, D>,
    with: &mut dyn FnMut(u32, &[i8]),
) -> Result<(), RunError<D::Error>> {
    let start = BlockIdx(at as u32);
    let table = Table::on_card(count, row_layout(cols as u32), start, row_identity(step));
    let read = reader.each(Stage::Ffn, &table, 0..count, &mut |(), slot, record| {
        with(slot, record.row(0));
    });
    read.map_err(|error| match error {
        FetchError::Device { at, source } => RunError::Device { step, block: at.0, source },
        FetchError::Corrupt { slot, .. } => RunError::Corrupt { step, row: slot },
        _ => RunError::Corrupt { step, row: 0 },
    })
}
