//! Oracles, spies and tiny models shared by the cross-crate tests.

pub mod arbitrary;
pub mod demo;
pub mod faults;
pub mod fuzz;
pub mod oracle;
pub mod soak;
pub mod spy;
pub mod synthetic;
pub mod tiny;
