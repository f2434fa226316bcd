//! A board as far as costs are concerned: commands and bytes from a card, RAM, instructions of the core.
//!
//! In: figures. Out: what a read, a dot product, a copied number cost. Knows nothing of expressions.

use ripple_program::row_layout;
use rustc_hash::FxHashMap;

/// Instructions of one pass of a loop over a row: `call + number * length`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Whatever the length.
    pub call: f64,
    /// For each number.
    pub number: f64,
}

impl Line {
    /// Through the instructions a number takes in rows of 64 and of 1,024.
    pub const fn through(at_64: f64, at_1024: f64) -> Self {
        let number = (1024.0 * at_1024 - 64.0 * at_64) / 960.0;
        Self { call: 64.0 * (at_64 - number), number }
    }

    /// Instructions for `rows` rows of `length` numbers.
    pub fn instructions(&self, rows: i64, length: i64) -> f64 {
        rows as f64 * (self.call + self.number * length as f64)
    }
}

/// The loops of a core. The figures are those of `boards/kernels/measured.csv`: guest instructions counted
/// in QEMU, by the core's own loops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Core {
    /// What the table calls it.
    pub name: &'static str,
    /// A dot product of 8-bit numbers, in a matrix.
    pub dot: Line,
    /// Loading, scaling and adding a row: taken for every number that a generated operator moves or adds,
    /// which no loop was counted for.
    pub moved: Line,
    /// Instructions of the executor for each of what [`Work`](crate::emit::Work) counts. A dot product, the numbers
    /// of what is packed and of scaled rows, and a word of a record's check are as counted by themselves; the rest is
    /// fitted, nothing negative, to 97 programs of four cases on M4 and 107 on M55 in QEMU, so that the largest error
    /// is within 3 % of the least possible and the mean is least: 13.4 and 12.0 % off at most. `boards/x programs`
    /// holds them to `boards/programs/measured.csv`. No program was counted on M3, which has its own loops' figures
    /// and M4's for the rest.
    pub program: [f64; 15],
}

impl Core {
    /// Cortex-M3.
    pub const M3: Self = Self {
        name: "M3",
        dot: Line::through(2.142, 1.651),
        moved: Line::through(2.877, 2.582),
        program: [
            0.0, 12.0, 33.52, 1.618, 375.1, 5.0, 115.8, 3.245, 135.8, 2.562, 586.5, 14.73, 305.7,
            7.481, 6.924,
        ],
    };
    /// Cortex-M4; its loop is that of all cores with the DSP instructions.
    pub const M4: Self = Self {
        name: "M4",
        dot: Line::through(1.486, 1.222),
        moved: Line::through(2.376, 2.111),
        program: [
            0.0, 12.0, 18.02, 1.204, 375.1, 3.998, 115.8, 3.245, 135.8, 2.093, 586.5, 14.73, 305.7,
            7.481, 6.924,
        ],
    };
    /// Cortex-M55.
    pub const M55: Self = Self {
        name: "M55",
        dot: Line::through(0.299, 0.121),
        moved: Line::through(0.836, 0.697),
        program: [
            83.25, 12.0, 12.15, 0.1091, 271.0, 1.06, 122.9, 1.317, 81.83, 0.6877, 249.6, 20.17,
            389.4, 0.0, 11.65,
        ],
    };
    /// Every core.
    pub const ALL: [Self; 3] = [Self::M3, Self::M4, Self::M55];

    /// Instructions of a program that does so much of each kind of work.
    pub fn executed(&self, work: &[f64; 15]) -> f64 {
        work.iter().zip(self.program).map(|(count, each)| count * each).sum()
    }
}

/// A board with its card.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// What it is called.
    pub name: String,
    /// Its loops.
    pub core: Core,
    /// Its clock, one instruction a cycle.
    pub megahertz: f64,
    /// Nanoseconds of a read command before its first byte.
    pub command_ns: f64,
    /// Bytes a second after it.
    pub bytes_per_second: f64,
    /// Bytes of RAM for what a network computes with, staging among them.
    pub ram: i64,
    /// Bytes of both halves of staging: a read is no longer than one.
    pub staging: i64,
}

/// Bytes of a block of the card.
const BLOCK: i64 = 512;

/// Bytes of a record of so many numbers, each row padded to a multiple of four.
fn record_bytes(numbers: i64) -> i64 {
    row_layout((numbers + 3) as u32 / 4 * 4).stride().into()
}

