//! What can go wrong between the driver, the controller and the card.
//!
//! In: nothing. Out: [`SdhciError`], with the command at fault. Knows nothing of registers.

use core::fmt;
use ripple_hal::{DeviceError, ErrorKind, OutOfRange};

/// Why the card could not be started or read.
///
/// `command` is the index of the SD or MMC command, 17 for CMD17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SdhciError {
    /// No card in the slot, it was pulled, or nothing answers in it.
    NoCard,
    /// No response, or no data, in time.
    Timeout {
        /// The command.
        command: u8,
    },
    /// The response or the data arrived damaged: CRC, end bit or command index.
    Crc {
        /// The command.
        command: u8,
    },
    /// The card reports an error of its own.
    Card {
        /// The command.
        command: u8,
        /// The card status, from the R1 response.
        status: u32,
    },
    /// The controller reports another error: automatic CMD12, DMA or current limit.
    Controller {
        /// The command.
        command: u8,
        /// The error interrupt status register.
        status: u16,
    },
    /// The controller did not reset, or its clock did not become stable.
    Stuck,
    /// The card did not finish its power-up in time.
    NotReady {
        /// The operation conditions register it last answered with.
        ocr: u32,
    },
    /// A kind of card that this driver cannot read: larger than 2 TiB, or not for 3.3 V.
    Unsupported,
    /// The blocks are not all on the card.
    OutOfRange(OutOfRange),
}

/// Bits of the card status: damaged command, internal ECC failed.
const DAMAGED: u32 = 1 << 23 | 1 << 21;

impl DeviceError for SdhciError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoCard => ErrorKind::NoCard,
            Self::Timeout { .. } | Self::NotReady { .. } => ErrorKind::Timeout,
            Self::Crc { .. } => ErrorKind::Corrupted,
            Self::Card { status, .. } if status & DAMAGED != 0 => ErrorKind::Corrupted,
            Self::OutOfRange(e) => e.kind(),
            Self::Card { .. } | Self::Controller { .. } | Self::Stuck | Self::Unsupported => {
                ErrorKind::Other
            }
        }
    }
}

impl fmt::Display for SdhciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCard => f.write_str("no card"),
            Self::Timeout { command } => write!(f, "no answer to CMD{command} in time"),
            Self::Crc { command } => write!(f, "the answer to CMD{command} arrived damaged"),
            Self::Card { command, status } => {
                write!(f, "the card refused CMD{command}: card status {status:#010x}")
            }
            Self::Controller { command, status } => {
                write!(f, "the controller failed at CMD{command}: error status {status:#06x}")
            }
            Self::Stuck => f.write_str("the controller does not reset or has no clock"),
            Self::NotReady { ocr } => {
                write!(f, "the card did not finish its power-up: OCR {ocr:#010x}")
            }
            Self::Unsupported => f.write_str("a card larger than 2 TiB or not for 3.3 V"),
            Self::OutOfRange(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for SdhciError {}
