//! A board that runs, its operator at the serial line and at the slot of the card.

use super::card::Cards;
use crate::firmware::qemu;
use crate::talk::Talk;
use crate::test::step;
use anyhow::{Context, Result, bail, ensure};
use ripple_machines::Machine;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const PROMPT: &str = "The captain looked at the sea, and\n";
/// Tokens of a long story: with those of the prompt more than fit in memory, on a board that spills.
const LONG: u32 = 140;
/// Seconds that a line may take.
const PATIENCE: u64 = 60;
const OTHER_CARD: &str = "the card holds something else now";

/// An operator; the board is powered, and held until it is told to go.
pub struct Operator<'c> {
    /// The serial line.
    pub talk: Talk,
    monitor: UnixStream,
    /// QEMU's name of the card's drive.
    drive: String,
    cards: &'c Cards,
    /// QEMU goes on with a read of many blocks when the card is pulled: each is zeros, and so is its
    /// checksum, which is right. No card does so, and when it happens is chance.
    pub read_zeros: bool,
}

impl<'c> Operator<'c> {
    /// Powers a board with a card; its files are in `folder`, the current one.
    pub fn new(machine: &Machine, elf: &Path, folder: &Path, cards: &'c Cards) -> Result<Self> {
        // From within the folder: the name of a socket cannot be longer than a hundred bytes.
        let _ = std::fs::remove_file("monitor");
        let mut qemu = qemu(machine, elf, folder)?;
        qemu.args(["-serial", "stdio", "-S", "-monitor", "unix:monitor,server=on,wait=off"]);
        let talk = Talk::start(&mut qemu, PATIENCE)?;
        let mut attempts = (0..300).map(|_| {
            sleep(Duration::from_millis(100));
            UnixStream::connect("monitor").ok()
        });
        let monitor = attempts.find_map(|monitor| monitor).context("QEMU has no monitor")?;
        monitor.set_read_timeout(Some(Duration::from_secs(PATIENCE)))?;
        let slot = machine.qemu.and_then(|qemu| qemu.slot).context("no slot for a card")?;
        let drive = format!("sd{slot}");
        let mut operator = Self { talk, monitor, drive, cards, read_zeros: false };
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
            "write" => self.cards.write(rest),
            "insert" => {
                self.cards.write(rest)?;
                self.follow("back")
            }
            "back" => self.command(&format!("change {} card.img raw", self.drive)),
            "pull" => {
                self.follow("eject")?;
                let failed = "error   step: the device failed at block [...]: ";
                let (no_card, timeout) = (format!("{failed}NoCard"), format!("{failed}Timeout"));
                let line = self.talk.wait_any(&[&no_card, &timeout, OTHER_CARD])?;
                self.read_zeros = line == OTHER_CARD;
                ensure!(!self.read_zeros, "QEMU sent zeros from a card that was pulled");
                self.talk.wait("waiting for the card")
            }
            "story" => self.at_the_prompt(&format!("/gap 8\n/tokens 12\n/trace\n{PROMPT}")),
            "long" => self.at_the_prompt(&format!("/gap 8\n/tokens {LONG}\n/trace\n{PROMPT}")),
            "again" => self.at_the_prompt(PROMPT),
            "steps" => (0..rest.parse()?).try_for_each(|_| {
                let step = |line: &str, ended| ended && step(line).is_some();
                self.talk.wait_for(&step).map(drop)
            }),
            "position" => {
                let at = |line: &str, ended| {
                    ended && step(line).is_some_and(|step| step.split(' ').next() == Some(rest))
                };
                self.talk.wait_for(&at).map(drop)
            }
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
}
