//! A program as bytes: header, ports, steps, constants, and tables of rows on blocks of their own.
//!
//! In: steps, where their buffers are, constants. Out: an image as `ripple-program` opens it.

use super::arena::Arena;
use super::steps::{Affine, Buffer, Nest, Op, Place, Rows, Step, Store};
use ripple_kernel::image::Crc32;
use ripple_program::code::{
    DIMENSIONS, HEADER_WORDS, MAGIC, START_BYTES, VERSION, kind, op, part, step, store,
};
use ripple_program::{row_identity, row_layout};

/// Bytes of a block.
pub const BLOCK: usize = 512;

/// An input or output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Port {
    /// Where it is.
    pub buffer: Buffer,
    /// Numbers.
    pub numbers: i64,
    /// What they are.
    pub kind: i32,
    /// What a 1 stands for.
    pub scale: f32,
    /// What it is in its file.
    pub shape: Shape,
}

/// A tensor as its file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Whether the file has channels before rows and columns, and the network behind them.
    pub image: bool,
    /// Extents, 0 behind the last.
    pub extents: [i64; DIMENSIONS],
}

impl Shape {
    /// Of these extents; more than there is room for are one.
    pub fn of(extents: &[i64], image: bool) -> Self {
        let mut shape = Self { image, extents: [0; DIMENSIONS] };
        if extents.len() > DIMENSIONS {
            shape.extents[0] = extents.iter().product();
        } else {
            shape.extents[..extents.len()].copy_from_slice(extents);
        }
        shape
    }
}

/// What is written.
pub struct Whole<'a> {
    /// Steps.
    pub steps: &'a [Step],
    /// Where buffers are.
    pub arena: &'a Arena,
    /// Constants, by their bits.
    pub constants: &'a [i32],
    /// Inputs.
    pub inputs: &'a [Port],
    /// Outputs.
    pub outputs: &'a [Port],
    /// Blocks of staging, both halves.
    pub staging: i64,
}

/// The image. Its front is as long as `front_blocks` says.
pub fn image(whole: &Whole<'_>) -> Vec<u8> {
    // Where tables begin is known once the length of the front is, which does not depend on it.
    let words = |first: i64| Writer { whole, block: first, words: Vec::new(), tables: Vec::new() };
    let mut dry = words(0);
    dry.all();
    let bytes = START_BYTES + 4 * dry.words.len();
    let front = bytes.div_ceil(BLOCK);
    let mut writer = words(front as i64);
    writer.all();
    writer.words[0] = writer.block as i32;
    let mut image = Vec::new();
    image.extend(MAGIC);
    image.extend(VERSION.to_le_bytes());
    image.extend([0; 2]);
    image.extend((bytes as u32).to_le_bytes());
    let body: Vec<u8> = writer.words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut crc = Crc32::new();
    crc.update(&body);
    image.extend(crc.finish().to_le_bytes());
    image.extend(body);
    image.resize(front * BLOCK, 0);
    image.extend(writer.tables);
    image
}

struct Writer<'a> {
    whole: &'a Whole<'a>,
    /// The next block of the image.
    block: i64,
    words: Vec<i32>,
    tables: Vec<u8>,
}

