//! The boards as a development machine sees them: one table, used by `ripple doctor`, by the build
//! script of every board and by `boards/x`.
//!
//! In: nothing but the table. Out: what a board is built for and emulated by, what of that is
//! installed here ([`needs`]), and its image and card ([`image`]). What a board gives the kernel is
//! in `ripple_app::board`.

mod image;
mod need;

pub use image::{image, ripple};
pub use need::{LEAST_QEMU, Need, Source, State, needs};

/// A board as a development machine sees it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Name of the board, and of its folder in `boards/`.
    pub board: &'static str,
    /// Target that its firmware is compiled for.
    pub target: &'static str,
    /// Layout of its card, as `ripple card` names it; without one the card is the image itself.
    pub layout: Option<&'static str>,
    /// How it is emulated; a board without an emulator needs a debug probe.
    pub qemu: Option<Qemu>,
}

/// How QEMU emulates a board: its machine has the board's name.
#[derive(Clone, Copy, Debug)]
pub struct Qemu {
    /// The program is `qemu-system-` and this.
    pub system: &'static str,
    /// Its clock: with `shift=N` an instruction takes 2^N ns of the board's time, whatever this
    /// machine does.
    pub icount: &'static str,
    /// Index of the slot that the card is in; without one the firmware opens a file.
    pub slot: Option<u8>,
}

const FAT32: Option<&str> = Some("fat32");
const M4: &str = "thumbv7em-none-eabihf";
const M33: &str = "thumbv8m.main-none-eabihf";

/// Every board, in the order of `ripple_app::board::ALL`.
pub const MACHINES: [Machine; 9] = [
    machine("lm3s6965evb", "thumbv7m-none-eabi", FAT32, qemu("arm", "shift=4", Some(0))),
    machine("mps2-an386", M4, None, qemu("arm", "shift=5", None)),
    machine("mps3-an547", M33, None, qemu("arm", "shift=5", None)),
    machine("raspi3b", "aarch64-unknown-none", FAT32, qemu("aarch64", "shift=0", Some(0))),
    machine("ast2600-evb", "armv7a-none-eabi", Some("raw"), qemu("arm", "shift=0", Some(2))),
    machine("pico2", M33, FAT32, None),
    machine("pico2-embassy", M33, FAT32, None),
    machine("stm32h743", M4, FAT32, None),
    machine("nrf52840", M4, None, None),
];

const fn machine(
    board: &'static str,
    target: &'static str,
    layout: Option<&'static str>,
    qemu: Option<Qemu>,
) -> Machine {
    Machine { board, target, layout, qemu }
}

const fn qemu(system: &'static str, icount: &'static str, slot: Option<u8>) -> Option<Qemu> {
    Some(Qemu { system, icount, slot })
}

/// The machine that `name` means, `BOARD` or `BOARD-MODEL`, and the model where it is not the
/// board's own.
pub fn by_name(name: &str) -> Option<(Machine, Option<&str>)> {
    let exact = MACHINES.into_iter().find(|machine| machine.board == name);
    exact.map(|machine| (machine, None)).or_else(|| {
        MACHINES.into_iter().find_map(|machine| {
            let model = name.strip_prefix(machine.board)?.strip_prefix('-')?;
            Some((machine, Some(model)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::by_name;

    #[test]
    fn a_name_is_a_board_or_a_board_and_a_model() {
        let named = |name| by_name(name).map(|(machine, model)| (machine.board, model));
        assert_eq!(named("raspi3b"), Some(("raspi3b", None)));
        assert_eq!(named("raspi3b-novel-opt"), Some(("raspi3b", Some("novel-opt"))));
        assert_eq!(named("pico2-embassy"), Some(("pico2-embassy", None)));
        assert_eq!(named("raspi4"), None);
    }
}
