//! A board that runs, its operator at the serial line and at the slot of the card.

use super::card::Cards;
use crate::firmware::qemu;
use crate::talk::Talk;
use anyhow::{Context, Result, bail, ensure};
use ripple_machines::Machine;
use std::env::set_current_dir;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const PROMPT: &str = "The captain looked at the sea, and\n";
/// Seconds that a line may take.
const PATIENCE: u64 = 60;
const OTHER_CARD: &str = "the card holds something else now";

/// QEMU goes on with a read of many blocks when the card is pulled: each is zeros, and so is its
/// checksum, which is right. No card does so, and when it happens is chance: the case is played again.
#[derive(Debug)]
pub struct ReadZeros;

impl fmt::Display for ReadZeros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QEMU sent zeros from a card that was pulled")
    }
}

impl std::error::Error for ReadZeros {}

/// An operator; the board is powered, and held until it is told to go.
pub struct Operator<'c> {
    /// The serial line.
    pub talk: Talk,
    monitor: UnixStream,
    /// QEMU's name of the card's drive.
    drive: String,
    cards: &'c Cards,
}

impl<'c> Operator<'c> {
    /// Powers a board with a card.
    pub fn new(
        machine: &Machine,
        elf: &Path,
        folder: &Path,
        cards: &'c Cards,
        card: &str,
    ) -> Result<Self> {
        let folder = folder.join("faults");
        std::fs::create_dir_all(&folder)?;
        // The name of a socket cannot be longer than a hundred bytes: it is named from within.
        set_current_dir(&folder)?;
        let _ = std::fs::remove_file("monitor");
        write_card(&cards.named(card)?)?;
        let mut qemu = qemu(machine, elf, &folder)?;
        qemu.args(["-serial", "stdio", "-S", "-monitor", "unix:monitor,server=on,wait=off"]);
        let talk = Talk::start(&mut qemu, PATIENCE)?;
        let mut attempts = (0..300).map(|_| {
            sleep(Duration::from_millis(100));
            UnixStream::connect("monitor").ok()
        });
        let monitor = attempts.find_map(|monitor| monitor).context("QEMU has no monitor")?;
        monitor.set_read_timeout(Some(Duration::from_secs(PATIENCE)))?;
        let slot = machine.qemu.and_then(|qemu| qemu.slot).context("no slot for a card")?;
        let mut operator = Self { talk, monitor, drive: format!("sd{slot}"), cards };
        operator.answer()?;
        Ok(operator)
    }

    /// Does what a line of `cases.txt` says.
    pub fn follow(&mut self, line: &str) -> Result<()> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "<" => self.talk.wait_any(&rest.split(" | ").collect::<Vec<_>>()).map(drop),
            "go" => self.command("cont"),
            "eject" => self.command(&format!("eject -f {}", self.drive)),
            "write" => write_card(&self.cards.named(rest)?),
            "insert" => {
                write_card(&self.cards.named(rest)?)?;
                self.command(&format!("change {} card.img raw", self.drive))
            }
            "pull" => {
                self.follow("eject")?;
                let failed = "error   step: the device failed at block [...]: ";
                let (no_card, timeout) = (format!("{failed}NoCard"), format!("{failed}Timeout"));
                let line = self.talk.wait_any(&[&no_card, &timeout, OTHER_CARD])?;
                ensure!(line != OTHER_CARD, ReadZeros);
                self.talk.wait("waiting for the card")
            }
            "story" => self.at_the_prompt(&format!("/gap 8\n/tokens 12\n/trace\n{PROMPT}")),
            "again" => self.at_the_prompt(PROMPT),
            "steps" => (0..rest.parse()?).try_for_each(|_| {
                self.talk
                    .wait_for(&|line, ended| ended && is_step(line))
                    .map(drop)
                    .context("no step")
            }),
            "retries" => {
                let damaged =
                    "< error   step: record [...] of the table at block [...] arrived damaged";
                for attempt in [1, 2, 3] {
                    self.follow(damaged)?;
                    self.follow(&format!("< retry   {attempt}"))?;
                }
                self.follow(damaged)
            }
            "enter" => self.talk.type_text("\n"),
            "end" => {
                self.talk.wait("end     as many as asked for[...]")?;
                self.follow("leave")
            }
            "leave" => {
                self.at_the_prompt("\x04")?;
                self.talk.end()
            }
            "refused" => {
                let (error, asks) =
                    (format!("< error   {rest}"), "< press Enter to try again[...]");
                let again = ["eject", "insert good", "enter", "story", "end"];
                let lines = ["go", &error, asks, "enter", &error, asks].into_iter().chain(again);
                lines.into_iter().try_for_each(|line| self.follow(line))
            }
            _ => bail!("no operator does `{line}`"),
        }
        .with_context(|| format!("`{line}`"))
    }

    fn at_the_prompt(&mut self, text: &str) -> Result<()> {
        self.talk.wait("> [...]")?;
        self.talk.type_text(text)
    }

    /// Gives the monitor a command, and waits until it is carried out.
    fn command(&mut self, command: &str) -> Result<()> {
        writeln!(self.monitor, "{command}")?;
        self.answer()
    }

    /// Reads the monitor up to its prompt.
    fn answer(&mut self) -> Result<()> {
        let (mut text, mut byte) = (Vec::new(), [0]);
        while !text.ends_with(b"(qemu) ") {
            self.monitor.read_exact(&mut byte).context("QEMU's monitor")?;
            text.extend(byte);
        }
        Ok(())
    }

    /// The steps so far.
    pub fn steps(&self) -> Vec<String> {
        self.talk.text().lines().filter(|line| is_step(line)).map(str::to_owned).collect()
    }
}

/// Whether a line is a step: position, token, checksum of the logits, text.
fn is_step(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let mut number = || words.next().is_some_and(|word| word.parse::<u32>().is_ok());
    let numbers = number() && number();
    let crc =
        words.next().is_some_and(|word| word.len() == 8 && u32::from_str_radix(word, 16).is_ok());
    numbers && crc && words.next().is_some_and(|word| word.starts_with('"')) && line.ends_with('"')
}

/// Makes the file of the card, or changes it in place under a board that may be reading it.
fn write_card(card: &[u8]) -> Result<()> {
    let options = &mut OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).open("card.img")?;
    file.write_all(card)?;
    Ok(file.set_len(card.len() as u64)?)
}

#[cfg(test)]
mod tests {
    use super::is_step;

    #[test]
    fn a_step_is_told_from_other_lines() {
        assert!(is_step("    7     261 0a1b2c3d \" sea, \""));
        assert!(
            !is_step("    7     261 0a1b2c3d \" sea") && !is_step("    7     261 0a1b2c3 \"x\"")
        );
        assert!(!is_step("retry   1") && !is_step(""));
    }
}
