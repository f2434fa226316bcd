//! From power-up to the transfer state: the commands that start an SD card or an eMMC.
//!
//! In: a [`Host`]. Out: a [`Card`], ready to be read. Knows nothing of how blocks travel.

use crate::command::{self, Command};
use crate::host::{DATA_LIMIT, Host};
use crate::transfer::CARD_ERRORS;
use crate::{Media, Registers, SdhciError};
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockIdx, Clock, Micros};

/// Cards have a second to power up.
const POWER_UP_LIMIT: Micros = Micros(1_000_000);
/// Default speed of SD; MMC's is 26 MHz.
const TRANSFER_HZ: u32 = 25_000_000;

/// OCR: power-up done; addressed in blocks; 2.7 to 3.6 V.
const OCR_READY: u32 = 1 << 31;
const OCR_BLOCKS: u32 = 1 << 30;
const OCR_3V3: u32 = 0x00FF_8000;
/// eMMC: sector mode, 2.7 to 3.6 V and 1.70 to 1.95 V.
const OCR_EMMC: u32 = OCR_BLOCKS | 0x00FF_8080;

/// 2.7 to 3.6 V, and a pattern to send back.
const IF_COND: u32 = 0x1AA;
/// The address given to the only eMMC on its bus.
const EMMC_ADDRESS: u32 = 1 << 16;
/// Writes 1, four lines, to byte 183 of the EXT_CSD, BUS_WIDTH.
const EMMC_FOUR_LINES: u32 = 3 << 24 | 183 << 16 | 1 << 8;
const SWITCH_ERROR: u32 = 1 << 7;
/// SEC_COUNT in the EXT_CSD.
const SECTOR_COUNT: core::ops::Range<usize> = 212..216;

/// States of a card, from its status.
const TRANSFER_STATE: u32 = 4;
const DATA_STATE: u32 = 5;
const RECEIVE_STATE: u32 = 6;
const PROGRAMMING_STATE: u32 = 7;

/// A card in the transfer state.
#[derive(Clone, Copy, Debug)]
pub struct Card {
    pub blocks: BlockCount,
    address: u32,
    byte_addressed: bool,
}

impl Card {
    /// Starts the controller and the card in it.
    pub fn start<R: Registers, C: Clock>(
        host: &mut Host<R, C>,
        media: Media,
    ) -> Result<Self, SdhciError> {
        host.start()?;
        host.command(command::GO_IDLE, 0)?;
        let ocr = match media {
            Media::Sd => power_up_sd(host)?,
            Media::Emmc => power_up(host, |host| host.command(command::MMC_OP_COND, OCR_EMMC))?,
        };
        let byte_addressed = ocr & OCR_BLOCKS == 0;
        host.command(command::ALL_SEND_CID, 0)?;
        let address = match media {
            Media::Sd => host.command(command::RELATIVE_ADDRESS, 0)? & 0xFFFF_0000,
            Media::Emmc => {
                host.command(command::RELATIVE_ADDRESS, EMMC_ADDRESS)?;
                EMMC_ADDRESS
            }
        };
        host.command(command::SEND_CSD, address)?;
        let csd = Csd(host.long_response());
        host.command(command::SELECT, address)?;
        host.set_clock(TRANSFER_HZ)?;
        if byte_addressed {
            host.command(command::BLOCK_LENGTH, BLOCK_BYTES as u32)?;
        }
        let blocks = match media {
            Media::Sd => {
                host.command(command::APPLICATION, address)?;
                host.command(command::SD_BUS_WIDTH, 2)?;
                host.widen_bus();
                csd.sd_blocks().ok_or(SdhciError::Unsupported)?
            }
            Media::Emmc => {
                let mut ext_csd = [Block::ZERO];
                host.read_by_copy(command::MMC_EXT_CSD, 0, &mut ext_csd)?;
                host.command(command::MMC_SWITCH, EMMC_FOUR_LINES)?;
                if host.command(command::SEND_STATUS, address)? & SWITCH_ERROR == 0 {
                    host.widen_bus();
                }
                sector_count(&ext_csd).unwrap_or_else(|| csd.blocks_of_version_1())
            }
        };
        Ok(Self { blocks, address, byte_addressed })
    }

    /// The argument of a command that reads or writes.
    pub const fn argument(&self, start: BlockIdx) -> u32 {
        // A card addressed in bytes holds 2 GiB at most: its addresses fit.
        if self.byte_addressed { start.0.wrapping_mul(BLOCK_BYTES as u32) } else { start.0 }
    }

