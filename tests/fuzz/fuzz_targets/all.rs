//! One binary for every kind of file: `RIPPLE_FUZZ` names which of `ripple_tests::fuzz::TARGETS`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ripple_tests::fuzz::{TARGETS, Target};
use std::sync::LazyLock;
use tempfile::TempDir;

/// What is fuzzed, and a folder for its files.
static CHOSEN: LazyLock<(Target, TempDir)> = LazyLock::new(|| {
    let names = TARGETS.map(|(name, _)| name).join(", ");
    let wanted = std::env::var("RIPPLE_FUZZ").unwrap_or_default();
    let found = TARGETS.into_iter().find(|(name, _)| *name == wanted);
    let Some((_, target)) = found else {
        panic!("RIPPLE_FUZZ: {wanted:?}, expected one of {names}")
    };
    (target, tempfile::tempdir().expect("a folder"))
});

fuzz_target!(|bytes: &[u8]| (CHOSEN.0)(bytes, CHOSEN.1.path()));
