//! The card slot: SSI 0 (PL022) on PA2, PA4, PA5, chip select on PD0.
//!
//! In: transfers of `embedded-hal`. Out: bytes to and from the card, eight in flight. LM3S6965 data
//! sheet, 13 (SSI). One fault of QEMU is worked around here, where it is seen: see `Slot::repair`.

use crate::register::{read, set, write};
use core::convert::Infallible;
use embedded_hal::spi::{ErrorType, Operation, SpiDevice};

const SSI: usize = 0x4000_8000;
const DATA: usize = SSI + 8;
const STATUS: usize = SSI + 0xC;
const RX_NOT_EMPTY: u32 = 1 << 2;
const RCGC1: usize = 0x400F_E104;
const RCGC2: usize = 0x400F_E108;
const GPIO_A: usize = 0x4000_4000;
const GPIO_D: usize = 0x4000_7000;
/// Data register of port D with only bit 0 unmasked.
const CHIP_SELECT: usize = GPIO_D + (1 << 2);
/// Depth of both FIFOs.
const DEPTH: usize = 8;
/// What is sent while only receiving.
const IDLE: u8 = 0xFF;
/// CMD58, READ_OCR, as its first byte on the wire.
const READ_OCR: u8 = 0x40 | 58;

/// The slot.
pub struct Slot {
    /// The last command was CMD58, its answer is awaited.
    asked_ocr: bool,
}

impl Slot {
    /// Switches SPI on, and wakes a card with 80 clocks while it is not selected.
    ///
    /// # Safety
    /// SSI 0, PA2, PA4, PA5 and PD0 are nobody else's.
    pub unsafe fn new() -> Self {
        // SAFETY: as promised by the caller; clocks first, then pins, then SSI.
        unsafe {
            set(RCGC1, 1 << 4);
            set(RCGC2, 1 | 1 << 3);
            set(GPIO_A + 0x420, 0x34);
            set(GPIO_A + 0x51C, 0x34);
            set(GPIO_D + 0x51C, 1);
            set(GPIO_D + 0x400, 1);
            write(SSI + 4, 0);
            // 50 MHz / 2, 8 bits, SPI mode 0, host. A real card wants 400 kHz until it is acquired.
            write(SSI + 0x10, 2);
            write(SSI, 7);
            write(SSI + 4, 2);
        }
        let mut slot = Self { asked_ocr: false };
        slot.select(false);
        slot.exchange(10, |_| IDLE, |_, _| ());
        slot
    }

    fn select(&mut self, selected: bool) {
        // SAFETY: the pin is ours.
        unsafe { write(CHIP_SELECT, (!selected).into()) }
    }

    /// Sends `count` bytes and takes as many, never more under way than the FIFOs hold.
    #[inline(always)]
    fn exchange(
        &mut self,
        count: usize,
        mut send: impl FnMut(usize) -> u8,
        mut take: impl FnMut(usize, u8),
    ) {
        let (mut sent, mut taken) = (0, 0);
        while taken < count {
            while sent < count && sent - taken < DEPTH {
                let byte = send(sent);
                // SAFETY: SSI 0 is ours, and its FIFO has room.
                unsafe { write(DATA, byte.into()) };
                sent += 1;
            }
            // SAFETY: SSI 0 is ours.
            while taken < sent && unsafe { read(STATUS) } & RX_NOT_EMPTY != 0 {
                // SAFETY: SSI 0 is ours.
                take(taken, unsafe { read(DATA) } as u8);
                taken += 1;
            }
        }
    }

    /// QEMU answers CMD58 with `idle` for ever (R1 = 0x01), which `embedded-sdmmc` takes for an error.
    /// A card that has left the idle state, which ACMD41 made sure of, answers 0.
    fn repair(&mut self, answer: &mut [u8]) {
        if let ([byte @ 1], true) = (answer, self.asked_ocr) {
            *byte = 0;
            self.asked_ocr = false;
        }
    }
}

impl ErrorType for Slot {
    type Error = Infallible;
}

impl SpiDevice for Slot {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        self.select(true);
        for operation in operations {
            match operation {
                Operation::Read(bytes) => {
                    self.exchange(bytes.len(), |_| IDLE, |i, byte| put(bytes, i, byte));
                }
                Operation::Write(bytes) => {
                    self.exchange(bytes.len(), |i| at(bytes, i), |_, _| ());
                    self.asked_ocr = bytes.len() == 6 && bytes.first() == Some(&READ_OCR);
                }
                Operation::Transfer(read, written) => {
                    let count = read.len().max(written.len());
                    self.exchange(count, |i| at(written, i), |i, byte| put(read, i, byte));
                    self.repair(read);
                }
                Operation::TransferInPlace(bytes) => {
                    let bytes = core::cell::Cell::from_mut(*bytes).as_slice_of_cells();
                    self.exchange(
                        bytes.len(),
                        |i| bytes.get(i).map_or(IDLE, core::cell::Cell::get),
                        |i, byte| {
                            if let Some(cell) = bytes.get(i) {
                                cell.set(byte);
                            }
                        },
                    );
                }
                Operation::DelayNs(ns) => {
                    cortex_m::asm::delay(*ns / 20 + 1);
                }
            }
        }
        self.select(false);
        Ok(())
    }
}

fn at(bytes: &[u8], i: usize) -> u8 {
    bytes.get(i).copied().unwrap_or(IDLE)
}

fn put(bytes: &mut [u8], i: usize, byte: u8) {
    if let Some(place) = bytes.get_mut(i) {
        *place = byte;
    }
}
