//! The main loop: mount, open, report, then prompt after prompt.
//!
//! In: a port, a storage, memory. Out: text and events; returns when the console has no more to say.

use crate::board::Board;
use crate::console::{Command, Console, HELP, Input, read_line};
use crate::counted::Counted;
use crate::event::{Event, Ram};
use crate::memory::Desk;
use crate::recover::{Failed, Identity};
use crate::storage::{Made, Mounted, Served, Storage};
use crate::story::{Story, tell};
use core::fmt;
use ripple_hal::{
    BlockCount, BlockDevice, CalibrateError, Clock, DeviceError, ErrorKind, Micros, calibrate,
};
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::{Decoder, Memory, OpenError, Options, Probe, Stage};
use ripple_marks as mark;

/// How long calibration may take.
const CALIBRATION: Micros = Micros(100_000);
/// How often a missing card is looked for.
const POLL: Micros = Micros(500_000);

/// What a board is, to the main loop.
pub struct Port<'b, C, T> {
    /// Its description.
    pub board: &'b Board,
    /// Where prompts come from and text goes.
    pub console: C,
    /// A clock.
    pub clock: T,
    /// The most RAM that was used so far.
    pub ram: fn() -> Ram,
}

/// Where events and text go.
pub struct Out<'p, C, T> {
    pub(crate) console: &'p mut C,
    pub(crate) clock: &'p T,
}

impl<C: Console, T: Clock> Out<'_, C, T> {
    /// Tells `event`, on a line of its own.
    #[cfg(not(feature = "defmt"))]
    pub fn say(&mut self, event: Event<'_>) {
        // A console that fails has nobody to tell it to.
        let _ = self.console.write_fmt(format_args!("{event}\r\n"));
        let _ = self.console.flush();
    }

    /// Tells `event`, as a frame.
    #[cfg(feature = "defmt")]
    pub fn say(&mut self, event: Event<'_>) {
        defmt::println!("{}", event);
    }

    /// Tells what is no event, on a line of its own.
    #[cfg(feature = "learn")]
    pub(crate) fn line(&mut self, line: fmt::Arguments<'_>) {
        let _ = self.console.write_fmt(format_args!("{line}\r\n"));
        let _ = self.console.flush();
    }

    /// Streams a piece of text.
    pub fn text(&mut self, piece: &str) {
        let _ = self.console.write_all(piece.as_bytes());
        let _ = self.console.flush();
    }

    /// The time.
    pub fn now(&self) -> Micros {
        self.clock.now()
    }

    /// Waits.
    pub fn pause(&mut self, time: Micros) {
        let start = self.now();
        while self.now().since(start) < time {}
    }
}

/// What commands have set.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub trace: bool,
    pub tokens: u32,
    pub gap: Option<BlockCount>,
}

/// Marks the kernel's stages for `boards/count`: regions 1 to 6 in their order; 7 is all else.
pub(crate) struct Regions;

impl Probe for Regions {
    fn wants_active(&self) -> bool {
        false
    }

    fn enter(&mut self, stage: Stage, _: u32) {
        match stage {
            Stage::Open => mark::region::<1>(),
            Stage::Embedding => mark::region::<2>(),
            Stage::Attention => mark::region::<3>(),
            Stage::Predictor => mark::region::<4>(),
            Stage::Ffn => mark::region::<5>(),
            Stage::Head => mark::region::<6>(),
            _ => mark::region::<7>(),
        }
    }
}

/// Why the image has to be mounted again.
enum Closed {
    /// The console has no more to say.
    End,
    /// The card failed, or is another one.
    Lost,
}

/// Runs until the console ends: mounts `storage`, opens the image there, whose front is `mapped`,
/// and goes on from every line that the console gives.
///
/// A missing card is waited for; what else is wrong is said, and tried again on the next line.
pub fn run<C: Console, T: Clock, S: Storage>(
    port: Port<'_, C, T>,
    mut storage: S,
    mapped: &[u8],
    memory: Memory<'_>,
    desk: Desk<'_>,
    options: &Options,
) {
    let Port { board, mut console, clock, ram } = port;
    let Memory { work, staging, cache, index, kv } = memory;
    let Desk { line, ids, block } = desk;
    let mut settings = Settings { trace: false, tokens: u32::MAX, gap: None };
    let mut out = Out { console: &mut console, clock: &clock };
    out.say(Event::Start { board: board.name });
    let mut waiting = false;
    loop {
        let mounted = match storage.mount(staging) {
            Ok(mounted) => mounted,
            Err(error) => {
                // One that does not answer may be another, which the driver has yet to set up.
                let gone = matches!(error.kind(), ErrorKind::NoCard | ErrorKind::Timeout);
                if !(gone && waiting) {
                    out.say(Event::Fault { doing: "mount", error: &error });
                }
                if gone {
                    if !waiting {
                        out.say(Event::Waiting);
                    }
                    waiting = true;
                    out.pause(POLL);
                } else if !again(&mut out, line) {
                    return;
                }
                continue;
            }
        };
        waiting = false;
        let memory = Memory {
            work: &mut *work,
            staging: &mut *staging,
            cache: &mut *cache,
            index: &mut *index,
            kv: &mut *kv,
        };
        let desk = Desk { line: &mut *line, ids: &mut *ids, block: &mut *block };
        let room = S::make_room::<Regions>;
        match open(&mut out, mounted, mapped, memory, desk, options, &mut settings, ram, room) {
            Ok(Closed::End) => return,
            Ok(Closed::Lost) => {}
            // A card that was pulled while it was opened is waited for above.
            Err(Some(ErrorKind::NoCard)) => {}
            Err(_) if again(&mut out, line) => {}
            Err(_) => return,
        }
    }
}

