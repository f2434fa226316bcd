//! What a run on a real device did, in numbers: measured by this machine's clock, or counted.
//!
//! In: a decoder after a run, and what was read when. Out: [`Measured`]. Nothing here is simulated.

use super::report::RegionUse;
use crate::device::{RealDecoder, Through, Traffic};
use serde::Serialize;
use std::time::Duration;

/// The device, and what of the image is held in memory.
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// Where it is.
    pub path: String,
    /// How it is read.
    pub through: Through,
    /// What reads are multiples of; 1 through the page cache.
    pub sector_bytes: u64,
    /// Access time that calibration found, in microseconds; null where reads take no time.
    pub t0_us: Option<f64>,
    /// And bandwidth after it.
    pub mb_per_s: Option<f64>,
    /// Whether the device reads while this machine computes.
    pub overlaps: bool,
    /// Reads that calibration took, and milliseconds.
    pub calibration_reads: u32,
    /// See there.
    pub calibration_ms: f64,
    /// Blocks of the collapse gap.
    pub gap_blocks: u32,
    /// Bytes of the image.
    pub image_bytes: u64,
    /// Of these, held in memory from the start on.
    pub mapped_bytes: u64,
    /// Memory for reads before they are asked for.
    pub read_ahead_bytes: u64,
    /// Memory that the user gave; null where the parts were given.
    pub ram_bytes: Option<u64>,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Span {
    /// Tokens of the prompt, or generated.
    pub tokens: u64,
    /// Seconds that they took.
    pub seconds: f64,
    /// Tokens a second; 0 where there were none.
    pub tokens_per_second: f64,
    /// Reads that the kernel asked for.
    pub reads: u64,
    /// Bytes that it asked for.
    pub bytes: u64,
    /// Bytes that the device was asked for: whole sectors, and what was read ahead, used or not.
    pub device_bytes: u64,
    /// Of the seconds, those in which there was nothing to do but to wait for the device.
    pub waited_seconds: f64,
}

impl Span {
    /// `tokens` that took `seconds`, and what was read meanwhile.
    pub fn new(tokens: u64, seconds: f64, traffic: Traffic) -> Self {
        let Traffic { reads, bytes, device_bytes, waited } = traffic;
        Self {
            tokens,
            seconds,
            tokens_per_second: if tokens == 0 { 0.0 } else { tokens as f64 / seconds.max(1e-9) },
            reads,
            bytes,
            device_bytes,
            waited_seconds: Duration::as_secs_f64(&waited),
        }
    }
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Where it was read from.
    pub device: Device,
    /// Until the prompt was read.
    pub prompt: Span,
    /// From there to the end.
    pub generation: Span,
    /// Share of the active neurons that were in memory.
    pub hit_rate: f64,
    /// Bytes of each region, planned and at most used.
    pub memory: Vec<RegionUse>,
    /// The most memory that this process ever had; null where the system does not say.
    pub peak_resident_bytes: Option<u64>,
}

impl Measured {
    /// The report of a decoder that has done both parts since its counts were reset.
    pub fn new(
        decoder: &mut RealDecoder<'_>,
        device: Device,
        prompt: Span,
        generation: Span,
    ) -> Self {
        let (hits, misses) = decoder.probe_mut().lookups();
        Self {
            device,
            prompt,
            generation,
            hit_rate: hits as f64 / (hits + misses).max(1) as f64,
            memory: decoder.usage().map(RegionUse::from).to_vec(),
            peak_resident_bytes: peak_resident_bytes(),
        }
    }

    /// Memory that the model takes: what is held, all regions, reads ahead.
    pub fn ram_bytes(&self) -> u64 {
        let regions: u64 = self.memory.iter().map(|region| u64::from(region.planned)).sum();
        self.device.mapped_bytes + regions + self.device.read_ahead_bytes
    }
}

/// `VmHWM` of Linux, proc(5).
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
