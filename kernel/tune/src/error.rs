//! Why a tuner cannot be opened, and why a step did not happen.

use ripple_hal::{DeviceError, ErrorKind};
use ripple_kernel::image::ImageError;
use ripple_kernel::read::reader::FetchError;
use ripple_kernel::{OpenError, StepError};

/// Why a tuner cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TuneOpenError<E> {
    /// The image cannot be opened.
    #[error("{0}")]
    Image(OpenError<E>),
    /// The arena is too small.
    #[error(
        "the arena needs {needed} bytes, was given {given}: fewer tokens, a lower rank or a leaner arm take less"
    )]
    Arena {
        /// Bytes it must have.
        needed: u64,
        /// Bytes it has.
        given: u64,
    },
    /// The staging buffer is too small.
    #[error("staging needs {needed} bytes, was given {given}")]
    Staging {
        /// Bytes it must have.
        needed: u64,
        /// Bytes it has.
        given: u64,
    },
    /// An option that cannot be.
    #[error("`{option}` is {found}: expected {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What it is.
        found: u32,
        /// What it must be.
        expected: &'static str,
    },
}

impl<E: DeviceError> TuneOpenError<E> {
    /// The same with the kind of the device's error: a type that does not depend on the device.
    pub fn kinds(self) -> TuneOpenError<ErrorKind> {
        match self {
            Self::Image(error) => TuneOpenError::Image(error.kinds()),
            Self::Arena { needed, given } => TuneOpenError::Arena { needed, given },
            Self::Staging { needed, given } => TuneOpenError::Staging { needed, given },
            Self::Option { option, found, expected } => {
                TuneOpenError::Option { option, found, expected }
            }
        }
    }
}

impl<E> From<OpenError<E>> for TuneOpenError<E> {
    fn from(error: OpenError<E>) -> Self {
        Self::Image(error)
    }
}

impl<E> From<FetchError<E>> for TuneOpenError<E> {
    fn from(error: FetchError<E>) -> Self {
        Self::Image(error.into())
    }
}

impl<E> From<ImageError> for TuneOpenError<E> {
    fn from(error: ImageError) -> Self {
        Self::Image(OpenError::Image(error))
    }
}

/// Why a step did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError<E> {
    /// The device failed, or a record arrived damaged.
    #[error("{0}")]
    Read(StepError<E>),
    /// A text that is too short or too long.
    #[error("a text of {tokens} tokens: expected {least} to {most}, the last a label alone")]
    Length {
        /// Its tokens.
        tokens: u32,
        /// The fewest.
        least: u32,
        /// The most: [`TuneOptions::tokens`](crate::TuneOptions::tokens) and a label.
        most: u32,
    },
    /// No such token.
    #[error("token {token} of a vocabulary of {vocab}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Tokens the model has.
        vocab: u32,
    },
    /// The tape is to wait on the card, and there is no room for it.
    #[error(
        "the tape needs {needed} blocks of the card, has {given}: `Tuner::spill_to` gives them"
    )]
    NoRoom {
        /// Blocks it must have.
        needed: u32,
        /// Blocks it has.
        given: u32,
    },
    /// Blocks of tokens have no scores.
    #[error("blocks of tokens have no scores: expected a choice by queries and keys")]
    NoScores,
    /// Gradients of one layer are held: a text a step.
    #[error("{texts} texts before an update: gradients of a layer are held, expected 1")]
    Texts {
        /// How many.
        texts: u32,
    },
}

impl<E: DeviceError> TuneError<E> {
    /// The same with the kind of the device's error.
    pub fn kinds(self) -> TuneError<ErrorKind> {
        match self {
            Self::Read(error) => TuneError::Read(error.kinds()),
            Self::Length { tokens, least, most } => TuneError::Length { tokens, least, most },
            Self::UnknownToken { token, vocab } => TuneError::UnknownToken { token, vocab },
            Self::Texts { texts } => TuneError::Texts { texts },
            Self::NoRoom { needed, given } => TuneError::NoRoom { needed, given },
            Self::NoScores => TuneError::NoScores,
        }
    }
}

impl<E> From<FetchError<E>> for TuneError<E> {
    fn from(error: FetchError<E>) -> Self {
        Self::Read(error.into())
    }
}
