//! The serial line: UART 0 (PL011) on PA0 and PA1, 115,200 baud. Polled.

use crate::register::{read, set, write};
use core::convert::Infallible;
use embedded_io::{ErrorType, Read, Write};

const BASE: usize = 0x4000_C000;
const FLAGS: usize = BASE + 0x18;
const RX_EMPTY: u32 = 1 << 4;
const TX_FULL: u32 = 1 << 5;
const RCGC1: usize = 0x400F_E104;
const RCGC2: usize = 0x400F_E108;
const GPIO_A: usize = 0x4000_4000;

/// UART 0.
pub struct Uart(());

impl Uart {
    /// Switches it on.
    ///
    /// # Safety
    /// UART 0, PA0 and PA1 are nobody else's.
    pub unsafe fn new() -> Self {
        // SAFETY: as promised by the caller; clocks first, then pins, then the UART.
        unsafe {
            set(RCGC1, 1);
            set(RCGC2, 1);
            set(GPIO_A + 0x420, 3);
            set(GPIO_A + 0x51C, 3);
            write(BASE + 0x30, 0);
            // 50 MHz / (16 * 115,200) = 27 + 8 / 64.
            write(BASE + 0x24, 27);
            write(BASE + 0x28, 8);
            // 8 bits, no parity, FIFOs.
            write(BASE + 0x2C, 0x70);
            write(BASE + 0x30, 0x301);
        }
        Self(())
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = buffer.first_mut() else { return Ok(0) };
        // SAFETY: this UART is ours.
        unsafe {
            while read(FLAGS) & RX_EMPTY != 0 {}
            *first = read(BASE) as u8;
        }
        Ok(1)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            // SAFETY: this UART is ours.
            unsafe {
                while read(FLAGS) & TX_FULL != 0 {}
                write(BASE, byte.into());
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
