//! UART and timer of Arm's Cortex-M System Design Kit, as on the MPS2 and MPS3 boards.
//!
//! Arm DDI 0479, "Cortex-M System Design Kit", 4.2 (timer) and 4.3 (UART). Polled.

use core::cell::Cell;
use core::convert::Infallible;
use core::ptr::{read_volatile, write_volatile};
use embedded_io::{ErrorType, Read, Write};
use ripple_hal::{Clock, Micros};

/// A register of a block at `base`.
fn register(base: usize, offset: usize) -> *mut u32 {
    (base + offset) as *mut u32
}

/// A UART.
pub struct Uart(usize);

const DATA: usize = 0;
const STATE: usize = 4;
const CTRL: usize = 8;
const BAUD: usize = 0x10;
const TX_FULL: u32 = 1;
const RX_FULL: u32 = 2;

impl Uart {
    /// Switches on the UART at `base`, clocked by `hz`, at 115,200 baud.
    ///
    /// # Safety
    /// `base` is that of a CMSDK UART which nothing else uses.
    pub unsafe fn new(base: usize, hz: u32) -> Self {
        // SAFETY: as promised by the caller; so are those below.
        unsafe {
            write_volatile(register(base, BAUD), (hz / 115_200).max(16));
            write_volatile(register(base, CTRL), 3);
        }
        Self(base)
    }

    fn state(&self) -> u32 {
        // SAFETY: see `new`.
        unsafe { read_volatile(register(self.0, STATE)) }
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = buffer.first_mut() else { return Ok(0) };
        while self.state() & RX_FULL == 0 {}
        // SAFETY: see `new`.
        *first = unsafe { read_volatile(register(self.0, DATA)) } as u8;
        Ok(1)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while self.state() & TX_FULL != 0 {}
            // SAFETY: see `new`.
            unsafe { write_volatile(register(self.0, DATA), byte.into()) };
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A clock on a 32-bit timer that counts down; exact as long as it is read once a wrap (172 s at
/// 25 MHz).
pub struct Timer {
    base: usize,
    ticks_per_us: u32,
    last: Cell<u32>,
    /// Ticks up to `last`.
    ticks: Cell<u64>,
}

const VALUE: usize = 4;
const RELOAD: usize = 8;

impl Timer {
    /// Starts the timer at `base`, clocked by `hz`, whole megahertz.
    ///
    /// # Safety
    /// `base` is that of a CMSDK timer which nothing else uses.
    pub unsafe fn new(base: usize, hz: u32) -> Self {
        // SAFETY: as promised by the caller.
        unsafe {
            write_volatile(register(base, RELOAD), u32::MAX);
            write_volatile(register(base, VALUE), u32::MAX);
            write_volatile(register(base, 0), 1);
        }
        Self { base, ticks_per_us: hz / 1_000_000, last: Cell::new(u32::MAX), ticks: Cell::new(0) }
    }
}

impl Clock for Timer {
    fn now(&self) -> Micros {
        // SAFETY: see `new`.
        let value = unsafe { read_volatile(register(self.base, VALUE)) };
        let passed = self.last.get().wrapping_sub(value);
        self.last.set(value);
        self.ticks.set(self.ticks.get() + u64::from(passed));
        Micros(self.ticks.get() / u64::from(self.ticks_per_us.max(1)))
    }
}
