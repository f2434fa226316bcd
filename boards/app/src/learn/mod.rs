//! The main loop of a board that learns: a prompt gives a story, a text gives adapters, which are saved on the
//! card, and with which the next story is told.
//!
//! In: what a board has, where its image is and can be written behind it, memory, a [`Lesson`]. Out: text,
//! losses, adapters on the card: those that `ripple tune --in-order` makes of the same text, to the last bit.
//!
//! Lines that begin with `# ` tell what depends on the machine, as in [`run`](crate::run).

mod lesson;
mod memory;
mod train;

pub use lesson::{ALL, HALF_MIB, LearnPlan, Lesson, ONE_MIB, SEED};
pub use memory::{LearnMemory, SCRATCH};

use crate::console::{Console, type_line};
use crate::counted::Counted;
use crate::event::Event;
use crate::recover::Identity;
use crate::session::{Out, Port, Regions, Settings};
use crate::storage::{Mounted, Notes, Storage};
use crate::story::{Story, tell};
use lesson::StoryWords;
use memory::StoryMemory;
use ripple_hal::{BlockCount, BlockDevice, BlockIdx, Clock, DeviceError, WriteDevice};
use ripple_kernel::adapter::{Adapter, AdapterFile};
use ripple_kernel::image::Header;
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::{Decoder, MemoryPlan};
use ripple_tune::AdapterSlots;
use train::Course;

/// What the commands are.
pub const HELP: &str =
    "a prompt, or /learn, /window TOKENS, /steps COUNT, /tokens COUNT, /trace; Ctrl-D ends";

/// What is the same for all that is asked for.
struct Board<'m> {
    header: Header,
    mapped: &'m [u8],
    lesson: &'static Lesson,
    /// Where the room for adapters begins: behind the image, and the room for keys and values.
    first: BlockIdx,
}

impl Board<'_> {
    fn slots<D: BlockDevice>(&self, device: &mut D) -> Result<AdapterSlots, D::Error> {
        Ok(AdapterSlots::between(self.first, device.block_count()?))
    }
}

/// Runs until the console ends. `mapped`: the front of the image, with its tokenizer.
pub fn learn<C: Console, T: Clock, S: Notes>(
    port: Port<'_, C, T>,
    mut storage: S,
    mapped: &[u8],
    memory: LearnMemory<'_>,
    lesson: &'static Lesson,
) where
    for<'a> S::Device<'a>: WriteDevice,
{
    let Port { board, mut console, clock, ram } = port;
    let mut out = Out { console: &mut console, clock: &clock };
    out.say(Event::Start { board: board.name });
    let header = match Header::parse(mapped) {
        Ok(header) => header,
        Err(error) => return out.say(Event::Fault { doing: "open", error: &error }),
    };
    let room = board.options.spill_blocks(&header.geometry.config);
    let first = BlockIdx(0) + header.blocks + room;
    let board = Board { header, mapped, lesson, first };
    let plan = LearnPlan::for_model(&header.geometry, lesson);
    let LearnMemory { arena, staging, scratch, line, ids, block } = memory;
    let mut lent = Lent { arena, staging, scratch, ids, block };
    let (arena, staging) = (8 * lent.arena.len(), size_of_val(lent.staging));
    out.line(format_args!(
        "memory  arena {arena} + staging {staging} = {} bytes: {} tokens a step",
        arena + staging,
        plan.tokens
    ));
    let mut settings = Settings { trace: false, tokens: u32::MAX, gap: None };
    let mut course = Course { window: plan.tokens, steps: lesson.steps };
    loop {
        out.text("> ");
        let Some(line) = type_line(out.console, line) else { return };
        let Some(text) = line.text() else {
            out.say(Event::Note("the line is too long, or not UTF-8"));
            continue;
        };
        let Some(command) = text.strip_prefix('/') else {
            story(&mut out, &mut storage, &board, lent.again(), text, settings);
            out.say(Event::Ram(ram()));
            continue;
        };
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match (word, rest.trim_ascii().parse::<u32>().ok()) {
            ("learn", None) => {
                train::train(&mut out, &mut storage, &board, lent.again(), course);
                out.say(Event::Ram(ram()));
            }
            ("trace", None) => settings.trace = !settings.trace,
            ("tokens", Some(count)) => settings.tokens = count,
            ("window", Some(tokens)) => course.window = tokens,
            ("steps", Some(steps)) => course.steps = steps,
            _ => out.say(Event::Note(HELP)),
        }
    }
}

