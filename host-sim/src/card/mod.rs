//! The simulated card: a device that answers at once and charges a virtual clock for it.
//!
//! In: the bytes of an image, a [`Timing`]. Out: [`SimCard`], a `BlockDevice` with exact counts and
//! deterministic times. Knows nothing of models. Times given here are simulated, never measured.

mod clock;
mod contents;
mod model;
mod preset;
mod sim;

pub use clock::VirtualClock;
pub use contents::{Contents, WithRoom};
pub use model::{Tail, Timing};
pub use preset::{Preset, UnknownPreset};
pub use sim::{SimCard, Stats};
