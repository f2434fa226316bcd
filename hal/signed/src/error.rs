//! What can go wrong with a signed image: when it is opened, and when it is read.

use ripple_hal::{BlockCount, BlockIdx, DeviceError, ErrorKind, OutOfRange};

/// What is lent to [`Signed`](crate::Signed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lent {
    /// [`Room::tops`](crate::Room::tops).
    Tops,
    /// [`Room::frames`](crate::Room::frames).
    Frames,
    /// [`Room::held`](crate::Room::held).
    Held,
}

impl core::fmt::Display for Lent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Tops => "blocks for tops",
            Self::Frames => "blocks for frames",
            Self::Held => "words for what frames hold",
        })
    }
}

/// Why a signed image does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The device failed.
    #[error("block {}: the device failed: {source}", at.0)]
    Device {
        /// First block of the read.
        at: BlockIdx,
        /// The device's error.
        source: E,
    },
    /// There is no statement in the last block.
    #[error("block {}: the image is not signed; sign it with `ripple sign`", at.0)]
    Unsigned {
        /// Where it was looked for.
        at: BlockIdx,
    },
    /// The statement has a format that this code does not know.
    #[error("a signature of format {found}, expected 1")]
    Version {
        /// The format.
        found: u16,
    },
    /// The statement is not signed by the key.
    #[error("the signature is not by the firmware's key")]
    Signature,
    /// The image is older than one that was here before.
    #[error("update {found}, but {least} or later is expected: an older image was put back")]
    Older {
        /// The number of the image.
        found: u64,
        /// The least that is taken.
        least: u64,
    },
    /// The image is not as long as what was signed.
    #[error("{} blocks, but {} were signed, with their digests", found.0, signed.0)]
    Length {
        /// Blocks that were signed, with their tail.
        signed: BlockCount,
        /// Blocks that the image says it has.
        found: BlockCount,
    },
    /// What was lent is too little.
    #[error("{needed} {lent} are needed, {given} were lent")]
    Room {
        /// Of what.
        lent: Lent,
        /// How many are needed.
        needed: u32,
        /// How many there are.
        given: u32,
    },
    /// The tops are not those that were signed.
    #[error("block {}: the digests are not those that were signed", at.0)]
    Tops {
        /// The first block of them.
        at: BlockIdx,
    },
}

/// Why a block of a signed image does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError<E> {
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(E),
    /// The block is not the one that was signed.
    #[error("block {} is not the one that was signed", block.0)]
    Differs {
        /// Which.
        block: BlockIdx,
    },
    /// Digests are not those that were signed.
    #[error("block {}: the digests are not those that were signed", at.0)]
    Leaves {
        /// The first block of their group.
        at: BlockIdx,
    },
    /// What is asked for was not signed.
    #[error("{0}: nothing else was signed")]
    OutOfRange(OutOfRange),
}

impl<E: DeviceError> DeviceError for SignedError<E> {
    /// What differs may have been damaged on its way: the same read, repeated, is compared again.
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Device(error) => error.kind(),
            Self::Differs { .. } | Self::Leaves { .. } => ErrorKind::Corrupted,
            Self::OutOfRange(_) => ErrorKind::OutOfRange,
        }
    }
}
