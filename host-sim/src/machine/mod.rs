//! Runs an image on a simulated card: the kernel as a board would run it, on a virtual clock.
//!
//! In: an image, a card preset, a core, what is mapped. Out: a decoder, and what a dense engine costs.
//! Time is simulated: reads cost what the card's model says, computation what the core's says.

pub mod adapter;
mod card;
mod clock;
mod contents;
mod damage;
mod image;
pub mod memory;
pub mod meter;
pub mod needed;
pub mod numbers;
pub mod pages;

use card::Open;
pub use card::{SimCard, Stats};
pub use clock::VirtualClock;
pub use contents::{Contents, WithSpare};
pub(crate) use damage::damaged;
pub use image::ImageBytes;

use crate::cost::{Preset, Timing};

use crate::process::failure::bad_input;
use anyhow::{Result, anyhow};
use clap::ValueEnum;
use memory::HostMemory;
use meter::Meter;
use needed::{Needed, needed};
use ripple_hal::{
    BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, Calibration, Micros, calibrate,
};
use ripple_kernel::image::{Geometry, Header, Image, ImageError, SectionKind};
use ripple_kernel::read::collapse::collapse;
use ripple_kernel::{Decoder, MemoryPlan, OpenError, Options};
use serde::Serialize;

/// A core, as far as the virtual clock needs to know it.
///
/// The time of a multiply-accumulate is the guest instructions that one takes in the kernel's dot product
/// of 256 numbers for that core under QEMU, one cycle each: an estimate of the core, not a measurement of
/// it. The instructions are those of `boards/kernels/measured.csv`, to which a test holds them; that of
/// the Cortex-A53 is not measured there, and a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Core {
    /// Cortex-M3 at 50 MHz, 1.707 instructions.
    CortexM3,
    /// Cortex-M4F at 64 MHz (nRF52840), 1.277 instructions.
    CortexM4,
    /// Cortex-M33 at 150 MHz (RP2350), 1.277 instructions: the Cortex-M4's loop.
    CortexM33,
    /// Cortex-M7 at 480 MHz (STM32H7), 1.277 instructions: the Cortex-M4's loop.
    CortexM7,
    /// Cortex-M55 with Helium at 160 MHz, 0.156 instructions.
    CortexM55,
    /// Cortex-A7 at 1.2 GHz, 1.277 instructions: the Cortex-M4's loop.
    CortexA7,
    /// Cortex-A53 at 1.2 GHz, 0.5 instructions.
    CortexA53,
}

impl Core {
    /// Every core.
    pub const ALL: [Self; 7] = [
        Self::CortexM3,
        Self::CortexM4,
        Self::CortexM33,
        Self::CortexM7,
        Self::CortexM55,
        Self::CortexA7,
        Self::CortexA53,
    ];

    /// What it is called on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Its clock in MHz, and thousandths of an instruction for a multiply-accumulate.
    pub const fn speed(self) -> (u64, u64) {
        match self {
            Self::CortexM3 => (50, 1707),
            Self::CortexM4 => (64, 1277),
            Self::CortexM33 => (150, 1277),
            Self::CortexM7 => (480, 1277),
            Self::CortexM55 => (160, 156),
            Self::CortexA7 => (1200, 1277),
            Self::CortexA53 => (1200, 500),
        }
    }

    /// Picoseconds of one multiply-accumulate.
    pub const fn picoseconds(self) -> u64 {
        let (megahertz, instructions) = self.speed();
        (instructions * 1000 + megahertz / 2) / megahertz
    }
}

/// How much of the image is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapped {
    /// Nothing: everything crosses the bus.
    None,
    /// All but the FFN.
    Dense,
    /// Everything: nothing crosses the bus.
    All,
    /// This many bytes.
    Bytes(u64),
}

impl std::str::FromStr for Mapped {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "dense" => Ok(Self::Dense),
            "all" => Ok(Self::All),
            bytes => bytes.parse().map(Self::Bytes).map_err(|_| {
                format!("expected `none`, `dense`, `all` or a number of bytes, found `{bytes}`")
            }),
        }
    }
}

impl Mapped {
    /// The bytes that it stands for, of an image with this header.
    pub fn bytes(self, header: &Header) -> u64 {
        match self {
            Self::None => 0,
            Self::All => header.blocks.bytes(),
            Self::Dense => u64::from(header.section(SectionKind::Ffn).start.0) * BLOCK_BYTES as u64,
            Self::Bytes(bytes) => bytes.min(header.blocks.bytes()),
        }
    }

    /// The prefix of `image` that it stands for.
    pub fn of<'m>(self, header: &Header, image: &'m [u8]) -> &'m [u8] {
        let bytes = if self == Self::All { image.len() as u64 } else { self.bytes(header) };
        &image[..usize::try_from(bytes).unwrap_or(usize::MAX).min(image.len())]
    }
}

