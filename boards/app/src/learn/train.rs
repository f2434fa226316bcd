//! A text becomes adapters, and those are saved.
//!
//! In: a text, from the card or as it is typed. Out: a line a step, adapters on the card. The windows of
//! the text are taken one after the other; the last tenth of them is held out.

use super::lesson::SEED;
use super::{Board, Lent};
use crate::console::Console;
use crate::counted::Counted;
use crate::event::Event;
use crate::session::Out;
use crate::storage::{Mounted, Notes};
use core::fmt;
use ripple_hal::{Clock, DeviceError, ErrorKind, WriteDevice};
use ripple_kernel::image::Image;
use ripple_kernel::text::tokenizer::{EncodeError, EncodeOptions, Tokenizer};
use ripple_marks as mark;
use ripple_tune::{TuneError, TuneMemory, TuneOptions, Tuner};
use zerocopy::IntoBytes;

/// Most held-out windows that are looked at: as `ripple tune` has it.
const JUDGED: usize = 16;
/// How often a step whose reads failed is made again.
const RETRIES: u32 = 3;
const CTRL_D: u8 = 4;

/// How long it learns.
#[derive(Clone, Copy)]
pub(super) struct Course {
    /// Tokens of a step.
    pub window: u32,
    pub steps: u32,
}

/// Why nothing was learnt.
enum Refused {
    /// The text is longer than there is room for.
    Long { bytes: usize, room: usize },
    /// It is not UTF-8.
    Utf8 { at: usize },
    /// The text has too few tokens.
    Short { tokens: usize, needed: usize },
    /// It has more tokens than there is room for, or is not in the form that the tokenizer needs.
    Encode(EncodeError),
    /// The image has no tokenizer in its mapped front.
    NoTokenizer,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Long { bytes, room } => {
                write!(f, "a text of {bytes} bytes, there is room for {room}")
            }
            Self::Utf8 { at } => write!(f, "not UTF-8 at byte {at}"),
            Self::Short { tokens, needed } => {
                write!(f, "{tokens} tokens, a step takes {needed}; give a longer text, or /window")
            }
            Self::Encode(error) => error.fmt(f),
            Self::NoTokenizer => f.write_str("the tokenizer of the image is not mapped"),
        }
    }
}

/// Learns from the text that is on the card, or else typed up to Ctrl-D. What goes wrong is said.
pub(super) fn train<S: Notes>(
    out: &mut Out<'_, impl Console, impl Clock>,
    storage: &mut S,
    board: &Board<'_>,
    memory: Lent<'_>,
    course: Course,
) where
    for<'a> S::Device<'a>: WriteDevice,
{
    let Lent { arena, staging, scratch, ids, .. } = memory;
    // The text has the arena until it is tokens.
    let length = match storage.notes(arena.as_mut_bytes(), staging) {
        Ok(Some(length)) => length,
        Ok(None) => typed(out, arena.as_mut_bytes()),
        Err(error) => return out.say(Event::Fault { doing: "text", error: &error }),
    };
    let ids = match encoded(board, arena.as_bytes(), length, ids) {
        Ok(ids) => ids,
        Err(error) => return out.say(Event::Fault { doing: "text", error: &error }),
    };
    let tokens = course.window.min(board.header.geometry.config.context) as usize;
    let windows = ids.len().saturating_sub(1).checked_div(tokens).unwrap_or(0);
    let judged = (windows / 10).max(usize::from(windows > 1));
    let trained = windows - judged;
    if trained == 0 {
        let error = Refused::Short { tokens: ids.len(), needed: tokens + 1 };
        return out.say(Event::Fault { doing: "text", error: &error });
    }
    out.line(format_args!(
        "text    {length} bytes, {} tokens: {windows} windows of {tokens}, {judged} held out",
        ids.len()
    ));
    let window = |i: usize| ids.get(i * tokens..=(i + 1) * tokens).unwrap_or(&[]);

    let device = match storage.mount(staging) {
        Ok(Mounted { device, .. }) => device,
        Err(error) => return out.say(Event::Fault { doing: "mount", error: &error }),
    };
    let options = TuneOptions { tokens: tokens as u32, ..board.lesson.tune };
    let memory = TuneMemory { arena, staging };
    let tuner = Tuner::<_, _, f32>::open(Counted::new(device), board.mapped, memory, &options, ());
    let mut tuner = match tuner {
        Ok(tuner) => tuner,
        Err(error) => return out.say(Event::Fault { doing: "learn", error: &error.kinds() }),
    };
    tuner.begin(SEED);
    let look = |out: &mut Out<'_, _, _>, tuner: &mut Tuner<'_, _, _, f32>| {
        let held_out = trained..windows.min(trained + JUDGED);
        let mut sum = 0.0;
        for i in held_out.clone() {
            match again(out, || tuner.evaluate(window(i))) {
                Some(loss) => sum += f64::from(loss),
                None => return false,
            }
        }
        if !held_out.is_empty() {
            out.line(format_args!("held out {:.4}", sum / held_out.len() as f64));
        }
        true
    };
    if !look(out, &mut tuner) {
        return;
    }
    let schedule = board.lesson.schedule(course.steps);
    for step in 0..course.steps {
        let begun = out.now();
        let text = window(step as usize % trained);
        mark::region::<8>();
        let made = again(out, || tuner.step(text, schedule.at(step)));
        mark::region::<7>();
        let Some(made) = made else { return };
        out.line(format_args!("step {:5} loss {:.4}", step + 1, made.loss));
        out.line(format_args!("# time  {} ms", out.now().since(begun).0 / 1000));
    }
    if !look(out, &mut tuner) {
        return;
    }
    let (file, header, device) = tuner.file_and_device();
    let saved = match board.slots(device) {
        Ok(slots) => slots.save(device, header, &file, scratch).map_err(|error| error.kinds()),
        Err(error) => return out.say(Event::Fault { doing: "save", error: &error.kind() }),
    };
    match saved {
        Ok(sequence) => out.line(format_args!(
            "saved   {} steps, {} numbers, {sequence} times",
            file.steps,
            file.numbers.len()
        )),
        Err(error) => out.say(Event::Fault { doing: "save", error: &error }),
    }
}

