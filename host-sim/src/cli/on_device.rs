//! An image on a real device, on the command line: which, with how much memory, and what it turns out to be like.
//!
//! In: arguments. Out: [`Ready`], all but the decoder's memory; a summary of what was measured. Nothing here is
//! simulated.

use super::args::MachineArgs;
use super::summary::{bytes, ended};
use crate::device::{AtDepth, Held, OnDevice, Split, Through, split, weights};
use crate::import::chat_template::of_chat_bytes;
use crate::machine::memory::HostMemory;
use crate::model::chat::ChatTemplate;
use crate::run::generate::Generated;
use crate::run::measured::{Device, Measured, Span};
use anyhow::{Context, Result};
use clap::Args;
use ripple_hal::{BLOCK_BYTES, BlockCount};
use ripple_kernel::image::Header;
use ripple_kernel::{MemoryPlan, Options};
use std::path::{Path, PathBuf};

/// Blocks of staging on a real device: at least, at most. Eight collapse gaps, as on a card, as long as they are
/// between.
const LEAST_STAGING: u32 = 64;
const GOOD_STAGING: u32 = 1024;
const MOST_STAGING: u32 = 4096;
/// Memory for reads ahead, in bytes, at most: with less than that the fastest disks are never idle.
const MOST_AHEAD: u64 = 6 << 20;

/// A real device in the place of a simulated card.
#[derive(Args, Clone)]
pub struct DeviceArgs {
    /// Read the image from here with this machine's clock, nothing simulated: an image file, or a card as `ripple card`
    /// writes it (a card reader's device, or a copy). IMAGE may be left out; given too, it must be the same image.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["card", "core", "text"])]
    pub device: Option<PathBuf>,
    /// Memory for the model with --device, in bytes with K, M or G behind, or as a share of its weights: what is mapped,
    /// the cache and all that the kernel computes with. It goes first to what saves most reading. Without it, --map and
    /// --cache say.
    #[arg(long, value_name = "SHARE|BYTES", requires = "device", conflicts_with_all = ["map", "cache"])]
    pub ram: Option<Ram>,
    /// Read through the page cache of the system: faster where it holds the file, and no measure of the device.
    #[arg(long, requires = "device")]
    pub page_cache: bool,
}

/// How much memory there is for a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ram {
    /// As many times the bytes of its weights.
    Share(f64),
    /// So many bytes.
    Bytes(u64),
}

impl Ram {
    /// Bytes, where the weights have `weights`.
    pub fn of(self, weights: u64) -> u64 {
        match self {
            Self::Share(share) => (share * weights as f64) as u64,
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl std::str::FromStr for Ram {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("K", 10), ("M", 20), ("G", 30), ("B", 0)];
        let bytes = units.into_iter().find_map(|(unit, shift)| {
            let number = text.strip_suffix(unit)?.parse::<u64>().ok()?;
            number.checked_mul(1 << shift).map(Self::Bytes)
        });
        let share =
            || text.parse().ok().filter(|share| (0.0..=16.0).contains(share)).map(Self::Share);
        bytes.or_else(share).ok_or_else(|| {
            "expected bytes with K, M or G behind (512K, 64M, 2G), or a share of the weights (0.3)".to_owned()
        })
    }
}

/// An image that only waits for a decoder.
pub struct Ready {
    pub found: OnDevice,
    pub held: Held,
    pub options: Options,
    /// What is said of the device.
    pub device: Device,
}

impl Ready {
    /// Finds the image at `path`, and reads what is held of it. `ram`: see [`DeviceArgs::ram`]; `known`: what reads cost,
    /// where they were timed before.
    ///
    /// # Errors
    /// When it cannot be read, is no image, or does not fit `ram`.
    pub fn new(
        path: &Path,
        args: &DeviceArgs,
        machine: &MachineArgs,
        ram: Option<Ram>,
        known: Option<Option<AtDepth>>,
    ) -> Result<Self> {
        let mut found = OnDevice::find(path, !args.page_cache)?;
        let named = || path.display().to_string();
        let calibration = match known {
            Some(known) => known,
            None => found.calibrate().with_context(named)?,
        };
        let header = *found.header();
        let ram = ram.map(|ram| ram.of(weights(&header)));
        // A device as fast as memory has no gap to speak of: a read is never longer than staging.
        let gap = calibration.map_or(BlockCount(0), |calibration| calibration.collapse_gap());
        let gap = gap.min(BlockCount(MOST_STAGING));
        let mut options = machine.options(&header, || staging(gap, ram))?;
        if machine.gap.is_none() {
            options.collapse_gap = gap;
        }
        let staged = MemoryPlan::for_model(&header.geometry, &options).staging * BLOCK_BYTES;
        let ahead = ahead(staged as u64, ram);
        found.read_ahead(ahead, options.collapse_gap);
        let (mapped, options) = match ram {
            Some(ram) => {
                let Split { mapped, options } =
                    split(ram, (ahead + staged / 2) as u64, &header, &options, found.firing())?;
                (mapped, options)
            }
            None => (machine.map.bytes(&header), options),
        };
        let held = found.hold(mapped).with_context(named)?;
        let opened = found.opened();
        let device = Device {
            path: named(),
            through: opened.through(),
            sector_bytes: opened.sector() as u64,
            t0_us: calibration.map(|found| found.t0_us()),
            mb_per_s: calibration.map(|found| found.mb_per_s()),
            overlaps: calibration.is_some_and(|found| found.overlaps()),
            calibration_reads: calibration.map_or(0, |found| found.reads()),
            calibration_ms: calibration.map_or(0.0, |found| found.took().0 as f64 / 1e3),
            gap_blocks: options.collapse_gap.0,
            image_bytes: header.blocks.bytes(),
            mapped_bytes: held.mapped().len() as u64,
            read_ahead_bytes: (ahead + staged / 2) as u64,
            ram_bytes: ram,
        };
        Ok(Self { found, held, options, device })
    }

