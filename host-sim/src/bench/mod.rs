//! Policies side by side: recorded activations replayed through the kernel's own read path.
//!
//! In: a profile trace to place with, a held-out trace to replay, cards, cache sizes. Out: a
//! [`Row`] for each model, card, cache size and policy, and the rows as tables, files and a chart.
//! All times are simulated, but for those of [`speed`], which are measured.

mod blank;
mod chart;
mod columns;
mod export;
mod floor;
mod markdown;
mod placer;
pub mod policy;
pub mod replay;
mod row;
pub(crate) mod run;
pub mod speed;
mod summary;
mod table;

pub use chart::chart;
pub use export::{csv, json};
pub use floor::Floor;
pub use markdown::markdown;
pub use placer::{Costs, Placer};
pub use row::Row;
pub use run::{index_layout, rows};
pub use summary::{BASELINE, OURS, Summary, geometric_mean};
pub use table::table;

use crate::machine::Core;
use crate::model::Model;
use crate::profile::trace::Trace;
use ripple_hal::BlockCount;

/// What is replayed: one model.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// Name of the model.
    pub name: &'a str,
    /// The model; nothing where only its traces are known.
    pub model: Option<&'a Model>,
    /// What to place with.
    pub profile: &'a Trace,
    /// What to replay, of the same shape.
    pub test: &'a Trace,
    /// Size of one neuron bundle on the card, where there is no model to tell.
    pub bundle_bytes: u32,
}

/// How it is replayed: the same for every case.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The core that computes.
    pub core: Core,
    /// Staging, both halves; without it, what suits the card.
    pub staging: Option<BlockCount>,
    /// Blocks of the card that pages may take.
    pub page_blocks: u64,
    /// Names of the policies, in the order of their rows.
    pub policies: Vec<String>,
    /// Whether rows are added with parts of ours left out.
    pub ablations: bool,
}
