//! A board that runs, its operator at the serial line and at the slot of the card.

use super::bench::Bench;
use crate::firmware::qemu;
use crate::talk::Talk;
use anyhow::{Context, Result, ensure};
use std::env::set_current_dir;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

const PROMPT: &str = "The captain looked at the sea, and";
const TOKENS: u32 = 12;
/// Seconds that a line may take.
const PATIENCE: u64 = 60;

/// What a board says when the card is not the one it opened.
pub const OTHER_CARD: &str = "the card holds something else now";

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

/// An operator; the board is powered, and held until it is told to [`go`](Self::go).
pub struct Operator<'b> {
    pub bench: &'b Bench,
    /// The serial line.
    pub talk: Talk,
    monitor: UnixStream,
}

impl<'b> Operator<'b> {
    /// Powers a board with a card of these contents.
    pub fn new(bench: &'b Bench, card: &[u8]) -> Result<Self> {
        // The name of a socket cannot be longer than a hundred bytes: it is named from within.
        set_current_dir(&bench.folder)?;
        let _ = std::fs::remove_file("monitor");
        write_card(card)?;
        let mut qemu = qemu(&bench.machine, &bench.elf, &bench.folder)?;
        qemu.args(["-serial", "stdio", "-S", "-monitor", "unix:monitor,server=on,wait=off"]);
        let talk = Talk::start(&mut qemu, PATIENCE)?;
        let mut attempts = (0..300).map(|_| {
            sleep(Duration::from_millis(100));
            UnixStream::connect("monitor").ok()
        });
        let monitor = attempts.find_map(|monitor| monitor).context("QEMU has no monitor")?;
        monitor.set_read_timeout(Some(Duration::from_secs(PATIENCE)))?;
        let mut operator = Self { bench, talk, monitor };
        operator.answer()?;
        Ok(operator)
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

    /// Gives the monitor a command, and waits until it is carried out.
    fn command(&mut self, command: &str) -> Result<()> {
        writeln!(self.monitor, "{command}")?;
        self.answer()
    }

    /// Starts the board.
    pub fn go(&mut self) -> Result<()> {
        self.command("cont")
    }

    /// Pulls the card.
    pub fn pull(&mut self) -> Result<()> {
        self.command(&format!("eject -f {}", self.bench.drive))
    }

    /// Pulls the card in the middle of the text, which is noticed and waited out.
    ///
    /// # Errors
    /// [`ReadZeros`] where the pull cut a read of many blocks.
    pub fn pull_while_it_reads(&mut self) -> Result<()> {
        self.pull()?;
        let line = self.talk.wait_any(&[
            "error   step: the device failed at block [...]: NoCard",
            "error   step: the device failed at block [...]: Timeout",
            OTHER_CARD,
        ])?;
        ensure!(line != OTHER_CARD, ReadZeros);
        self.talk.wait("waiting for the card")
    }

    /// Puts the card in.
    pub fn put(&mut self) -> Result<()> {
        self.command(&format!("change {} card.img raw", self.bench.drive))
    }

    /// Changes what is on the card, in place, under a board that may be running.
    pub fn change(&mut self, card: &[u8]) -> Result<()> {
        write_card(card)
    }

    /// Asks for a story, every step of it traced.
    pub fn story(&mut self) -> Result<()> {
        self.talk.wait("> [...]")?;
        self.talk.type_text(&format!("/gap 8\n/tokens {TOKENS}\n/trace\n{PROMPT}\n"))
    }

    /// Asks for the story again; steps are traced already.
    pub fn ask_again(&mut self) -> Result<()> {
        self.talk.wait("> [...]")?;
        self.talk.type_text(&format!("{PROMPT}\n"))?;
        self.end()
    }

    /// Puts in the good card, and has it tried.
    pub fn try_again(&mut self) -> Result<()> {
        self.talk.wait("press Enter to try again[...]")?;
        self.pull()?;
        self.change(&self.bench.card)?;
        self.put()?;
        self.talk.type_text("\n")
    }

    /// Waits for that many more steps.
    pub fn wait_steps(&mut self, count: u32) -> Result<()> {
        let step = |line: &str, ended| ended && is_step(line);
        (0..count).try_for_each(|_| self.talk.wait_for(&step).map(drop).context("no step"))
    }

    /// Hears the story to its end, and ends the program.
    pub fn end(&mut self) -> Result<()> {
        self.talk.wait("end     as many as asked for[...]")?;
        self.leave()
    }

    /// Ends the program, which must succeed.
    pub fn leave(&mut self) -> Result<()> {
        self.talk.wait("> [...]")?;
        self.talk.type_text("\x04")?;
        self.talk.end()
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

fn write_card(card: &[u8]) -> Result<()> {
    // What is there stays until it is overwritten: a board may be reading it.
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
