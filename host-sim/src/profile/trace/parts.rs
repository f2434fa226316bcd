//! Parts of a trace: some windows of a text, which several machines read at the same time.
//!
//! In: traces that say which windows they are of. Out: the whole, to the byte as one machine writes it.

use super::Trace;
use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// Which windows of a text a trace is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// These.
    pub windows: Range<usize>,
    /// Of so many.
    pub of: usize,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{} of {}", self.windows.start, self.windows.end, self.of)
    }
}

impl Part {
    /// Reads what [`Display`](fmt::Display) writes.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let part = || {
            let (windows, of) = text.split_once(" of ")?;
            let (start, end) = windows.split_once("..")?;
            let part =
                Self { windows: start.parse().ok()?..end.parse().ok()?, of: of.parse().ok()? };
            (part.windows.start < part.windows.end && part.windows.end <= part.of).then_some(part)
        };
        part().with_context(|| {
            format!(
                "metadata `windows`: expected `A..B of N`, A below B, B at most N, found `{text}`"
            )
        })
    }
}

impl Trace {
    /// Writes `parts`, which have names and together are a whole text, as one trace to `path`.
    ///
    /// # Errors
    /// When they are not parts of one trace, or not all of it, and as [`write`](Self::write).
    pub fn write_merged(path: &Path, mut parts: Vec<(String, Self)>) -> Result<()> {
        for (name, part) in &parts {
            ensure!(
                part.part().is_some(),
                "{name}: expected a part, as `ripple trace --windows` writes it, found a whole trace"
            );
        }
        parts.sort_by_key(|(_, part)| part.part().map_or(0, |part| part.windows.start));
        let Some(((first_name, first), rest)) = parts.split_first() else {
            bail!("expected at least one part")
        };
        let of = first.part().map_or(0, |part| part.of);
        for (name, other) in rest {
            ensure!(
                other.header() == first.header() && other.part().map(|part| part.of) == Some(of),
                "{name}: a part of another trace than {first_name}: {:?} and {:?}; trace the same text with the \
                 same model and options",
                other.header(),
                first.header()
            );
        }
        let mut next = 0;
        for (name, part) in &parts {
            let Some(part) = part.part() else { continue };
            ensure!(
                part.windows.start == next,
                "{name}: windows {part}, expected a part that begins with window {next}; give every part once"
            );
            next = part.windows.end;
        }
        ensure!(next == of, "the parts end with window {next} of {of}; give every part once");
        let tokens = parts.iter().map(|(_, part)| part.tokens()).sum();
        let ids: Vec<u32> = parts.iter().flat_map(|(_, part)| part.ids()).copied().collect();
        let header = first.header().clone();
        Self::write_parts(path, &header, tokens, &ids, None, parts.iter().map(|(_, part)| part))
    }
}
