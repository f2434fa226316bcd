//! What boards need on this machine: one list, which `ripple doctor` shows and `boards/x setup`
//! installs.
//!
//! In: boards. Out: what they need, what of it is here, and the command that installs the rest.

use crate::Machine;
use std::path::Path;
use std::process::Command;

/// The first version of QEMU whose plugins count instructions as `boards/count` does.
pub const LEAST_QEMU: (u32, u32) = (9, 2);

/// One thing that some boards need.
#[derive(Clone, Debug)]
pub struct Need {
    /// Name of the target, the component or the program.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// Whether a board cannot be built or run without it.
    pub needed: bool,
    /// The boards that need it.
    pub boards: Vec<&'static str>,
}

/// Where something comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A compiler target, from rustup.
    Target,
    /// A component of the toolchain, from rustup.
    Component,
    /// A program in the Debian package of this name.
    Package(&'static str),
    /// A program from elsewhere: the command, or the advice.
    Other(&'static str),
}

/// Whether something is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Ok,
    /// It is, in a version that is too old.
    TooOld,
    /// It is not.
    Missing,
}

impl State {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TooOld => "too-old",
            Self::Missing => "missing",
        }
    }
}

/// What `boards` need: targets first, then what all need, then emulators and probes.
pub fn needs(boards: &[Machine]) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut add = |name, purpose, source, needed, of: &dyn Fn(&Machine) -> bool| {
        let boards = boards.iter().filter(|machine| of(machine)).map(|machine| machine.board);
        let boards: Vec<&str> = boards.collect();
        if !boards.is_empty() {
            needs.push(Need { name, purpose, source, needed, boards });
        }
    };
    let rust = Source::Other("install Rust: https://rustup.rs");
    add("cargo", "builds firmware", rust, true, &|_| true);
    let linker = Source::Package("gcc");
    add("cc", "links what cargo builds for this machine", linker, true, &|_| true);
    let mut targets: Vec<&str> = boards.iter().map(|machine| machine.target).collect();
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        add(target, "Rust target", Source::Target, true, &|machine| machine.target == target);
    }
    add("llvm-tools", "sizes of firmware, optional", Source::Component, false, &|_| true);
    let package = Source::Package("qemu-system-arm");
    for program in ["qemu-system-arm", "qemu-system-aarch64"] {
        add(program, "runs firmware", package, true, &|machine| {
            machine.qemu.is_some_and(|qemu| program.ends_with(qemu.system))
        });
    }
    let (gcc, package) = ("arm-none-eabi-gcc", Source::Package("gcc-arm-none-eabi"));
    add(gcc, "builds firmware in C, optional", package, false, &|m| m.board == "mps2-an386");
    let (python, package) = ("python3", Source::Package("python3"));
    add(python, "checks against transformers, optional", package, false, &|_| true);
    let probe = Source::Other("cargo install probe-rs-tools --locked");
    add("probe-rs", "flashes real boards", probe, true, &|machine| machine.qemu.is_none());
    needs
}

impl Need {
    /// Whether it is here, and its version where it has one.
    pub fn look(&self) -> (State, Option<String>) {
        let state = |there| if there { State::Ok } else { State::Missing };
        match self.source {
            Source::Target => {
                (state(sysroot_has(&["--print", "target-libdir", "--target", self.name], "")), None)
            }
            Source::Component => {
                (state(sysroot_has(&["--print", "target-libdir"], "../bin/llvm-size")), None)
            }
            Source::Package(_) | Source::Other(_) => {
                let Ok(output) = Command::new(self.name).arg("--version").output() else {
                    return (State::Missing, None);
                };
                let found = version(&String::from_utf8_lossy(&output.stdout));
                let old = self.name.starts_with("qemu")
                    && found.as_deref().and_then(number) < Some(LEAST_QEMU);
                (if old { State::TooOld } else { State::Ok }, found)
            }
        }
    }

    /// The command that installs it, or advice.
    pub fn install(&self) -> String {
        match self.source {
            Source::Target => format!("rustup target add {}", self.name),
            Source::Component => format!("rustup component add {}", self.name),
            Source::Package("qemu-system-arm") => format!(
                "boards/x setup, or another QEMU of {}.{} or later: https://www.qemu.org/download",
                LEAST_QEMU.0, LEAST_QEMU.1
            ),
            Source::Package(package) => format!("sudo apt-get install {package}"),
            Source::Other(advice) => advice.to_owned(),
        }
    }
}

/// Whether what `rustc` prints is a path at which `below` is.
fn sysroot_has(arguments: &[&str], below: &str) -> bool {
    let Ok(output) = Command::new("rustc").args(arguments).output() else { return false };
    let path = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(path.trim()).join(below).exists()
}

/// The first word that is a version: digits and dots.
fn version(text: &str) -> Option<String> {
    let trim = |word: &'_ str| word.trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
    text.split_whitespace().map(trim).find(|word| number(word).is_some())
}

/// The first two numbers of a version.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::{LEAST_QEMU, number, version};

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let qemu = "QEMU emulator version 10.0.2 (Debian 1:10.0.2)\nCopyright (c) 2003";
        assert_eq!(version(qemu).as_deref(), Some("10.0.2"));
        assert_eq!(version("probe-rs 0.29.1 (git 1)").as_deref(), Some("0.29.1"));
        assert_eq!(version("nothing here"), None);
        let old = |version| number(version) < Some(LEAST_QEMU);
        assert!(old("7.2.9") && old("9.1.0") && !old("9.2.0") && !old("10.0.2"));
    }
}
