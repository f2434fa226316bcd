//! A board's image, its firmware, and QEMU to run it.

use crate::shell::{artifact, cargo, command, root, run as must, said};
use anyhow::{Context, Error, Result};
use ripple_machines::{Machine, by_name};
use serde_json::Value;
use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf, absolute};
use std::process::Command;
use std::sync::OnceLock;

/// The board that `name` means, and the model where it is not the board's own.
pub fn machine(name: &str) -> Result<(Machine, Option<&str>)> {
    by_name(name).with_context(|| format!("{name}: no such board"))
}

/// The `ripple` command: `RIPPLE`, or that of this checkout, built where that is due.
pub fn ripple() -> Result<Command> {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    if PATH.get().is_none() {
        if env::var_os("RIPPLE").is_none() {
            // What a user runs, to the letter: one more set of features would be one more build.
            must(command("cargo build --release --quiet --target-dir target").current_dir(root()))?;
        }
        let path = ripple_machines::ripple(root()).map_err(Error::msg)?;
        let _ = PATH.set(absolute(path)?);
    }
    Ok(Command::new(PATH.get().context("no ripple")?))
}

/// Makes the image and the card of `BOARD` or `BOARD-MODEL`; the folder that they are in.
pub fn image(name: &str) -> Result<PathBuf> {
    let (machine, model) = machine(name)?;
    let ripple = ripple()?;
    ripple_machines::image(root(), Path::new(ripple.get_program()), &machine, model)
        .map_err(Error::msg)
}

/// Builds a board's firmware for the image in `folder`.
pub fn build(machine: &Machine, folder: &Path) -> Result<PathBuf> {
    artifact(cargo(machine.board, "build").env("RIPPLE_CARD", folder), machine.board)
}

/// What `ripple plan` says of the image in `folder`.
pub fn plan(machine: &Machine, folder: &Path) -> Result<Value> {
    let mut plan = ripple()?;
    plan.args(["plan", "--json", "--board", machine.board]);
    serde_json::from_str(&said(plan.arg(folder.join("model.img")))?).context("ripple plan --json")
}

/// A number of a [`plan`], such as `/flash/mapped`.
pub fn number(plan: &Value, of: &str) -> Result<u64> {
    let number = plan.pointer(of).and_then(Value::as_u64);
    number.with_context(|| format!("ripple plan does not say {of}"))
}

/// QEMU with firmware and the card in `folder`; it lacks a serial line.
pub fn qemu(machine: &Machine, elf: &Path, folder: &Path) -> Result<Command> {
    let board = machine.board;
    let qemu =
        machine.qemu.with_context(|| format!("QEMU has no machine for {board}: use probe-rs"))?;
    let mut program = Command::new(format!("qemu-system-{}", qemu.system));
    program.args(["-display", "none", "-audio", "none", "-M", board, "-icount", qemu.icount]);
    program.args(["-semihosting-config", "enable=on,target=native", "-kernel"]);
    program.arg(absolute(elf)?).current_dir(folder);
    if let Some(slot) = qemu.slot {
        program.arg("-drive").arg(format!("if=sd,index={slot},format=raw,file=card.img"));
    }
    Ok(program)
}

/// Becomes QEMU with the serial line on this terminal, and `more` arguments.
pub fn run(board: &str, elf: &Path, more: &[&str]) -> Result<()> {
    let (machine, _) = machine(board)?;
    let folder = match env::var_os("RIPPLE_CARD") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("target/boards").join(board),
    };
    if !folder.join("card.img").exists() {
        image(board)?;
    }
    let mut qemu = qemu(&machine, elf, &folder)?;
    Err(qemu.args(["-serial", "mon:stdio"]).args(more).exec()).context("QEMU")
}
