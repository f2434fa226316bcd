//! A board as far as costs are concerned: commands and bytes from a card, RAM, instructions of the core.
//!
//! In: figures. Out: what a read, a dot product, a copied number cost. Knows nothing of expressions.

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
    /// Instructions of the executor for each of what [`Work`](crate::emit::Work) counts. What goes through the
    /// kernel's loops for dot products, packing and scaled rows is as counted by itself, and a word of a record's
    /// check as it is compiled; the rest is fitted, with the least largest error and nothing negative, to 123
    /// programs of four cases on M4 and on M55 in QEMU, each core's own candidates and the other's: 13.0 and
    /// 12.1 % off at most. `boards/x programs` holds them to `boards/programs/measured.csv`. No program was
    /// counted on M3, which has its own loops' figures and M4's for the rest.
    pub program: [f64; 14],
}

impl Core {
    /// Cortex-M3.
    pub const M3: Self = Self {
        name: "M3",
        dot: Line::through(2.142, 1.651),
        moved: Line::through(2.877, 2.582),
        program: [
            48.75, 12.0, 33.52, 1.618, 401.7, 5.0, 60.0, 3.187, 56.7, 2.562, 563.8, 16.36, 273.5,
            9.417,
        ],
    };
    /// Cortex-M4; its loop is that of all cores with the DSP instructions.
    pub const M4: Self = Self {
        name: "M4",
        dot: Line::through(1.486, 1.222),
        moved: Line::through(2.376, 2.111),
        program: [
            48.75, 12.0, 18.02, 1.204, 401.7, 3.998, 60.0, 3.2, 56.7, 2.093, 563.8, 16.36, 273.5,
            9.417,
        ],
    };
    /// Cortex-M55.
    pub const M55: Self = Self {
        name: "M55",
        dot: Line::through(0.299, 0.121),
        moved: Line::through(0.836, 0.697),
        program: [
            84.14, 12.0, 12.15, 0.1091, 116.4, 1.06, 237.0, 0.7424, 77.55, 0.6877, 349.8, 15.87,
            344.3, 1.156,
        ],
    };
    /// Every core.
    pub const ALL: [Self; 3] = [Self::M3, Self::M4, Self::M55];

    /// Instructions of a program that does so much of each kind of work.
    pub fn executed(&self, work: &[f64; 14]) -> f64 {
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

/// Bytes before the numbers of a record: its check and its scale.
pub const RECORD_HEADER: i64 = 4;

/// Bytes of a block of the card.
const BLOCK: i64 = 512;

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
    longest: i64,
}

impl Machine {
    /// `rows` records of `numbers` 8-bit numbers each, streamed in order: commands, bytes, nanoseconds.
    ///
    /// As the kernel reads them: each command brings whole records, as many as one half of staging holds, in
    /// whole blocks; a block that two commands share is read twice.
    pub fn stream(&self, rows: i64, numbers: i64) -> (i64, i64, f64) {
        let Extents { commands, blocks, .. } = self.extents(rows, numbers);
        let bytes = blocks * BLOCK;
        let time = commands as f64 * self.command_ns + bytes as f64 * 1e9 / self.bytes_per_second;
        (commands, bytes, time)
    }

    /// Blocks of the longest of these commands.
    pub fn staged(&self, rows: i64, numbers: i64) -> i64 {
        self.extents(rows, numbers).longest
    }

    /// What a command reads depends on where in a block its first record begins alone: when that comes again, so
    /// does all that followed it, which is counted at once.
    fn extents(&self, rows: i64, numbers: i64) -> Extents {
        let record = RECORD_HEADER + (numbers + 3) / 4 * 4;
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
            all.longest = all.longest.max(blocks);
            row = end;
        }
        all
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
        let record = RECORD_HEADER + (numbers + 3) / 4 * 4;
        let half = machine.staging / 2 / BLOCK;
        let (mut all, mut row) = (Extents::default(), 0);
        while row < rows {
            let first = row * record / BLOCK;
            let end = ((first + half) * BLOCK / record).clamp(row + 1, rows);
            let blocks = (end * record + BLOCK - 1) / BLOCK - first;
            let Extents { commands, blocks: sum, longest } = all;
            all = Extents {
                commands: commands + 1,
                blocks: sum + blocks,
                longest: longest.max(blocks),
            };
            row = end;
        }
        all
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
                    let what = format!("{rows} of {numbers}, staging {staging}");
                    assert_eq!(found, one_by_one(&machine, rows, numbers), "{what}");
                }
            }
        }
    }
}
