//! A program: its front, checked once, and what it needs to run.
//!
//! In: the front of a program's image. Out: sizes, ports and steps that mean something, or why they do not.
//!
//! ```text
//! magic, version, bytes of the front, CRC of what follows
//! blocks of the image, words of the arena, blocks of staging, inputs, outputs, steps, words of them, constants
//! ports | steps, each behind its number of words | constants
//! on blocks of their own: tables of rows, one record each
//! ```

use crate::check::step_is_known;
use crate::code::{DIMENSIONS, HEADER_WORDS, MAGIC, PORT_WORDS, START_BYTES, VERSION, kind};
use crate::error::{ProgramError, Text};
use crate::sizes::{MOST_WORDS, Sizes, field};
use crate::words::Words;
use ripple_hal::{BLOCK_BYTES, Block, BlockCount};
use ripple_kernel::image::Crc32;
use zerocopy::FromBytes;
use zerocopy::little_endian::I32;

/// Where an input is written, or an output found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Port {
    /// First byte in the arena.
    pub at: usize,
    /// How many numbers.
    pub numbers: usize,
    /// What they are.
    pub form: Form,
    /// What a 1 stands for.
    pub scale: f32,
    /// Whether they are images: in the arena rows of pixels, each with its channels, whatever the order in the
    /// file, where channels come before rows.
    pub image: bool,
    /// Extents of the tensor in its file, 0 behind the last.
    pub shape: [u32; DIMENSIONS],
}

/// What the numbers of a port are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 8 bits.
    Small,
    /// 32 bits.
    Whole,
    /// Floats.
    Real,
}

/// An open program.
#[derive(Clone, Copy)]
pub struct Program<'m> {
    /// Blocks of its image.
    pub blocks: BlockCount,
    /// Words of arena, all of which it uses.
    pub arena: usize,
    /// Blocks of staging, both halves.
    pub staging: usize,
    inputs: usize,
    outputs: usize,
    count: u32,
    ports: Words<'m>,
    pub(crate) steps: Words<'m>,
    pub(crate) constants: &'m [I32],
}

/// Blocks of the front of the program that begins with `first`.
///
/// # Errors
/// When it is none, or of another version.
pub fn front_blocks(first: &Block) -> Result<BlockCount, ProgramError> {
    let bytes = start(&first.0)?.0;
    Ok(BlockCount::for_bytes(bytes.into()))
}

/// Bytes of the front, and the CRC that it should have.
fn start(bytes: &[u8]) -> Result<(u32, u32), ProgramError> {
    let mut magic = [0; 8];
    magic.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
    let word =
        |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; 4]);
    if magic != MAGIC {
        return Err(ProgramError::Magic { found: Text(magic) });
    }
    let [low, high, ..] = word(8);
    let found = u16::from_le_bytes([low, high]);
    if found != VERSION {
        return Err(ProgramError::Version { found, expected: VERSION });
    }
    Ok((u32::from_le_bytes(word(12)), u32::from_le_bytes(word(16))))
}

impl<'m> Program<'m> {
    /// Opens the program whose front, or more of its image, `front` is. Every step is looked at.
    ///
    /// # Errors
    /// When it is no program, damaged, or has something that is not understood: with the step, what is wrong
    /// in it, what was found and what is expected.
    pub fn open(front: &'m [u8]) -> Result<Self, ProgramError> {
        let (needed, expected) = start(front)?;
        let given = u32::try_from(front.len()).unwrap_or(u32::MAX);
        let bytes = front.get(START_BYTES..needed as usize);
        let bytes = bytes.ok_or(ProgramError::Front { needed, given })?;
        let mut crc = Crc32::new();
        crc.update(bytes);
        let found = crc.finish();
        if found != expected {
            return Err(ProgramError::Crc { found, expected });
        }
        let whole = bytes.get(..bytes.len() / 4 * 4).unwrap_or(&[]);
        let mut words = Words(<[I32]>::ref_from_bytes(whole).unwrap_or(&[]));
        let [blocks, arena, staging, inputs, outputs, count, step_words, constants] =
            [(); HEADER_WORDS].map(|()| words.next());
        let steps = u32::try_from(count).unwrap_or(0);
        field(steps, "blocks of the image", blocks, 1, i32::MAX)?;
        field(steps, "words of the arena", arena, 0, MOST_WORDS)?;
        field(steps, "blocks of staging", staging, 0, 1 << 20)?;
        field(steps, "inputs", inputs, 0, 64)?;
        field(steps, "outputs", outputs, 1, 64)?;
        field(steps, "steps", count, 0, 1 << 16)?;
        field(steps, "words of the steps", step_words, 0, MOST_WORDS)?;
        field(steps, "words of constants", constants, 0, MOST_WORDS)?;
        let ports = words.take((inputs + outputs) as usize * PORT_WORDS);
        let all = words.take(step_words as usize);
        let constants = words.take(constants as usize);
        let taken = constants.0.len() + all.0.len() + ports.0.len();
        let said = (inputs + outputs) as usize * PORT_WORDS + step_words as usize;
        if taken < said || !words.is_empty() {
            return Err(ProgramError::Short { step: steps });
        }
        let program = Self {
            blocks: BlockCount(blocks as u32),
            arena: arena as usize,
            staging: staging as usize,
            inputs: inputs as usize,
            outputs: outputs as usize,
            count: steps,
            ports,
            steps: all,
            constants: constants.0,
        };
        let sizes =
            Sizes { arena: program.arena, blocks: program.blocks, constants: constants.0.len() };
        let mut ports = ports;
        while !ports.is_empty() {
            let (at, numbers, kind) = (ports.next(), ports.next(), ports.next());
            ports.take(PORT_WORDS - 3);
            field(steps, "kind of a port", kind, kind::SMALL, kind::REAL)?;
            sizes.has(steps, "bytes of a port", at, numbers, kind)?;
        }
        let mut rest = all;
        for step in 0..steps {
            let words = rest.part();
            if words.is_empty() {
                return Err(ProgramError::Short { step });
            }
            step_is_known(&sizes, step, words)?;
        }
        if !rest.is_empty() {
            return Err(ProgramError::Short { step: steps });
        }
        Ok(program)
    }

    fn port(&self, place: usize) -> Option<Port> {
        let mut words = Words(self.ports.0.get(place * PORT_WORDS..)?).take(PORT_WORDS);
        let (at, numbers) = (words.count(), words.count());
        let form = match words.next() {
            kind::SMALL => Form::Small,
            kind::WHOLE => Form::Whole,
            _ => Form::Real,
        };
        let scale = f32::from_bits(words.next() as u32);
        let image = words.next() != 0;
        let shape = [(); DIMENSIONS].map(|()| words.count() as u32);
        (numbers > 0).then_some(Port { at, numbers, form, scale, image, shape })
    }

    /// How many steps.
    pub fn steps(&self) -> u32 {
        self.count
    }

    /// How many inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// How many outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Where an input is written before a run.
    pub fn input(&self, place: usize) -> Option<Port> {
        if place < self.inputs { self.port(place) } else { None }
    }

    /// Where an output is after one.
    pub fn output(&self, place: usize) -> Option<Port> {
        if place < self.outputs { self.port(self.inputs.checked_add(place)?) } else { None }
    }

    /// Bytes of arena and staging.
    pub fn ram(&self) -> usize {
        self.arena * 4 + self.staging * BLOCK_BYTES
    }
}
