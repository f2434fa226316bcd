//! Images for boards, and the boards' main loop on this machine.

use super::source::open_image;
use crate::cost::Preset;
use crate::machine::memory::HostMemory;
use crate::machine::{ImageBytes, Mapped, SimCard, VirtualClock, WithSpare, card, header};
use crate::model::Model;
use crate::predictor::{Format, PredictorChoice};
use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use embedded_io::{ErrorType, Read, Write};
use ripple_app::learn::{self, LearnMemory, LearnPlan, Lesson, SCRATCH};
use ripple_app::{Board, Budget, Desk, Port, Ram, Raw, Spilling, board};
use ripple_hal::{Block, BlockCount, Clock, Micros};
use ripple_kernel::image::Quants;
use std::path::PathBuf;
use std::time::Instant;

/// Parses the name of a board.
pub fn board_parser() -> impl TypedValueParser<Value = &'static Board> {
    PossibleValuesParser::new(board::ALL.map(|board| board.name))
        .try_map(|name| board::by_name(&name).ok_or_else(|| format!("no board is called `{name}`")))
}

/// The share of all bundles that the cache of `board` holds.
pub fn cache_share(model: &Model, quants: Quants, board: &Board) -> f64 {
    let geometry = Format::new(&PredictorChoice::Exact, quants).geometry(model);
    let c = &geometry.config;
    let ffn = f64::from(c.neurons * c.layers) * f64::from(geometry.bundle_layout().stride());
    (f64::from(board.options.cache_bytes) / ffn).min(1.0)
}

/// Run a board's main loop on this machine: prompts from standard input, text to standard output.
///
/// Token ids, the CRC of every step's logits (`/trace`) and, at a given collapse gap (`/gap N`), the
/// reads are those of the board.
#[derive(Args)]
#[command(after_help = "Example:\n  printf '/trace\\n/gap 2\\nOne day,\\n' | \
                        ripple console story-nano.img --board lm3s6965evb")]
pub struct ConsoleArgs {
    /// Image, as `ripple image` or `ripple pack` writes it.
    image: PathBuf,
    /// Board whose memory, options and name are used.
    #[arg(long, value_parser = board_parser())]
    board: &'static Board,
    /// Keep all keys and values in memory, also those that the board moves to its card.
    #[arg(long)]
    in_memory: bool,
    /// Run the loop of firmware that learns, with this lesson; see `boards/README.md`. There is room for two
    /// adapters behind the image.
    #[arg(long, value_name = "LESSON", conflicts_with = "in_memory", value_parser = lesson_parser())]
    learn: Option<&'static Lesson>,
}

/// Parses the name of a lesson.
fn lesson_parser() -> impl TypedValueParser<Value = &'static Lesson> {
    PossibleValuesParser::new(learn::ALL.map(|lesson| lesson.name))
        .try_map(|name| Lesson::by_name(&name).ok_or_else(|| format!("no lesson `{name}`")))
}

impl ConsoleArgs {
    pub fn run(&self) -> Result<()> {
        let image = open_image(&self.image)?;
        let name = || self.image.display().to_string();
        let console = StdConsole(std::io::stdin(), std::io::stdout());
        if let Some(lesson) = self.learn {
            let clock = HostClock(Instant::now());
            return learn_on(self.board, lesson, &image, console, clock).with_context(name);
        }
        let mut board = *self.board;
        if self.in_memory {
            board.options.context += std::mem::take(&mut board.options.spill);
        }
        console_on(&board, &image, console, HostClock(Instant::now())).with_context(name)
    }
}

/// Runs the main loop of `board` on `image`, all but the FFN mapped, with the room behind it that the
/// board writes.
pub fn console_on(
    board: &Board,
    image: &ImageBytes,
    console: impl ripple_app::Console,
    clock: impl Clock,
) -> Result<()> {
    let header = header(image)?;
    let preset = Preset::by_name(board.card)?;
    let card = card(image, &header, &board.options, preset, VirtualClock::new())?;
    let budget = Budget::of(board, &header);
    let mut memory = HostMemory::new(&budget.plan);
    let (mut line, mut ids) = (vec![0; board.line], vec![0; board.line + 1]);
    let mut block = [Block::ZERO];
    let desk = Desk { line: &mut line, ids: &mut ids, block: &mut block };
    let mapped = Mapped::Dense.of(&header, image);
    let port = Port { board, console, clock, ram: Ram::default };
    ripple_app::run(port, Spilling(Raw(card)), mapped, memory.lend(), desk, &board.options);
    Ok(())
}

/// Most tokens of a text that is learnt from.
const TEXT_TOKENS: usize = 16 * 1024;

/// Runs the loop of a `board` that learns `lesson`, on `image`.
fn learn_on(
    board: &Board,
    lesson: &'static Lesson,
    image: &ImageBytes,
    console: impl ripple_app::Console,
    clock: impl Clock,
) -> Result<()> {
    let header = header(image)?;
    let (first, room) = learn::room(board, &header, lesson);
    let spare = BlockCount(first.0 - header.blocks.0 + room.0);
    let timing = Preset::by_name(board.card)?.timing();
    let card = SimCard::new(WithSpare::new(image.clone(), spare), timing, VirtualClock::new());
    let plan = LearnPlan::for_model(&header.geometry, lesson);
    let memory = LearnMemory {
        arena: &mut vec![0; plan.arena],
        staging: &mut vec![Block::ZERO; plan.staging],
        scratch: &mut [Block::ZERO; SCRATCH],
        line: &mut vec![0; board.line],
        ids: &mut vec![0; TEXT_TOKENS],
        block: &mut [Block::ZERO],
    };
    let port = Port { board, console, clock, ram: Ram::default };
    learn::learn(port, Raw(card), Mapped::Dense.of(&header, image), memory, lesson);
    Ok(())
}

/// The terminal.
struct StdConsole(std::io::Stdin, std::io::Stdout);

impl ErrorType for StdConsole {
    type Error = std::io::Error;
}

impl Read for StdConsole {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        std::io::Read::read(&mut self.0, buffer)
    }
}

impl Write for StdConsole {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::Write::write(&mut self.1, bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::Write::flush(&mut self.1)
    }
}

/// This machine's clock.
struct HostClock(Instant);

impl Clock for HostClock {
    fn now(&self) -> Micros {
        Micros(self.0.elapsed().as_micros() as u64)
    }
}
