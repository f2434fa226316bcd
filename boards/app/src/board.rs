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
    /// The core, in words.
    pub core: &'static str,
    /// Picoseconds of a multiply-accumulate, for simulated compute times.
    pub mac_ps: u64,
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
    /// Longest prompt in bytes.
    pub line: usize,
    /// What the kernel is told.
    pub options: Options,
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

/// What boards with many MiB give.
const LARGE: Options = Options {
    context: 256,
    kv: KvKind::F16,
    staging: BlockCount(256),
    cache_bytes: 180 * KIB,
    batch: 32,
    ..Options::DEFAULT
};

/// TI Stellaris LM3S6965 evaluation board, as QEMU emulates it.
pub const LM3S6965EVB: Board = Board {
    name: "lm3s6965evb",
    core: "Cortex-M3, 50 MHz",
    mac_ps: 50_000,
    models: &["story-nano"],
    card: "spi",
    flash: 256 * KIB,
    ram: 64 * KIB,
    stack: 6 * KIB,
    line: 128,
    options: Options {
        context: 96,
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
    core: "Cortex-M4F, 25 MHz",
    mac_ps: 52_000,
    models: &["novel-small"],
    card: "sdio-hs",
    flash: 4 * MIB,
    ram: 512 * KIB,
    stack: 16 * KIB,
    line: 256,
    options: HALF_MIB,
};

/// Arm MPS3 with the AN547 image.
pub const MPS3_AN547: Board = Board {
    name: "mps3-an547",
    core: "Cortex-M55 with Helium, 32 MHz",
    mac_ps: 6_000,
    ..MPS2_AN386
};

/// Raspberry Pi 3 B, bare metal.
pub const RASPI3B: Board = Board {
    name: "raspi3b",
    core: "Cortex-A53, 1.2 GHz",
    mac_ps: 417,
    models: &["novel-small", "novel-opt"],
    card: "sdio-hs",
    flash: 64 * MIB,
    ram: 64 * MIB,
    stack: 256 * KIB,
    line: 1024,
    options: LARGE,
};

/// ASPEED AST2600 evaluation board, bare metal.
pub const AST2600_EVB: Board = Board {
    name: "ast2600-evb",
    core: "Cortex-A7, 1.2 GHz",
    mac_ps: 834,
    models: &["novel-wide"],
    card: "emmc-hs200",
    ..RASPI3B
};

/// Raspberry Pi Pico 2.
pub const PICO2: Board = Board {
    name: "pico2",
    core: "Cortex-M33, 150 MHz",
    mac_ps: 8_700,
    card: "spi",
    ram: 520 * KIB,
    ..MPS2_AN386
};

/// The same with embassy.
pub const PICO2_EMBASSY: Board = Board { name: "pico2-embassy", ..PICO2 };

/// ST NUCLEO-H743ZI.
pub const STM32H743: Board = Board {
    name: "stm32h743",
    core: "Cortex-M7, 400 MHz",
    mac_ps: 3_300,
    models: &["novel-wide"],
    card: "sdio-hs",
    flash: 2 * MIB,
    ram: 512 * KIB,
    ..MPS2_AN386
};

/// Nordic nRF52840-DK.
pub const NRF52840: Board = Board {
    name: "nrf52840",
    core: "Cortex-M4F, 64 MHz",
    mac_ps: 20_400,
    models: &["novel-opt"],
    card: "spi",
    flash: MIB,
    ram: 256 * KIB,
    stack: 12 * KIB,
    line: 256,
    options: Options {
        context: 128,
        staging: BlockCount(32),
        cache_bytes: 24 * KIB,
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