/// What an image is run on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The card.
    pub preset: &'static Preset,
    /// The core.
    pub core: Core,
    /// What is mapped.
    pub mapped: Mapped,
    /// Whether reads go on with the command of the one before, across the collapse gap.
    pub stays_open: bool,
    /// What the kernel is told.
    pub options: Options,
}

/// A decoder on a simulated card.
pub type SimDecoder<'m> = Decoder<'m, SimCard<WithSpare<ImageBytes>>, Meter>;

/// Reads the header of an image in memory.
///
/// # Errors
/// When it is not an image.
pub fn header(image: &[u8]) -> Result<Header> {
    let header = Header::parse(&image[..image.len().min(64 * BLOCK_BYTES)]);
    header.map_err(|error| {
        bad_input(match error {
            ImageError::Magic { .. } | ImageError::HeaderLength { .. } => {
                anyhow!("{error}; expected an image as `ripple pack` writes it")
            }
            error => anyhow!("{error}"),
        })
    })
}

/// The collapse gap that is exact for an affine card: `t0 * BW`, in whole blocks.
pub fn exact_gap(preset: &Preset) -> BlockCount {
    BlockCount((preset.timing().break_even_gap_bytes() / BLOCK_BYTES as u64) as u32)
}

/// What firmware finds out about the card when it boots: it lends `staging` blocks and 100 ms. `None`
/// where that is too little to tell anything.
pub fn calibrated(preset: &Preset, staging: usize) -> Option<Calibration> {
    // What is on the card does not matter; it holds a few of the longest reads.
    let clock = VirtualClock::new();
    let mut card = SimCard::new(vec![0u8; 4 << 20], preset.timing(), clock.clone());
    let mut scratch = vec![Block::ZERO; staging.min(2048)];
    calibrate(&mut card, &clock, &mut scratch, Micros(100_000)).ok()
}

/// Staging, both halves, that suits a card: eight collapse gaps, so that a command is at most a
/// fifth of a longest read, but 64 to 256 blocks and no more than two layers.
pub fn staging(preset: &Preset, layer: BlockCount) -> BlockCount {
    let blocks = exact_gap(preset).0.saturating_mul(8).clamp(64, 256);
    BlockCount(blocks.min(layer.0.saturating_add(1).saturating_mul(2)))
}

/// Staging, both halves, and the page buffer, where a card that stays open has to share `staging` between them: a long
/// read is one command there, however short the halves are.
pub fn shared_staging(staging: BlockCount) -> (BlockCount, BlockCount) {
    let halves = BlockCount((staging.0 / 8).max(16).min(staging.0));
    (halves, BlockCount(staging.0 - halves.0))
}

/// The collapse gap that firmware sets by its calibration; the exact one where there is none.
pub fn calibrated_gap(preset: &Preset, geometry: &Geometry, options: &Options) -> BlockCount {
    collapse_gap(preset, BlockCount(MemoryPlan::for_model(geometry, options).staging as u32))
}

/// The same, where so much `staging` is lent to calibration.
pub fn collapse_gap(preset: &Preset, staging: BlockCount) -> BlockCount {
    let found = calibrated(preset, staging.0 as usize);
    found.map_or_else(|| exact_gap(preset), |calibration| calibration.collapse_gap())
}

/// Refuses an image that is cut short: what it says of itself can ask for any memory.
fn whole(image: &[u8], header: &Header) -> Result<()> {
    let found = BlockCount::for_bytes(image.len() as u64);
    if found < header.blocks {
        let error = ImageError::Truncated { needed: header.blocks, found };
        return Err(bad_input(anyhow!("{error}")));
    }
    Ok(())
}

/// A card with `image` on it, and behind it the room that a decoder with `options` may write.
///
/// # Errors
/// When the image is cut short.
pub fn card(
    image: &ImageBytes,
    header: &Header,
    options: &Options,
    preset: &Preset,
    clock: VirtualClock,
) -> Result<SimCard<WithSpare<ImageBytes>>> {
    whole(image, header)?;
    let room = options.spill_blocks(&header.geometry.config);
    Ok(SimCard::new(WithSpare::new(image.clone(), room), preset.timing(), clock))
}

impl Machine {
    fn gap(&self) -> Option<BlockCount> {
        self.stays_open.then_some(self.options.collapse_gap)
    }

    /// Memory of exactly the planned size for `image`, whose header is `header`.
    ///
    /// # Errors
    /// When the image is cut short: nothing is allocated then.
    pub fn memory(&self, image: &[u8], header: &Header) -> Result<HostMemory> {
        whole(image, header)?;
        Ok(HostMemory::new(&MemoryPlan::for_model(&header.geometry, &self.options)))
    }