/// What one command reads: whole records, of several tables where these lie one behind the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Blocks.
    pub blocks: i64,
    /// Tables, each with its records in this read.
    pub of: Vec<(usize, i64)>,
}

/// What a plan costs, or a part of one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Read commands.
    pub commands: i64,
    /// Bytes from the card.
    pub bytes: i64,
    /// Most bytes of RAM at any time, staging among them.
    pub ram: i64,
    /// Instructions.
    pub instructions: f64,
    /// Modelled time: the longer of reading and computing what can overlap.
    pub nanoseconds: f64,
}

/// Commands that read a table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Extents {
    commands: i64,
    blocks: i64,
}

impl Machine {
    /// `rows` records of `numbers` 8-bit numbers each, streamed in order: commands, bytes, nanoseconds.
    ///
    /// As the kernel reads them: each command brings whole records, as many as one half of staging holds, in
    /// whole blocks; a block that two commands share is read twice.
    pub fn stream(&self, rows: i64, numbers: i64) -> (i64, i64, f64) {
        let Extents { commands, blocks } = self.extents(rows, numbers);
        let bytes = blocks * BLOCK;
        let time = commands as f64 * self.command_ns + bytes as f64 * 1e9 / self.bytes_per_second;
        (commands, bytes, time)
    }

    /// What a command reads depends on where in a block its first record begins alone: when that comes again, so
    /// does all that followed it, which is counted at once.
    fn extents(&self, rows: i64, numbers: i64) -> Extents {
        let record = record_bytes(numbers);
        let half = self.staging / 2 / BLOCK;
        let mut all = Extents::default();
        if numbers <= 0 {
            return all;
        }
        let mut seen: Option<FxHashMap<i64, (i64, Extents)>> = Some(FxHashMap::default());
        let mut row = 0;
        while row < rows {
            let begin = row * record;
            let known = seen.as_mut().and_then(|seen| seen.insert(begin % BLOCK, (row, all)));
            if let Some((from, before)) = known {
                let times = (rows - row) / (row - from);
                row += times * (row - from);
                all.commands += times * (all.commands - before.commands);
                all.blocks += times * (all.blocks - before.blocks);
                seen = None;
                continue;
            }
            let first = begin / BLOCK;
            // A record that is longer than a half comes alone.
            let end = ((first + half) * BLOCK / record).clamp(row + 1, rows);
            let blocks = (end * record + BLOCK - 1) / BLOCK - first;
            all.commands += 1;
            all.blocks += blocks;
            row = end;
        }
        all
    }

    /// The commands that read `tables`, each so many records of so many numbers, one behind the other and each on
    /// blocks of its own: as a program reads them, which goes on into the next table with the same command.
    pub fn reads(&self, tables: &[(i64, i64)]) -> Vec<Read> {
        let half = self.staging / 2 / BLOCK;
        let blocks = |bytes: i64| (bytes + BLOCK - 1) / BLOCK;
        let mut all: Vec<Read> = Vec::new();
        // What is read is open where the last command could bring more: blocks that it may still have.
        let mut room = 0;
        for (table, &(rows, numbers)) in tables.iter().enumerate() {
            let record = record_bytes(numbers);
            let fit = (room * BLOCK / record).min(rows);
            let mut row = 0;
            if let Some(last) = all.last_mut().filter(|_| fit > 0) {
                last.blocks += blocks(fit * record);
                last.of.push((table, fit));
                (row, room) = (fit, room - blocks(fit * record));
            }
            while row < rows {
                let first = row * record / BLOCK;
                let end = ((first + half) * BLOCK / record).clamp(row + 1, rows);
                let taken = blocks(end * record) - first;
                all.push(Read { blocks: taken, of: vec![(table, end - row)] });
                (row, room) = (end, half - taken);
            }
        }
        all
    }

    /// Bytes of so many blocks.
    pub fn bytes(&self, blocks: i64) -> i64 {
        blocks * BLOCK
    }

    /// Nanoseconds of a command that reads so many blocks.
    pub fn command(&self, blocks: i64) -> f64 {
        self.command_ns + (blocks * BLOCK) as f64 * 1e9 / self.bytes_per_second
    }

