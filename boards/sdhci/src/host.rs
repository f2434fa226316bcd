//! The controller without a card: reset, power, clock, one command and its response.
//!
//! In: [`Registers`], a clock for deadlines. Out: [`Host`]. Knows nothing of what a card is, of
//! addresses or of data.

use crate::command::{ABORT, Command, Response};
use crate::{Registers, SdhciError};
use ripple_hal::{Clock, Micros};

/// Offsets of the registers, in pairs of 16 bits where the specification has two.
pub mod register {
    pub const DMA_ADDRESS: usize = 0x00;
    pub const BLOCK: usize = 0x04;
    pub const ARGUMENT: usize = 0x08;
    pub const COMMAND: usize = 0x0C;
    pub const RESPONSE: usize = 0x10;
    pub const DATA: usize = 0x20;
    pub const PRESENT: usize = 0x24;
    pub const CONTROL: usize = 0x28;
    pub const CLOCK: usize = 0x2C;
    pub const STATUS: usize = 0x30;
    pub const STATUS_ENABLE: usize = 0x34;
    pub const SIGNAL_ENABLE: usize = 0x38;
    pub const CAPABILITIES: usize = 0x40;
    pub const VERSION: usize = 0xFC;
}

/// Bits of the interrupt status register; the upper half holds the errors.
pub mod status {
    pub const COMMAND_COMPLETE: u32 = 1 << 0;
    pub const TRANSFER_COMPLETE: u32 = 1 << 1;
    pub const DMA: u32 = 1 << 3;
    pub const WRITE_READY: u32 = 1 << 4;
    pub const READ_READY: u32 = 1 << 5;
    pub const REMOVAL: u32 = 1 << 7;
    pub const ERROR: u32 = 1 << 15;
    pub const ERRORS: u32 = 0xFFFF_0000;
    /// No response, no data.
    pub const TIMEOUTS: u32 = 1 << 16 | 1 << 20;
    /// CRC, end bit and index of a response, CRC and end bit of data.
    pub const DAMAGES: u32 = 0b1110 << 16 | 0b110 << 20;
}

/// Bits of the present state register.
mod present {
    pub const COMMAND_INHIBIT: u32 = 1 << 0;
    pub const DATA_INHIBIT: u32 = 1 << 1;
    pub const INSERTED: u32 = 1 << 16;
    pub const STABLE: u32 = 1 << 17;
}

/// Bits of the clock control register, and of the reset register above it.
mod clock {
    pub const INTERNAL: u32 = 1 << 0;
    pub const STABLE: u32 = 1 << 1;
    pub const CARD: u32 = 1 << 2;
    /// The longest data timeout: 2^27 cycles.
    pub const TIMEOUT: u32 = 0xE << 16;
    pub const RESET_ALL: u32 = 1 << 24;
    pub const RESET_COMMAND: u32 = 1 << 25;
    pub const RESET_DATA: u32 = 1 << 26;
}

const DATA_PRESENT: u32 = 1 << 21;
/// The type of a command that is sent though another's data are under way.
const ABORTS: u32 = 3 << 22;
const POWER_3V3: u32 = 0xF << 8;
const WIDE_BUS: u32 = 1 << 1;

/// A response takes 64 card clocks at most, 0.2 ms at 400 kHz; a busy signal may take longer.
const COMMAND_LIMIT: Micros = Micros(500_000);
/// A read may take 100 ms before its first byte, 512 KiB on one line 170 ms, a written block 500 ms.
pub const DATA_LIMIT: Micros = Micros(1_000_000);
const RESET_LIMIT: Micros = Micros(100_000);
/// 74 clocks at 400 kHz, and the supply's rise.
const POWER_UP: Micros = Micros(1000);

/// The controller and what it takes to wait for it.
#[derive(Debug)]
pub struct Host<R, C> {
    pub registers: R,
    pub clock: C,
    base_hz: u32,
    detects: bool,
}

impl<R: Registers, C: Clock> Host<R, C> {
    /// A controller that is not started; `base_hz` of 0 is looked up in its capabilities.
    pub const fn new(registers: R, clock: C, base_hz: u32, detects: bool) -> Self {
        Self { registers, clock, base_hz, detects }
    }

