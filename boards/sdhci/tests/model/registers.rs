//! The driver's side of the model: its registers, and the memory that is lent to it.
//!
//! In: reads and writes of registers. Out: what they say, and what they set off. Knows nothing of cards.

use super::{Controller, bus_address};
use ripple_hal::Block;
use ripple_sdhci::Registers;

impl Registers for Controller {
    fn read(&self, offset: usize) -> u32 {
        let mut model = self.0.borrow_mut();
        match offset {
            0x30 => {
                let seen = model.registers[offset / 4];
                model.step();
                seen
            }
            0x20 => {
                assert!(model.fifo.len() >= 4, "the data port is empty");
                let word = model.fifo.drain(..4).collect::<Vec<_>>();
                if model.fifo.is_empty() {
                    model.end_of_data();
                }
                u32::from_le_bytes(word.try_into().unwrap())
            }
            _ => model.registers[offset / 4],
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut model = self.0.borrow_mut();
        match offset {
            0x00 => {
                model.registers[0] = value;
                if let Some(sending) = &mut model.sending {
                    sending.paused = false;
                }
                if let Some(receiving) = &mut model.receiving {
                    receiving.paused = false;
                }
            }
            0x20 => model.take_word(value),
            0x0C => {
                model.registers[3] = value;
                model.command(value);
            }
            0x2C => {
                let resets = value >> 24;
                assert!(resets.count_ones() <= 1, "QEMU ignores two resets at once");
                if resets & 0b101 != 0 {
                    (model.sending, model.receiving) = (None, None);
                    model.fifo.clear();
                }
                if resets & 1 != 0 {
                    model.registers[0x30 / 4] = 0;
                }
                let stable = (value & 1) << 1;
                let gone = resets & 1 != 0;
                model.registers[offset / 4] = if gone { 0 } else { value & 0x00FF_FFFF | stable };
            }
            0x30 => {
                model.registers[offset / 4] &= !value;
                if model.registers[offset / 4] >> 16 == 0 {
                    model.registers[offset / 4] &= !(1 << 15);
                }
            }
            _ => model.registers[offset / 4] = value,
        }
    }

    fn begin_dma(&mut self, dst: &mut [Block]) -> Option<u32> {
        let mut model = self.0.borrow_mut();
        assert!(model.lent.is_none());
        if !model.dma {
            return None;
        }
        model.lent = Some((dst.as_mut_ptr(), dst.len()));
        Some(bus_address(dst.as_mut_ptr()))
    }

    fn end_dma(&mut self, _: &mut [Block]) {
        assert!(!self.is_writing(), "memory taken back from a controller that writes it");
        assert!(self.0.borrow_mut().lent.take().is_some());
    }

    fn begin_dma_from(&mut self, src: &[Block]) -> Option<u32> {
        let mut model = self.0.borrow_mut();
        assert!(model.shown.is_none());
        if !model.dma {
            return None;
        }
        model.shown = Some((src.as_ptr(), src.len()));
        Some(bus_address(src.as_ptr()))
    }

    fn end_dma_from(&mut self, _: &[Block]) {
        let mut model = self.0.borrow_mut();
        let reads = model.receiving.as_ref().is_some_and(|receiving| receiving.by_dma);
        assert!(!reads, "memory taken back from a controller that reads it");
        assert!(model.shown.take().is_some());
    }
}
