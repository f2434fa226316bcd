//! The memories of the STM32H743: caches, what DMA writes, and the tightly coupled RAM.
//!
//! In: the core's registers, where the card's registers are received. Out: caches that are on for
//! flash and AXI SRAM, and [`neurons`], the neuron cache in DTCM. `card.rs` keeps the data cache and
//! the DMA apart for blocks; what the driver receives by itself is made non-cacheable here.

use core::mem::MaybeUninit;
use cortex_m::Peripherals;
use embassy_stm32::sdmmc::sd::CmdBlock;

/// What the card's driver receives while it brings a card up, and reads at once: an MPU region of its
/// own, so its size is a power of two and it is aligned to it.
#[repr(C, align(64))]
pub struct Registers(pub CmdBlock);

const _: () = assert!(size_of::<Registers>() == 64 && align_of::<Registers>() == 64);

/// `2^(5 + 1)` bytes, as the MPU has it.
const REGISTERS_SIZE: u32 = 5;

/// Bits of MPU_RASR, Armv7-M Architecture Reference Manual B3.5.9.
const EXECUTE_NEVER: u32 = 1 << 28;
const FULL_ACCESS: u32 = 0b011 << 24;
/// Normal memory, not cacheable: TEX 1, C 0, B 0.
const NOT_CACHEABLE: u32 = 0b001 << 19;
const ENABLE: u32 = 1;

/// Bits of MPU_CTRL, B3.5.5: the default map where no region is.
const DEFAULT_MAP: u32 = 1 << 2;

/// Turns the caches on, for all but `registers`.
pub fn enable_caches(core: &mut Peripherals, registers: &Registers) {
    let base = core::ptr::from_ref(registers).addr() as u32;
    #[allow(unsafe_code, reason = "the memory map of this board")]
    // SAFETY: one region is described and turned on; it changes neither what code may access nor
    // what is executable, since nothing is executed from there. The caches are still off, so none
    // of its lines can be in them.
    unsafe {
        core.MPU.rnr.write(0);
        core.MPU.rbar.write(base);
        core.MPU
            .rasr
            .write(EXECUTE_NEVER | FULL_ACCESS | NOT_CACHEABLE | REGISTERS_SIZE << 1 | ENABLE);
        core.MPU.ctrl.write(DEFAULT_MAP | ENABLE);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
    core.SCB.enable_icache();
    core.SCB.enable_dcache(&mut core.CPUID);
}

/// DBGMCU_IDC: the upper half is the revision, and those below 0x2000 are Z and Y.
const IDENTITY: *const u32 = 0x5C00_1000 as *const u32;
const REVISION_V: u32 = 0x2003;

/// AXI_TARG7_FN_MOD: how many reads AXI SRAM is asked for at a time.
const AXI_SRAM_ISSUE: *mut u32 = 0x5100_8108 as *mut u32;
const ONE_READ: u32 = 1;

/// Asks AXI SRAM for one read at a time on revisions up to Y, where data may else be corrupted:
/// ST ES0392, "Reading from AXI SRAM may lead to data read corruption". Before anything is read from
/// it by more than one master.
pub fn work_around_axi() {
    #[allow(unsafe_code, reason = "registers that the driver library does not know")]
    // SAFETY: registers of this chip, RM0433 60.5.8 and 2.2.4; the write changes how fast AXI SRAM is
    // read and nothing else.
    unsafe {
        if IDENTITY.read_volatile() >> 16 < REVISION_V {
            AXI_SRAM_ISSUE.write_volatile(ONE_READ);
        }
    }
}

/// `N` words for the neuron cache in DTCM, zeroed: the core reads it without wait states, and no DMA
/// needs to reach it.
///
/// # Safety
/// Called once.
#[allow(unsafe_code, reason = "a section of its own, which start-up code does not zero")]
pub unsafe fn neurons() -> &'static mut [u32] {
    #[unsafe(link_section = ".dtcm")]
    static mut NEURONS: MaybeUninit<[u32; crate::PLAN.cache]> = MaybeUninit::uninit();
    let place = &raw mut NEURONS;
    // SAFETY: only this function names the static and, by its contract, runs once: nothing else
    // refers to the place. Words of zeroes are valid ones.
    unsafe {
        place.write_bytes(0, 1);
        (*place).assume_init_mut()
    }
}
