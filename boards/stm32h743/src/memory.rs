//! The caches of the Cortex-M7: on for flash, where the mapped weights lie, off for what DMA writes.
//!
//! AXI SRAM is made non-cacheable by the MPU, so no line of it can ever be stale and no driver has
//! to clean or invalidate anything. The stack needs no cache: it lies in DTCM.

use cortex_m::Peripherals;

/// Start of AXI SRAM, and its size as the MPU has it: `2^(18 + 1)` bytes.
const AXI_SRAM: u32 = 0x2400_0000;
const AXI_SRAM_SIZE: u32 = 18;

/// Bits of MPU_RASR, Armv7-M Architecture Reference Manual B3.5.9.
const EXECUTE_NEVER: u32 = 1 << 28;
const FULL_ACCESS: u32 = 0b011 << 24;
/// Normal memory, not cacheable: TEX 1, C 0, B 0.
const NOT_CACHEABLE: u32 = 0b001 << 19;
const ENABLE: u32 = 1;

/// Bits of MPU_CTRL, B3.5.5: the default map where no region is.
const DEFAULT_MAP: u32 = 1 << 2;

/// Turns the caches on, for all but AXI SRAM.
pub fn enable(core: &mut Peripherals) {
    #[allow(unsafe_code, reason = "the memory map of this board")]
    // SAFETY: one region is described and turned on; it changes neither what code may access nor
    // what is executable, since nothing is executed from AXI SRAM. The caches are still off, so
    // none of its lines can be in them.
    unsafe {
        core.MPU.rnr.write(0);
        core.MPU.rbar.write(AXI_SRAM);
        core.MPU
            .rasr
            .write(EXECUTE_NEVER | FULL_ACCESS | NOT_CACHEABLE | AXI_SRAM_SIZE << 1 | ENABLE);
        core.MPU.ctrl.write(DEFAULT_MAP | ENABLE);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
    core.SCB.enable_icache();
    core.SCB.enable_dcache(&mut core.CPUID);
}
