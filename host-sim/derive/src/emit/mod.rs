//! Programs that run: what was derived, with its numbers, as steps of `ripple-program`.
//!
//! In: a derived network, its weights, what its tensors range over. Out: an image with a front and tables of
//! rows, planned to the byte. Copies, sums and what is between layers become nests; what only follows a
//! product or a sum is done where that is stored.

mod arena;
mod arrange;
mod call;
mod handled;
mod lower;
mod nest;
mod numbers;
mod rows;
mod steps;
mod view;
mod work;
mod write;

pub use numbers::{Numbers, NumbersError};
pub use steps::Step;
pub use work::{KINDS, NAMES, Work};
pub use write::Shape;

use crate::derive::{Part, Program};
use crate::machine::Machine;
use arena::arena;
use lower::Lower;
use write::{BLOCK, Whole, image};

/// A program as it is written, and what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// The image.
    pub image: Vec<u8>,
    /// Bytes of the front, which is mapped or in memory too.
    pub front: i64,
    /// Bytes of arena and staging.
    pub ram: i64,
    /// Read commands of a run.
    pub commands: i64,
    /// Bytes read in a run.
    pub bytes: i64,
    /// What its loops do in a run.
    pub work: Work,
    /// Modelled instructions of a run, but for what the card's driver takes.
    pub instructions: f64,
    /// The steps.
    pub steps: Vec<Step>,
}

/// Why there is no program.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EmitError {
    /// The executor has less room.
    #[error("{name}: {found} {what}; the executor has room for {most}")]
    Room {
        /// The definition.
        name: String,
        /// Of what.
        what: &'static str,
        /// Needed.
        found: usize,
        /// There.
        most: usize,
    },
    /// A function that the executor does not have.
    #[error("{name}: the executor has no {function} of integers; it has relu, tanh and square")]
    Function {
        /// The definition.
        name: String,
        /// The function.
        function: &'static str,
    },
    /// An inner scope that is computed nowhere.
    #[error("{name} reads an inner sum that is no tensor; give it a name of its own")]
    Unknown {
        /// The definition.
        name: String,
    },
    /// A sum that could need more than 32 bits.
    #[error("{name}: a sum of up to {found} does not fit 32 bits; split what it adds up")]
    Sum {
        /// The definition.
        name: String,
        /// Its largest value.
        found: i64,
    },
    /// More RAM than the board has.
    #[error(
        "the program needs {needed} bytes of RAM, and {machine} has {given}; derive for a larger board"
    )]
    Ram {
        /// Arena and staging.
        needed: i64,
        /// What there is.
        given: i64,
        /// Where.
        machine: String,
    },
}

/// Writes `program`, whose weights and ranges are `numbers`, for `machine`.
///
/// # Errors
/// Names the definition, what it needs and what there is.
pub fn emit(program: &Program, numbers: &Numbers, machine: &Machine) -> Result<Emitted, EmitError> {
    let mut lower = Lower::new(&program.network, numbers);
    for (at, part) in program.parts.iter().enumerate() {
        match part {
            Part::Folded => {}
            Part::Generated(_) => lower.generated(at)?,
            Part::Derived(derivation) => lower.derived(at, &derivation.found)?,
        }
    }
    let (inputs, outputs) = lower.ports();
    let (rooms, steps, constants) = (lower.rooms, lower.steps, lower.constants);
    let ends = |ports: &[write::Port]| ports.iter().map(|port| port.buffer).collect::<Vec<_>>();
    let arena = arena(&rooms, &steps, &ends(&inputs), &ends(&outputs));
    let tables: Vec<(i64, i64)> = steps.iter().filter_map(Step::table).collect();
    let reads = machine.reads(&tables);
    let blocks = reads.iter().map(|read| read.blocks);
    let (commands, longest) = (reads.len() as i64, blocks.clone().max().unwrap_or(0));
    let bytes = machine.bytes(blocks.sum());
    // No more staging than the longest read fills.
    let staging = 2 * longest;
    let ram = arena.bytes + staging * BLOCK as i64;
    if ram > machine.ram {
        let (needed, given, machine) = (ram, machine.ram, machine.name.clone());
        return Err(EmitError::Ram { needed, given, machine });
    }
    let whole = Whole {
        steps: &steps,
        arena: &arena,
        constants: &constants,
        inputs: &inputs,
        outputs: &outputs,
        staging,
    };
    let image = image(&whole);
    let front = u32::from_le_bytes([image[12], image[13], image[14], image[15]]);
    let work = Work::of(&steps);
    let instructions = machine.core.executed(&work.0);
    Ok(Emitted { image, front: front.into(), ram, commands, bytes, work, instructions, steps })
}
