//! What the main loop has to say, as one type: text by `Display`, or a `defmt` frame.
//!
//! In: numbers. Out: one line, or a few. What depends on the machine, and not on model, image and
//! prompt alone, stands on lines that begin with `# `.

use crate::counted::Traffic;
use core::fmt;
use ripple_hal::{BlockCount, Calibration, Micros};
use ripple_kernel::{MemoryPlan, ModelConfig, Region, Usage};

/// RAM of a board, as its linker and its stack paint tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ram {
    /// Bytes of `.data` and `.bss`.
    pub statics: u32,
    /// Bytes of stack that were ever used.
    pub stack: u32,
    /// Bytes of stack there are.
    pub stack_size: u32,
}

/// One thing the main loop has to say.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// The board has started.
    Start {
        /// Its name.
        board: &'a str,
    },
    /// An image was opened.
    Open {
        /// Its model.
        model: &'a ModelConfig,
        /// Positions the board has room for.
        context: u32,
        /// Bytes of the image that are mapped.
        mapped: usize,
        /// Blocks of the image.
        blocks: BlockCount,
        /// Pieces of the file that holds it.
        pieces: usize,
    },
    /// Memory by region.
    Plan(&'a MemoryPlan),
    /// What reading from the card costs.
    Card(&'a Calibration),
    /// Why that is not known, or why something was refused, or failed.
    Fault {
        /// What was done.
        doing: &'static str,
        /// The error.
        error: &'a dyn fmt::Display,
    },
    /// The same is done again.
    Retry {
        /// How often it was.
        attempt: u32,
    },
    /// The card is gone; its return is waited for.
    Waiting,
    /// It is back, and holds the same image.
    Back,
    /// The prompt so far.
    Prompt {
        /// Tokens fed.
        done: usize,
        /// Tokens in all.
        all: usize,
        /// What was read for it.
        traffic: Traffic,
    },
    /// A step, when they are traced.
    Step {
        /// Its position.
        position: u32,
        /// The token chosen.
        token: u32,
        /// CRC-32 of the logits it was chosen by.
        crc: u32,
        /// The token's bytes.
        bytes: &'a [u8],
    },
    /// A text has ended.
    End {
        /// Why.
        why: &'static str,
        /// Tokens generated.
        tokens: u32,
        /// What was read for them.
        traffic: Traffic,
    },
    /// How long that took.
    Time {
        /// Until the first token.
        prompt: Micros,
        /// The tokens after it.
        rest: Micros,
        /// How many.
        tokens: u32,
    },
    /// The most that was ever used of each region.
    Peak(&'a [Usage; 5]),
    /// The most RAM that was ever used.
    Ram(Ram),
    /// Something to know.
    Note(&'static str),
}

/// `1234` as `1,234`.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n @ 0..1000 => write!(f, "{n}"),
            n => write!(f, "{},{:03}", Self(n / 1000), n % 1000),
        }
    }
}

/// Microseconds as seconds with three decimals.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = (self.0 + 500) / 1000;
        write!(f, "{}.{:03} s", ms / 1000, ms % 1000)
    }
}

