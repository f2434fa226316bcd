//! Writes: blocks go through the data port, or from memory, into the card's buffer, and from there, some
//! later, to where they are kept.
//!
//! In: words at the data port, or memory. Out: blocks kept, or not. Knows nothing of commands.

use super::{BOUNDARY, CardState, Fault, Model, bus_address};
use ripple_hal::{BLOCK_BYTES, Block};

/// A write under way.
#[derive(Debug)]
pub(super) struct Receiving {
    next: u32,
    left: u32,
    taken: u32,
    data: Vec<u8>,
    /// Whether the driver was told that the port takes a block.
    told: bool,
    pub by_dma: bool,
    /// At a boundary, until it has an address to go on with.
    pub paused: bool,
}

impl Model {
    pub(super) fn receive(&mut self, at: u32, many: bool) {
        let mode = self.registers[0x0C / 4] & 0xFFFF;
        // To the card; many with a count and an automatic stop.
        assert_eq!(mode & 0b11_0110, if many { 0b10_0110 } else { 0 }, "transfer mode");
        let left = if many { self.registers[1] >> 16 } else { 1 };
        assert_eq!(self.registers[1] & 0xFFF, 512);
        self.state = CardState::Receive;
        self.receiving = Some(Receiving {
            next: at,
            left,
            taken: 0,
            data: Vec::new(),
            told: false,
            by_dma: mode & 1 != 0,
            paused: false,
        });
    }

    /// Takes note that time passes: the port gets ready, the card stores a block, or something fails.
    pub(super) fn step_write(&mut self) {
        let Some(receiving) = &mut self.receiving else { return };
        if receiving.told || receiving.paused {
            return;
        }
        let taken = receiving.taken;
        match self.fault {
            Some(Fault::DataCrc(after)) if after == taken => {
                (self.fault, self.receiving) = (None, None);
                return self.raise(1 << 21);
            }
            Some(Fault::DataTimeout(after)) if after == taken => {
                (self.fault, self.receiving) = (None, None);
                return self.raise(1 << 20);
            }
            Some(Fault::DataSilence(after)) if after == taken => return,
            Some(Fault::Pulled(after)) if after == taken => {
                self.fault = None;
                return self.pull();
            }
            _ => {}
        }
        if receiving.left > 0 && receiving.by_dma {
            return self.read_memory();
        }
        if receiving.left > 0 {
            receiving.told = true;
            return self.raise(1 << 4);
        }
        self.receiving = None;
        self.program();
        self.raise(2);
    }

    /// A word at the data port.
    pub(super) fn take_word(&mut self, word: u32) {
        let receiving = self.receiving.as_mut().expect("a word that no write waits for");
        assert!(receiving.told, "a word before the port is ready");
        assert!(!receiving.by_dma, "a word of a write by DMA");
        receiving.data.extend(word.to_le_bytes());
        if receiving.data.len() == BLOCK_BYTES {
            self.take_block();
        }
    }

    /// Reads what it lacks of a block, up to the next boundary.
    fn read_memory(&mut self) {
        let (start, blocks) = self.shown.expect("DMA from memory that is not shown");
        let receiving = self.receiving.as_mut().unwrap();
        let address = self.registers[0];
        let at = (address - bus_address(start)) as usize;
        let missing = BLOCK_BYTES - receiving.data.len();
        let count = missing.min((BOUNDARY - address % BOUNDARY) as usize);
        assert!(at + count <= blocks * BLOCK_BYTES, "DMA beyond the memory that is shown");
        // SAFETY: `start` is the beginning of `blocks` blocks that the driver holds borrowed until it
        // calls `end_dma_from`, which clears `shown`.
        let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>().add(at), count) };
        receiving.data.extend(bytes);
        self.registers[0] += count as u32;
        if count == missing {
            self.take_block();
        }
        let receiving = self.receiving.as_mut().unwrap();
        if receiving.left > 0 && self.registers[0].is_multiple_of(BOUNDARY) {
            receiving.paused = true;
            self.boundaries += 1;
            self.raise(1 << 3);
        }
    }

    fn take_block(&mut self) {
        let receiving = self.receiving.as_mut().unwrap();
        let data = std::mem::take(&mut receiving.data);
        self.held.push((receiving.next, Block(data.try_into().unwrap())));
        receiving.told = false;
        receiving.next += 1;
        receiving.taken += 1;
        receiving.left -= 1;
        if receiving.taken.is_multiple_of(3) {
            self.store(1);
        }
    }

    /// The card stores what it holds, and says so when it was asked a few times.
    pub(super) fn program(&mut self) {
        self.state = CardState::Programming;
        self.left_to_program = 3;
    }

    pub(super) fn store(&mut self, count: usize) {
        self.kept.extend(self.held.drain(..count));
    }
}