    /// Opens `image` on a card of its own.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn open<'m>(
        &self,
        image: &'m ImageBytes,
        memory: &'m mut HostMemory,
    ) -> Result<SimDecoder<'m>> {
        let clock = VirtualClock::new();
        let header = header(image)?;
        let mut card = self::card(image, &header, &self.options, self.preset, clock.clone())?;
        card.stay_open(self.gap())?;
        let mapped = self.mapped.of(&header, image);
        // The kernel checks what is mapped. The host reads the tokenizer in place even where it is not.
        let tokenizer_end =
            header.section(SectionKind::LayerVectors).start.0 as usize * BLOCK_BYTES;
        if self.options.verify && mapped.len() < tokenizer_end {
            let front = Image::new(header, &image[..tokenizer_end]);
            front.verify_mapped().map_err(|error| bad_input(anyhow!("{error}")))?;
        }
        numbers::check(&header, image, &numbers::VECTORS)?;
        let meter = Meter::new(clock, self.core).watching(card.total());
        let (memory, adapter) = memory.lend_all();
        let mut decoder = Decoder::open(card, mapped, memory, &self.options, meter).map_err(
            |error| match error {
                OpenError::Corrupt { table, slot } => damaged(&header, table, slot),
                OpenError::Image(error) => bad_input(anyhow!("{error}")),
                error => anyhow!("{error}"),
            },
        )?;
        decoder.set_adapter(adapter).map_err(adapter::refused)?;
        Ok(decoder)
    }

    /// Streaming every weight that a pass needs and that is neither mapped nor held: what an
    /// engine does that knows nothing of sparsity, on the same card and with the same memory. It
    /// holds as many bundles as the neuron cache has room for, the first ones. Where reads go on with a command, so do its.
    ///
    /// `logits`: share of the passes that compute logits. The rows of the tokens and of their positions
    /// are left out.
    ///
    /// # Errors
    /// When `image` is not one.
    pub fn dense(&self, image: &[u8], logits: f64) -> Result<Dense> {
        let header = header(image)?;
        let geometry = &header.geometry;
        let view = Image::new(header, self.mapped.of(&header, image));
        let plan = MemoryPlan::for_model(geometry, &self.options);
        let mut held = 4 * plan.cache as u32 / geometry.bundle_layout().stride();
        let mut dense = Dense::default();
        let mut stream = Stream { timing: self.preset.timing(), gap: self.gap(), open: None };
        for kind in SectionKind::ALL {
            let share = match needed(geometry, kind) {
                Needed::Nothing | Needed::Row => 0.0,
                Needed::ForLogits => logits,
                Needed::Whole => 1.0,
            };
            if share == 0.0 {
                continue;
            }
            for layer in 0..header.parts(kind) {
                let table = view.table(kind, layer);
                let mut rows = table.mapped_records..table.count;
                if kind == SectionKind::Ffn {
                    let here = held.min(rows.end - rows.start);
                    rows.start += here;
                    held -= here;
                }
                let half = BlockCount((plan.staging / 2) as u32);
                for extent in collapse(rows, table.layout.stride(), BlockCount(0), half) {
                    let read = stream.read(table.start + BlockCount(extent.start), extent.blocks);
                    dense.add(share, read);
                }
            }
        }
        Ok(dense)
    }
}

/// Reads that ascend, as a card counts them.
pub(crate) struct Stream {
    pub timing: Timing,
    /// Across which a read goes on with the command of the one before, if it does.
    pub gap: Option<BlockCount>,
    pub open: Option<Open>,
}

impl Stream {
    /// What one more costs.
    pub fn read(&mut self, start: BlockIdx, count: BlockCount) -> Stats {
        let (read, open) = Open::go_on(self.open, self.gap, &self.timing, start, count);
        self.open = Some(open).filter(|_| self.gap.is_some());
        read
    }
}

/// The cost of streaming everything: once, or by the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Dense {
    /// Read commands.
    pub reads: f64,
    /// Bytes.
    pub bytes: f64,
    /// Simulated nanoseconds.
    pub io_ns: f64,
}

impl Dense {
    /// The same `factor` times.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        let Self { reads, bytes, io_ns } = self;
        Self { reads: reads * factor, bytes: bytes * factor, io_ns: io_ns * factor }
    }

    /// Adds `count` reads of one kind.
    pub(crate) fn add(&mut self, count: f64, read: Stats) {
        self.reads += count * read.reads as f64;
        self.bytes += count * read.bytes() as f64;
        self.io_ns += count * read.busy_ps as f64 / 1000.0;
    }
}
