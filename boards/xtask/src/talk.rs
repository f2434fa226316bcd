//! A program that is talked to, line by line, over its standard input and output.
//!
//! In: a program. Out: all that it said, up to its end. Waits for no line longer than it was told
//! to. Carriage returns are left out.

use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Stands for anything in a pattern.
pub const ANY: &str = "[...]";

/// Whether `line` is like `pattern`, in which [`ANY`] stands for anything.
pub fn like(line: &str, pattern: &str) -> bool {
    let Some((first, others)) = pattern.split_once(ANY) else { return line == pattern };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let (middle, last) = others.rsplit_once(ANY).unwrap_or(("", others));
    for part in middle.split(ANY) {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A program that runs; dropped, it is ended.
pub struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    /// All that it said, and how much of it was waited for.
    said: Vec<u8>,
    seen: usize,
    patience: Duration,
}

impl Talk {
    /// Starts a program; `patience`: seconds that it may take to say a line, or to end.
    pub fn start(command: &mut Command, patience: u64) -> Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{:?}", command.get_program()))?;
        let (sender, output) = channel();
        let mut pipe = child.stdout.take().context("no standard output")?;
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let (input, patience) = (child.stdin.take(), Duration::from_secs(patience));
        Ok(Self { child, input, output, said: Vec::new(), seen: 0, patience })
    }

    /// All that it has said.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    /// Types `text` as it is.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.input.as_mut().context("nobody listens")?.write_all(text.as_bytes())?;
        Ok(())
    }

    /// Hears what comes before `until`; whether there can be more.
    fn hear(&mut self, until: Instant) -> Result<bool> {
        match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(bytes) => self.said.extend(bytes.iter().filter(|&&byte| byte != b'\r')),
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} s were not enough", self.patience.as_secs())
            }
        }
        Ok(true)
    }

    /// Waits for a line that `wanted` wants and that was not waited for before. `wanted` gets the
    /// line, and whether it has ended. Returns it.
    pub fn wait_for(&mut self, wanted: &dyn Fn(&str, bool) -> bool) -> Result<String> {
        let until = Instant::now() + self.patience;
        loop {
            let new = self.said[self.seen..].split_inclusive(|&byte| byte == b'\n');
            let mut end = self.seen;
            for line in new {
                end += line.len();
                let (line, ended) = match line.strip_suffix(b"\n") {
                    Some(line) => (line, true),
                    None => (line, false),
                };
                let line = String::from_utf8_lossy(line);
                if wanted(&line, ended) {
                    self.seen = end;
                    return Ok(line.into_owned());
                }
            }
            ensure!(self.hear(until)?, "the program ended");
        }
    }

    /// Waits for a line like one of `patterns` that was not waited for before, and returns it.
    pub fn wait_any(&mut self, patterns: &[&str]) -> Result<String> {
        let wanted = |line: &str, ended: bool| {
            patterns.iter().any(|pattern| (ended || pattern.ends_with(ANY)) && like(line, pattern))
        };
        self.wait_for(&wanted).with_context(|| format!("no line `{}`", patterns.join("` or `")))
    }

    /// Waits for a line like `pattern` that was not waited for before.
    pub fn wait(&mut self, pattern: &str) -> Result<()> {
        self.wait_any(&[pattern]).map(drop)
    }

    /// Types a line at the prompt `> ` that was waited for; what is said up to the next one, which is waited for.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        let from = self.seen;
        self.type_text(&format!("{line}\n"))?;
        self.wait("> [...]").with_context(|| format!("`{line}`"))?;
        Ok(String::from_utf8_lossy(&self.said[from..self.seen]).into_owned())
    }

    /// Hears the program to its end, which must be a success.
    pub fn end(&mut self) -> Result<()> {
        self.input = None;
        let until = Instant::now() + self.patience;
        while self.hear(until).context("the program has not ended")? {}
        let status = self.child.wait()?;
        ensure!(status.success(), "the program ended with {status}");
        Ok(())
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::{Talk, like};
    use std::process::Command;

    #[test]
    fn dots_stand_for_anything_and_all_else_for_itself() {
        assert!(like("retry   1", "retry   1") && !like("retry   12", "retry   1"));
        assert!(like("end: 3 reads, 4 bytes", "end: [...] reads, [...] bytes"));
        assert!(like("end: 3 reads, 4 bytes.", "end: [...] reads, [...]"));
        assert!(!like("end: 3 reads, 4 bytes.", "end: [...] reads, [...] bytes"));
        assert!(!like("the end: 3 reads", "end: [...] reads"));
        assert!(like("> ", "> [...]") && like("a b b", "a[...]b") && !like("ab", "ab[...]b"));
    }

    #[test]
    fn a_line_is_waited_for_once_and_a_failure_is_noticed() {
        let mut talk = Talk::start(Command::new("cat").arg("-"), 60).unwrap();
        talk.type_text("one\r\ntwo\n> ").unwrap();
        talk.wait("two").unwrap();
        talk.wait("> [...]").unwrap();
        talk.end().unwrap();
        assert_eq!(talk.text(), "one\ntwo\n> ");
        assert!(talk.wait("two").is_err());
        assert!(Talk::start(&mut Command::new("false"), 60).unwrap().end().is_err());
    }
}