    /// Polls until `ready`; whether it was before `limit` passed.
    pub fn wait(&self, limit: Micros, mut ready: impl FnMut(&R) -> bool) -> bool {
        // The clock costs a division or two: most waits are over at once.
        if ready(&self.registers) {
            return true;
        }
        let begun = self.clock.now();
        loop {
            let late = self.clock.now().since(begun).0 > limit.0;
            // Asked after the time: this core may have been kept from looking.
            if ready(&self.registers) {
                return true;
            }
            if late {
                return false;
            }
        }
    }

    /// Resets everything, then powers the card and clocks it with at most 400 kHz.
    pub fn start(&mut self) -> Result<(), SdhciError> {
        self.registers.write(register::CLOCK, clock::RESET_ALL);
        if !self.wait_reset(clock::RESET_ALL) {
            return Err(SdhciError::Stuck);
        }
        let enabled = status::COMMAND_COMPLETE
            | status::TRANSFER_COMPLETE
            | status::DMA
            | status::WRITE_READY
            | status::READ_READY
            | status::REMOVAL
            | status::ERRORS;
        self.registers.write(register::STATUS_ENABLE, enabled);
        self.registers.write(register::SIGNAL_ENABLE, 0);
        self.registers.write(register::STATUS, u32::MAX);
        if self.detects {
            self.wait(RESET_LIMIT, |r| r.read(register::PRESENT) & present::STABLE != 0);
            if self.is_removed() {
                return Err(SdhciError::NoCard);
            }
        }
        self.registers.write(register::CONTROL, POWER_3V3);
        self.set_clock(400_000)?;
        self.wait(POWER_UP, |_| false);
        Ok(())
    }

    /// Clocks the card with the highest frequency up to `hz` that a power of two gives.
    ///
    /// Controllers of version 2 divide by nothing else, and by 256 at most.
    pub fn set_clock(&mut self, hz: u32) -> Result<(), SdhciError> {
        let divider = self.base_hz().div_ceil(hz).next_power_of_two().min(1024);
        let half = divider / 2;
        let bits = (half & 0xFF) << 8 | (half >> 8 & 3) << 6 | clock::TIMEOUT;
        self.registers.write(register::CLOCK, bits);
        self.registers.write(register::CLOCK, bits | clock::INTERNAL);
        if !self.wait(RESET_LIMIT, |r| r.read(register::CLOCK) & clock::STABLE != 0) {
            return Err(SdhciError::Stuck);
        }
        self.registers.write(register::CLOCK, bits | clock::INTERNAL | clock::CARD);
        Ok(())
    }

    fn base_hz(&self) -> u32 {
        let version = self.registers.read(register::VERSION) >> 16 & 0xFF;
        let mask = if version < 2 { 0x3F } else { 0xFF };
        match (self.base_hz, self.registers.read(register::CAPABILITIES) >> 8 & mask) {
            // Not told: the most it could be, so that no card is clocked too fast.
            (0, 0) => 255_000_000,
            (0, mhz) => mhz * 1_000_000,
            (hz, _) => hz,
        }
    }

    /// Uses four data lines from now on.
    pub fn widen_bus(&mut self) {
        let control = self.registers.read(register::CONTROL);
        self.registers.write(register::CONTROL, control | WIDE_BUS);
    }

    /// Whether there is no card, or it was pulled since the start, even if one is back.
    pub fn is_removed(&self) -> bool {
        self.detects
            && (self.registers.read(register::PRESENT) & present::INSERTED == 0
                || self.registers.read(register::STATUS) & status::REMOVAL != 0)
    }

    /// Sends a command without data and gives the first word of its response.
    ///
    /// # Errors
    /// When no response or a damaged one arrives; the controller is ready again.
    pub fn command(&mut self, command: Command, argument: u32) -> Result<u32, SdhciError> {
        let result = self.try_command(command, argument);
        if result.is_err() {
            self.reset_lines();
        }
        result
    }

    fn try_command(&mut self, command: Command, argument: u32) -> Result<u32, SdhciError> {
        self.send(command, argument, None)?;
        if command.response == Response::Busy {
            self.wait_status(command, status::TRANSFER_COMPLETE, COMMAND_LIMIT)?;
        }
        Ok(self.registers.read(register::RESPONSE))
    }

