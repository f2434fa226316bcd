//! Traversal merging: `L x . { L y . f(y) }[tau(x)]` is `L x . f(tau(x))`.

use crate::expr::{Access, Expr, Scope, Target, Tensors};
use crate::index::{Index, Range};

/// Puts the body of an inner scope in the place of what reads it, wherever that never reads outside of it
/// and the inner scope adds nothing up; and, where the whole body is such a read, its sums too. Inner
/// scopes of inner scopes first. `None` where nothing can be put in place.
pub fn merge(scope: &Scope, tensors: &Tensors) -> Option<Scope> {
    let mut changed = false;
    let mut out = scope.clone();
    if let Expr::Access(access) = &scope.body
        && let Target::Scope(inner) = &access.target
        && !inner.sums.is_empty()
        && access.stays_inside(tensors, &scope.ranges())
    {
        out.sums.extend_from_slice(&inner.sums);
        let all = out.ranges();
        let mut with = access.index.clone();
        with.extend((scope.iterators()..all.len()).map(Index::var));
        out.body = inner.body.indexed(&|index| index.substituted(&with, &all));
        return Some(merge(&out, tensors).unwrap_or(out));
    }
    let ranges = scope.ranges();
    out.body = out.body.mapped(&mut |access| match in_place(access, &ranges, tensors) {
        Some(body) => {
            changed = true;
            body
        }
        None => Expr::Access(access.clone()),
    });
    if changed { Some(merge(&out, tensors).unwrap_or(out)) } else { None }
}

/// What `access` reads, without the scope around it.
fn in_place(access: &Access, ranges: &[Range], tensors: &Tensors) -> Option<Expr> {
    let Target::Scope(inner) = &access.target else { return None };
    if !inner.sums.is_empty() || !access.stays_inside(tensors, ranges) {
        return None;
    }
    Some(inner.body.indexed(&|index| index.substituted(&access.index, ranges)))
}
