//! Oracles, spies and tiny models shared by the cross-crate tests.
