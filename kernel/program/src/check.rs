//! What the words of a step may be: looked at once, when a program is opened.
//!
//! In: a program's sizes and the words of a step. Out: nothing, or what in it is not understood. What is right
//! here cannot leave the arena when it runs; indices may, and read 0 or write nothing then.

use crate::code::{
    DIGITS, MOST_ACCESSES, MOST_KEPT, MOST_LOOPS, MOST_PARTS, MOST_VARS, kind, op, part, step,
    store,
};
use crate::error::ProgramError;
use crate::operator::packed_words;
use crate::sizes::{MOST_WORDS, Sizes, field};
use crate::words::Words;

/// Most iterations of a loop.
const MOST_EXTENT: i32 = 1 << 24;

/// Numbers of a step, each looked at as it is taken.
struct Checked<'p, 'm> {
    sizes: &'p Sizes,
    step: u32,
    words: Words<'m>,
}

impl<'m> Checked<'_, 'm> {
    fn next(&mut self, what: &'static str, least: i32, most: i32) -> Result<i32, ProgramError> {
        if self.words.is_empty() {
            return Err(ProgramError::Short { step: self.step });
        }
        field(self.step, what, self.words.next(), least, most)
    }

    fn count(&mut self, what: &'static str) -> Result<i32, ProgramError> {
        self.next(what, 0, MOST_EXTENT)
    }

    fn has(
        &self,
        what: &'static str,
        at: i32,
        numbers: i64,
        kind: i32,
    ) -> Result<(), ProgramError> {
        let numbers = numbers.clamp(-1, i64::from(i32::MAX)) as i32;
        self.sizes.has(self.step, what, at, numbers, kind)
    }

    /// A word of the arena, with as many behind it as `numbers`.
    fn word(&self, what: &'static str, at: i32, numbers: i64) -> Result<(), ProgramError> {
        let end = i64::from(at) + numbers;
        let end = end.min(i64::from(i32::MAX)) as i32;
        field(self.step, what, end, 0, self.sizes.arena.min(MOST_WORDS as usize) as i32).map(drop)
    }

    /// What is used word by word begins on one.
    fn aligned(&self, what: &'static str, at: i32) -> Result<(), ProgramError> {
        field(self.step, what, at % 4, 0, 0).map(drop)
    }

    fn part(&mut self) -> Result<Words<'m>, ProgramError> {
        let count = self.next("words of a part", 0, MOST_WORDS)? as usize;
        if count > self.words.0.len() {
            return Err(ProgramError::Short { step: self.step });
        }
        Ok(self.words.take(count))
    }

    fn within<'a>(&'a self, words: Words<'m>) -> Checked<'a, 'm> {
        Checked { sizes: self.sizes, step: self.step, words }
    }

    fn end(&self) -> Result<(), ProgramError> {
        let left = self.words.0.len() as i32;
        field(self.step, "words behind a step", left, 0, 0).map(drop)
    }

    fn index(&mut self) -> Result<(), ProgramError> {
        let terms = self.next("terms of an index", 0, MOST_VARS as i32)?;
        self.next("a constant", i32::MIN, i32::MAX)?;
        for _ in 0..terms {
            self.next("a variable", 0, MOST_VARS as i32 - 1)?;
            self.next("a factor", i32::MIN, i32::MAX)?;
        }
        Ok(())
    }

    fn nest(&mut self) -> Result<(), ProgramError> {
        self.next("whether a nest is real", 0, 1)?;
        let how = self.next("how a nest stores", store::WRITE, store::SMALL)?;
        self.next("a factor", i32::MIN, i32::MAX)?;
        self.next("a shift", 0, 62)?;
        let loops = self.part()?;
        field(self.step, "loops of a nest", loops.0.len() as i32, 1, MOST_LOOPS as i32)?;
        let mut loops = self.within(loops);
        while !loops.words.is_empty() {
            loops.next("iterations of a loop", 1, MOST_EXTENT)?;
        }
        let mut body = self.within(self.words);
        let body_words = body.part()?;
        self.words = body.words;
        let loads = self.within(body_words).body()?;
        let parts = self.next("parts of a nest", 0, MOST_PARTS as i32)?;
        for _ in 0..parts {
            self.next("what a part is", part::QUOTIENT, part::REMAINDER)?;
            self.next("a divisor", 1, i32::MAX)?;
            self.index()?;
        }
        let at = self.next("what a nest writes", 0, i32::MAX)?;
        let numbers = self.count("numbers that a nest writes")?;
        let small = how == store::SMALL;
        let written = if small { kind::SMALL } else { kind::WHOLE };
        self.has("what a nest writes", at, numbers.into(), written)?;
        self.index()?;
        let mut accesses = 0;
        while !self.words.is_empty() {
            let kind = self.next("what a nest reads", kind::SMALL, kind::REAL_CONSTANT)?;
            let (at, numbers) = (self.next("a place", 0, i32::MAX)?, self.count("numbers")?);
            self.has("what a nest reads", at, numbers.into(), kind)?;
            self.index()?;
            for _ in 0..self.next("guards", 0, MOST_LOOPS as i32 * 2)? {
                self.index()?;
                self.next("an extent", 0, MOST_EXTENT)?;
            }
            accesses += 1;
        }
        field(self.step, "numbers read by a nest", accesses, loads, MOST_ACCESSES as i32).map(drop)
    }

    /// The body of a nest; how many accesses it needs.
    fn body(&mut self) -> Result<i32, ProgramError> {
        let (mut top, mut needed) = (0, 0);
        while !self.words.is_empty() {
            let word = self.words.next();
            let least = match word & 0xFF {
                op::LOAD => {
                    let which = field(self.step, "an access", word >> 8, 0, MOST_ACCESSES as i32)?;
                    needed = needed.max(which + 1);
                    top += 1;
                    1
                }
                op::CONSTANT => {
                    self.next("a constant", i32::MIN, i32::MAX)?;
                    top += 1;
                    1
                }
                op::ADD | op::TIMES => {
                    top -= 1;
                    1
                }
                other => {
                    field(self.step, "an operation", other, op::LOAD, op::INVERSE_ROOT)?;
                    1
                }
            };
            field(self.step, "numbers kept", top, least, MOST_KEPT as i32)?;
        }
        field(self.step, "numbers kept in the end", top, 1, 1)?;
        Ok(needed)
    }

    /// A nest as a part of its own.
    fn nested(&mut self) -> Result<(), ProgramError> {
        let words = self.part()?;
        if words.is_empty() { Ok(()) } else { self.within(words).nest() }
    }

    fn vectors(&mut self) -> Result<(), ProgramError> {
        let cols = self.count("numbers of a row")?;
        field(self.step, "numbers of a row, over four", cols % 4, 0, 0)?;
        let vectors = self.count("vectors")?;
        let batch = self.next("products", 1, MOST_EXTENT)?;
        let packed = self.next("packed vectors", 0, MOST_WORDS)?;
        let each = packed_words(cols as usize) as i64;
        let all = i64::from(vectors).saturating_mul(batch.into()).saturating_mul(each);
        self.word("packed vectors", packed, all)?;
        let results = self.next("products", 0, MOST_WORDS)?;
        self.word("products", results, vectors.into())
    }

    fn window(&mut self, weighed: bool) -> Result<(), ProgramError> {
        let (rows, sequence) =
            (self.next("rows", 0, i32::MAX)?, self.next("a sequence", 0, i32::MAX)?);
        let (positions, length) = (self.count("positions")?, self.count("positions")?);
        let (window, depth) = (self.count("places of a window")?, self.count("numbers of a row")?);
        self.next("an offset", -MOST_EXTENT, MOST_EXTENT)?;
        self.next("a step", -MOST_EXTENT, MOST_EXTENT)?;
        let packed = self.next("a packed vector", 0, MOST_WORDS)?;
        let results = self.next("results", 0, MOST_WORDS)?;
        let batch = i64::from(self.next("sequences", 1, MOST_EXTENT)?);
        let row = if weighed { window } else { depth };
        let all = batch.saturating_mul(positions.into()).saturating_mul(row.into());
        self.aligned("rows, over four", rows)?;
        self.aligned("a sequence, over four", sequence)?;
        self.has("rows", rows, all, kind::SMALL)?;
        let all = batch.saturating_mul(length.into()).saturating_mul(depth.into());
        self.has("a sequence", sequence, all, kind::SMALL)?;
        let (room, out) =
            if weighed { (0, depth) } else { (packed_words(depth as usize) as i64, window) };
        self.word("a packed vector", packed, room)?;
        self.word("results", results, out.into())
    }

    fn conv(&mut self) -> Result<(), ProgramError> {
        let image = self.next("an image", 0, i32::MAX)?;
        let mut bytes = 1i64;
        for what in ["images", "rows", "columns", "channels"] {
            bytes = bytes.saturating_mul(self.count(what)?.into());
        }
        self.aligned("an image, over four", image)?;
        self.has("an image", image, bytes, kind::SMALL)?;
        let mut results = 1i64;
        for what in ["rows of the output", "columns of the output"] {
            results = results.saturating_mul(self.count(what)?.into());
        }
        for what in ["rows of the kernel", "columns of the kernel"] {
            self.count(what)?;
        }
        for what in ["a stride", "a dilation", "an offset"] {
            for _ in 0..2 {
                self.next(what, -MOST_EXTENT, MOST_EXTENT)?;
            }
        }
        let at = self.next("results", 0, MOST_WORDS)?;
        self.word("results", at, results)
    }

    fn table(&mut self) -> Result<(), ProgramError> {
        let block = self.next("first block of a table", 0, i32::MAX)?;
        let most = self.sizes.blocks.0.min(i32::MAX as u32) as i32;
        field(self.step, "first block of a table", block, 0, most)?;
        Ok(())
    }
}