/// [`LearnMemory`] without the line.
struct Lent<'m> {
    arena: &'m mut [u64],
    staging: &'m mut [ripple_hal::Block],
    scratch: &'m mut [ripple_hal::Block; SCRATCH],
    ids: &'m mut [u32],
    block: &'m mut [ripple_hal::Block; 1],
}

impl Lent<'_> {
    /// The same, to be lent once more.
    fn again(&mut self) -> Lent<'_> {
        let Self { arena, staging, scratch, ids, block } = self;
        Lent { arena, staging, scratch, ids, block }
    }
}

/// Tells a story, with the adapters that were saved last, if there are any. What goes wrong is said.
fn story<S: Storage>(
    out: &mut Out<'_, impl Console, impl Clock>,
    storage: &mut S,
    board: &Board<'_>,
    memory: Lent<'_>,
    text: &str,
    settings: Settings,
) {
    let Lent { arena, staging, scratch, ids, block } = memory;
    let device = match storage.mount(staging) {
        Ok(Mounted { device, .. }) => device,
        Err(error) => return out.say(Event::Fault { doing: "mount", error: &error }),
    };
    let mut device = Counted::new(device);
    let Board { header, mapped, lesson, .. } = board;
    let plan = MemoryPlan::for_model(&header.geometry, &lesson.story);
    let words = StoryWords::of(&plan, &header.geometry, lesson);
    let StoryMemory { decoder: lent, file, inner } = memory::story(arena, staging, &words);
    let adapter = loaded(out, board, &mut device, file, scratch);
    let identity = Identity::of(&mut device, block);
    let mut identity = match identity {
        Ok(identity) => identity,
        Err(error) => return out.say(Event::Fault { doing: "open", error: &error.kind() }),
    };
    let mut decoder = match Decoder::open(device, mapped, lent, &lesson.story, Regions) {
        Ok(decoder) => decoder,
        Err(error) => return out.say(Event::Fault { doing: "open", error: &error.kinds() }),
    };
    if let Some(AdapterFile { shape, numbers, .. }) = adapter
        && let Err(error) = decoder.set_adapter(Some(Adapter { shape, numbers, inner }))
    {
        return out.say(Event::Fault { doing: "adapter", error: &error });
    }
    let section = decoder.image().tokenizer().unwrap_or(&[]);
    let tokenizer = match Tokenizer::parse(section) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return out.say(Event::Fault { doing: "open", error: &error }),
    };
    let make_room = S::make_room::<Regions>;
    let story = Story { tokenizer: &tokenizer, text, settings, make_room };
    // Why it could not be finished has been said.
    let _ = tell(&mut decoder, &mut identity, out, story, ids);
}

/// The adapters that were saved last, if there are any of this image.
fn loaded<'a, D: BlockDevice>(
    out: &mut Out<'_, impl Console, impl Clock>,
    board: &Board<'_>,
    device: &mut D,
    file: &'a mut [u32],
    scratch: &mut [ripple_hal::Block; SCRATCH],
) -> Option<AdapterFile<'a>> {
    let slots = match board.slots(device) {
        Ok(slots) => slots,
        Err(error) => {
            out.say(Event::Fault { doing: "adapter", error: &error.kind() });
            return None;
        }
    };
    match slots.load(device, &board.header, file, scratch) {
        Ok(Some((sequence, file))) => {
            let steps = file.steps;
            out.line(format_args!("adapter of {steps} steps, saved {sequence} times"));
            Some(file)
        }
        Ok(None) => {
            out.say(Event::Note("adapter none"));
            None
        }
        Err(error) => {
            out.say(Event::Fault { doing: "adapter", error: &error.kinds() });
            None
        }
    }
}

/// Blocks from the front of a card up to the room for adapters, and those of that room, for `lesson` on the
/// image with this `header`.
pub fn room(board: &crate::Board, header: &Header, lesson: &Lesson) -> (BlockCount, BlockCount) {
    let config = &header.geometry.config;
    let first = header.blocks + board.options.spill_blocks(config);
    (first, AdapterSlots::blocks_for(lesson.tune.adapter().numbers(config)))
}
