//! The AST2600 evaluation board of QEMU: Cortex-A7, eMMC on an SDHCI controller, 16550 console.
//!
//! In: nothing. Out: [`Board`], its devices ready for use. Knows nothing of what they are used for.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unsafe_code, reason = "device addresses, symbols for the start-up code")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use embedded_io::Write;
use ripple_bare_a::{Exception, GenericTimer, TranslationTable, cache, exit};
use ripple_hal::Block;
use ripple_sdhci::{Media, Mmio, Options, Registers, Sdhci};
use uart_16550::backend::MmioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

/// The eMMC controller's only slot.
const EMMC: usize = 0x1E75_0100;
/// UART5, with a register every 4 bytes.
const UART5: usize = 0x1E78_4000;
const UART_STRIDE: u8 = 4;
/// DDR4.
const RAM: u64 = 0x8000_0000;
const RAM_BYTES: u64 = 1 << 30;

#[unsafe(no_mangle)]
static TRANSLATION_TABLE: TranslationTable = TranslationTable::new(RAM, RAM_BYTES);

/// `embedded_io`'s `Read`, `ReadReady` and `Write`.
pub type Console = Uart16550<MmioBackend>;

/// `ripple_hal`'s `BlockDevice`, by SDMA.
pub type Card = Sdhci<Emmc, GenericTimer>;

/// The devices.
pub struct Board {
    /// The eMMC.
    pub card: Card,
    /// Microseconds.
    pub clock: GenericTimer,
    /// The serial console.
    pub console: Console,
}

/// The eMMC controller's registers; it may use all of RAM.
#[derive(Debug)]
pub struct Emmc {
    registers: Mmio,
    dma: bool,
}

impl Emmc {
    /// Whether reads and writes use SDMA, as they do at first, or programmed I/O.
    pub const fn set_dma(&mut self, dma: bool) {
        self.dma = dma;
    }
}

impl Registers for Emmc {
    fn read(&self, offset: usize) -> u32 {
        self.registers.read(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.registers.write(offset, value);
    }

    fn begin_dma(&mut self, dst: &mut [Block]) -> Option<u32> {
        if !self.dma {
            return None;
        }
        cache::clean_and_invalidate(dst);
        u32::try_from(dst.as_mut_ptr().expose_provenance()).ok()
    }

    fn end_dma(&mut self, dst: &mut [Block]) {
        cache::clean_and_invalidate(dst);
    }

    fn begin_dma_from(&mut self, src: &[Block]) -> Option<u32> {
        if !self.dma {
            return None;
        }
        cache::clean_and_invalidate(src);
        u32::try_from(src.as_ptr().expose_provenance()).ok()
    }
}

impl Board {
    /// The devices; `None` the second time.
    pub fn take() -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) {
            return None;
        }
        let clock = GenericTimer::new();
        // SAFETY: the controller's registers are there, mapped as devices; only this value, made once,
        // uses them.
        let registers = Emmc { registers: unsafe { Mmio::new(EMMC) }?, dma: true };
        let options = Options { media: Media::Emmc, base_hz: 0, detects_card: true };
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
    let base = NonNull::new(core::ptr::with_exposed_provenance_mut(UART5))?;
    // SAFETY: the UART's registers are there, mapped as devices; the caller uses one at a time.
    let mut uart = unsafe { Uart16550::new_mmio(base, UART_STRIDE) }.ok()?;
    uart.init(Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT }).ok()?;
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