/// Looks at a step.
pub fn step_is_known(sizes: &Sizes, number: u32, words: Words<'_>) -> Result<(), ProgramError> {
    let mut all = Checked { sizes, step: number, words };
    match all.next("a step", step::NEST, step::ZERO)? {
        step::NEST => all.nest(),
        step::PACK => {
            let (from, to) = (all.next("vectors", 0, i32::MAX)?, all.next("room", 0, MOST_WORDS)?);
            let (rows, cols) = (all.count("vectors")?, all.count("numbers of a vector")?);
            all.aligned("vectors, over four", from)?;
            all.has("vectors", from, i64::from(rows) * i64::from(cols), kind::SMALL)?;
            all.word("room", to, i64::from(rows) * packed_words(cols as usize) as i64)?;
            all.end()
        }
        step::PRODUCT => {
            let card = all.next("whether rows are on the card", 0, 1)? == 1;
            if card {
                all.table()?;
                all.count("rows")?;
            } else {
                let at = all.next("rows", 0, i32::MAX)?;
                let count = all.count("rows")?;
                let cols = Checked { words: all.words, ..all }.count("numbers of a row")?;
                all.has("rows", at, i64::from(count) * i64::from(cols), kind::SMALL)?;
            }
            all.vectors()?;
            for _ in 0..DIGITS {
                all.next("values of a digit", 1, MOST_EXTENT)?;
            }
            all.next("rows of a group", 1, MOST_EXTENT)?;
            let (sums, numbers) = (all.next("sums", 0, MOST_WORDS)?, all.count("sums")?);
            all.word("sums", sums, numbers.into())?;
            all.nested()?;
            all.nested()?;
            all.end()
        }
        step::WINDOW | step::WINDOW_SUM => {
            let weighed = words.0.first().is_some_and(|word| word.get() == step::WINDOW_SUM);
            all.window(weighed)?;
            all.nested()?;
            all.end()
        }
        step::CONV => {
            all.table()?;
            all.count("filters")?;
            let cols = all.count("numbers of a filter")?;
            field(number, "numbers of a filter, over four", cols % 4, 0, 0)?;
            all.conv()?;
            all.nested()?;
            all.end()
        }
        _ => {
            let (at, numbers) = (all.next("words", 0, MOST_WORDS)?, all.count("words")?);
            all.word("words", at, numbers.into())?;
            all.end()
        }
    }
}
