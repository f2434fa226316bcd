//! A node as it is read: its settings, what is wrong with it, and what it makes.

use super::{Attribute, Known, Node, OnnxError};
use crate::expr::{Access, Expr, Scope, Target};
use crate::index::{Index, Range};

/// The largest stride, dilation and padding.
pub const MOST: i64 = 1 << 16;

/// A node, for what is wrong with it.
pub struct At<'a>(pub &'a Node);

impl At<'_> {
    pub fn wrong<T>(&self, expected: &str, found: impl std::fmt::Debug) -> Result<T, OnnxError> {
        Err(OnnxError::Node {
            node: self.name(),
            operator: self.0.op_type.clone(),
            expected: expected.to_owned(),
            found: format!("{found:?}"),
        })
    }

    pub fn name(&self) -> String {
        let first = self.0.output.first().cloned().unwrap_or_default();
        if self.0.name.is_empty() { first } else { self.0.name.clone() }
    }

    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.0.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub fn integer(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    pub fn integers(&self, name: &str, default: &[i64]) -> Vec<i64> {
        self.attribute(name).map_or_else(|| default.to_vec(), |attribute| attribute.ints.clone())
    }

    /// Refuses every attribute but these.
    pub fn only(&self, known: &[&str]) -> Result<(), OnnxError> {
        let mut all = self.0.attribute.iter();
        match all.find(|attribute| !known.contains(&attribute.name.as_str())) {
            Some(other) => self.wrong(&format!("attributes among {known:?}"), &other.name),
            None => Ok(()),
        }
    }

    pub fn pair(&self, name: &str, default: i64) -> Result<(i64, i64), OnnxError> {
        match *self.integers(name, &[default, default]).as_slice() {
            [a, b] if (1..=MOST).contains(&a) && (1..=MOST).contains(&b) => Ok((a, b)),
            ref other => self.wrong(&format!("two numbers from 1 to {MOST} as {name}"), other),
        }
    }
}

/// What is computed: the shape in the file, and the scope in the network.
pub struct Made {
    pub shape: Vec<i64>,
    pub image: bool,
    pub scope: Scope,
}

pub fn access(known: &Known, place: &[Index]) -> Expr {
    Expr::Access(Access { target: Target::Tensor(known.id), index: known.index(place) })
}

/// Loops of a result, and the index of each dimension of the file over them.
pub fn places(shape: &[i64], image: bool) -> (Vec<Range>, Vec<Index>) {
    match *shape {
        [n, c, h, w] if image => {
            let (which, first) = several(n);
            let place = [which, Index::var(first + 2), Index::var(first), Index::var(first + 1)];
            let all = [n, h, w, c].map(Range::to);
            (all[1 - first..].to_vec(), place.to_vec())
        }
        _ => {
            let loops = shape.iter().copied().map(Range::to).collect();
            (loops, (0..shape.len()).map(Index::var).collect())
        }
    }
}

/// Of so many images, the index of one and the number of iterators for it.
pub fn several(images: i64) -> (Index, usize) {
    if images > 1 { (Index::var(0), 1) } else { (Index::constant(0), 0) }
}
