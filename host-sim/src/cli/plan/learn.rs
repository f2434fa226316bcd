//! `ripple plan --tune`: the longest text that a step of learning takes, in every arm, before anything is built.
//!
//! In: a model's geometry, what is trained. Out: tokens by arm and arena, and, of one arena, memory by region.

use crate::cli::arm::Arm;
use crate::cli::learning::{Course, Learning};
use crate::cli::summary::{bytes, table};
use crate::process::output;
use crate::tune::train::{Memory, memory_of};
use anyhow::Result;
use clap::ValueEnum;
use ripple_hal::BlockCount;
use ripple_kernel::image::Geometry;
use ripple_tune::{TuneOptions, TunePlan};
use serde::Serialize;

/// Arenas that are looked at where none is given.
const ARENAS: [u64; 4] = [256 << 10, 512 << 10, 1 << 20, 8 << 20];

/// The plan; JSON.
#[derive(Serialize)]
struct Plan {
    model: String,
    /// Positions that the model has.
    context: u32,
    arenas: Vec<Arena>,
    /// Of the arm that is asked for, in the last of the arenas, with as many tokens as fit.
    arm: String,
    tokens: u32,
    /// What of `ripple tune` that takes, where it was not said.
    with: Vec<String>,
    memory: Vec<Memory>,
    memory_bytes: u64,
}

#[derive(Serialize)]
struct Arena {
    bytes: u64,
    arms: Vec<Fits>,
}

/// How many tokens fit.
#[derive(Serialize)]
struct Fits {
    arm: String,
    tokens: u32,
    /// Over those of plain LoRA; nothing where not one fits there.
    times_plain: Option<f64>,
    /// What of `ripple tune` that takes, where it was not said.
    with: Vec<String>,
}

/// Prints the plan of a model.
///
/// # Errors
/// When the arena that is given is too small for one token, with what it needs.
pub fn print(model: &str, geometry: &Geometry, learning: &Learning, json: bool) -> Result<()> {
    let gap = |_| BlockCount(0);
    let course = Course { geometry, gap: &gap, texts: 1, start: None };
    let arenas = learning.arena.map_or_else(|| ARENAS.to_vec(), |arena| vec![arena]);
    let arena = |bytes: u64| {
        let (plain, _) = learning.longest(Arm::Plain, &course, bytes);
        let fits = |arm: &Arm| {
            let (tokens, options) = learning.longest(*arm, &course, bytes);
            let times_plain = (plain > 0).then(|| f64::from(tokens) / f64::from(plain));
            Fits { arm: arm.name(), tokens, times_plain, with: learning.chosen(&options) }
        };
        Arena { bytes, arms: Arm::value_variants().iter().map(fits).collect() }
    };
    let last = arenas.last().copied().unwrap_or(u64::MAX);
    // Says what one token needs where not even that fits.
    learning.options(&course, None)?;
    let (tokens, options) = learning.longest(learning.arm, &course, last);
    let with = learning.chosen(&options);
    let tokens = tokens.max(1);
    let plan = TunePlan::for_model::<f32>(geometry, &TuneOptions { tokens, ..options });
    let plan = Plan {
        model: model.to_owned(),
        context: geometry.config.context,
        arenas: arenas.iter().map(|bytes| arena(*bytes)).collect(),
        arm: learning.arm.name(),
        tokens,
        with,
        memory: memory_of(&plan),
        memory_bytes: plan.lent_bytes(),
    };
    if json { output::print_json(&plan) } else { output::print(&plan.print()) }
}

impl Plan {
    fn print(&self) -> String {
        let mut header = vec!["what is kept".to_owned()];
        header.extend(self.arenas.iter().map(|arena| bytes(arena.bytes as f64)));
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let arms = self.arenas.first().map_or(0, |arena| arena.arms.len());
        let row = |at: usize| {
            let fits = || self.arenas.iter().map(move |arena| &arena.arms[at]);
            let name = fits().next().map_or_else(String::new, |fits| fits.arm.clone());
            let cell = |fits: &Fits| match fits.times_plain {
                Some(times) => format!("{} ({times:.1}x)", fits.tokens),
                None => fits.tokens.to_string(),
            };
            std::iter::once(name).chain(fits().map(cell)).collect()
        };
        let mut fits = self.arenas.iter().flat_map(|arena| &arena.arms);
        let chosen = fits.any(|fits| !fits.with.is_empty());
        let rows = self.memory.iter().map(|m| vec![m.region.to_owned(), bytes(m.bytes as f64)]);
        format!(
            "{}: tokens of a step that fit, of {} that the model has positions for; in brackets over those of \
             plain LoRA{}\n\n{}\n{} tokens with --arm {}{} take {} of memory:\n{}",
            self.model,
            self.context,
            if chosen { "; with --by-layer and less --staging where more fit then" } else { "" },
            table(&header, (0..arms).map(row).collect()),
            self.tokens,
            self.arm,
            self.with.iter().map(|word| format!(" {word}")).collect::<String>(),
            bytes(self.memory_bytes as f64),
            table(&["region", "bytes"], rows.collect())
        )
    }
}
