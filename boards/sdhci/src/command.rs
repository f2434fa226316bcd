//! The commands of SD cards and eMMC that this driver sends.
//!
//! In: nothing. Out: each [`Command`] with its index and the response it expects. Knows nothing of
//! registers except the response bits of the command register.

/// A command: its index and the kind of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its index, 17 for CMD17.
    pub index: u8,
    /// What the card answers.
    pub response: Response,
}

/// The kind of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// None.
    None,
    /// R1, R6 or R7: 48 bits with CRC and command index.
    Short,
    /// R1b: as short, then the card may hold the data line while it is busy.
    Busy,
    /// R2: 136 bits, the CID or the CSD.
    Long,
    /// R3: 48 bits without CRC or index, the OCR.
    Unchecked,
}

impl Response {
    /// The low bits of the command register: length, CRC check, index check.
    pub const fn bits(self) -> u32 {
        match self {
            Self::None => 0b00,
            Self::Short => 0b11010,
            Self::Busy => 0b11011,
            Self::Long => 0b01001,
            Self::Unchecked => 0b00010,
        }
    }
}

const fn command(index: u8, response: Response) -> Command {
    Command { index, response }
}

/// To the idle state, SD and MMC.
pub const GO_IDLE: Command = command(0, Response::None);
/// MMC: operating conditions, and start of the power-up.
pub const MMC_OP_COND: Command = command(1, Response::Unchecked);
/// The card's identification.
pub const ALL_SEND_CID: Command = command(2, Response::Long);
/// SD: publishes an address; MMC: takes one.
pub const RELATIVE_ADDRESS: Command = command(3, Response::Short);
/// MMC: changes a byte of the EXT_CSD.
pub const MMC_SWITCH: Command = command(6, Response::Busy);
/// SD, after CMD55: the width of the bus.
pub const SD_BUS_WIDTH: Command = command(6, Response::Short);
/// To the transfer state.
pub const SELECT: Command = command(7, Response::Busy);
/// SD: the supply voltage; only cards of version 2 and later know it.
pub const SD_IF_COND: Command = command(8, Response::Short);
/// MMC: the EXT_CSD, one block of data.
pub const MMC_EXT_CSD: Command = command(8, Response::Short);
/// The card-specific data.
pub const SEND_CSD: Command = command(9, Response::Long);
/// Ends a transfer of several blocks.
pub const STOP: Command = command(12, Response::Busy);
/// Ends a read that is under way; the controller takes it though data are still to come. A card that was
/// read from is not busy afterwards.
pub const ABORT: Command = command(12, Response::Short);
/// The card's status.
pub const SEND_STATUS: Command = command(13, Response::Short);
/// The block length, for cards addressed in bytes.
pub const BLOCK_LENGTH: Command = command(16, Response::Short);
/// Reads one block.
pub const READ_SINGLE: Command = command(17, Response::Short);
/// Reads as many blocks as the controller counts, and is stopped by it.
pub const READ_MULTIPLE: Command = command(18, Response::Short);
/// Writes one block.
pub const WRITE_SINGLE: Command = command(24, Response::Short);
/// Writes blocks until it is stopped.
pub const WRITE_MULTIPLE: Command = command(25, Response::Short);
/// SD, after CMD55: operating conditions, and start of the power-up.
pub const SD_OP_COND: Command = command(41, Response::Unchecked);
/// The next command is an application command; SD.
pub const APPLICATION: Command = command(55, Response::Short);
