//! The rules: each takes a scope and gives another that computes the same, with what undoes it.
//!
//! In: a scope and where to apply a rule. Out: a [`Derived`] whose [`Derived::scope`] equals the scope
//! that was given, number by number; or nothing where the rule does not hold. No rule knows an operator, a
//! shape or a case: what they look at are ranges, factors and what lies outside of a target.

pub mod boundary;
pub mod bundle;
pub mod program;
pub mod relayout;
pub mod sums;
pub mod traversal;
pub mod variables;
pub mod weights;

use crate::expr::{Access, Expr, Scope, Target};
use crate::index::{Index, Range};
use std::sync::Arc;

/// A scope that was derived, and how the one before is read from it:
/// `before = L loops . sum over sums . inner[map]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// The new scope.
    pub inner: Scope,
    /// Sums that are now around it.
    pub sums: Vec<Range>,
    /// Where the new scope is read, by its dimensions: over the loops of the one before, then `sums`.
    pub map: Vec<Index>,
}

impl Derived {
    /// A scope that has the same dimensions as the one before.
    fn in_place(inner: Scope) -> Self {
        let map = (0..inner.loops.len()).map(Index::var).collect();
        Self { inner, sums: Vec::new(), map }
    }

    /// What equals the scope before, whose loops are `loops`.
    pub fn scope(&self, loops: &[Range]) -> Scope {
        let target = Target::Scope(Arc::new(self.inner.clone()));
        let body = Expr::Access(Access { target, index: self.map.clone() });
        Scope { loops: loops.to_vec(), sums: self.sums.clone(), body }
    }
}

/// The scope with iterators put in another order: `order` has the old number of each new one, `loops` of
/// them loops.
fn renumbered(scope: &Scope, order: &[usize], loops: usize) -> Scope {
    let old = scope.ranges();
    let ranges: Vec<Range> = order.iter().map(|&v| old[v]).collect();
    let mut number = vec![0u8; old.len()];
    for (new, &before) in order.iter().enumerate() {
        number[before] = new as u8;
    }
    let body = scope.body.indexed(&|index| index.renamed(&number));
    let (loops, sums) = ranges.split_at(loops);
    Scope { loops: loops.to_vec(), sums: sums.to_vec(), body }
}

/// The scope over other iterators: `with` has an index over `loops` and `sums` for each old iterator.
fn replaced(scope: &Scope, loops: Vec<Range>, sums: Vec<Range>, with: &[Index]) -> Scope {
    let mut out = Scope { loops, sums, body: Expr::Constant(0) };
    let ranges = out.ranges();
    out.body = scope.body.indexed(&|index| index.substituted(with, &ranges));
    out
}
