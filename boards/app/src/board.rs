//! The boards: what each has, and what it gives the kernel.
//!
//! One table, used by each board's build (its statics and the check that they fit), by
//! `ripple plan --board` and `ripple image --board`, and by the tests.

use ripple_hal::BlockCount;
use ripple_kernel::{KvKind, Options};

/// A board and the model it comes with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Board {
    /// Name, and that of its folder in `boards/`.
    pub name: &'static str,
    /// What it is, in words.
    pub about: &'static str,
    /// The core, by the name that `ripple` has for it.
    pub core: &'static str,
    /// The demo model it comes with, or another it was tested with.
    pub models: &'static [&'static str],
    /// The card's preset: what its image is placed for.
    pub card: &'static str,
    /// Bytes that firmware and mapped prefix may take.
    pub flash: u32,
    /// Bytes of RAM, all that the firmware may use.
    pub ram: u32,
    /// Bytes of it that are kept for the stack.
    pub stack: u32,
    /// The firmware beside the model; zeroes where it never ran.
    pub firmware: Firmware,
    /// Longest prompt in bytes.
    pub line: usize,
    /// What the kernel is told.
    pub options: Options,
}

/// What firmware takes beside the model's regions and the main loop's desk: measured by
/// `boards/x test`, which fails when it changes and says what to write here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// Bytes of code and constants, the front of the image not among them.
    pub code: u32,
    /// Bytes of `.data` and `.bss`, the lent memory not among them.
    pub drivers: u32,
    /// Bytes of stack that were used; 0 where it never ran.
    pub stack: u32,
}

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

/// What boards with some 512 KiB give.
const HALF_MIB: Options = Options {
    context: 256,
    kv: KvKind::Q8,
    staging: BlockCount(128),
    cache_bytes: 100 * KIB,
    batch: 8,
    ..Options::DEFAULT
};

/// What boards with many MiB give: 128 positions stay in memory, what is older goes to the card.
const LARGE: Options = Options {
    context: 128,
    spill: 128,
    kv: KvKind::F16,
    staging: BlockCount(256),
    cache_bytes: 180 * KIB,
    batch: 32,
    ..Options::DEFAULT
};

/// TI Stellaris LM3S6965 evaluation board, as QEMU emulates it.
pub const LM3S6965EVB: Board = Board {
    name: "lm3s6965evb",
    about: "Cortex-M3 at 50 MHz, SD card over SPI",
    core: "cortex-m3",
    models: &["story-nano"],
    card: "spi",
    flash: 256 * KIB,
    // Of 64: some stay free for what a user adds.
    ram: 60 * KIB,
    stack: 8 * KIB,
    firmware: Firmware { code: 71_344, drivers: 216, stack: 7_848 },
    line: 128,
    options: Options {
        context: 128,
        kv: KvKind::Q8,
        staging: BlockCount(16),
        cache_bytes: 6 * KIB,
        batch: 2,
        ..Options::DEFAULT
    },
};

/// Arm MPS2+ with the AN386 image, used as if it were an RP2350.
pub const MPS2_AN386: Board = Board {
    name: "mps2-an386",
    about: "Cortex-M4F, a file over semihosting",
    core: "cortex-m4",
    models: &["novel-small"],
    card: "sdio-hs",
    flash: 4 * MIB,
    ram: 512 * KIB,
    stack: 16 * KIB,
    firmware: Firmware { code: 126_928, drivers: 188, stack: 8_832 },
    line: 256,
    options: HALF_MIB,
};

/// Arm MPS3 with the AN547 image.
pub const MPS3_AN547: Board = Board {
    name: "mps3-an547",
    about: "Cortex-M55 with Helium, a file over semihosting",
    core: "cortex-m55",
    firmware: Firmware { code: 114_132, drivers: 188, stack: 8_884 },
    ..MPS2_AN386
};

/// Raspberry Pi 3 B, bare metal.
pub const RASPI3B: Board = Board {
    name: "raspi3b",
    about: "Cortex-A53, SD card on SDHCI",
    core: "cortex-a53",
    models: &["novel-small", "novel-opt"],
    card: "sdio-hs",
    flash: 64 * MIB,
    ram: 64 * MIB,
    stack: 256 * KIB,
    firmware: Firmware { code: 245_296, drivers: 332, stack: 17_408 },
    line: 1024,
    options: LARGE,
};

/// ASPEED AST2600 evaluation board, bare metal.
pub const AST2600_EVB: Board = Board {
    name: "ast2600-evb",
    about: "Cortex-A7, eMMC on SDHCI with DMA",
    core: "cortex-a7",
    models: &["novel-wide"],
    card: "emmc-hs200",
    firmware: Firmware { code: 207_892, drivers: 264, stack: 9_896 },
    ..RASPI3B
};

/// Raspberry Pi Pico 2.
pub const PICO2: Board = Board {
    name: "pico2",
    about: "RP2350, SD card over SPI with DMA",
    core: "cortex-m33",
    card: "spi",
    ram: 520 * KIB,
    firmware: Firmware { code: 147_188, drivers: 216, stack: 0 },
    options: Options { cache_bytes: 144 * KIB, ..HALF_MIB },
    ..MPS2_AN386
};

/// The same with embassy.
pub const PICO2_EMBASSY: Board = Board {
    name: "pico2-embassy",
    firmware: Firmware { code: 146_248, drivers: 4_320, stack: 0 },
    ..PICO2
};

/// ST NUCLEO-H743ZI: 512 KiB of AXI SRAM, and 128 KiB of DTCM for stack and cache.
pub const STM32H743: Board = Board {
    name: "stm32h743",
    about: "Cortex-M7, SD card on SDMMC with DMA",
    core: "cortex-m7",
    models: &["novel-wide"],
    card: "sdio-hs",
    flash: 2 * MIB,
    ram: 640 * KIB,
    firmware: Firmware { code: 149_608, drivers: 1_088, stack: 0 },
    options: Options { cache_bytes: 112 * KIB, batch: 16, ..HALF_MIB },
    ..MPS2_AN386
};

/// Nordic nRF52840-DK.
pub const NRF52840: Board = Board {
    name: "nrf52840",
    about: "Cortex-M4F, QSPI flash",
    core: "cortex-m4",
    models: &["novel-opt"],
    card: "spi",
    flash: MIB,
    ram: 256 * KIB,
    stack: 12 * KIB,
    firmware: Firmware { code: 121_652, drivers: 1_224, stack: 0 },
    line: 256,
    options: Options {
        context: 128,
        staging: BlockCount(32),
        cache_bytes: 44 * KIB,
        batch: 4,
        ..HALF_MIB
    },
};

/// All of them.
pub const ALL: [&Board; 9] = [
    &LM3S6965EVB,
    &MPS2_AN386,
    &MPS3_AN547,
    &RASPI3B,
    &AST2600_EVB,
    &PICO2,
    &PICO2_EMBASSY,
    &STM32H743,
    &NRF52840,
];

/// The board of that name.
pub fn by_name(name: &str) -> Option<&'static Board> {
    ALL.into_iter().find(|board| board.name == name)
}
