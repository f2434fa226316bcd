//! Blocks from the card into memory and from memory to the card, by programmed I/O or by the controller's
//! DMA.
//!
//! In: a [`Host`] whose card is in the transfer state. Out: blocks filled or written. Knows nothing of how a
//! card is addressed.

use crate::command::{Command, READ_MULTIPLE, Response, WRITE_MULTIPLE, WRITE_SINGLE};
use crate::host::{DATA_LIMIT, Host, register, status};
use crate::{Registers, SdhciError};
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, Clock};
use zerocopy::{transmute_mut, transmute_ref};

/// Blocks that one command can ask for: a 16-bit register.
pub const MOST_BLOCKS: usize = 0xFFFF;

/// SDMA stops at each address that is a multiple of this and waits for the next one.
const BOUNDARY: u32 = 512 * 1024;
const BOUNDARY_BITS: u32 = 7 << 12;

/// Bits of the transfer mode register.
mod mode {
    pub const DMA: u32 = 1 << 0;
    pub const COUNT: u32 = 1 << 1;
    pub const STOP: u32 = 1 << 2;
    pub const READ: u32 = 1 << 4;
    pub const MULTIPLE: u32 = 1 << 5;
}

/// How a read goes on until it is stopped: without a count.
const ENDLESS: u32 = mode::READ | mode::MULTIPLE;

/// Bits of the R1 card status that report an error.
pub const CARD_ERRORS: u32 = 0xFDF9_8008;

const fn mode_of(command: Command) -> u32 {
    const MANY: u32 = mode::MULTIPLE | mode::COUNT | mode::STOP;
    match command {
        READ_MULTIPLE => mode::READ | MANY,
        WRITE_MULTIPLE => MANY,
        WRITE_SINGLE => 0,
        _ => mode::READ,
    }
}

/// How many of the blocks of memory the next command is to ask for.
///
/// A command ends where SDMA would stop, if that is between two blocks: QEMU 10.0 stops there too, but
/// takes no address to go on with. 512 KiB take 42 ms on four lines, so another command is no loss.
pub fn part(blocks: &[Block]) -> usize {
    let left = BOUNDARY as usize - blocks.as_ptr().addr() % BOUNDARY as usize;
    let most = if left.is_multiple_of(BLOCK_BYTES) { left / BLOCK_BYTES } else { MOST_BLOCKS };
    blocks.len().min(most)
}

impl<R: Registers, C: Clock> Host<R, C> {
    /// Copies into `dst`, no more than a [`part`], what `command` makes the card send.
    pub fn read_by_copy(
        &mut self,
        command: Command,
        argument: u32,
        dst: &mut [Block],
    ) -> Result<(), SdhciError> {
        let result = self.try_read_by_copy(command, argument, dst);
        if result.is_err() {
            self.reset_lines();
        }
        result
    }

    fn try_read_by_copy(
        &mut self,
        command: Command,
        argument: u32,
        dst: &mut [Block],
    ) -> Result<(), SdhciError> {
        self.request(command, argument, dst.len(), mode_of(command))?;
        for block in dst {
            self.copy(command, block)?;
        }
        self.wait_status(command, status::TRANSFER_COMPLETE, DATA_LIMIT)?;
        self.check_removal()
    }

    /// Begins to read at `argument`, until [`abort`](Self::abort) ends it.
    pub fn open(&mut self, argument: u32) -> Result<(), SdhciError> {
        let result = self.request(READ_MULTIPLE, argument, 0, ENDLESS);
        if result.is_err() {
            self.reset_lines();
        }
        result
    }

    /// Copies into `dst` what the read that is [open](Self::open) sends after `skipped` blocks more.
    pub fn read_on(&mut self, skipped: BlockCount, dst: &mut [Block]) -> Result<(), SdhciError> {
        let result = self.try_read_on(skipped, dst);
        if result.is_err() {
            self.reset_lines();
        }
        result
    }

    fn try_read_on(&mut self, skipped: BlockCount, dst: &mut [Block]) -> Result<(), SdhciError> {
        for _ in 0..skipped.0 {
            self.wait_status(READ_MULTIPLE, status::READ_READY, DATA_LIMIT)?;
            for _ in 0..BLOCK_BYTES / 4 {
                self.registers.read(register::DATA);
            }
        }
        for block in dst {
            self.copy(READ_MULTIPLE, block)?;
        }
        self.check_removal()
    }

    /// Copies the next block that the card sends.
    fn copy(&mut self, command: Command, block: &mut Block) -> Result<(), SdhciError> {
        self.wait_status(command, status::READ_READY, DATA_LIMIT)?;
        let words: &mut [u32; BLOCK_BYTES / 4] = transmute_mut!(block);
        for word in words {
            *word = self.registers.read(register::DATA).to_le();
        }
        Ok(())
    }

