//! Policies side by side: recorded activations replayed through the kernel's own read path.
//!
//! In: a profile trace to place with, a held-out trace to replay, cards, cache sizes. Out: a
//! [`Row`] for each model, card, cache size and policy. All times are simulated.

mod bound;
mod row;

pub use bound::Bound;
pub use row::Row;
