//! Builds the firmware in C of `boards/c-example`, runs it in QEMU and compares every step's token
//! and CRC of the logits with the traced story of `tests/qemu/mps2-an386.txt`, which the host checks.

use crate::firmware::{image, machine, number, plan, qemu};
use crate::shell::{artifact, cargo, command, root, run};
use crate::talk::Talk;
use crate::test::{same, step};
use anyhow::{Context, Result, ensure};
use std::fs;

/// Seconds that the run may take.
const PATIENCE: u64 = 300;
const COMPILER: &str = "\
    arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 \
    -std=c11 -Wall -Wextra -Werror -Os -ffreestanding -ffunction-sections -fdata-sections \
    -nostdlib -static -Wl,--gc-sections,--no-warn-rwx-segments,-z,noexecstack -T link.ld \
    -I. -I../../kernel/c/include main.c board.c front.S";

/// Builds, runs and compares.
pub fn test() -> Result<()> {
    let (machine, _) = machine("mps2-an386")?;
    let folder = image(machine.board)?;
    let library = "build --locked --target thumbv7em-none-eabihf --no-default-features --features llama,pages";
    let library = artifact(&mut cargo("../kernel/c", library), "ripple_c")?;
    let mapped = number(&plan(&machine, &folder)?, "/flash/mapped")?;
    let elf = folder.join("c-example.elf");
    let mut compiler = command(COMPILER);
    compiler.arg(format!("-DFRONT_BYTES={mapped}")).arg(format!("-Wa,-I{}", folder.display()));
    run(compiler.arg(library).arg("-o").arg(&elf).current_dir(root().join("boards/c-example")))?;
    run(command("arm-none-eabi-size").arg(&elf))?;

    let mut qemu = qemu(&machine, &elf, &folder)?;
    let mut talk = Talk::start(qemu.args(["-serial", "stdio", "-monitor", "none"]), PATIENCE)?;
    let ended = talk.end();
    let board = fs::read_to_string(root().join("tests/qemu/mps2-an386.txt"))?;
    let expected = folder.join("steps.txt");
    fs::write(&expected, steps(&board))?;
    let said = talk.text();
    same(&expected, &steps(&said), &folder.join("c-example.txt")).with_context(|| said.clone())?;
    ended?;
    let text = text(&board);
    ensure!(said.ends_with(&format!("{text}\n")), "{said}\nthe text of the steps is {text:?}");
    println!("c-example: {} steps and their text as on the host", steps(&said).lines().count());
    Ok(())
}

/// The steps of what was said, a line each.
fn steps(said: &str) -> String {
    said.lines().filter_map(step).map(|step| step + "\n").collect()
}

/// The text that the traced tokens make.
fn text(said: &str) -> String {
    let tokens = said.lines().filter_map(|line| line.split_once('"')?.1.strip_suffix('"'));
    let escaped: String = tokens.collect();
    escaped.replace("\\n", "\n").replace("\\\"", "\"").replace("\\'", "'").replace("\\\\", "\\")
}
