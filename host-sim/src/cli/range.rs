//! Ranges on the command line: layers, windows.
//!
//! In: text. Out: a range.

use anyhow::{Context, Result};
use std::ops::Range;

/// A range as `A..B`, B itself not in it.
pub fn range(text: &str) -> Result<Range<usize>> {
    let range = text.split_once("..").and_then(|(first, end)| {
        let range: Range<usize> = first.parse().ok()?..end.parse().ok()?;
        (!range.is_empty()).then_some(range)
    });
    range.context("expected A..B, A less than B, as in 0..8 for 0 to 7")
}