/// Bytes of a token, quotes around it and what is not printable escaped.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Start { board } => write!(f, "ripple on {board}"),
            Self::Open { model, context, mapped, blocks, pieces } => write!(
                f,
                "model   {} layers of {} neurons, dim {}, vocab {}, context {context} of {}\r\n\
                 image   {} bytes in {pieces} piece{}, {} mapped",
                model.layers,
                model.neurons,
                model.dim,
                model.vocab,
                model.context,
                Grouped(blocks.bytes()),
                if pieces == 1 { "" } else { "s" },
                Grouped(mapped as u64),
            ),
            Self::Plan(plan) => {
                write!(f, "memory ")?;
                for region in Region::ALL {
                    write!(f, " {region} {}", Grouped(plan.region_bytes(region) as u64))?;
                }
                write!(f, " = {} bytes", Grouped(plan.bytes() as u64))
            }
            Self::Card(card) => write!(
                f,
                "# card  {} us + {} KB/s, {} reads, {}: gap {} blocks{}",
                (card.t0_ns() + 500) / 1000,
                Grouped(card.bytes_per_second() / 1000),
                card.reads(),
                Seconds(card.took().0),
                card.collapse_gap().0,
                if card.overlaps() { ", overlaps" } else { "" },
            ),
            Self::Fault { doing, error } => write!(f, "error   {doing}: {error}"),
            Self::Retry { attempt } => write!(f, "retry   {attempt}"),
            Self::Waiting => f.write_str("waiting for the card"),
            Self::Back => f.write_str("the card is back"),
            Self::Prompt { done, all, traffic } => write!(
                f,
                "prompt  {done}/{all} tokens, {} reads, {} bytes",
                Grouped(traffic.reads),
                Grouped(traffic.bytes)
            ),
            Self::Step { position, token, crc, bytes } => {
                write!(f, "{position:5} {token:6} {crc:08x} {}", Quoted(bytes))
            }
            Self::End { why, tokens, traffic } => write!(
                f,
                "end     {why}: {tokens} tokens, {} reads, {} bytes",
                Grouped(traffic.reads),
                Grouped(traffic.bytes)
            ),
            Self::Time { prompt, rest, tokens } => write!(
                f,
                "# time  {} for the prompt, {} a token",
                Seconds(prompt.0),
                Seconds(rest.0 / u64::from(tokens.max(1)))
            ),
            Self::Peak(usage) => {
                write!(f, "peak   ")?;
                for usage in usage {
                    let Usage { region, peak, .. } = usage;
                    write!(f, " {region} {}", Grouped((*peak).into()))?;
                }
                Ok(())
            }
            Self::Ram(ram) => write!(
                f,
                "# ram   {} static + {} stack (of {}) = {} bytes",
                Grouped(ram.statics.into()),
                Grouped(ram.stack.into()),
                Grouped(ram.stack_size.into()),
                Grouped(u64::from(ram.statics) + u64::from(ram.stack))
            ),
            Self::Note(note) => f.write_str(note),
        }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Event<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match *self {
            Self::Start { board } => defmt::write!(f, "ripple on {=str}", board),
            Self::Open { model, context, mapped, blocks, pieces } => defmt::write!(
                f,
                "open {} context {} mapped {} of {} in {} pieces",
                model,
                context,
                mapped,
                blocks,
                pieces
            ),
            Self::Plan(plan) => defmt::write!(f, "{}", plan),
            Self::Card(card) => defmt::write!(f, "{}", card),
            Self::Fault { doing, error } => {
                defmt::write!(f, "error {=str}: {}", doing, defmt::Display2Format(error))
            }
            Self::Retry { attempt } => defmt::write!(f, "retry {}", attempt),
            Self::Waiting => defmt::write!(f, "waiting for the card"),
            Self::Back => defmt::write!(f, "the card is back"),
            Self::Prompt { done, all, traffic } => {
                defmt::write!(f, "prompt {}/{} {}", done, all, traffic)
            }
            Self::Step { position, token, crc, bytes } => {
                defmt::write!(f, "{} {} {=u32:08x} {=[u8]:a}", position, token, crc, bytes)
            }
            Self::End { why, tokens, traffic } => {
                defmt::write!(f, "end {=str}: {} tokens {}", why, tokens, traffic)
            }
            Self::Time { prompt, rest, tokens } => {
                defmt::write!(f, "time: prompt {}, {} for {} tokens", prompt, rest, tokens)
            }
            Self::Peak(usage) => defmt::write!(f, "peak {}", usage),
            Self::Ram(ram) => defmt::write!(f, "{}", ram),
            Self::Note(note) => defmt::write!(f, "{=str}", note),
        }
    }
}
