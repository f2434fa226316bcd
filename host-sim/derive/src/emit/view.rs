//! A tensor as nests read it: where its numbers are, and what each index means.
//!
//! In: ranges, where numbers are. Out: a view. Knows nothing of expressions.

use super::steps::Place;
use crate::index::{Index, Range};

/// A tensor as a nest reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Where its numbers are.
    pub place: Place,
    /// How many are there.
    pub numbers: i64,
    /// What each index of an access means.
    pub dimensions: Vec<Dimension>,
    /// What a 1 stands for.
    pub unit: Unit,
}

/// What an index means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Values, and numbers from one to the next; outside of them 0 is read.
    Read(Range, i64),
    /// The first value, and numbers from one to the next; never outside.
    Inside(i64, i64),
    /// Values outside of which 0 is read.
    Guard(Range),
    /// Given elsewhere.
    Fixed,
}

/// What the integer 1 of a tensor stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Unit {
    /// A power of two, of integer networks.
    Shift(i32),
    /// A number.
    Scale(f32),
    /// A number for each value of an iterator of the definition, among the constants from this word on.
    Scales(usize, i64, Index),
}

impl Unit {
    /// Nothing but itself.
    pub const ONE: Self = Self::Shift(0);
}

impl View {
    /// All of `shape`, row after row.
    pub fn whole(place: Place, shape: &[Range], unit: Unit) -> Self {
        let mut step = 1;
        let mut dimensions = Vec::with_capacity(shape.len());
        for &range in shape.iter().rev() {
            dimensions.push(Dimension::Read(range, step));
            step *= range.len();
        }
        dimensions.reverse();
        Self { place, numbers: step, dimensions, unit }
    }
}
