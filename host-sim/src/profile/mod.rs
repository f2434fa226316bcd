//! The profile: which neurons fire on a text, and which fire together.
//!
//! In: a model and tokens. Out: a [`trace`], and counts of co-activation. Knows nothing of cards.

pub mod coactivation;
pub mod record;
pub mod trace;
