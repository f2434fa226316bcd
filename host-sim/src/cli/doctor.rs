//! `ripple doctor`: what boards need on this machine, what is there, and how to install the rest.

use super::summary::table;
use crate::process::output;
use anyhow::{Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use ripple_app::board;
use serde::Serialize;
use std::path::Path;
use std::process::Command;

/// The first version of QEMU that the boards were tested with.
const QEMU_MAJOR: u32 = 10;

/// What firmware of a board is built for, and how it gets to run.
struct Board {
    name: &'static str,
    target: &'static str,
    /// The emulator; boards without one need a debug probe.
    qemu: Option<&'static str>,
}

const ARM: Option<&str> = Some("qemu-system-arm");
const AARCH64: Option<&str> = Some("qemu-system-aarch64");
/// Every board, in the order of [`board::ALL`].
const BOARDS: [Board; 9] = [
    Board { name: "lm3s6965evb", target: "thumbv7m-none-eabi", qemu: ARM },
    Board { name: "mps2-an386", target: "thumbv7em-none-eabihf", qemu: ARM },
    Board { name: "mps3-an547", target: "thumbv8m.main-none-eabihf", qemu: ARM },
    Board { name: "raspi3b", target: "aarch64-unknown-none", qemu: AARCH64 },
    Board { name: "ast2600-evb", target: "armv7a-none-eabi", qemu: ARM },
    Board { name: "pico2", target: "thumbv8m.main-none-eabihf", qemu: None },
    Board { name: "pico2-embassy", target: "thumbv8m.main-none-eabihf", qemu: None },
    Board { name: "stm32h743", target: "thumbv7em-none-eabihf", qemu: None },
    Board { name: "nrf52840", target: "thumbv7em-none-eabihf", qemu: None },
];

/// Say what the boards need on this machine, what is missing, and the command that installs it.
///
/// Fails when something is missing that a named board needs; without a name, only reports.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    ripple doctor\n  \
    ripple doctor lm3s6965evb raspi3b\n  \
    ripple doctor --json | jq '.checks[] | select(.state != \"ok\") | .install'")]
pub struct Doctor {
    /// Boards; without any, all.
    #[arg(value_parser = PossibleValuesParser::new(board::ALL.map(|board| board.name)))]
    boards: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    checks: Vec<Check>,
}

/// One thing that some boards need.
#[derive(Serialize)]
struct Check {
    name: String,
    /// What it is for.
    purpose: &'static str,
    state: State,
    /// Whether a board cannot be built or run without it.
    needed: bool,
    /// Its version, where it has one.
    found: Option<String>,
    /// What puts it right; nothing where it is.
    install: Option<String>,
    /// The boards that need it.
    boards: Vec<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    TooOld,
    Missing,
}

impl State {
    fn words(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TooOld => "too old",
            Self::Missing => "missing",
        }
    }
}

impl Doctor {
    pub fn run(&self) -> Result<()> {
        let named =
            |board: &&Board| self.boards.is_empty() || self.boards.iter().any(|n| n == board.name);
        let boards: Vec<&Board> = BOARDS.iter().filter(named).collect();
        let report = Report { checks: checks(&boards) };
        if self.json {
            output::print_json(&report)?;
        } else {
            output::print(&text(&report.checks))?;
        }
        let wrong = report.checks.iter().filter(|check| check.needed && check.state != State::Ok);
        let wrong: Vec<&str> = wrong.map(|check| check.name.as_str()).collect();
        if !self.boards.is_empty() && !wrong.is_empty() {
            bail!("{} cannot be built and run here: {}", self.boards.join(", "), wrong.join(", "));
        }
        Ok(())
    }
}