    /// The chat template that the image has, if it has one.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn chat_template(&mut self) -> Result<Option<ChatTemplate>> {
        let Some(chat) = Header::chat(self.found.front()) else { return Ok(None) };
        let start = BlockCount(chat.start.0).bytes();
        let bytes = self.found.bytes(start..start + u64::from(chat.bytes))?;
        of_chat_bytes(&chat, &bytes).map(Some)
    }

    /// Memory of exactly the planned size.
    pub fn memory(&self) -> HostMemory {
        HostMemory::new(&MemoryPlan::for_model(&self.found.header().geometry, &self.options))
    }
}

/// Memory for reads ahead, in bytes: an eighth of `ram` where that is more than what is staged.
fn ahead(staged: u64, ram: Option<u64>) -> usize {
    let room = ram.map_or(MOST_AHEAD, |ram| ram / 8);
    room.clamp(2 * staged, MOST_AHEAD.max(2 * staged)) as usize
}

/// Staging, both halves, that suits a device with this gap, in blocks: 512 KiB, more where a read costs more; a sixteenth
/// of `ram` at most.
fn staging(gap: BlockCount, ram: Option<u64>) -> BlockCount {
    let room = ram.map_or(u64::MAX, |ram| ram / 16 / BLOCK_BYTES as u64);
    let most = u32::try_from(room).unwrap_or(u32::MAX).clamp(LEAST_STAGING, MOST_STAGING);
    BlockCount(gap.0.saturating_mul(8).max(GOOD_STAGING).min(most))
}

/// A few lines that say it all; every number in them was measured or counted.
pub fn summary(measured: &Measured, generated: &Generated, batch: u32) -> String {
    let Measured { device, prompt, generation, .. } = measured;
    let cost = match (device.t0_us, device.mb_per_s) {
        (Some(t0), Some(speed)) => format!(
            "{t0:.0} us + {speed:.1} MB/s, {} reads in {:.0} ms",
            device.calibration_reads, device.calibration_ms
        ),
        _ => "reads take no time that this machine's clock shows".to_owned(),
    };
    let through = match device.through {
        Through::Direct => {
            format!("{} in sectors of {} bytes", device.through.words(), device.sector_bytes)
        }
        through => through.words().to_owned(),
    };
    let span = |name: &str, span: &Span| {
        format!(
            "  {name} {} tokens in {:.2} s: {:.2} tokens a second; {} a token in {:.1} reads, {} with what was read \
             along; waited for {:.0} % of the time",
            span.tokens,
            span.seconds,
            span.tokens_per_second,
            bytes(span.bytes as f64 / span.tokens.max(1) as f64),
            span.reads as f64 / span.tokens.max(1) as f64,
            bytes(span.device_bytes as f64 / span.tokens.max(1) as f64),
            100.0 * span.waited_seconds / span.seconds.max(1e-9)
        )
    };
    let mut lines = vec![
        format!("measured   {}, {through}", device.path),
        format!("  device   {cost}; gap {} blocks", device.gap_blocks),
        span("prompt  ", prompt),
        span("text    ", generation) + ended(generated.end),
    ];
    let drafts = match generated.drafted {
        0 => String::new(),
        drafted => format!(
            "; {:.2} tokens a pass after it, {} of {drafted} drafted were right",
            generation.tokens as f64 / f64::from(generated.passes.max(1)),
            generated.accepted
        ),
    };
    let batch = batch.min(generated.prompt.len() as u32);
    lines.push(format!("  passes   of {batch} tokens in the prompt{drafts}"));
    lines.push(format!("  neurons  {:.0} % of the active were in RAM", measured.hit_rate * 100.0));
    lines.push(format!(
        "  mapped   {} of the image's {}, read once",
        bytes(device.mapped_bytes as f64),
        bytes(device.image_bytes as f64)
    ));
    let regions = measured
        .memory
        .iter()
        .map(|region| format!("{} {}", region.region, bytes(f64::from(region.planned))));
    let regions = regions.collect::<Vec<_>>().join(" + ");
    lines.push(format!(
        "  RAM      {} = mapped {} + {regions} + read ahead {}",
        bytes(measured.ram_bytes() as f64),
        bytes(device.mapped_bytes as f64),
        bytes(device.read_ahead_bytes as f64)
    ));
    if let Some(peak) = measured.peak_resident_bytes {
        lines.push(format!("           {} of this process at most", bytes(peak as f64)));
    }
    lines.join("\n") + "\n"
}
