//! A controller and a card in software: enough of both for the driver to tell no difference.
//!
//! In: what kind of card, how many blocks, a fault to commit. Out: [`Controller`], the driver's
//! registers, and [`Model`], the test's view of the same thing. Time passes when it is looked at: every
//! read of the status register moves one block.

#![allow(dead_code, reason = "each test file uses its part")]

mod card;
mod registers;
mod write;

use ripple_hal::{BLOCK_BYTES, Block, Clock, Micros};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use write::Receiving;

const PRESENT: u32 = 0x000F_0000;
const ABSENT: u32 = 0x000A_0000;
/// Where the memory lent lies on the bus, equal to its own address modulo 512 KiB.
const BUS_BASE: u32 = 0x4000_0000;
const BOUNDARY: u32 = 512 * 1024;

/// What is in the slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Version 1, does not know CMD8, addressed in bytes.
    SdV1,
    /// SDHC, addressed in blocks.
    SdHc,
    /// eMMC with an EXT_CSD.
    Emmc,
}

/// One thing that goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The command gets no response, and the controller says so.
    NoResponse(u8),
    /// The controller never says anything about the command.
    Silence(u8),
    /// The response's CRC is wrong.
    ResponseCrc(u8),
    /// The card status of the command's response.
    CardStatus(u8, u32),
    /// After so many blocks the data's CRC is wrong.
    DataCrc(u32),
    /// After so many blocks no more come, and the controller says so.
    DataTimeout(u32),
    /// After so many blocks no more come, and the controller says nothing.
    DataSilence(u32),
    /// After so many blocks the card is pulled.
    Pulled(u32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum CardState {
    Idle = 0,
    Ready = 1,
    Identified = 2,
    Standby = 3,
    Transfer = 4,
    Data = 5,
    Receive = 6,
    Programming = 7,
}

#[derive(Debug)]
struct Sending {
    next: u32,
    left: u32,
    sent: u32,
    by_dma: bool,
    paused: bool,
    stop: bool,
    ext_csd: bool,
}

/// Everything there is.
pub struct Model {
    pub kind: Kind,
    pub blocks: u32,
    pub fault: Option<Fault>,
    /// Every command the card saw.
    pub log: Vec<(u8, u32)>,
    /// How often DMA stopped at a boundary.
    pub boundaries: u32,
    /// What `begin_dma` was given, while it is the controller's.
    pub lent: Option<(*mut Block, usize)>,
    /// What `begin_dma_from` was given, while the controller may read it.
    pub shown: Option<(*const Block, usize)>,
    pub dma: bool,
    registers: [u32; 64],
    state: CardState,
    application: bool,
    asked: u32,
    sending: Option<Sending>,
    receiving: Option<Receiving>,
    /// Blocks that the card has taken and lost power would lose.
    held: Vec<(u32, Block)>,
    /// Blocks that were written, and are there as long as the card is.
    pub kept: HashMap<u32, Block>,
    left_to_program: u32,
    /// The next write ends with an error of the card.
    pub fails_to_program: bool,
    fifo: Vec<u8>,
    status_errors: u32,
}

/// The driver's end.
#[derive(Clone)]
pub struct Controller(pub Rc<RefCell<Model>>);

/// A tenth of a millisecond a look.
#[derive(Clone, Debug, Default)]
pub struct Ticks(pub Rc<Cell<u64>>);

impl Clock for Ticks {
    fn now(&self) -> Micros {
        self.0.set(self.0.get() + 100);
        Micros(self.0.get())
    }
}

/// What block `at` holds.
pub fn contents(at: u32) -> Block {
    let mut block = Block::ZERO;
    for (i, word) in block.0.chunks_exact_mut(4).enumerate() {
        word.copy_from_slice(&(at * 128 + i as u32 + 1).wrapping_mul(0x9E37_79B1).to_le_bytes());
    }
    block
}

fn bus_address(memory: *const Block) -> u32 {
    BUS_BASE + memory.addr() as u32 % BOUNDARY
}

impl Controller {
    pub fn new(kind: Kind, blocks: u32, dma: bool) -> Self {
        let mut registers = [0; 64];
        registers[0x40 / 4] = 50 << 8;
        Self(Rc::new(RefCell::new(Model {
            kind,
            blocks,
            fault: None,
            log: Vec::new(),
            boundaries: 0,
            lent: None,
            shown: None,
            dma,
            registers,
            state: CardState::Idle,
            application: false,
            asked: 0,
            sending: None,
            receiving: None,
            held: Vec::new(),
            kept: HashMap::new(),
            left_to_program: 0,
            fails_to_program: false,
            fifo: Vec::new(),
            status_errors: 0,
        })))
        .inserted()
    }

    fn inserted(self) -> Self {
        self.insert();
        self
    }

    /// Puts a card in, unpowered; none if one is there.
    pub fn insert(&self) {
        let mut model = self.0.borrow_mut();
        if model.present() {
            return;
        }
        model.registers[0x24 / 4] = PRESENT;
        model.state = CardState::Idle;
    }

    /// Pulls the card.
    pub fn pull(&self) {
        self.0.borrow_mut().pull();
    }

    pub fn fail(&self, fault: Fault) {
        self.0.borrow_mut().fault = Some(fault);
    }

    pub fn commands(&self) -> Vec<(u8, u32)> {
        std::mem::take(&mut self.0.borrow_mut().log)
    }

    /// Whether the controller may still write memory.
    pub fn is_writing(&self) -> bool {
        self.0.borrow().sending.as_ref().is_some_and(|sending| sending.by_dma)
    }
}

impl Model {
    fn pull(&mut self) {
        self.registers[0x24 / 4] = ABSENT;
        self.registers[0x30 / 4] |= 1 << 7;
        self.state = CardState::Idle;
        (self.sending, self.receiving) = (None, None);
        self.held.clear();
    }

    /// What block `at` holds now.
    pub fn block(&self, at: u32) -> Block {
        self.kept.get(&at).copied().unwrap_or_else(|| contents(at))
    }

    fn present(&self) -> bool {
        self.registers[0x24 / 4] & 1 << 16 != 0
    }

    fn raise(&mut self, bits: u32) {
        let error = if bits >> 16 != 0 { 1 << 15 } else { 0 };
        self.registers[0x30 / 4] |= bits | error;
    }

    fn take(&mut self, matches: impl Fn(Fault) -> bool) -> bool {
        let hit = self.fault.is_some_and(matches);
        if hit {
            self.fault = None;
        }
        hit
    }

    fn send(&mut self, at: u32, ext_csd: bool) {
        let mode = self.registers[0x0C / 4] & 0xFFFF;
        let multiple = mode & 1 << 5 != 0;
        // Without a count, until it is stopped.
        let counted = mode & 1 << 1 != 0;
        let left = match (multiple, counted) {
            (true, true) => self.registers[1] >> 16,
            (true, false) => u32::MAX,
            (false, _) => 1,
        };
        assert!(
            counted || !multiple || mode & 0b101 == 0,
            "without a count, by DMA or with a stop"
        );
        assert_eq!(self.registers[1] & 0xFFF, 512);
        self.state = CardState::Data;
        self.sending = Some(Sending {
            next: at,
            left,
            sent: 0,
            by_dma: mode & 1 != 0,
            paused: false,
            stop: mode & 1 << 2 != 0 || !multiple,
            ext_csd,
        });
    }

    fn command(&mut self, value: u32) {
        let index = (value >> 24) as u8;
        let argument = self.registers[2];
        if self.registers[0x2C / 4] & 1 << 2 == 0 {
            return;
        }
        let aborts = value >> 22 & 3 == 3;
        assert!(self.sending.is_none() || aborts, "CMD{index} while data are to come");
        self.log.push((index, argument));
        if self.take(|fault| fault == Fault::Silence(index)) {
            return;
        }
        let mut status = 0;
        if let Some(Fault::CardStatus(command, bits)) = self.fault
            && command == index
        {
            (self.fault, status) = (None, bits);
        }
        let silent = self.take(|fault| fault == Fault::NoResponse(index)) || !self.present();
        let answer = if silent { None } else { self.answer(index, argument) };
        match answer {
            None if value >> 16 & 3 != 0 => return self.raise(1 << 16),
            Some(word) if index != 9 => self.registers[4] = word | status,
            _ => {}
        }
        if self.take(|fault| fault == Fault::ResponseCrc(index)) {
            return self.raise(1 << 17);
        }
        self.raise(1 | if value >> 16 & 3 == 3 { 2 } else { 0 });
    }

    /// Moves one block, if there is one to move.
    fn step(&mut self) {
        self.step_write();
        let Some(sending) = &self.sending else { return };
        if sending.paused {
            return;
        }
        if !self.fifo.is_empty() {
            if sending.by_dma {
                self.write_memory();
            }
            return;
        }
        let sent = sending.sent;
        match self.fault {
            Some(Fault::DataCrc(after)) if after == sent && !sending.ext_csd => {
                (self.fault, self.sending) = (None, None);
                return self.raise(1 << 21);
            }
            Some(Fault::DataTimeout(after)) if after == sent && !sending.ext_csd => {
                (self.fault, self.sending) = (None, None);
                return self.raise(1 << 20);
            }
            Some(Fault::DataSilence(after)) if after == sent && !sending.ext_csd => return,
            Some(Fault::Pulled(after)) if after == sent && !sending.ext_csd => {
                self.fault = None;
                return self.pull();
            }
            _ => {}
        }
        if !sending.ext_csd && sending.next >= self.blocks {
            // It was to go on beyond the card's end: nothing comes, and the next answer says so.
            self.sending = None;
            self.status_errors |= 1 << 31;
            return;
        }
        let mut block = self.block(sending.next);
        if sending.ext_csd {
            block = Block::ZERO;
            block.0[212..216].copy_from_slice(&self.blocks.to_le_bytes());
        }
        let by_dma = sending.by_dma;
        if let Some(sending) = &mut self.sending {
            sending.next += 1;
            sending.sent += 1;
            sending.left -= 1;
        }
        self.fifo = block.0.to_vec();
        if by_dma { self.write_memory() } else { self.raise(1 << 5) }
    }

    /// Writes what it has of a block, up to the next boundary.
    fn write_memory(&mut self) {
        let (start, blocks) = self.lent.expect("DMA into memory that is not lent");
        let address = self.registers[0];
        let at = (address - bus_address(start)) as usize;
        let count = self.fifo.len().min((BOUNDARY - address % BOUNDARY) as usize);
        assert!(at + count <= blocks * BLOCK_BYTES, "DMA beyond the memory that is lent");
        // SAFETY: `start` is the beginning of `blocks` blocks that the driver holds borrowed until it
        // calls `end_dma`, which clears `lent`.
        unsafe { start.cast::<u8>().add(at).copy_from(self.fifo.as_ptr(), count) };
        self.fifo.drain(..count);
        self.registers[0] += count as u32;
        if self.fifo.is_empty() && self.end_of_data() {
            return;
        }
        if self.registers[0].is_multiple_of(BOUNDARY) {
            self.boundaries += 1;
            self.sending.as_mut().unwrap().paused = true;
            self.raise(1 << 3);
        }
    }

    fn end_of_data(&mut self) -> bool {
        let Some(sending) = &self.sending else { return true };
        if sending.left != 0 {
            return false;
        }
        if sending.stop {
            self.state = CardState::Transfer;
        }
        self.sending = None;
        self.raise(2);
        true
    }
}