    /// Copies `src`, no more than a [`part`], to where `command` makes the card take it.
    pub fn write_by_copy(
        &mut self,
        command: Command,
        argument: u32,
        src: &[Block],
    ) -> Result<(), SdhciError> {
        let result = self.try_write_by_copy(command, argument, src);
        if result.is_err() {
            self.reset_lines();
        }
        result
    }

    fn try_write_by_copy(
        &mut self,
        command: Command,
        argument: u32,
        src: &[Block],
    ) -> Result<(), SdhciError> {
        self.request(command, argument, src.len(), mode_of(command))?;
        for block in src {
            self.wait_status(command, status::WRITE_READY, DATA_LIMIT)?;
            let words: &[u32; BLOCK_BYTES / 4] = transmute_ref!(block);
            for word in words {
                self.registers.write(register::DATA, u32::from_le(*word));
            }
        }
        // Comes when the card is not busy any more.
        self.wait_status(command, status::TRANSFER_COMPLETE, DATA_LIMIT)?;
        self.check_removal()
    }

    /// Has the controller fill or send `blocks`, no more than a [`part`]; it may use them until [`Dma`] is
    /// gone.
    ///
    /// `None` when the board gives them no address on the controller's bus.
    pub fn start_dma<'a>(
        &'a mut self,
        command: Command,
        argument: u32,
        mut blocks: Lent<'a>,
    ) -> Option<Result<Dma<'a, R, C>, SdhciError>> {
        let (address, count) = match &mut blocks {
            Lent::Into(dst) => (self.registers.begin_dma(dst)?, dst.len()),
            Lent::From(src) => (self.registers.begin_dma_from(src)?, src.len()),
        };
        // A count left from a command before makes QEMU transfer as soon as it sees an address.
        self.registers.write(register::BLOCK, 0);
        self.registers.write(register::DMA_ADDRESS, address);
        let next = (address & !(BOUNDARY - 1)).wrapping_add(BOUNDARY);
        // Before the command, so that every way out of here stops it.
        let dma = Dma { host: self, blocks, command, next, running: true };
        Some(dma.host.request(command, argument, count, mode_of(command) | mode::DMA).map(|()| dma))
    }

    fn request(
        &mut self,
        command: Command,
        argument: u32,
        blocks: usize,
        mode: u32,
    ) -> Result<(), SdhciError> {
        debug_assert!(blocks <= MOST_BLOCKS && command.response == Response::Short);
        let block = (blocks as u32) << 16 | BOUNDARY_BITS | BLOCK_BYTES as u32;
        self.registers.write(register::BLOCK, block);
        self.send(command, argument, Some(mode))?;
        let status = self.registers.read(register::RESPONSE) & CARD_ERRORS;
        if status != 0 {
            return Err(SdhciError::Card { command: command.index, status });
        }
        Ok(())
    }

    /// A controller may go on without a card and read zeroes: QEMU's does.
    fn check_removal(&self) -> Result<(), SdhciError> {
        if self.is_removed() { Err(SdhciError::NoCard) } else { Ok(()) }
    }
}

/// Memory that the controller uses.
pub enum Lent<'a> {
    /// It writes these.
    Into(&'a mut [Block]),
    /// It reads these.
    From(&'a [Block]),
}

/// A transfer by DMA that has begun. Dropping it stops the controller first.
#[must_use]
pub struct Dma<'a, R: Registers, C: Clock> {
    host: &'a mut Host<R, C>,
    blocks: Lent<'a>,
    command: Command,
    /// Where the controller goes on after its next stop.
    next: u32,
    running: bool,
}

impl<R: Registers, C: Clock> Dma<'_, R, C> {
    /// Waits until all blocks are there, and the card is not busy any more.
    pub fn finish(mut self) -> Result<(), SdhciError> {
        let events = status::TRANSFER_COMPLETE | status::DMA;
        loop {
            let seen = self.host.wait_status(self.command, events, DATA_LIMIT)?;
            if seen & status::TRANSFER_COMPLETE != 0 {
                break;
            }
            self.host.registers.write(register::DMA_ADDRESS, self.next);
            self.next = self.next.wrapping_add(BOUNDARY);
        }
        self.running = false;
        self.host.check_removal()
    }
}

impl<R: Registers, C: Clock> Drop for Dma<'_, R, C> {
    fn drop(&mut self) {
        if self.running {
            self.host.stop_dma();
        }
        match &mut self.blocks {
            Lent::Into(dst) => self.host.registers.end_dma(dst),
            Lent::From(src) => self.host.registers.end_dma_from(src),
        }
    }
}
