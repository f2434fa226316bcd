//! The system clock at 50 MHz, time from SysTick, and short waits.
//!
//! LM3S6965 data sheet, 5.2 (system control); Armv7-M reference manual, B3.3 (SysTick).

use crate::register::{read, set, write};
use core::sync::atomic::{AtomicU32, Ordering};
use embedded_hal::delay::DelayNs;
use ripple_hal::{Clock, Micros};

const MHZ: u64 = 50;
const RIS: usize = 0x400F_E050;
const RCC: usize = 0x400F_E060;
const PLL_LOCKED: u32 = 1 << 6;
const CSR: usize = 0xE000_E010;
const RELOAD: usize = 0xE000_E014;
const VALUE: usize = 0xE000_E018;
const ICSR: usize = 0xE000_ED04;
const SYSTICK_PENDING: u32 = 1 << 26;
const PERIOD: u64 = 1 << 24;

static WRAPS: AtomicU32 = AtomicU32::new(0);

#[cortex_m_rt::exception]
fn SysTick() {
    WRAPS.fetch_add(1, Ordering::Relaxed);
}

/// Microseconds since the start.
pub struct SysTick(());

impl SysTick {
    /// Switches the core to 50 MHz and starts counting.
    ///
    /// # Safety
    /// System control and SysTick are nobody else's.
    pub unsafe fn start() -> Self {
        const BYPASS: u32 = 1 << 11;
        const USE_DIVIDER: u32 = 1 << 22;
        // SAFETY: the order is that of the data sheet, 5.3: bypass, crystal and PLL, wait, PLL.
        unsafe {
            let rcc = (read(RCC) | BYPASS) & !USE_DIVIDER;
            write(RCC, rcc);
            // 8 MHz crystal, main oscillator on, PLL on; then 200 MHz / 4.
            let rcc = (rcc & !(0xF << 6 | 3 << 4 | 1 << 13 | 1)) | 0xE << 6;
            write(RCC, rcc);
            let rcc = (rcc & !(0xF << 23)) | 3 << 23 | USE_DIVIDER;
            write(RCC, rcc);
            let mut tries = 100_000;
            while read(RIS) & PLL_LOCKED == 0 && tries > 0 {
                tries -= 1;
            }
            write(RCC, rcc & !BYPASS);
            write(RELOAD, PERIOD as u32 - 1);
            write(VALUE, 0);
            set(CSR, 7);
        }
        Self(())
    }
}

impl Clock for SysTick {
    fn now(&self) -> Micros {
        cortex_m::interrupt::free(|_| {
            let mut wraps = u64::from(WRAPS.load(Ordering::Relaxed));
            // SAFETY: reading SysTick and the pending bit changes nothing that is used.
            let ticks = unsafe {
                let mut value = read(VALUE);
                if read(ICSR) & SYSTICK_PENDING != 0 {
                    wraps += 1;
                    value = read(VALUE);
                }
                wraps * PERIOD + (PERIOD - 1 - u64::from(value))
            };
            Micros(ticks / MHZ)
        })
    }
}

/// Waits by counting cycles.
pub struct Wait;

impl DelayNs for Wait {
    fn delay_ns(&mut self, ns: u32) {
        cortex_m::asm::delay(ns / (1000 / MHZ as u32) + 1);
    }
}
