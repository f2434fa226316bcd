//! The Raspberry Pi 3 B of QEMU: Cortex-A53, SD card on the SDHCI controller, PL011 console.
//!
//! In: nothing. Out: [`Board`], its devices ready for use. Knows nothing of what they are used for.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unsafe_code, reason = "device addresses, symbols for the start-up code")]

use arm_pl011_uart::{
    DataBits, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer,
};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use embedded_io::Write;
use ripple_bare_a::{Exception, GenericTimer, TranslationTable, exit};
use ripple_sdhci::{Media, Mmio, Options, Sdhci};

/// The Arasan controller, which the boot firmware and QEMU connect to the card slot.
const SDHCI: usize = 0x3F30_0000;
/// UART0.
const PL011: usize = 0x3F20_1000;
const UART_HZ: u32 = 48_000_000;
const BAUD: u32 = 115_200;
/// RAM ends where the peripherals begin.
const PERIPHERALS: u64 = 0x3F00_0000;

#[unsafe(no_mangle)]
static TRANSLATION_TABLE: TranslationTable = TranslationTable::new(0, PERIPHERALS);

/// `embedded_io`'s `Read`, `ReadReady` and `Write`.
pub type Console = Uart<'static>;

/// `ripple_hal`'s `BlockDevice`.
pub type Card = Sdhci<Mmio, GenericTimer>;

/// The devices.
pub struct Board {
    /// The SD card, by programmed I/O: the controller has no SDMA.
    pub card: Card,
    /// Microseconds.
    pub clock: GenericTimer,
    /// The serial console.
    pub console: Console,
}

impl Board {
    /// The devices; `None` the second time.
    pub fn take() -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) {
            return None;
        }
        let clock = GenericTimer::new();
        // SAFETY: the Arasan controller's registers are there, mapped as devices; only this value,
        // made once, uses them.
        let registers = unsafe { Mmio::new(SDHCI) }?;
        let options = Options { media: Media::Sd, base_hz: 0, detects_card: true };
        // SAFETY: nothing else uses the UART, except what ends the program.
        let console = unsafe { console() }?;
        Some(Self { card: Sdhci::new(registers, clock, options), clock, console })
    }
}

/// The UART, configured.
///
/// # Safety
/// No other one is used afterwards.
unsafe fn console() -> Option<Console> {
    let registers = NonNull::new(core::ptr::with_exposed_provenance_mut::<PL011Registers>(PL011))?;
    // SAFETY: the PL011's registers are there, mapped as devices; the caller uses one at a time.
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
    let line =
        LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
    uart.enable(line, BAUD, UART_HZ).ok()?;
    Some(uart)
}

/// Reports and ends the program.
fn stop(reason: &dyn core::fmt::Display) -> ! {
    // SAFETY: the program does not go on.
    if let Some(mut console) = unsafe { console() } {
        let _ = writeln!(console, "\n{reason}");
    }
    exit(1)
}

#[unsafe(no_mangle)]
extern "C" fn board_exception(exception: &Exception) -> ! {
    stop(exception)
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    stop(info)
}
