//! What a read costs: the time model of a card, and the cards by name.
//!
//! In: the size of a read, or the name of a card. Out: simulated time. Knows nothing of what is read.

mod preset;
mod timing;

pub use preset::{Preset, UnknownPreset};
pub(crate) use timing::PS_PER_NS;
pub use timing::{Tail, Timing};
