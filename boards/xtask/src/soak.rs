//! Decodes on boards in QEMU for as long as it is told, without a reset, each text compared with this machine's.
//!
//! Boards run side by side. A round is a gap, a length and a prompt, drawn from its number; the board and
//! `ripple console` are asked the same, and must say the same: every token, the CRC of the logits of every
//! step, reads, bytes and peaks of memory. At the end the deepest stack must be what `ripple plan` says.

use crate::count::number_before;
use crate::firmware::{build, image, machine, number, plan, qemu, ripple};
use crate::talk::Talk;
use crate::test::{STACK, compared, step};
use anyhow::{Context, Result, bail, ensure};
use ripple_machines::Machine;
use std::path::Path;
use std::time::{Duration, Instant};

/// Seconds that a text may take: QEMU may have a tenth of a core.
const PATIENCE: u64 = 1800;
/// What prompts are made of.
const WORDS: &str = "Once upon a time there was One day, the little girl captain looked at sea. and It a fine big red \
                     ball \"Where is your mom?\" boats of park in his morning. she said They went to 3 cat not so he";

const USAGE: &str = "usage: boards/x soak [--minutes N] BOARD[-MODEL]...";

/// What was done.
#[derive(Debug, Default)]
struct Done {
    texts: u64,
    steps: u64,
}

/// Runs the boards among `arguments`.
pub fn soak(arguments: &[&str]) -> Result<()> {
    let (mut minutes, mut names) = (60, Vec::new());
    let mut arguments = arguments.iter();
    while let Some(&argument) = arguments.next() {
        match argument {
            "--minutes" => minutes = arguments.next().context(USAGE)?.parse().context(USAGE)?,
            _ if argument.starts_with('-') => bail!(USAGE),
            name => names.push(name),
        }
    }
    ensure!(!names.is_empty(), USAGE);
    let built = names.iter().map(|name| {
        let (machine, folder) = (machine(name)?.0, image(name)?);
        let elf = build(&machine, &folder)?;
        Ok((*name, machine, folder, elf))
    });
    let built = built.collect::<Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = built
            .iter()
            .map(|(name, machine, folder, elf)| {
                scope.spawn(move || {
                    board(name, machine, folder, elf, minutes).with_context(|| (*name).to_owned())
                })
            })
            .collect();
        let ended: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a panic")))
            .collect();
        ended.into_iter().collect()
    })
}

/// Runs one.
fn board(name: &str, machine: &Machine, folder: &Path, elf: &Path, minutes: u64) -> Result<()> {
    let mut console = ripple()?;
    console.arg("console").arg(folder.join("model.img")).args(["--board", machine.board]);
    let mut emulator = qemu(machine, elf, folder)?;
    emulator.args(["-serial", "stdio", "-monitor", "none"]);
    let mut host = Talk::start(&mut console, PATIENCE)?;
    let mut board = Talk::start(&mut emulator, PATIENCE)?;
    let begun = Instant::now();
    let mut done = Done::default();
    let mut told = begun;
    host.wait("> [...]")?;
    board.wait("> [...]")?;
    ask(&mut board, &mut host, "/trace")?;
    while begun.elapsed() < Duration::from_secs(60 * minutes) {
        for line in round(done.texts) {
            let said = ask(&mut board, &mut host, &line)
                .with_context(|| format!("text {}, after {done:?}", done.texts))?;
            done.steps += said.lines().filter(|line| step(line).is_some()).count() as u64;
        }
        done.texts += 1;
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            let Done { texts, steps } = done;
            println!(
                "{name}: {} minutes, {texts} texts, {steps} steps",
                begun.elapsed().as_secs() / 60
            );
        }
    }
    let seconds = begun.elapsed().as_secs();
    for talk in [&mut board, &mut host] {
        talk.type_text("\x04")?;
        talk.end()?;
    }
    let said = board.text();
    let ram = said.lines().filter(|line| line.starts_with("# ram "));
    let stacks: Vec<u64> = ram.filter_map(|line| number_before(line, "stack")).collect();
    let (first, last) = (stacks.first().context("no stack was said")?, stacks.iter().max());
    let (last, planned) =
        (last.copied().unwrap_or(0), number(&plan(machine, folder)?, "/ram/stack")?);
    ensure!(last <= planned + STACK, "a stack of {last} bytes, {planned} were planned");
    let Done { texts, steps } = done;
    ensure!(steps > 0, "nothing was decoded");
    println!(
        "{name}: {texts} texts of {steps} steps in {seconds} s without a reset: all as on this machine; \
         {first} bytes of stack after the first text, {last} at most"
    );
    Ok(())
}

/// Asks both, and compares what they say; returns that.
fn ask(board: &mut Talk, host: &mut Talk, line: &str) -> Result<String> {
    let (here, there) = (compared(&host.ask(line)?), compared(&board.ask(line)?));
    ensure!(here == there, "`{line}`: the board said\n{there}\nand this machine\n{here}");
    Ok(there)
}

/// What is typed for text number `number`.
fn round(number: u64) -> [String; 3] {
    // SplitMix64.
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut below = |end: u64| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    };
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let (gap, tokens) = (below(9), 10 + below(190));
    let prompt: Vec<&str> =
        (0..1 + below(9)).map(|_| words[below(words.len() as u64) as usize]).collect();
    [format!("/gap {gap}"), format!("/tokens {tokens}"), prompt.join(" ")]
}

#[cfg(test)]
mod tests {
    use super::{ask, round};
    use crate::talk::Talk;
    use std::process::Command;

    #[test]
    fn rounds_differ_and_are_the_same_each_time() {
        let all: Vec<_> = (0..20).map(round).collect();
        assert_eq!(all[7], round(7));
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(all.iter().all(|lines| lines[2].len() < 100 && !lines[2].starts_with('/')));
    }

    #[test]
    fn what_differs_is_noticed() {
        let echo = |script: &str| {
            let mut talk = Talk::start(Command::new("sh").args(["-c", script]), 60).unwrap();
            talk.wait("> [...]").unwrap();
            talk
        };
        let good =
            "printf '> '; while read line; do printf \"$line\\n# 7 us\\n1 2 $line\\n> \"; done";
        let bad = good.replace("1 2 $line", "1 2 ${line#x}").replace('7', "8");
        let (mut board, mut host) = (echo(&bad), echo(good));
        assert_eq!(ask(&mut board, &mut host, "abc").unwrap(), "abc\n1 2 abc\n> \n");
        assert!(ask(&mut board, &mut host, "xyz").is_err());
    }
}
