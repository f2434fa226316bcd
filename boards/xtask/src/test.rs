//! Builds boards, runs them in QEMU and compares what they say and how large they are.
//!
//! Every line must be that of `tests/qemu/BOARD.txt`: token by token, the CRC of the logits of every
//! step, reads and bytes. Lines that begin with `# ` tell what depends on the machine and are not
//! compared. The files are what the same main loop says on this machine (`ripple console`), which is
//! compared too; the steps of a board that writes keys and values to its card are those of one that
//! keeps all in memory. RAM and flash must be what `ripple plan` says. Boards without a file are built only.

use crate::count::{commands, count_into, counted, number_before, row};
use crate::firmware::{build, image, machine, number, plan, qemu, ripple};
use crate::shell::{command, root, run, said};
use crate::size::Size;
use crate::talk::{Talk, like};
use anyhow::{Context, Error, Result, bail, ensure};
use ripple_machines::{MACHINES, Machine};
use std::fs::{self, File};
use std::path::Path;

/// Seconds that a board may take for all it is asked.
const PATIENCE: u64 = 600;
/// Statics may differ by this much: another model's regions are aligned differently.
const STATICS: u64 = 32;
/// Code may differ by this much: compilers do.
const CODE: u64 = 1024;
/// The stack may differ by this much: an interrupt on top of the deepest call, or not.
pub const STACK: u64 = 128;

const USAGE: &str = "usage: boards/x test [--update] [--count] [BOARD[-MODEL]...]";
const HEADER: &str = "\
Thousands of guest instructions a token (emulated), then reads and KiB a token after the prompt,
and commands a read, as the card counts them:
| board | predictor | FFN | attention | head | card driver | embedding | reads | KiB | commands |
|---|---|---|---|---|---|---|---|---|---|";

/// What is asked for.
#[derive(Default)]
struct Options {
    update: bool,
    count: bool,
}