impl Writer<'_> {
    fn put(&mut self, value: i64) {
        self.words.push(value as i32);
    }

    fn all(&mut self) {
        let Whole { steps, arena, constants, inputs, outputs, staging } = *self.whole;
        let mut header = [0i64; HEADER_WORDS];
        header[1..6].copy_from_slice(&[
            arena.bytes / 4,
            staging,
            inputs.len() as i64,
            outputs.len() as i64,
            steps.len() as i64,
        ]);
        header[7] = constants.len() as i64;
        header.iter().for_each(|&word| self.put(word));
        for port in inputs.iter().chain(outputs) {
            let scale = port.scale.to_bits() as i32;
            let all = [arena.places[port.buffer], port.numbers, port.kind.into(), scale.into()];
            all.iter().for_each(|&word| self.put(word));
            self.put(port.shape.image.into());
            port.shape.extents.iter().for_each(|&extent| self.put(extent));
        }
        let first = self.words.len();
        for (number, step) in steps.iter().enumerate() {
            self.part(|writer| writer.step(number, step));
        }
        self.words[6] = (self.words.len() - first) as i32;
        self.words.extend(constants);
    }

    /// A part behind the number of its words.
    fn part(&mut self, with: impl FnOnce(&mut Self)) {
        let at = self.words.len();
        self.put(0);
        with(self);
        self.words[at] = (self.words.len() - at - 1) as i32;
    }

    fn byte(&self, buffer: Buffer) -> i64 {
        self.whole.arena.places[buffer]
    }

    fn word(&self, buffer: Buffer) -> i64 {
        self.byte(buffer) / 4
    }

    /// A table of rows; its first block.
    fn table(&mut self, number: usize, rows: &[Vec<i8>], cols: i64) -> i64 {
        let layout = row_layout(cols as u32);
        let header = layout.header_bytes() as usize;
        let first = self.block;
        for (slot, row) in rows.iter().enumerate() {
            let mut record = vec![0; layout.stride() as usize];
            record[header..].iter_mut().zip(row).for_each(|(byte, &w)| *byte = w as u8);
            layout.seal(row_identity(number as u32) ^ slot as u32, &mut record);
            self.tables.extend(record);
        }
        self.tables.resize(self.tables.len().next_multiple_of(BLOCK), 0);
        let bytes = rows.len() * layout.stride() as usize;
        self.block += bytes.div_ceil(BLOCK) as i64;
        first
    }

    fn step(&mut self, number: usize, step: &Step) {
        match step {
            Step::Nest(nest) => {
                self.put(step::NEST.into());
                self.nest(nest);
            }
            Step::Zero(buffer, numbers) => {
                let all = [step::ZERO.into(), self.word(*buffer), *numbers];
                all.iter().for_each(|&word| self.put(word));
            }
            Step::Pack { from, to, rows, cols } => {
                let all = [step::PACK.into(), self.byte(*from), self.word(*to), *rows, *cols];
                all.iter().for_each(|&word| self.put(word));
            }
            Step::Product {
                rows,
                cols,
                packed,
                vectors,
                batch,
                products,
                digits,
                group,
                sums,
                each,
                finish,
            } => {
                let (card, at, count) = match rows {
                    Rows::Card(rows) => (1, self.table(number, rows, *cols), rows.len() as i64),
                    Rows::Arena(buffer, count) => (0, self.byte(*buffer), *count),
                };
                let (packed, products) = (self.word(*packed), self.word(*products));
                let sums = sums.map_or((0, 0), |(buffer, numbers)| (self.word(buffer), numbers));
                for word in [
                    step::PRODUCT.into(),
                    card,
                    at,
                    count,
                    *cols,
                    *vectors,
                    *batch,
                    packed,
                    products,
                ] {
                    self.put(word);
                }
                digits.iter().for_each(|&digit| self.put(digit));
                [*group, sums.0, sums.1].iter().for_each(|&word| self.put(word));
                self.part(|writer| writer.nest(each));
                self.part(|writer| finish.iter().for_each(|nest| writer.nest(nest)));
            }
            Step::Window {
                weighed,
                rows,
                sequence,
                batch,
                positions,
                length,
                window,
                depth,
                offset,
                step,
                packed,
                results,
                each,
            } => {
                let code = if *weighed { step::WINDOW_SUM } else { step::WINDOW };
                let packed = packed.map_or(0, |buffer| self.word(buffer));
                let all = [
                    code.into(),
                    self.byte(*rows),
                    self.byte(*sequence),
                    *positions,
                    *length,
                    *window,
                    *depth,
                    *offset,
                    *step,
                    packed,
                    self.word(*results),
                    *batch,
                ];
                all.iter().for_each(|&word| self.put(word));
                self.part(|writer| writer.nest(each));
            }
            Step::Conv {
                rows,
                cols,
                image,
                images,
                input,
                channels,
                output,
                kernel,
                stride,
                dilation,
                offset,
                results,
                each,
            } => {
                let at = self.table(number, rows, *cols);
                let mut all = vec![step::CONV.into(), at, rows.len() as i64, *cols];
                all.extend([self.byte(*image), *images, input[0], input[1], *channels]);
                for pair in [output, kernel, stride, dilation, offset] {
                    all.extend(pair);
                }
                all.push(self.word(*results));
                all.iter().for_each(|&word| self.put(word));
                self.part(|writer| writer.nest(each));
            }
        }
    }

    fn index(&mut self, index: &Affine) {
        self.put(index.terms.len() as i64);
        self.put(index.constant);
        for &(variable, factor) in &index.terms {
            self.put(variable as i64);
            self.put(factor);
        }
    }

    fn nest(&mut self, nest: &Nest) {
        let (how, factor, shift) = match nest.store {
            Store::Write => (store::WRITE, 0, 0),
            Store::Add => (store::ADD, 0, 0),
            Store::Small(factor, shift) => (store::SMALL, factor, shift),
        };
        let all = [i64::from(nest.real), how.into(), factor.into(), shift.into()];
        all.iter().for_each(|&word| self.put(word));
        self.part(|writer| nest.loops.iter().for_each(|&extent| writer.put(extent)));
        self.part(|writer| {
            for operation in &nest.body {
                let word = match operation {
                    Op::Load(which) => op::LOAD | (*which as i32) << 8,
                    Op::Constant(_) => op::CONSTANT,
                    Op::Add => op::ADD,
                    Op::Times => op::TIMES,
                    Op::Relu => op::RELU,
                    Op::Tanh => op::TANH,
                    Op::Square => op::SQUARE,
                    Op::Sigmoid => op::SIGMOID,
                    Op::Exp => op::EXP,
                    Op::Reciprocal => op::RECIPROCAL,
                    Op::InverseRoot => op::INVERSE_ROOT,
                };
                writer.put(word.into());
                if let Op::Constant(bits) = operation {
                    writer.put((*bits).into());
                }
            }
        });
        self.put(nest.parts.len() as i64);
        for part in &nest.parts {
            self.put(if part.remainder { part::REMAINDER } else { part::QUOTIENT }.into());
            self.put(part.by);
            self.index(&part.of);
        }
        let at = self.byte(nest.to);
        self.put(at);
        self.put(nest.numbers);
        self.index(&nest.at);
        for read in &nest.reads {
            let (kind, at) = match read.place {
                Place::Small(buffer) => (kind::SMALL, self.byte(buffer)),
                Place::Whole(buffer) => (kind::WHOLE, self.byte(buffer)),
                Place::Real(buffer) => (kind::REAL, self.byte(buffer)),
                Place::Constant(word) => (kind::CONSTANT, word as i64),
                Place::RealConstant(word) => (kind::REAL_CONSTANT, word as i64),
            };
            [kind.into(), at, read.numbers].iter().for_each(|&word| self.put(word));
            self.index(&read.at);
            self.put(read.guards.len() as i64);
            for (guard, extent) in &read.guards {
                self.index(guard);
                self.put(*extent);
            }
        }
    }
}
