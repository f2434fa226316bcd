//! Lines from a console: prompts, and commands that begin with `/`.
//!
//! In: bytes as they are typed. Out: a whole line, echoed, or a parsed [`Command`]. [`Line`] does not
//! wait for anything, so that an async application can use it too. Knows nothing of models.

use embedded_io::{Read, Write};
use ripple_hal::BlockCount;

/// A console: what is typed comes in, text goes out.
pub trait Console: Read + Write {}

impl<T: Read + Write> Console for T {}

/// What a line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `/trace`: every step on a line of its own, with the CRC of its logits; again for text.
    Trace,
    /// `/gap N`: merge reads across gaps of N blocks, whatever the calibration said.
    Gap(BlockCount),
    /// `/tokens N`: end a text after N tokens.
    Tokens(u32),
    /// `/help`.
    Help,
    /// Anything else that begins with `/`.
    Unknown,
}

/// What was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'l> {
    /// A text to go on from; may be empty.
    Prompt(&'l str),
    /// A command.
    Command(Command),
    /// More than the line holds, or not UTF-8.
    Unusable,
    /// Ctrl-D on an empty line, or a console that is gone: no more will come.
    End,
}

/// What the commands are.
pub const HELP: &str = "a text to go on from, or /trace, /gap BLOCKS, /tokens COUNT; Ctrl-D ends";

const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;

/// What a byte that was typed calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// It is in the line: echo it.
    Kept(u8),
    /// The last character is gone: echo [`ERASE`].
    Erased,
    /// Nothing.
    Ignored,
    /// The line has ended: [`Line::finish`].
    Whole,
    /// Ctrl-D on an empty line.
    End,
}

/// Takes the character before the cursor off a terminal.
pub const ERASE: &[u8] = b"\x08 \x08";

/// A line as it is typed, byte by byte, whoever waits for the bytes.
#[derive(Debug)]
pub struct Line<'l> {
    bytes: &'l mut [u8],
    len: usize,
    fits: bool,
}

impl<'l> Line<'l> {
    /// An empty line of at most as many bytes as there are.
    pub const fn new(bytes: &'l mut [u8]) -> Self {
        Self { bytes, len: 0, fits: true }
    }

    /// Takes what was typed.
    pub fn push(&mut self, typed: u8) -> Typed {
        match typed {
            b'\n' | b'\r' => Typed::Whole,
            CTRL_D if self.len == 0 => Typed::End,
            CTRL_D => Typed::Whole,
            BACKSPACE | DELETE => {
                // A character is removed whole: its continuation bytes, then its first.
                while self.len > 0 {
                    self.len -= 1;
                    if self.bytes.get(self.len).is_some_and(|byte| byte & 0xC0 != 0x80) {
                        return Typed::Erased;
                    }
                }
                Typed::Ignored
            }
            _ => match self.bytes.get_mut(self.len) {
                Some(place) => {
                    *place = typed;
                    self.len += 1;
                    Typed::Kept(typed)
                }
                None => {
                    self.fits = false;
                    Typed::Ignored
                }
            },
        }
    }

    /// The line as it was typed; nothing where it is longer than it may be, or not UTF-8.
    pub fn text(self) -> Option<&'l str> {
        let Self { bytes, len, fits } = self;
        let bytes: &'l [u8] = bytes;
        let text = bytes.get(..len).filter(|_| fits)?;
        core::str::from_utf8(text).ok()
    }

    /// What the line asks for.
    pub fn finish(self) -> Input<'l> {
        match self.text() {
            Some(text) => match text.strip_prefix('/') {
                Some(command) => Input::Command(parse(command)),
                None => Input::Prompt(text),
            },
            None => Input::Unusable,
        }
    }
}

/// Reads one line into `line`, echoing it, and says what it is.
pub fn read_line<'l>(console: &mut impl Console, line: &'l mut [u8]) -> Input<'l> {
    type_line(console, line).map_or(Input::End, Line::finish)
}

/// Reads one line into `line`, echoing it; nothing where no more will come.
pub(crate) fn type_line<'l>(console: &mut impl Console, line: &'l mut [u8]) -> Option<Line<'l>> {
    let mut line = Line::new(line);
    loop {
        let mut byte = [0];
        let [got] = match console.read(&mut byte) {
            Ok(1..) => byte,
            Ok(0) | Err(_) => [CTRL_D],
        };
        let _ = match line.push(got) {
            Typed::Kept(byte) => console.write_all(&[byte]),
            Typed::Erased => console.write_all(ERASE),
            Typed::Ignored => Ok(()),
            Typed::Whole => break,
            Typed::End => return None,
        };
    }
    let _ = console.write_all(b"\r\n");
    let _ = console.flush();
    Some(line)
}

/// Parses a command without its `/`.
fn parse(command: &str) -> Command {
    let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
    let number = rest.trim_ascii().parse::<u32>().ok();
    match (word, number) {
        ("trace", None) => Command::Trace,
        ("gap", Some(blocks)) => Command::Gap(BlockCount(blocks)),
        ("tokens", Some(count)) => Command::Tokens(count),
        ("help", None) => Command::Help,
        _ => Command::Unknown,
    }
}
