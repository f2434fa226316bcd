//! Writes: blocks go through the data port into the card's buffer, and from there, some later, to where they
//! are kept.
//!
//! In: words at the data port. Out: blocks kept, or not. Knows nothing of commands.

use super::{CardState, Fault, Model};
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
}

impl Model {
    pub(super) fn receive(&mut self, at: u32, many: bool) {
        let mode = self.registers[0x0C / 4] & 0xFFFF;
        // By programmed I/O, to the card; many with a count and an automatic stop.
        assert_eq!(mode & 0b11_0111, if many { 0b10_0110 } else { 0 }, "transfer mode");
        let left = if many { self.registers[1] >> 16 } else { 1 };
        assert_eq!(self.registers[1] & 0xFFF, 512);
        self.state = CardState::Receive;
        self.receiving =
            Some(Receiving { next: at, left, taken: 0, data: Vec::new(), told: false });
    }

    /// Takes note that time passes: the port gets ready, the card stores a block, or something fails.
    pub(super) fn step_write(&mut self) {
        let Some(receiving) = &mut self.receiving else { return };
        if receiving.told {
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
        receiving.data.extend(word.to_le_bytes());
        if receiving.data.len() < BLOCK_BYTES {
            return;
        }
        let data = std::mem::take(&mut receiving.data);
        self.held.push((receiving.next, Block(data.try_into().unwrap())));
        receiving.told = false;
        receiving.next += 1;
        receiving.taken += 1;
        receiving.left -= 1;
        if receiving.taken % 3 == 0 {
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
