//! What a signed image costs a Cortex-M3 and an M4: flash, and guest instructions; and that they refuse what
//! was changed.

use crate::count::{count_into, counted};
use crate::shell::{artifact, cargo, command, root};
use crate::size::Size;
use crate::talk::Talk;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;

/// A core: its target, and the machine that emulates it.
const CORES: [(&str, &str, &str); 2] =
    [("M3", "thumbv7m-none-eabi", "mps2-an385"), ("M4", "thumbv7em-none-eabihf", "mps2-an386")];
/// What the firmware says.
const SAID: &str = "\
opened: update 3, 1024 blocks
a changed byte: refused
a changed digest: refused
a changed top: refused
a changed statement: refused
a changed signature: refused
no signature: refused
an older image: refused
";
/// Most bytes of flash and most instructions: of opening, and of a block whose digest is there.
const LIMITS: [u64; 3] = [60 * 1024, 4_000_000, 10_000];
/// Seconds that a run may take.
const PATIENCE: u64 = 120;

/// Builds, runs, compares, prints a table.
pub fn signed() -> Result<()> {
    let folder = root().join("target/boards/signed");
    fs::create_dir_all(&folder)?;
    println!(
        "Guest instructions (emulated, QEMU; instructions are not cycles).\n\n\
         | core | flash | opening | comparing a block | reading and comparing a group of digests |\n\
         |---|---:|---:|---:|---:|"
    );
    for (core, target, machine) in CORES {
        let build = |features: &str| -> Result<PathBuf> {
            let line = format!("build --locked --target {target} --features {features}");
            artifact(&mut cargo("signed", &line), "ripple-signed-count")
        };
        // Read at once: the next build replaces it.
        let flash = |elf: PathBuf| Size::of(&elf).map(|size| size.flash);
        let bare = flash(build("default")?)?;
        let more = flash(build("signed")?)?.saturating_sub(bare);
        let elf = build("said")?;
        let mut qemu =
            command("qemu-system-arm -display none -serial null -monitor none -audio none");
        qemu.args(["-M", machine, "-semihosting-config", "enable=on,target=native", "-kernel"]);
        qemu.arg(&elf);
        let file = folder.join(core);
        count_into(&mut qemu, &file)?;
        let mut talk = Talk::start(&mut qemu, PATIENCE)?;
        let ended = talk.end();
        let said = talk.text().replace('\r', "");
        ended.with_context(|| format!("{core}: {said}"))?;
        ensure!(said == SAID, "{core} said:\n{said}");
        let counts = counted(&file)?;
        let [open, near, far, copy] = [1, 2, 3, 4].map(|region: usize| counts[region]);
        let (group, near) = (far.saturating_sub(near), near.saturating_sub(copy));
        println!("| {core} | {more} | {open} | {near} | {group} |");
        for (found, most) in [more, open, near].into_iter().zip(LIMITS) {
            ensure!(0 < found && found <= most, "{core}: {found}, at most {most} is allowed");
        }
    }
    Ok(())
}
