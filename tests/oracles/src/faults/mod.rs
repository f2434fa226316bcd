//! Scenarios of faults: a text is decoded while something goes wrong with the card, or with what lies on it.
//!
//! In: a seed. Out: how the scenario ended: with the right logits, or with a typed error and a decoder that
//! goes on once the fault is mended. Whatever else happens is an [`Err`] that says what.

mod adapters;
mod card;
mod draw;
mod scenario;
mod subject;

pub use draw::Random;
pub use scenario::{End, KINDS, Outcome, run};
use std::fmt::Write;
pub use subject::Subject;

/// How the scenarios of one kind ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Scenarios.
    pub scenarios: u64,
    /// Faults in them.
    pub faults: u64,
    /// All logits right, with no error seen.
    pub right: u64,
    /// All logits right after errors that passed when a call was repeated.
    pub recovered: u64,
    /// A typed error that did not pass, and the right logits after the fault was mended.
    pub refused: u64,
    /// A damaged record passed its check of 16 bits, as one in 65,536 does.
    pub passed_16_bits: u64,
}

impl Count {
    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        self.scenarios += 1;
        self.faults += outcome.faults;
        match outcome.end {
            End::Right => self.right += 1,
            End::Recovered => self.recovered += 1,
            End::Refused => self.refused += 1,
            End::Passed16Bits => self.passed_16_bits += 1,
        }
    }

    /// Both together.
    pub fn join(&mut self, other: &Self) {
        self.scenarios += other.scenarios;
        self.faults += other.faults;
        self.right += other.right;
        self.recovered += other.recovered;
        self.refused += other.refused;
        self.passed_16_bits += other.passed_16_bits;
    }
}

/// The counts by kind, as a table.
pub fn table(counts: &[Count]) -> String {
    let mut out = String::from(
        "| what goes wrong | scenarios | faults | right | right after retries | refused, then right | past 16 bits |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut all = Count::default();
    counts.iter().for_each(|count| all.join(count));
    let rows = KINDS.iter().copied().zip(counts).chain([("all", &all)]);
    for (name, count) in rows {
        let Count { scenarios, faults, right, recovered, refused, passed_16_bits } = count;
        let _ = writeln!(
            out,
            "| {name} | {scenarios} | {faults} | {right} | {recovered} | {refused} | {passed_16_bits} |"
        );
    }
    out
}
