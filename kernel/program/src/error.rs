//! Why a program does not open, or did not run.
//!
//! In: places and numbers. Out: errors that say what was expected and what was found.

use core::fmt;

/// Why bytes are no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// It does not begin as programs do.
    #[error(
        "not a program: it begins with {found:?}, expected \"RIPPLAN\\n\"; ripple derive -o NAME.plan \
         writes one"
    )]
    Magic {
        /// Its first bytes.
        found: Text,
    },
    /// A version that this code does not read.
    #[error("program of version {found}, expected {expected}; derive it again")]
    Version {
        /// That of the program.
        found: u16,
        /// That which is read.
        expected: u16,
    },
    /// The front is longer than what is there.
    #[error("the front of the program has {needed} bytes, {given} are here")]
    Front {
        /// What it says of itself.
        needed: u32,
        /// What there is.
        given: u32,
    },
    /// The front is damaged.
    #[error("the front of the program is damaged: its CRC is {found:08x}, expected {expected:08x}")]
    Crc {
        /// Computed.
        found: u32,
        /// Written.
        expected: u32,
    },
    /// The front ends within what it describes.
    #[error("the front of the program ends within step {step}")]
    Short {
        /// The step, counted from 0; as many as there are, for what is before the steps.
        step: u32,
    },
    /// A number of a step that means nothing here.
    #[error("step {step}: {what} is {found}, expected {least} to {most}")]
    Field {
        /// The step, counted from 0; as many as there are, for what is before the steps.
        step: u32,
        /// What it is.
        what: &'static str,
        /// What is there.
        found: i32,
        /// The least that is understood.
        least: i32,
        /// The largest.
        most: i32,
    },
}

/// Eight bytes, shown as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text(pub [u8; 8]);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// What was lent is too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lent {
    /// Words of the arena.
    Arena,
    /// Blocks of staging, both halves.
    Staging,
    /// Blocks of the device.
    Device,
}

impl fmt::Display for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arena => "words of arena",
            Self::Staging => "blocks of staging",
            Self::Device => "blocks on the device",
        })
    }
}

/// Why a program did not run to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// Too little was lent.
    #[error("{needed} {what} are needed, {given} are given")]
    Lent {
        /// Of what.
        what: Lent,
        /// What the program says.
        needed: u32,
        /// What there is.
        given: u32,
    },
    /// The device failed.
    #[error("step {step}: reading block {block}: {source}")]
    Device {
        /// The step.
        step: u32,
        /// First block of the read.
        block: u32,
        /// The device's error.
        source: E,
    },
    /// A row of weights that is not the one that was written.
    #[error("step {step}: row {row} of the weights is damaged")]
    Corrupt {
        /// The step.
        step: u32,
        /// The row.
        row: u32,
    },
}
