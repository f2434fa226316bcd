//! The command at a terminal: what is typed, what Ctrl-C does, what is drawn.
//!
//! The terminal is a pseudo-terminal; `setsid` of util-linux makes it the one that Ctrl-C comes from.

use crate::commands::{MODELS, fresh, ok};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with an image of story-nano.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = fresh("terminal");
        let model = format!("{MODELS}/story-nano");
        let text = format!("{model}/profile.txt");
        ok(&folder, &["make", &model, "--text", &text, "--tokens", "256", "-o", "story"]);
        folder
    })
}

/// The command, on a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    /// All that was shown.
    screen: String,
    /// How much of it was waited for.
    seen: usize,
}

impl Terminal {
    fn start(args: &[&str]) -> Self {
        Self::start_with(args, "state")
    }

    /// With lines kept in the folder `state`.
    fn start_with(args: &[&str], state: &str) -> Self {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap();
        let flags = OpenptFlags::NOCTTY.bits().cast_signed();
        let mut open = File::options();
        let open = open.read(true).write(true).custom_flags(flags);
        let there = open.open(name.to_str().unwrap()).unwrap();
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_ripple")])
            .args(args)
            .current_dir(folder())
            .env("TERM", "xterm")
            .env("XDG_STATE_HOME", folder().join(state))
            .stdin(there.try_clone().unwrap())
            .stdout(there.try_clone().unwrap())
            .stderr(there)
            .spawn()
            .unwrap();
        let keys = File::from(keys);
        let (send, shown) = channel();
        let mut screen = keys.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when the last one who had the terminal is gone.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, shown, screen: String::new(), seen: 0 }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until what was shown since the last time `holds`; gives it.
    #[track_caller]
    fn waits(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let new = &self.screen[self.seen..];
            if holds(new) {
                let new = new.to_owned();
                self.seen = self.screen.len();
                return new;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.screen += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("no {what} in: {:?}", self.screen),
            }
        }
    }

    /// Waits for `words`; gives what was shown up to their end, and goes on behind them.
    #[track_caller]
    fn says(&mut self, words: &str) -> String {
        let from = self.seen;
        self.waits(words, |new| new.contains(words));
        let end = self.screen[from..].find(words).unwrap() + words.len();
        self.seen = from + end;
        self.screen[from..self.seen].to_owned()
    }

    /// Waits for the end; gives how it ended.
    fn ends(mut self) -> ExitStatus {
        loop {
            match self.shown.recv_timeout(PATIENCE) {
                Ok(bytes) => self.screen += &String::from_utf8_lossy(&bytes),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => panic!("no end in: {:?}", self.screen),
            }
        }
    }
}

#[test]
fn ctrl_c_ends_the_turn_and_the_next_one_is_whole() {
    let endless = ["-n", "1000000", "--overflow", "window", "--ignore-eos"];
    let mut terminal = Terminal::start(&[&["run", "story", "-i"], &endless[..]].concat());
    terminal.says("> ");
    for line in ["One day,", "Then", ""] {
        terminal.types(&format!("{line}\r"));
        // Far more than a token, and Ctrl-C alone ends it.
        terminal.waits("text", |new| new.len() > 400);
        terminal.types("\x03");
        terminal.says("interrupted; an empty line lets the text go on");
        terminal.says("> ");
    }
    // Where nothing runs it forgets the line, and ends nothing.
    terminal.types("half a li\x03");
    terminal.says("/quit or Ctrl-D ends");
    terminal.types("/quit\r");
    assert!(terminal.ends().success());
}

#[test]
fn lines_are_edited_and_come_back() {
    let mut terminal = Terminal::start(&["run", "story", "-i", "-n", "8"]);
    terminal.says("/help says more");
    terminal.says("> ");
    // Two letters too many, taken back; one forgotten, put in.
    let left = "\x1b[D".repeat(5);
    terminal.types(&format!("/save nowher/filexx\x7f\x7f{left}e\r"));
    // Keys that come before the next prompt are not the editor's: the terminal would take Ctrl-D for itself.
    terminal.says("there is no folder `nowhere`");
    terminal.says("> ");
    terminal.types("/save kept\r");
    terminal.says("saved 0 tokens -> kept");
    terminal.says("> ");
    terminal.types("/help\r");
    terminal.says("Ctrl-C ends the turn");
    terminal.says("> ");
    terminal.types("\x1b[A\x1b[A\r");
    terminal.says("saved 0 tokens -> kept");
    terminal.says("> ");
    terminal.types("\x04");
    assert!(terminal.ends().success());
}