/// Tests the boards among `arguments`, or all.
pub fn test(arguments: &[&str]) -> Result<()> {
    let (mut options, mut names) = (Options::default(), Vec::new());
    for &argument in arguments {
        match argument {
            "--update" => options.update = true,
            "--count" => options.count = true,
            _ if argument.starts_with('-') => bail!(USAGE),
            name => names.push(name),
        }
    }
    if names.is_empty() {
        names.extend(MACHINES.map(|machine| machine.board));
        names.push("raspi3b-novel-opt");
    }
    let (mut failed, mut rows) = (Vec::new(), Vec::new());
    let mut note = |name: &str, error| {
        eprintln!("FAILED: {name}: {error:#}");
        failed.push(name.to_owned());
    };
    for name in &names {
        println!("== {name}");
        match board(name, &options) {
            Ok(row) => rows.extend(row),
            Err(error) => note(name, error),
        }
    }
    if names.contains(&"lm3s6965evb")
        && let Err(error) = too_large()
    {
        note("lm3s6965evb with novel-small", error);
    }
    if options.count {
        println!("{HEADER}\n{}", rows.join("\n"));
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    println!("{} boards passed", names.len());
    Ok(())
}

/// Tests one; a row of counts, where they were asked for.
fn board(name: &str, options: &Options) -> Result<Option<String>> {
    let (machine, _) = machine(name)?;
    let folder = image(name)?;
    let elf = build(&machine, &folder)?;
    let size = Size::of(&elf)?;
    print!("{size}");
    let expected = root().join(format!("tests/qemu/{name}.txt"));
    let input = expected.with_extension("in");
    if !input.exists() {
        planned(&machine, &folder, &size, None)?;
        return Ok(None);
    }

    let console = |more: &[&str]| {
        let mut console = ripple()?;
        console.arg("console").arg(folder.join("model.img")).args(["--board", machine.board]);
        Ok::<_, Error>(compared(&said(console.args(more).stdin(File::open(&input)?))?))
    };
    let host = console(&[])?;
    if number(&plan(&machine, &folder)?, "/room")? > 0 {
        let steps = |said: &str| said.lines().filter_map(step).collect::<Vec<_>>();
        let (here, all) = (steps(&host), steps(&console(&["--in-memory"])?));
        ensure!(!all.is_empty() && here == all, "a step differs from that of a text all in memory");
    }
    if options.update {
        fs::write(&expected, &host)?;
    }
    same(&expected, &host, &folder.join("host.txt")).context("the host differs")?;

    let mut emulator = qemu(&machine, &elf, &folder)?;
    emulator.args(["-serial", "stdio", "-monitor", "none"]);
    let counts = folder.join("counts.txt");
    if options.count {
        count_into(&mut emulator, &counts)?;
    }
    let mut talk = Talk::start(&mut emulator, PATIENCE)?;
    // What is typed before the UART is set up is lost, on silicon too.
    let talked = talk.wait("> [...]");
    let typed = talked.and_then(|()| talk.type_text(&(fs::read_to_string(&input)? + "\x04")));
    let ended = typed.and_then(|()| talk.end());
    let said = talk.text();
    same(&expected, &compared(&said), &folder.join("board.txt")).context("the board differs")?;
    ended?;
    said.lines().filter(|line| line.starts_with("# ")).for_each(|line| println!("{line}"));
    let ram = said.lines().filter(|line| line.starts_with("# ram "));
    let stack = ram.filter_map(|line| number_before(line, "stack")).max();
    planned(&machine, &folder, &size, Some(stack.context("no stack was said")?))?;
    Ok(if options.count {
        let row = row(name, &said, &counted(&counts)?, commands(&counts)?);
        Some(row.context("no token was counted")?)
    } else {
        None
    })
}

/// What a board or the host said, without what depends on the machine.
pub fn compared(said: &str) -> String {
    let lines = said.lines().filter(|line| !line.starts_with("# "));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Shows how `said`, which is left in `file`, differs from what is `expected`.
pub fn same(expected: &Path, said: &str, file: &Path) -> Result<()> {
    fs::write(file, said)?;
    run(command("diff -u").arg(expected).arg(file))
}

/// Position, token and CRC of the logits, where a line is a step; the token's text may follow.
pub fn step(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().take(4).collect();
    let [position, token, crc, ref text @ ..] = words[..] else { return None };
    let number = |word: &str| word.parse::<u32>().is_ok();
    let is_crc = crc.len() == 8 && u32::from_str_radix(crc, 16).is_ok();
    let is = number(position)
        && number(token)
        && is_crc
        && text.iter().all(|text| text.starts_with('"'));
    is.then(|| format!("{position} {token} {crc}"))
}

/// Compares a firmware's sizes, and its stack where it ran, with `ripple plan` for the image in
/// `folder`.
fn planned(machine: &Machine, folder: &Path, size: &Size, stack: Option<u64>) -> Result<()> {
    let plan = plan(machine, folder)?;
    let [used, statics, drivers, most] =
        ["used", "statics", "drivers", "stack"].map(|part| number(&plan, &format!("/ram/{part}")));
    let (statics, drivers, most) = (statics?, drivers?, most?);
    let flash = number(&plan, "/flash/used")?;
    println!("planned flash {flash} RAM {} = statics {statics} + stack {most}", used?);
    let code = size.flash - size.mapped;
    let found = (size.statics + drivers).saturating_sub(statics);
    let right = found.abs_diff(drivers) <= STATICS
        && code.abs_diff(number(&plan, "/flash/code")?) <= CODE
        && stack.unwrap_or(most).abs_diff(most) <= STACK;
    let stack = stack.unwrap_or(0);
    ensure!(
        right,
        "boards/app/src/board.rs must say: \
         Firmware {{ code: {code}, drivers: {found}, stack: {stack} }}"
    );
    Ok(())
}

/// A model that does not fit fails the build, with the part and the bytes missing.
fn too_large() -> Result<()> {
    println!("== lm3s6965evb with novel-small, which is too large");
    let (mut folder, (board, _)) =
        (root().join("target/boards/mps2-an386"), machine("lm3s6965evb")?);
    if !folder.join("model.img").exists() {
        folder = image("mps2-an386")?;
    }
    let Err(error) = build(&board, &folder) else { bail!("built with a model that does not fit") };
    let missing = "[...]ram of lm3s6965evb: needs [...] bytes, has 61440: [...] missing";
    let error = error.to_string();
    let mut lines = error.lines().skip_while(|line| !like(line, missing));
    let said = lines.next().with_context(|| format!("not said what is missing:\n{error}"))?;
    println!("{said}\n{}", lines.next().unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn a_step_is_told_from_other_lines() {
        let said = "    7     261 0a1b2c3d \" sea, \"";
        assert_eq!(step(said).as_deref(), Some("7 261 0a1b2c3d"));
        assert_eq!(step("    7     261 0a1b2c3d"), step(said));
        assert!(step("    7     261 0a1b2c3 \"x\"").is_none() && step("retry   1").is_none());
    }
}
