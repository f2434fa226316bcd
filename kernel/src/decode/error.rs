//! Why a decoder cannot be opened, and why a step did not happen: one enum each.

use crate::image::ImageError;
use crate::memory::region::MemoryError;
use crate::read::fetch::FetchError;
use ripple_hal::{BlockIdx, DeviceError, ErrorKind};

/// Why a decoder cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The device failed.
    #[error("the device failed at block {}: {source:?}", at.0)]
    Device {
        /// First block of the read.
        at: BlockIdx,
        /// The device's error.
        source: E,
    },
    /// What the device holds is not an image this code can run.
    #[error("{0}")]
    Image(ImageError),
    /// The mapped prefix is not the front of the image on the device.
    #[error("the mapped prefix differs from the image on the device in block {}: map the front of the same image", at.0)]
    MappedDiffers {
        /// First block that differs.
        at: BlockIdx,
    },
    /// A record that arrived is not the one that was packed.
    #[error("record {slot} of the table at block {} is damaged: copy the image again", table.0)]
    Corrupt {
        /// First block of its table.
        table: BlockIdx,
        /// Its number there.
        slot: u32,
    },
    /// A region of the lent memory is too small.
    #[error("{0}")]
    Memory(MemoryError),
}

/// Why a step did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StepError<E> {
    /// The device failed; the step can be repeated.
    #[error("the device failed at block {}: {source:?}", at.0)]
    Device {
        /// First block of the read.
        at: BlockIdx,
        /// The device's error.
        source: E,
    },
    /// A record that arrived is not the one that was packed, or keys and values are not those that were
    /// moved to the card; the step can be repeated.
    #[error("record {slot} of the table at block {} arrived damaged", table.0)]
    Corrupt {
        /// First block of its table.
        table: BlockIdx,
        /// Its number there.
        slot: u32,
    },
    /// A chunk that no pass can take.
    #[error("a chunk of {tokens} tokens: expected 1 to {most}")]
    Chunk {
        /// Tokens of the chunk.
        tokens: u32,
        /// Positions a pass can have: `Options::batch`.
        most: u32,
    },
    /// The KV cache is full.
    #[error("the context of {context} positions is full")]
    ContextFull {
        /// Positions it holds.
        context: u32,
    },
    /// No such token.
    #[error("token {token} of a vocabulary of {vocab}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Tokens the model has.
        vocab: u32,
    },
    /// A position that no pass can have where it stands in the list.
    #[error("position {position}: expected {least}, or a kept one after it")]
    Position {
        /// The position.
        position: u32,
        /// The first that may stand there.
        least: u32,
    },
}

impl<E> From<FetchError<E>> for StepError<E> {
    fn from(error: FetchError<E>) -> Self {
        match error {
            FetchError::Device { at, source } => Self::Device { at, source },
            FetchError::Corrupt { table, slot } => Self::Corrupt { table, slot },
        }
    }
}

impl<E> From<FetchError<E>> for OpenError<E> {
    fn from(error: FetchError<E>) -> Self {
        match error {
            FetchError::Device { at, source } => Self::Device { at, source },
            FetchError::Corrupt { table, slot } => Self::Corrupt { table, slot },
        }
    }
}

impl<E: DeviceError> OpenError<E> {
    /// The same, with no more of the device's error than its kind: one type for all devices, and
    /// less code to print it.
    pub fn kinds(self) -> OpenError<ErrorKind> {
        match self {
            Self::Device { at, source } => OpenError::Device { at, source: source.kind() },
            Self::Image(error) => OpenError::Image(error),
            Self::MappedDiffers { at } => OpenError::MappedDiffers { at },
            Self::Corrupt { table, slot } => OpenError::Corrupt { table, slot },
            Self::Memory(error) => OpenError::Memory(error),
        }
    }
}

impl<E: DeviceError> StepError<E> {
    /// The same, with no more of the device's error than its kind.
    pub fn kinds(self) -> StepError<ErrorKind> {
        match self {
            Self::Device { at, source } => StepError::Device { at, source: source.kind() },
            Self::Corrupt { table, slot } => StepError::Corrupt { table, slot },
            Self::Chunk { tokens, most } => StepError::Chunk { tokens, most },
            Self::ContextFull { context } => StepError::ContextFull { context },
            Self::UnknownToken { token, vocab } => StepError::UnknownToken { token, vocab },
            Self::Position { position, least } => StepError::Position { position, least },
        }
    }

    /// Whether repeating the step at once has a chance.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Device { source, .. } => source.kind().is_transient(),
            Self::Corrupt { .. } => true,
            Self::Chunk { .. }
            | Self::ContextFull { .. }
            | Self::UnknownToken { .. }
            | Self::Position { .. } => false,
        }
    }
}
