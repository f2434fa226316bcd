//! Lines from a console: prompts, and commands that begin with `/`.
//!
//! In: bytes as they are typed. Out: a whole line, echoed, or a parsed [`Command`]. Knows nothing of
//! models.

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

/// Reads one line into `line`, echoing it, and says what it is.
pub fn read_line<'l>(console: &mut impl Console, line: &'l mut [u8]) -> Input<'l> {
    let mut len = 0;
    let mut fits = true;
    loop {
        let mut byte = [0];
        let [got] = match console.read(&mut byte) {
            Ok(1..) => byte,
            Ok(0) | Err(_) => [CTRL_D],
        };
        match got {
            b'\n' | b'\r' => break,
            CTRL_D if len == 0 => return Input::End,
            CTRL_D => break,
            BACKSPACE | DELETE => {
                // A character is removed whole: its continuation bytes, then its first.
                while len > 0 {
                    len -= 1;
                    if line.get(len).is_some_and(|byte| byte & 0xC0 != 0x80) {
                        let _ = console.write_all(b"\x08 \x08");
                        break;
                    }
                }
            }
            _ => match line.get_mut(len) {
                Some(place) => {
                    *place = got;
                    len += 1;
                    let _ = console.write_all(&[got]);
                }
                None => fits = false,
            },
        }
    }
    let _ = console.write_all(b"\r\n");
    let _ = console.flush();
    let line: &'l [u8] = line;
    match line.get(..len).map(core::str::from_utf8) {
        Some(Ok(text)) if fits => match text.strip_prefix('/') {
            Some(command) => Input::Command(parse(command)),
            None => Input::Prompt(text),
        },
        _ => Input::Unusable,
    }
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
