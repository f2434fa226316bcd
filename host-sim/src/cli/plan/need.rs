//! What a model needs of one board, by region, and what a token costs there, as JSON and as a person reads it.
//!
//! In: a model's geometry, a board, what was simulated. Out: sizes in bytes, what does not fit, text. Simulates nothing.

use crate::cli::summary::bytes;
use crate::cost::Preset;
use ripple_app::{Board, Budget};
use ripple_kernel::Region;
use ripple_kernel::image::Geometry;
use serde::Serialize;

/// The plan for one board; all sizes in bytes.
#[derive(Serialize)]
pub struct Need {
    pub board: &'static str,
    pub model: String,
    pub card: &'static str,
    pub ram: Ram,
    pub flash: Flash,
    /// Room behind the image on the card, for keys and values that leave RAM.
    pub room: u64,
    /// What does not fit.
    pub too_small: Option<String>,
    /// Nothing unless it was asked for, and where it does not fit.
    pub simulated: Option<Simulated>,
}

/// RAM by region.
#[derive(Serialize)]
pub struct Ram {
    pub work: usize,
    pub staging: usize,
    pub cache: usize,
    pub index: usize,
    pub kv: usize,
    pub prompt: usize,
    pub drivers: usize,
    pub statics: usize,
    pub stack: u32,
    pub used: usize,
    pub has: u32,
}

/// Flash by region.
#[derive(Serialize)]
pub struct Flash {
    pub code: usize,
    pub mapped: usize,
    pub used: usize,
    pub has: u32,
}

/// What a token costs, after the prompt; simulated.
#[derive(Serialize)]
pub struct Simulated {
    pub bytes_per_token: f64,
    pub reads_per_token: f64,
    pub seconds_per_token: f64,
    pub dense_seconds_per_token: f64,
    pub tokens: u64,
    /// How the neurons lie.
    pub placed: String,
}

impl Need {
    /// What a model called `model` needs of `board`; `mapped`: bytes of its image up to the FFN.
    pub fn of(
        model: &str,
        geometry: &Geometry,
        mapped: usize,
        board: &'static Board,
        card: &'static Preset,
    ) -> Self {
        let budget = Budget::planned(board, geometry, mapped);
        let too_small = budget.check(board).err().map(|error| error.to_string());
        let plan = &budget.plan;
        let stack = if board.firmware.stack > 0 { board.firmware.stack } else { board.stack };
        Self {
            board: board.name,
            model: model.to_owned(),
            card: card.name,
            ram: Ram {
                work: plan.region_bytes(Region::Work),
                staging: plan.region_bytes(Region::Staging),
                cache: plan.region_bytes(Region::Cache),
                index: plan.region_bytes(Region::Index),
                kv: plan.region_bytes(Region::Kv),
                prompt: budget.desk,
                drivers: budget.drivers,
                statics: budget.statics(),
                stack,
                used: budget.statics() + stack as usize,
                has: board.ram,
            },
            flash: Flash {
                code: budget.code,
                mapped: budget.mapped,
                used: budget.flash(),
                has: board.flash,
            },
            room: board.options.spill_blocks(&geometry.config).bytes(),
            too_small,
            simulated: None,
        }
    }

    /// What does not fit, for a table.
    pub fn missing(&self) -> String {
        let part = |name, used: usize, has: u32| {
            let more = used.checked_sub(has as usize).filter(|more| *more > 0)?;
            Some(format!("{name}: {} missing", bytes(more as f64)))
        };
        let parts = [
            part("RAM", self.ram.used, self.ram.has),
            part("flash", self.flash.used, self.flash.has),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "RAM: no room for the stack".to_owned() } else { parts.join(", ") }
    }

    /// The plan as a person reads it.
    pub fn text(&self, board: &Board) -> String {
        let Self { ram, flash, .. } = self;
        let measured = if board.firmware.code > 0 { "measured" } else { "not measured" };
        let row = |what: &str, bytes: usize, note: &str| {
            format!("  {what:<8}{:>11}  {note}\n", grouped(bytes as u64))
        };
        let of = |bytes: u32| format!("of {}", grouped(bytes.into()));
        let stack = match board.firmware.stack {
            0 => "kept".to_owned(),
            _ => format!("{measured}; {} are kept for it", grouped(board.stack.into())),
        };
        let sizes = [
            row("work", ram.work, "activations, logits"),
            row("staging", ram.staging, "where reads arrive"),
            row("cache", ram.cache, "neurons held"),
            row("index", ram.index, "what is where in it"),
            row("kv", ram.kv, "keys and values"),
            row("prompt", ram.prompt, "the line being typed"),
            row("drivers", ram.drivers, measured),
            row("stack", ram.stack as usize, &stack),
            row("RAM", ram.used, &of(ram.has)),
            row("code", flash.code, measured),
            row("mapped", flash.mapped, "the image up to the FFN"),
            row("flash", flash.used, &of(flash.has)),
            match self.room {
                0 => String::new(),
                room => row("card", room as usize, "behind the image: older keys and values"),
            },
        ]
        .concat();
        format!("{} on {}: {}\n\n{sizes}", self.model, board.name, board.about)
    }
}

impl Simulated {
    /// What a token costs, as a person reads it.
    pub fn text(&self, board: &Board, card: &Preset) -> String {
        format!(
            "\nsimulated, {} card, {} core, {} tokens of greedy text, neurons {}:\n  \
             {} in {:.1} reads a token\n  \
             {:.3} s a token; a dense engine with the same memory waits {:.3} s for the card alone\n",
            card.name,
            board.core,
            self.tokens,
            self.placed,
            bytes(self.bytes_per_token),
            self.reads_per_token,
            self.seconds_per_token,
            self.dense_seconds_per_token,
        )
    }
}

/// `1234` as `1,234`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|c| std::str::from_utf8(c).unwrap_or("")).collect();
    parts.join(",")
}