    /// Sends a command, with data in transfer mode `mode`, and waits for its response.
    ///
    /// # Errors
    /// As [`command`](Self::command), but the lines are not reset.
    pub fn send(
        &mut self,
        command: Command,
        argument: u32,
        mode: Option<u32>,
    ) -> Result<(), SdhciError> {
        let free = present::COMMAND_INHIBIT
            | if mode.is_some() || command.response == Response::Busy {
                present::DATA_INHIBIT
            } else {
                0
            };
        if !self.wait(COMMAND_LIMIT, |r| r.read(register::PRESENT) & free == 0) {
            return Err(self.timeout(command));
        }
        self.registers.write(register::STATUS, !status::REMOVAL);
        self.registers.write(register::ARGUMENT, argument);
        let bits = (command.index as u32) << 24 | command.response.bits() << 16;
        let data = mode.map_or(0, |mode| DATA_PRESENT | mode);
        let kind = if command == ABORT { ABORTS } else { 0 };
        self.registers.write(register::COMMAND, bits | data | kind);
        self.wait_status(command, status::COMMAND_COMPLETE, COMMAND_LIMIT).map(drop)
    }

    /// Waits for one of `bits` of the status register; gives those that are set, and clears them.
    pub fn wait_status(
        &mut self,
        command: Command,
        bits: u32,
        limit: Micros,
    ) -> Result<u32, SdhciError> {
        let mut seen = 0;
        let mut removed = false;
        let met = self.wait(limit, |registers| {
            seen = registers.read(register::STATUS);
            let met = seen & (bits | status::ERROR | status::ERRORS) != 0;
            removed = !met && self.is_removed();
            met || removed
        });
        if !met {
            return Err(self.timeout(command));
        }
        if removed {
            return Err(SdhciError::NoCard);
        }
        if seen & (status::ERROR | status::ERRORS) != 0 {
            return Err(self.failure(command, seen));
        }
        self.registers.write(register::STATUS, seen & bits);
        Ok(seen & bits)
    }

    fn timeout(&self, command: Command) -> SdhciError {
        if self.is_removed() {
            SdhciError::NoCard
        } else {
            SdhciError::Timeout { command: command.index }
        }
    }

    fn failure(&self, command: Command, seen: u32) -> SdhciError {
        if seen & status::TIMEOUTS != 0 {
            self.timeout(command)
        } else if seen & status::DAMAGES != 0 {
            SdhciError::Crc { command: command.index }
        } else {
            SdhciError::Controller { command: command.index, status: (seen >> 16) as u16 }
        }
    }

    /// The CID or CSD of the last response, bit 127 at the top. The controller drops the CRC in the
    /// lowest 8 bits.
    pub fn long_response(&self) -> u128 {
        let word = |i: usize| self.registers.read(register::RESPONSE + 4 * i) as u128;
        (word(3) << 96 | word(2) << 64 | word(1) << 32 | word(0)) << 8
    }

    /// Ends the read that is under way, and forgets what the controller holds of it.
    ///
    /// # Errors
    /// When the card does not say that it has stopped; the controller is ready again.
    pub fn abort(&mut self) -> Result<(), SdhciError> {
        let stopped = self.send(ABORT, 0, None);
        if !self.reset_lines() {
            return Err(SdhciError::Stuck);
        }
        stopped
    }

    /// Resets the command and the data circuits; whether they did. No transfer runs afterwards.
    ///
    /// One after the other: QEMU ignores both at once.
    pub fn reset_lines(&mut self) -> bool {
        [clock::RESET_COMMAND, clock::RESET_DATA].into_iter().all(|reset| {
            let bits = self.registers.read(register::CLOCK) & 0x00FF_FFFF;
            self.registers.write(register::CLOCK, bits | reset);
            self.wait_reset(reset)
        })
    }

    /// Resets until the controller surely writes no memory any more.
    ///
    /// The one wait without a deadline: returning earlier would let it write memory that is no longer
    /// lent to it.
    pub fn stop_dma(&mut self) {
        if self.reset_lines() {
            return;
        }
        self.registers.write(register::CLOCK, clock::RESET_ALL);
        while !self.wait_reset(clock::RESET_ALL) {}
    }

    fn wait_reset(&self, reset: u32) -> bool {
        self.wait(RESET_LIMIT, |r| r.read(register::CLOCK) & reset == 0)
    }
}