    /// Brings the card back to the transfer state after a failed command; whether it is there.
    pub fn recover<R: Registers, C: Clock>(&self, host: &mut Host<R, C>) -> bool {
        let Ok(status) = self.settled(host) else { return false };
        match state(status) {
            TRANSFER_STATE => true,
            DATA_STATE | RECEIVE_STATE => {
                host.command(command::STOP, 0).is_ok()
                    && self.settled(host).is_ok_and(|status| state(status) == TRANSFER_STATE)
            }
            _ => false,
        }
    }

    /// Whether the card has kept what was written to it: it may find out only now that it could not.
    ///
    /// # Errors
    /// When it has not, or does not say so in time.
    pub fn confirm<R: Registers, C: Clock>(&self, host: &mut Host<R, C>) -> Result<(), SdhciError> {
        let status = self.settled(host)?;
        if status & CARD_ERRORS != 0 || state(status) != TRANSFER_STATE {
            return Err(SdhciError::Card { command: command::SEND_STATUS.index, status });
        }
        Ok(())
    }

    /// The card's status, when it is not programming any more.
    fn settled<R: Registers, C: Clock>(&self, host: &mut Host<R, C>) -> Result<u32, SdhciError> {
        let begun = host.clock.now();
        loop {
            let late = host.clock.now().since(begun).0 > DATA_LIMIT.0;
            let status = host.command(command::SEND_STATUS, self.address)?;
            if state(status) != PROGRAMMING_STATE || late {
                return Ok(status);
            }
        }
    }
}

const fn state(status: u32) -> u32 {
    status >> 9 & 0xF
}

fn power_up_sd<R: Registers, C: Clock>(host: &mut Host<R, C>) -> Result<u32, SdhciError> {
    let capacity = match host.command(command::SD_IF_COND, IF_COND) {
        Ok(echo) if echo & 0xFFF == IF_COND => OCR_BLOCKS,
        Ok(_) => return Err(SdhciError::Unsupported),
        // A card of version 1 does not know the command.
        Err(SdhciError::Timeout { .. }) => 0,
        Err(e) => return Err(e),
    };
    power_up(host, |host| {
        host.command(command::APPLICATION, 0)?;
        host.command(command::SD_OP_COND, capacity | OCR_3V3)
    })
}

/// Repeats `ask` until the OCR that it gives says that the card is ready.
fn power_up<R: Registers, C: Clock>(
    host: &mut Host<R, C>,
    mut ask: impl FnMut(&mut Host<R, C>) -> Result<u32, SdhciError>,
) -> Result<u32, SdhciError> {
    let begun = host.clock.now();
    loop {
        // Asked last: a slow core has its answer even if the time is over.
        let late = host.clock.now().since(begun).0 > POWER_UP_LIMIT.0;
        let ocr = match ask(host) {
            // Every card knows these commands: nothing is there to answer.
            Err(SdhciError::Timeout { .. }) => return Err(SdhciError::NoCard),
            other => other?,
        };
        if ocr & OCR_READY != 0 {
            return Ok(ocr);
        }
        if late {
            return Err(SdhciError::NotReady { ocr });
        }
    }
}

/// The card-specific data register.
struct Csd(u128);

impl Csd {
    fn bits(&self, high: u32, low: u32) -> u32 {
        (self.0 >> low) as u32 & (u32::MAX >> (31 - (high - low)))
    }

    /// The size of an SD card; `None` for versions beyond 2 (SDUC, more than 2 TiB).
    fn sd_blocks(&self) -> Option<BlockCount> {
        match self.bits(127, 126) {
            0 => Some(self.blocks_of_version_1()),
            1 => Some(BlockCount((self.bits(69, 48) + 1).saturating_mul(1024))),
            _ => None,
        }
    }

    /// The size of an SD card up to 2 GB, and of an MMC so small that its EXT_CSD tells none.
    fn blocks_of_version_1(&self) -> BlockCount {
        let block_bits = self.bits(83, 80);
        let multiplier_bits = self.bits(49, 47) + 2;
        let bytes = (self.bits(73, 62) as u64 + 1) << (multiplier_bits + block_bits);
        // Whole blocks only: half a block at the end cannot be read.
        BlockCount(u32::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX))
    }
}

fn sector_count(ext_csd: &[Block]) -> Option<BlockCount> {
    let bytes = Block::bytes(ext_csd).get(SECTOR_COUNT)?.try_into().ok()?;
    let sectors = u32::from_le_bytes(bytes);
    (sectors != 0).then_some(BlockCount(sectors))
}

/// The command that reads `blocks` blocks.
pub const fn read_command(blocks: usize) -> Command {
    if blocks == 1 { command::READ_SINGLE } else { command::READ_MULTIPLE }
}

/// The command that writes `blocks` blocks.
pub const fn write_command(blocks: usize) -> Command {
    if blocks == 1 { command::WRITE_SINGLE } else { command::WRITE_MULTIPLE }
}