/// Asks whether to try again.
fn again(out: &mut Out<'_, impl Console, impl Clock>, line: &mut [u8]) -> bool {
    out.say(Event::Note("press Enter to try again, Ctrl-D to stop"));
    read_line(out.console, line) != Input::End
}

/// Opens what is mounted and serves prompts; `Err` with the kind of the device's error, if it was one.
#[allow(clippy::too_many_arguments, reason = "all of them are lent by `run`, once")]
fn open<D: BlockDevice>(
    out: &mut Out<'_, impl Console, impl Clock>,
    mounted: Mounted<D>,
    mapped: &[u8],
    memory: Memory<'_>,
    desk: Desk<'_>,
    options: &Options,
    settings: &mut Settings,
    ram: fn() -> Ram,
    make_room: fn(&mut Served<'_, D, Regions>) -> Made<D>,
) -> Result<Closed, Option<ErrorKind>> {
    let Mounted { mut device, pieces } = mounted;
    let Desk { line, ids, block } = desk;
    let fault = |out: &mut Out<'_, _, _>, doing, error: &dyn fmt::Display| {
        out.say(Event::Fault { doing, error });
    };
    let mut options = *options;
    let measured = match calibrate(&mut device, out.clock, memory.staging, CALIBRATION) {
        Ok(calibration) => {
            options.collapse_gap = calibration.collapse_gap();
            // From here on: with a command open, calibrating would have found no access time.
            if let Err(error) = device.stay_open(Some(options.collapse_gap)) {
                let kind = error.kind();
                fault(out, "open", &kind);
                return Err(Some(kind));
            }
            Ok(calibration)
        }
        Err(CalibrateError::Device { at, source }) => {
            let kind = source.kind();
            fault(out, "calibration", &CalibrateError::Device { at, source: kind });
            return Err(Some(kind));
        }
        Err(CalibrateError::TooSmall { .. }) => Err("# card  too small to be timed"),
        Err(CalibrateError::NoTime { .. }) => Err("# card  faster than the clock can tell"),
        Err(_) => Err("# card  not timed"),
    };
    let mut identity = Identity::of(&mut device, block).map_err(|error| {
        let kind = error.kind();
        fault(out, "open", &kind);
        Some(kind)
    })?;
    let device = Counted::new(device);
    let mut decoder =
        Decoder::open(device, mapped, memory, &options, Regions).map_err(|error| {
            let error = error.kinds();
            fault(out, "open", &error);
            match error {
                OpenError::Device { source, .. } => Some(source),
                _ => None,
            }
        })?;
    mark::region::<7>();
    let header = *decoder.header();
    out.say(Event::Open {
        model: &header.geometry.config,
        context: decoder.context(),
        mapped: mapped.len(),
        blocks: header.blocks,
        pieces,
    });
    out.say(Event::Plan(&decoder.plan()));
    match &measured {
        Ok(calibration) => out.say(Event::Card(calibration)),
        Err(note) => out.say(Event::Note(note)),
    }
    let Some(section) = decoder.image().tokenizer() else {
        fault(out, "open", &"the tokenizer of the image is not mapped");
        return Err(None);
    };
    let tokenizer = Tokenizer::parse(section).map_err(|error| {
        fault(out, "open", &error);
        None
    })?;
    if let Some(gap) = settings.gap {
        decoder.set_collapse_gap(gap);
    }
    loop {
        out.text("> ");
        match read_line(out.console, line) {
            Input::End => return Ok(Closed::End),
            Input::Unusable => out.say(Event::Note("the line is too long, or not UTF-8")),
            Input::Command(Command::Help) => out.say(Event::Note(HELP)),
            Input::Command(Command::Trace) => settings.trace = !settings.trace,
            Input::Command(Command::Tokens(count)) => settings.tokens = count,
            Input::Command(Command::Gap(gap)) => {
                settings.gap = Some(gap);
                decoder.set_collapse_gap(gap);
            }
            Input::Command(Command::Unknown) => out.say(Event::Note(HELP)),
            Input::Prompt(text) => {
                let story = Story { tokenizer: &tokenizer, text, settings: *settings, make_room };
                let told = tell(&mut decoder, &mut identity, out, story, ids);
                out.say(Event::Peak(&decoder.usage()));
                out.say(Event::Ram(ram()));
                if told == Err(Failed::Lost) {
                    return Ok(Closed::Lost);
                }
            }
        }
    }
}