/// Runs `pass`, and again when the card failed; nothing when it did not succeed, which has been said.
fn again<T, E: DeviceError>(
    out: &mut Out<'_, impl Console, impl Clock>,
    mut pass: impl FnMut() -> Result<T, TuneError<E>>,
) -> Option<T> {
    for attempt in 0..=RETRIES {
        if attempt > 0 {
            out.say(Event::Retry { attempt });
        }
        match pass().map_err(|error| error.kinds()) {
            Ok(done) => return Some(done),
            Err(error) => {
                out.say(Event::Fault { doing: "learn", error: &error });
                if !matches!(error, TuneError::<ErrorKind>::Read(_)) {
                    return None;
                }
            }
        }
    }
    None
}

/// Reads what is typed, up to Ctrl-D, without echo; how long it was.
fn typed(out: &mut Out<'_, impl Console, impl Clock>, text: &mut [u8]) -> usize {
    out.say(Event::Note("the text, then Ctrl-D; it is not echoed"));
    let mut length = 0;
    loop {
        let mut byte = [0];
        let [got] = match out.console.read(&mut byte) {
            Ok(1..) => byte,
            Ok(0) | Err(_) => [CTRL_D],
        };
        if got == CTRL_D {
            return length;
        }
        if let Some(place) = text.get_mut(length) {
            *place = if got == b'\r' { b'\n' } else { got };
        }
        length += 1;
    }
}

/// The tokens of the first `length` bytes of `text`.
fn encoded<'i>(
    board: &Board<'_>,
    text: &[u8],
    length: usize,
    ids: &'i mut [u32],
) -> Result<&'i [u32], Refused> {
    let long = Refused::Long { bytes: length, room: text.len() };
    let text = text.get(..length).ok_or(long)?;
    let text = core::str::from_utf8(text).map_err(|e| Refused::Utf8 { at: e.valid_up_to() })?;
    let image = Image::new(board.header, board.mapped);
    let section = image.tokenizer().ok_or(Refused::NoTokenizer)?;
    let tokenizer = Tokenizer::parse(section).map_err(|_| Refused::NoTokenizer)?;
    let options = EncodeOptions { parse_special: true, ..EncodeOptions::TEXT };
    let count = tokenizer.encode(text, options, ids).map_err(Refused::Encode)?;
    Ok(ids.get(..count).unwrap_or(&[]))
}
