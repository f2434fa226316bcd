//! An observer of the decoder: `probe IMAGE` counts what each stage reads and computes.

mod common;

use embedded_io_adapters::std::FromStd;
use ripple_hal::Stream;
use ripple_kernel::read::collapse::Extent;
use ripple_kernel::{Probe, Stage};
use std::error::Error;
use std::fs::File;
use std::process::ExitCode;

/// Counts of one stage.
#[derive(Clone, Copy, Default)]
struct Count {
    entered: u32,
    reads: u32,
    blocks: u32,
    computed: u64,
}

/// Counts of all stages, in the order of [`Stage::ALL`], and of the neurons.
#[derive(Default)]
struct Counts {
    stages: [Count; Stage::ALL.len()],
    active: usize,
    hits: u32,
    misses: u32,
}

// Every method does nothing unless it is overridden, and then costs nothing.
impl Probe for Counts {
    fn enter(&mut self, stage: Stage, _: u32) {
        self.stages[stage as usize].entered += 1;
    }

    fn active(&mut self, _: u32, _: u32, slots: &[u16]) {
        self.active += slots.len();
    }

    fn lookup(&mut self, _: u32, hits: u32, misses: u32) {
        self.hits += hits;
        self.misses += misses;
    }

    fn extent(&mut self, stage: Stage, extent: &Extent) {
        let count = &mut self.stages[stage as usize];
        count.reads += 1;
        count.blocks += extent.blocks.0;
    }

    fn compute(&mut self, stage: Stage, count: u32) {
        self.stages[stage as usize].computed += u64::from(count);
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let image = std::env::args().nth(1).ok_or("usage: probe IMAGE")?;
    let mut counts = Counts::default();
    let card = Stream::new(FromStd::new(File::open(&image)?));
    let tokens = common::generate(&image, card, &mut counts, 32)?;
    println!("tokens {tokens:?}");
    println!("{:10} {:>8} {:>8} {:>8} {:>10}", "stage", "entered", "reads", "blocks", "computed");
    for (stage, count) in Stage::ALL.iter().zip(counts.stages) {
        let Count { entered, reads, blocks, computed } = count;
        let stage = format!("{stage:?}");
        println!("{stage:10} {entered:8} {reads:8} {blocks:8} {computed:10}");
    }
    println!("neurons: {} active, {} hits, {} misses", counts.active, counts.hits, counts.misses);
    Ok(())
}