#[test]
fn lines_are_kept_for_later_sessions() {
    let session = ["run", "story", "-i", "-n", "1"];
    let kept = folder().join("kept-lines/ripple/history");
    for (lines, options) in [
        (&["/save nowhere/first", " Once"][..], &[][..]),
        (&["/save nowhere/third"], &["--no-history"]),
    ] {
        let mut terminal = Terminal::start_with(&[&session[..], options].concat(), "kept-lines");
        terminal.says("/help says more");
        terminal.says("> ");
        for line in lines {
            terminal.types(&format!("{line}\r"));
            terminal.says(if line.contains("save") { "there is no folder" } else { "\r\n" });
            terminal.says("> ");
        }
        terminal.types("\x04");
        assert!(terminal.ends().success());
    }
    let file = std::fs::read_to_string(&kept).unwrap();
    assert!(file.ends_with("\n/save nowhere/first\n"), "{file}");
    let mut terminal = Terminal::start_with(&session, "kept-lines");
    terminal.says("/help says more");
    terminal.says("> ");
    terminal.types("\x1b[A\r");
    terminal.says("there is no folder `nowhere`");
    terminal.types("/quit\r");
    assert!(terminal.ends().success());
    // Where nothing can be kept, a session is as it was.
    std::fs::write(folder().join("no-folder"), "").unwrap();
    let mut terminal = Terminal::start_with(&session, "no-folder");
    terminal.says("/help says more");
    terminal.says("> ");
    terminal.types("/help\r");
    terminal.says("Ctrl-C ends the turn");
    terminal.says("> ");
    terminal.types("/quit\r");
    assert!(terminal.ends().success());
}

#[test]
fn a_session_that_is_ended_from_outside_leaves_the_terminal_as_it_was() {
    let endless = ["-n", "1000000", "--overflow", "window", "--ignore-eos"];
    for (signal, generates) in
        [(Signal::TERM, false), (Signal::TERM, true), (Signal::HUP, false), (Signal::HUP, true)]
    {
        let mut terminal = Terminal::start(&[&["run", "story", "-i"], &endless[..]].concat());
        let keys = terminal.keys.try_clone().unwrap();
        let cooked = LocalModes::ICANON | LocalModes::ECHO;
        let mode = || tcgetattr(&keys).unwrap().local_modes;
        terminal.says("/help says more");
        terminal.says("> ");
        if generates {
            terminal.types("One day,\r");
            // Far more than a token.
            terminal.waits("text", |new| new.len() > 400);
        } else {
            terminal.types("half a li");
            terminal.says("half a li");
            assert!(!mode().contains(cooked));
        }
        // setsid leads no group here: it is the command itself, or its parent.
        let parent = terminal.child.id();
        let tasks = format!("/proc/{parent}/task/{parent}/children");
        let child = std::fs::read_to_string(&tasks).unwrap_or_default();
        let id = child.trim().parse().unwrap_or(parent.cast_signed());
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
        let last = terminal.says("error: interrupted");
        // Nor are pastes marked any more.
        assert!(generates || last.contains("\x1b[?2004l\r\n"), "{last:?}");
        let end = Instant::now() + PATIENCE;
        while !mode().contains(cooked) {
            assert!(Instant::now() < end, "the terminal is raw");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(terminal.ends().code(), Some(130), "{signal:?}");
    }
}

#[test]
fn a_prompt_is_the_first_turn() {
    let mut terminal = Terminal::start(&["run", "story", "-i", "-n", "12", "-p", "One day,"]);
    let first = terminal.says("> ");
    assert!(first.contains("One day, a little girl"), "{first}");
    terminal.types("/save turn\r");
    terminal.says("saved ");
    terminal.types("/load turn\r");
    terminal.says("tokens from turn; the text goes on behind them");
    terminal.types("/lode\r");
    terminal.says("error: /lode: no such command");
    terminal.types("/quit\r");
    assert!(terminal.ends().success());
}

/// After Ctrl-C the last whole step is kept: the adapters are those of as many steps.
#[test]
fn ctrl_c_keeps_the_last_whole_step_of_what_is_learnt() {
    let notes = format!("{MODELS}/novel-opt/profile.txt");
    let text = std::fs::read_to_string(&notes).unwrap();
    std::fs::write(folder().join("notes.txt"), &text[..6000]).unwrap();
    let line = "tune story --text notes.txt --tokens 64 --windows 1 --warm-up 0 --in-order -n 100000 -o c.lora";
    let mut terminal = Terminal::start(&line.split(' ').collect::<Vec<_>>());
    // Some steps are made.
    terminal.says("step    25");
    terminal.types("\x03");
    assert_eq!(terminal.ends().code(), Some(130));
    let about = ok(folder(), &["adapter", "story", "c.lora"]);
    let steps: u32 = about.rsplit(' ').nth(1).unwrap().parse().unwrap();
    assert!((25..100_000).contains(&steps), "{about}");
    assert!(about.ends_with(" steps\n"), "{about}");
}

#[test]
fn a_bar_is_drawn_while_something_is_done() {
    let model = format!("{MODELS}/novel-small");
    let text = format!("{model}/profile.txt");
    let more = ["--text", &text, "--tokens", "512", "-o", "bar.trace"];
    let mut terminal = Terminal::start(&[&["trace", &model][..], &more].concat());
    let bar = terminal.says("/512");
    assert!(bar.contains("trace [") && bar.contains(']'), "{bar}");
    terminal.says("512 tokens, active");
    assert!(terminal.ends().success());
}
