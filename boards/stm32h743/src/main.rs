//! Ripple on a NUCLEO-H743ZI: an STM32H743, 512 KiB of AXI SRAM, 2 MiB of flash.
//!
//! The front of the image is in flash; the FFN is read from the file `RIPPLE.IMG` on an SD card in
//! 4-bit mode, formatted as FAT32. The README has the wiring.
#![no_std]
#![no_main]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod card;
mod memory;

use card::Card;
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, HSIPrescaler, Pll, PllDiv, PllMul, PllPreDiv, PllSource, Sysclk,
    VoltageScale,
};
use embassy_stm32::sdmmc::{self, Sdmmc, sd::CmdBlock};
use embassy_stm32::time::{Hertz, mhz};
use embassy_stm32::usart::{self, BufferedUart};
use embassy_stm32::{Config, bind_interrupts, peripherals};
use embassy_time::Instant;
use memory::Registers;
#[cfg(not(feature = "defmt"))]
use panic_halt as _;
use ripple_app::{Fat, Port, Ram, board::STM32H743 as BOARD};
use ripple_cortex_m::{ram, serial::Serial};
use ripple_hal::{Micros, Polled};
use ripple_kernel::image::FILE_NAME;
use ripple_kernel::{MemoryPlan, Region};
use static_cell::{ConstStaticCell, StaticCell};
#[cfg(feature = "defmt")]
use {defmt_rtt as _, panic_probe as _};

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

bind_interrupts!(
    /// Which driver answers which interrupt.
    struct Irqs {
        SDMMC1 => sdmmc::InterruptHandler<peripherals::SDMMC1>;
        USART3 => usart::BufferedInterruptHandler<peripherals::USART3>;
    }
);

/// The regions in AXI SRAM: all but the neuron cache.
const STATICS: MemoryPlan = MemoryPlan { cache: 0, ..PLAN };

/// What every card takes on any wiring. `mhz(50)` asks the card for high speed.
const CARD_CLOCK: Hertz = mhz(25);

/// Microseconds since reset.
struct BoardClock;

impl ripple_hal::Clock for BoardClock {
    fn now(&self) -> Micros {
        Micros(Instant::now().as_micros())
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    ram::paint();
    start();
    loop {
        cortex_m::asm::wfi();
    }
}

/// 400 MHz from the internal oscillator; 100 MHz for SDMMC from PLL1's Q.
fn config() -> Config {
    let mut config = Config::default();
    let rcc = &mut config.rcc;
    rcc.hsi = Some(HSIPrescaler::DIV1);
    rcc.pll1 = Some(Pll {
        source: PllSource::HSI,
        prediv: PllPreDiv::DIV4,
        mul: PllMul::MUL50,
        fracn: None,
        divp: Some(PllDiv::DIV2),
        divq: Some(PllDiv::DIV8),
        divr: None,
    });
    rcc.sys = Sysclk::PLL1_P;
    rcc.ahb_pre = AHBPrescaler::DIV2;
    rcc.apb1_pre = APBPrescaler::DIV2;
    rcc.apb2_pre = APBPrescaler::DIV2;
    rcc.apb3_pre = APBPrescaler::DIV2;
    rcc.apb4_pre = APBPrescaler::DIV2;
    rcc.voltage_scale = VoltageScale::Scale1;
    config
}

/// The most RAM that was used, the neuron cache in DTCM among it.
fn used() -> Ram {
    let ram = ram::used();
    Ram { statics: ram.statics + PLAN.region_bytes(Region::Cache) as u32, ..ram }
}

/// Brings the board up and runs the main loop; returns when there is no more to do.
fn start() -> Option<()> {
    memory::work_around_axi();
    let mut core = cortex_m::Peripherals::take()?;
    // Statics, not the stack: the DMA writes the registers.
    static REGISTERS: ConstStaticCell<Registers> = ConstStaticCell::new(Registers(CmdBlock::new()));
    static CONTROLLER: StaticCell<Sdmmc> = StaticCell::new();
    let registers = REGISTERS.try_take()?;
    memory::enable_caches(&mut core, registers);
    let p = embassy_stm32::init(config());

    static SENT: ConstStaticCell<[u8; 256]> = ConstStaticCell::new([0; 256]);
    static RECEIVED: ConstStaticCell<[u8; 256]> = ConstStaticCell::new([0; 256]);
    // 115200 8N1.
    let console = BufferedUart::new(
        p.USART3,
        p.PD9,
        p.PD8,
        SENT.try_take()?,
        RECEIVED.try_take()?,
        Irqs,
        usart::Config::default(),
    )
    .ok()?;

    let controller = CONTROLLER.try_init(Sdmmc::new_4bit(
        p.SDMMC1,
        Irqs,
        p.PC12,
        p.PD2,
        p.PC8,
        p.PC9,
        p.PC10,
        p.PC11,
        sdmmc::Config::default(),
    ))?;
    let card = Card::new(controller, &mut registers.0, CARD_CLOCK, core.SCB);

    let (mut memory, desk) = ripple_app::lend!(STATICS, BOARD.line);
    #[allow(unsafe_code, reason = "memory in a section of its own")]
    // SAFETY: the peripherals were taken above, which succeeds once.
    let neurons = unsafe { memory::neurons() };
    memory.cache = neurons;
    let port = Port { board: &BOARD, console: Serial(console), clock: BoardClock, ram: used };
    let storage = Fat::new(Polled::new(card), FILE_NAME);
    ripple_app::run(port, storage, MAPPED, memory, desk, &BOARD.options);
    Some(())
}