    /// Nanoseconds of `rows` records of `numbers`, streamed, with `work` nanoseconds on them: what was read is
    /// worked on while the next read is on its way, so that the first read and the last work go with nothing.
    pub fn overlapped(&self, rows: i64, numbers: i64, work: f64) -> f64 {
        if rows == 0 || numbers <= 0 {
            return work;
        }
        let (record, half) = (record_bytes(numbers), self.staging / 2 / BLOCK);
        let (mut row, mut waiting, mut time) = (0, 0.0f64, 0.0);
        // As in `extents`; a read takes as long as the one before it was worked on, so that this must come again too.
        let mut seen: Option<FxHashMap<i64, (i64, f64, f64)>> = Some(FxHashMap::default());
        while row < rows {
            let begin = row * record;
            let known =
                seen.as_mut().and_then(|seen| seen.insert(begin % BLOCK, (row, time, waiting)));
            if let Some((from, before, _)) = known.filter(|(.., waited)| *waited == waiting) {
                let times = (rows - row) / (row - from);
                row += times * (row - from);
                time += times as f64 * (time - before);
                seen = None;
                continue;
            }
            let first = begin / BLOCK;
            let end = ((first + half) * BLOCK / record).clamp(row + 1, rows);
            let blocks = (end * record + BLOCK - 1) / BLOCK - first;
            time += self.command(blocks).max(waiting);
            waiting = work * (end - row) as f64 / rows as f64;
            row = end;
        }
        time + waiting
    }

    /// Nanoseconds of so many instructions.
    pub fn compute(&self, instructions: f64) -> f64 {
        instructions * 1e3 / self.megahertz
    }
}

impl Cost {
    /// One after the other: times add up, RAM is the larger.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            commands: self.commands + next.commands,
            bytes: self.bytes + next.bytes,
            ram: self.ram.max(next.ram),
            instructions: self.instructions + next.instructions,
            nanoseconds: self.nanoseconds + next.nanoseconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One command after the other.
    fn one_by_one(machine: &Machine, rows: i64, numbers: i64) -> Extents {
        let record = record_bytes(numbers);
        let half = machine.staging / 2 / BLOCK;
        let (mut all, mut row) = (Extents::default(), 0);
        while row < rows {
            let first = row * record / BLOCK;
            let end = ((first + half) * BLOCK / record).clamp(row + 1, rows);
            let blocks = (end * record + BLOCK - 1) / BLOCK - first;
            all = Extents { commands: all.commands + 1, blocks: all.blocks + blocks };
            row = end;
        }
        all
    }

    /// The time of the same, one after the other.
    fn time_one_by_one(machine: &Machine, rows: i64, numbers: i64, work: f64) -> f64 {
        let (mut time, mut waiting) = (0.0, 0.0f64);
        let record = record_bytes(numbers);
        let half = machine.staging / 2 / BLOCK;
        let mut row = 0;
        while row < rows {
            let first = row * record / BLOCK;
            let end = ((first + half) * BLOCK / record).clamp(row + 1, rows);
            time += machine.command((end * record + BLOCK - 1) / BLOCK - first).max(waiting);
            waiting = work * (end - row) as f64 / rows as f64;
            row = end;
        }
        time + waiting
    }

    #[test]
    fn commands_counted_at_once_are_those_counted_one_by_one() {
        for staging in [1 << 10, 3 << 10, 16 << 10, 64 << 10] {
            let machine = Machine {
                name: String::new(),
                core: Core::M4,
                megahertz: 1.0,
                command_ns: 1.0,
                bytes_per_second: 1.0,
                ram: 0,
                staging,
            };
            for numbers in [1, 3, 4, 60, 123, 508, 509, 1020, 4096, 40_000] {
                for rows in [0, 1, 2, 7, 127, 128, 129, 1000, 4097, 20_011] {
                    let found = machine.extents(rows, numbers);
                    let block = machine.command(1);
                    for work in [0.0, 0.3, 1.0, 1.7, 30.0].map(|each| each * block * rows as f64) {
                        let expected = match rows {
                            0 => work,
                            _ => time_one_by_one(&machine, rows, numbers, work),
                        };
                        let time = machine.overlapped(rows, numbers, work);
                        assert!((time - expected).abs() <= 1e-9 * expected, "{time}, {expected}");
                    }
                    let what = format!("{rows} of {numbers}, staging {staging}");
                    assert_eq!(found, one_by_one(&machine, rows, numbers), "{what}");
                    let reads = machine.reads(&[(rows, numbers)]);
                    let blocks = reads.iter().map(|read| read.blocks).sum();
                    assert_eq!(found, Extents { commands: reads.len() as i64, blocks }, "{what}");
                }
            }
        }
    }
}
