//! The executor: step by step, each row of weights used as it arrives, while those behind it are on their way.
//!
//! In: an open program, a device with its image, an arena with the inputs in it, staging. Out: the outputs in
//! the arena. A read goes on into the tables of the steps that follow. Knows nothing of how a program was found.

use crate::code::{DIGITS, step};
use crate::error::{Lent, RunError};
use crate::nest::Nest;
use crate::operator::{Filter, Vectors, Window, pack, packed_words, products, products_within};
use crate::program::Program;
use crate::stream::{Arrived, At, table_of};
use crate::words::Words;
use core::ops::Range;
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx};
use zerocopy::little_endian::I32;

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

/// A row that is not the one that was written.
struct Corrupt {
    step: u32,
    row: u32,
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
        let failed =
            |step, block: BlockIdx, source| RunError::Device { step, block: block.0, source };
        let blocks = device.block_count().map_err(|source| failed(0, BlockIdx(0), source))?;
        lent(Lent::Device, self.blocks.0 as usize, blocks.0 as usize)?;
        let staging = staging.get_mut(..self.staging).unwrap_or_default();
        let half = staging.len() / 2;
        let (mut front, mut back) = staging.split_at_mut(half);
        let arena = arena.get_mut(..self.arena).unwrap_or_default();
        let mut memory = Memory { arena, constants: self.constants };
        let corrupt = |Corrupt { step, row }| RunError::Corrupt { step, row };
        let (mut at, mut until) = (At::begin(self.steps), At::begin(self.steps));
        let (mut start, mut peak) = (BlockIdx(0), 0);
        while let Some(coming) = until.extent(BlockCount(half as u32)) {
            let blocks = coming.blocks.0;
            // An extent is longer than a half only where a row is, which is damaged then.
            let into = back.get_mut(..blocks as usize).unwrap_or_default();
            let arrived = Arrived { start, bytes: Block::bytes(front) };
            let to = before(coming.step, until);
            device
                .read_while(coming.start, into, || perform(&mut at, to, arrived, &mut memory))
                .map_err(|source| failed(coming.step, coming.start, source))?
                .map_err(corrupt)?;
            core::mem::swap(&mut front, &mut back);
            (start, until, peak) = (coming.start, coming.until, peak.max(2 * blocks));
        }
        let arrived = Arrived { start, bytes: Block::bytes(front) };
        perform(&mut at, (u32::MAX, 0), arrived, &mut memory).map_err(corrupt)?;
        Ok(Ran { staging: BlockCount(peak) })
    }
}

/// How far a run comes without the rows from `until` on, of which the first are those of `step`.
fn before(step: u32, until: At<'_>) -> (u32, u32) {
    if until.step == step { (step, until.row) } else { (step, 0) }
}

/// Goes on from `at` up to row `to.1` of step `to.0`, or to the end.
fn perform(
    at: &mut At<'_>,
    to: (u32, u32),
    arrived: Arrived<'_>,
    memory: &mut Memory<'_, '_>,
) -> Result<(), Corrupt> {
    while !at.is_end() && at.step < to.0 {
        rows_of(*at, u32::MAX, arrived, memory)?;
        *at = at.next();
    }
    if at.step == to.0 && at.row < to.1 {
        rows_of(*at, to.1, arrived, memory)?;
        at.row = to.1;
    }
    Ok(())
}

/// Rows of a step, from that of `at` up to `end`; of one that has none on the card, all of it.
fn rows_of(
    at: At<'_>,
    end: u32,
    arrived: Arrived<'_>,
    memory: &mut Memory<'_, '_>,
) -> Result<(), Corrupt> {
    let mut words = at.words();
    let table = table_of(words, at.step);
    let each_row = |range: Range<u32>, with: &mut dyn FnMut(u32, &[i8])| {
        for row in range {
            let record = table.as_ref().and_then(|table| arrived.row(table, row));
            with(row, record.ok_or(Corrupt { step: at.step, row })?.row(0));
        }
        Ok(())
    };
    match words.next() {
        step::NEST => memory.nest(Nest::new(words), [0; DIGITS]),
        step::PACK => pack(words, memory.arena),
        step::PRODUCT => {
            let card = words.next() == 1;
            let (from, count) = (words.count(), words.count() as u32);
            let rows = Rows::new(count, &mut words);
            if card {
                return each_row(at.row..end.min(count), &mut |slot, row| {
                    rows.begin(slot, memory);
                    products(row, rows.vectors(slot), memory.arena);
                    rows.end(slot, memory);
                });
            }
            for slot in 0..count {
                rows.begin(slot, memory);
                let byte = from.saturating_add((slot as usize).saturating_mul(rows.vectors.cols));
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
            let (_, filters, _) = (words.count(), words.count() as u32, words.count());
            let filter = Filter::new(&mut words);
            let nest = Nest::new(words.part());
            return each_row(at.row..end.min(filters), &mut |slot, row| {
                filter.over(row, memory.arena);
                memory.nest(nest, [0, 0, 0, slot as i32]);
            });
        }
        _ => {
            let (from, count) = (words.count(), words.count());
            let words = memory.arena.get_mut(from..).and_then(|rest| rest.get_mut(..count));
            words.unwrap_or_default().fill(0);
        }
    }
    Ok(())
}