fn checks(boards: &[&Board]) -> Vec<Check> {
    let names = |needs: &dyn Fn(&Board) -> bool| -> Vec<&'static str> {
        boards.iter().filter(|board| needs(board)).map(|board| board.name).collect()
    };
    let all = || names(&|_| true);
    let mut checks = vec![program(
        "cargo",
        "builds firmware",
        "cargo",
        "install Rust: https://rustup.rs",
        all(),
    )];
    let mut targets: Vec<&str> = boards.iter().map(|board| board.target).collect();
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        let there = sysroot_has(&["--print", "target-libdir", "--target", target], "");
        checks.push(Check {
            name: target.to_owned(),
            purpose: "Rust target",
            state: if there { State::Ok } else { State::Missing },
            needed: true,
            found: None,
            install: (!there).then(|| format!("rustup target add {target}")),
            boards: names(&|board| board.target == target),
        });
    }
    let tools = sysroot_has(&["--print", "target-libdir"], "../bin/llvm-size");
    checks.push(Check {
        name: "llvm-tools".to_owned(),
        purpose: "sizes of firmware, optional",
        state: if tools { State::Ok } else { State::Missing },
        needed: true,
        found: None,
        install: (!tools).then(|| "rustup component add llvm-tools".to_owned()),
        boards: all(),
    });
    for qemu in [ARM, AARCH64].into_iter().flatten() {
        let needs = names(&|board| board.qemu == Some(qemu));
        let mut check =
            program(qemu, "runs firmware", qemu, "sudo apt-get install qemu-system-arm", needs);
        if check.state == State::Ok && check.found.as_deref().and_then(major) < Some(QEMU_MAJOR) {
            check.state = State::TooOld;
            check.install =
                Some(format!("build QEMU {QEMU_MAJOR} or later: https://www.qemu.org/download"));
        }
        checks.push(check);
    }
    let emulated = || names(&|board| board.qemu.is_some());
    checks.push(program(
        "mcopy",
        "looks into cards, optional",
        "mtools",
        "sudo apt-get install mtools",
        emulated(),
    ));
    checks.push(program(
        "fsck.fat",
        "checks cards, optional",
        "dosfstools",
        "sudo apt-get install dosfstools",
        emulated(),
    ));
    checks.push(program(
        "probe-rs",
        "flashes real boards",
        "probe-rs",
        "cargo install probe-rs-tools --locked",
        names(&|board| board.qemu.is_none()),
    ));
    for check in &mut checks {
        check.needed &= !check.purpose.ends_with("optional");
    }
    checks.retain(|check| !check.boards.is_empty());
    checks
}

/// A program that prints its version.
fn program(
    file: &str,
    purpose: &'static str,
    name: &str,
    install: &str,
    boards: Vec<&'static str>,
) -> Check {
    let run = |file: &str| Command::new(file).arg("--version").output().ok();
    // Some of these lie where only root looks.
    let output = run(file).or_else(|| run(&format!("/usr/sbin/{file}")));
    let found = output.as_ref().and_then(|out| {
        version(&String::from_utf8_lossy(&out.stdout))
            .or_else(|| version(&String::from_utf8_lossy(&out.stderr)))
    });
    Check {
        name: name.to_owned(),
        purpose,
        state: if output.is_some() { State::Ok } else { State::Missing },
        needed: true,
        found,
        install: output.is_none().then(|| install.to_owned()),
        boards,
    }
}

/// The first word that is a version: digits and dots.
fn version(text: &str) -> Option<String> {
    let words =
        text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_ascii_digit()));
    words.into_iter().find(|word| word.contains('.') && major(word).is_some()).map(str::to_owned)
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// Whether what `rustc` prints is a path at which `below` is.
fn sysroot_has(arguments: &[&str], below: &str) -> bool {
    let Ok(output) = Command::new("rustc").args(arguments).output() else { return false };
    let path = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(path.trim()).join(below).exists()
}

fn text(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        vec![
            check.name.clone(),
            check.found.clone().unwrap_or_default(),
            check.state.words().to_owned(),
            check.purpose.to_owned(),
            check.boards.len().to_string(),
        ]
    });
    let mut text = table(&["", "version", "state", "purpose", "boards"], rows.collect());
    let installs: Vec<&str> = checks.iter().filter_map(|check| check.install.as_deref()).collect();
    text += match installs.is_empty() {
        true => "\nNothing is missing.\n",
        false => "\nTo install what is missing:\n",
    };
    installs.iter().for_each(|install| text += &format!("  {install}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::{BOARDS, major, version};
    use ripple_app::board;

    #[test]
    fn every_board_is_known() {
        assert_eq!(BOARDS.map(|board| board.name), board::ALL.map(|board| board.name));
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let qemu = "QEMU emulator version 10.0.2 (Debian 1:10.0.2)\nCopyright (c) 2003";
        assert_eq!(version(qemu).as_deref(), Some("10.0.2"));
        assert_eq!(version("mcopy (GNU mtools) 4.0.33").as_deref(), Some("4.0.33"));
        assert_eq!(version("fsck.fat 4.2 (2021-01-31)").as_deref(), Some("4.2"));
        assert_eq!(version("nothing here"), None);
        assert!(major("9.2.4") < Some(10) && major("10.0.2") >= Some(10));
    }
}
