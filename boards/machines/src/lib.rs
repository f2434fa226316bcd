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

/// How QEMU emulates a board.
#[derive(Clone, Copy, Debug)]
pub struct Qemu {
    /// The program.
    pub program: &'static str,
    /// Machine and clock: with `-icount shift=N` an instruction takes 2^N ns of the board's time,
    /// whatever this machine does.
    pub arguments: [&'static str; 4],
    /// Index of the slot that the card is in; without one the firmware opens a file.
    pub slot: Option<u8>,
}

const fn arm(machine: &'static str, shift: &'static str, slot: Option<u8>) -> Option<Qemu> {
    let arguments = ["-M", machine, "-icount", shift];
    Some(Qemu { program: "qemu-system-arm", arguments, slot })
}

const M4: Machine = Machine {
    board: "mps2-an386",
    target: "thumbv7em-none-eabihf",
    layout: None,
    qemu: arm("mps2-an386", "shift=5", None),
};

const RP2350: Machine = Machine {
    board: "pico2",
    target: "thumbv8m.main-none-eabihf",
    layout: Some("fat32"),
    qemu: None,
};

/// Every board, in the order of `ripple_app::board::ALL`.
pub const MACHINES: [Machine; 9] = [
    Machine {
        board: "lm3s6965evb",
        target: "thumbv7m-none-eabi",
        layout: Some("fat32"),
        qemu: arm("lm3s6965evb", "shift=4", Some(0)),
    },
    M4,
    Machine {
        board: "mps3-an547",
        target: "thumbv8m.main-none-eabihf",
        qemu: arm("mps3-an547", "shift=5", None),
        ..M4
    },
    Machine {
        board: "raspi3b",
        target: "aarch64-unknown-none",
        layout: Some("fat32"),
        qemu: Some(Qemu {
            program: "qemu-system-aarch64",
            arguments: ["-M", "raspi3b", "-icount", "shift=0"],
            slot: Some(0),
        }),
    },
    Machine {
        board: "ast2600-evb",
        target: "armv7a-none-eabi",
        layout: Some("raw"),
        qemu: arm("ast2600-evb", "shift=0", Some(2)),
    },
    RP2350,
    Machine { board: "pico2-embassy", ..RP2350 },
    Machine { board: "stm32h743", layout: Some("fat32"), qemu: None, ..M4 },
    Machine { board: "nrf52840", qemu: None, ..M4 },
];

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
