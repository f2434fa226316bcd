//! Dimensions of what is read: split, merged and put in another order, by a scope that copies.

use super::Derived;
use super::traversal::merge;
use crate::expr::{Access, Expr, Scope, Target, Tensors};
use crate::index::{Index, Range};
use std::sync::Arc;

/// Another layout of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relayout {
    /// Dimension by its quotient and remainder by `by`, the quotient first.
    Split {
        /// Which.
        dimension: usize,
        /// The divisor, at least 2.
        by: i64,
    },
    /// Dimension and the one after it as one.
    Merge {
        /// The first of the two.
        dimension: usize,
    },
    /// Dimensions in another order: the old place of each new one.
    Reorder(Vec<usize>),
}

/// Reads the `which`-th access of the body from a copy of its target in another layout. A copy of a copy
/// is one copy, and a copy that changes nothing is none.
pub fn relayout(
    scope: &Scope,
    tensors: &Tensors,
    which: usize,
    change: &Relayout,
) -> Option<Derived> {
    let ranges = scope.ranges();
    let (mut at, mut done) = (0, None);
    let body = scope.body.mapped(&mut |access| {
        let mut found = access.clone();
        if at == which
            && let Some(changed) = changed(access, tensors, &ranges, change)
        {
            found = changed;
            done = Some(());
        }
        at += 1;
        Expr::Access(found)
    });
    done?;
    let inner = Scope { loops: scope.loops.clone(), sums: scope.sums.clone(), body };
    Some(Derived::in_place(inner))
}

fn changed(
    access: &Access,
    tensors: &Tensors,
    ranges: &[Range],
    change: &Relayout,
) -> Option<Access> {
    let mut extents: Vec<Range> =
        (0..access.index.len()).map(|d| access.extent(tensors, d)).collect();
    let mut index = access.index.clone();
    // Where the copy reads its target, over its own dimensions.
    let mut from: Vec<Index> = (0..extents.len()).map(Index::var).collect();
    match change {
        &Relayout::Split { dimension: d, by } => {
            let range = *extents.get(d)?;
            if by < 2 {
                return None;
            }
            extents[d] =
                Range { lo: range.lo.div_euclid(by), hi: (range.hi + by - 1).div_euclid(by) };
            extents.insert(d + 1, Range::to(by));
            let old = index[d].clone();
            index[d] = old.divided(by, ranges);
            index.insert(d + 1, old.modulo(by, ranges));
            from = (0..from.len()).map(|i| Index::var(i + usize::from(i > d))).collect();
            from[d] = Index::var(d).times(by).plus(&Index::var(d + 1));
        }
        &Relayout::Merge { dimension: d } => {
            let (first, second) = (*extents.get(d)?, *extents.get(d + 1)?);
            // The second must not run over into the next of the first.
            let read = index[d + 1].span(ranges);
            let whole = Range { lo: second.lo.min(read.lo), hi: second.hi.max(read.hi) };
            let n = whole.len();
            extents[d] = Range { lo: first.lo * n, hi: first.hi * n };
            extents.remove(d + 1);
            index[d] = index[d].times(n).plus(&index[d + 1]).offset(-whole.lo);
            index.remove(d + 1);
            from = (0..from.len()).map(|i| Index::var(i - usize::from(i > d))).collect();
            from[d] = Index::var(d).divided(n, &extents);
            from[d + 1] = Index::var(d).modulo(n, &extents).offset(whole.lo);
        }
        Relayout::Reorder(order) => {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..extents.len()) {
                return None;
            }
            let mut inverse = vec![0; order.len()];
            order.iter().enumerate().for_each(|(new, &old)| inverse[old] = new);
            extents = order.iter().map(|&old| extents[old]).collect();
            index = order.iter().map(|&old| index[old].clone()).collect();
            from = inverse.iter().map(|&new| Index::var(new)).collect();
        }
    }
    let body = Expr::Access(Access { target: access.target.clone(), index: from });
    let copy = Scope { loops: extents, sums: Vec::new(), body };
    Some(Access { target: simplified(copy, tensors), index })
}

/// The copy, or what it copies where it changes nothing.
pub fn simplified(copy: Scope, tensors: &Tensors) -> Target {
    let copy = merge(&copy, tensors).unwrap_or(copy);
    match &copy.body {
        Expr::Access(access) if is_identity(&copy, access, tensors) => access.target.clone(),
        _ => Target::Scope(Arc::new(copy)),
    }
}

/// Whether `access`, the body of `scope`, is all of its target, in place.
pub fn is_identity(scope: &Scope, access: &Access, tensors: &Tensors) -> bool {
    scope.sums.is_empty()
        && access.index.len() == scope.loops.len()
        && access.index.iter().enumerate().all(|(d, index)| {
            index.as_var() == Some(d) && access.extent(tensors, d) == scope.loops[d]
        })
}
