//! Boundaries: ranges that grow where nothing is added, and shrink to where something is.

use super::Derived;
use crate::expr::{Access, Expr, Scope, Tensors};
use crate::index::{Atom, Index, Range};

/// Most values that are looked at one by one.
const MOST_VALUES: i64 = 4096;

/// Lets iterator `v` take all values of `to`, which covers its range: always for a loop, whose new part
/// is never read, and for a sum only if everything that is added then is 0.
pub fn relax(scope: &Scope, tensors: &Tensors, v: usize, to: Range) -> Option<Derived> {
    let loops = scope.loops.len();
    let range = *scope.ranges().get(v)?;
    if !to.covers(range) || to == range {
        return None;
    }
    let mut inner = scope.clone();
    if v < loops {
        inner.loops[v] = to;
    } else if vanishes(scope, tensors, v, to) {
        inner.sums[v - loops] = to;
    } else {
        return None;
    }
    Some(Derived::in_place(inner))
}

/// Shrinks loops to the values for which the result may be other than 0, and sums to those for which
/// something may be added. `None` where nothing shrinks, or nothing would be left.
pub fn tighten(scope: &Scope, tensors: &Tensors) -> Option<Derived> {
    let mut ranges = scope.ranges();
    let before = ranges.clone();
    loop {
        let found = support(&scope.body, tensors, &ranges)?;
        if found == ranges {
            break;
        }
        ranges = found;
    }
    if ranges == before || ranges.iter().any(|range| range.is_empty()) {
        return None;
    }
    // Quotients and remainders may be simpler over fewer values.
    let same: Vec<Index> = (0..ranges.len()).map(Index::var).collect();
    let body = scope.body.indexed(&|index| index.substituted(&same, &ranges));
    let sums = ranges.split_off(scope.loops.len());
    Some(Derived::in_place(Scope { loops: ranges, sums, body }))
}

/// Whether the body is 0 for every value of `v` in `to` but those that it has already.
pub fn vanishes(scope: &Scope, tensors: &Tensors, v: usize, to: Range) -> bool {
    let mut ranges = scope.ranges();
    let range = ranges[v];
    if to.len() - range.len() > MOST_VALUES {
        return false;
    }
    (to.lo..range.lo).chain(range.hi..to.hi).all(|value| {
        ranges[v] = Range { lo: value, hi: value + 1 };
        is_zero(&scope.body, tensors, &ranges)
    })
}

/// Whether the body is 0 whatever the tensors hold, for all iterators in `ranges`.
fn is_zero(body: &Expr, tensors: &Tensors, ranges: &[Range]) -> bool {
    match body {
        Expr::Constant(value) => *value == 0,
        Expr::Access(access) => access.stays_outside(tensors, ranges),
        Expr::Product(parts) => parts.iter().any(|part| is_zero(part, tensors, ranges)),
        Expr::Sum(parts) => parts.iter().all(|part| is_zero(part, tensors, ranges)),
        Expr::Apply(function, inner) => function.keeps_zero() && is_zero(inner, tensors, ranges),
    }
}

/// The ranges outside of which the body is 0; `None` where it is 0 everywhere.
fn support(body: &Expr, tensors: &Tensors, ranges: &[Range]) -> Option<Vec<Range>> {
    match body {
        Expr::Constant(0) => None,
        Expr::Constant(_) => Some(ranges.to_vec()),
        Expr::Access(access) => of_access(access, tensors, ranges),
        Expr::Product(parts) => {
            parts.iter().try_fold(ranges.to_vec(), |ranges, part| support(part, tensors, &ranges))
        }
        Expr::Sum(parts) => {
            let all = parts.iter().filter_map(|part| support(part, tensors, ranges));
            all.reduce(|a, b| {
                let hull =
                    |(a, b): (&Range, &Range)| Range { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) };
                a.iter().zip(&b).map(hull).collect()
            })
        }
        Expr::Apply(function, inner) if function.keeps_zero() => support(inner, tensors, ranges),
        Expr::Apply(..) => Some(ranges.to_vec()),
    }
}

fn of_access(access: &Access, tensors: &Tensors, ranges: &[Range]) -> Option<Vec<Range>> {
    let mut out = ranges.to_vec();
    for (dimension, index) in access.index.iter().enumerate() {
        inside(index, access.extent(tensors, dimension), &mut out);
        if out.iter().any(|range| range.is_empty()) {
            return None;
        }
    }
    Some(out)
}

/// Cuts `ranges` to what lets `index` be in `extent`, one iterator at a time.
fn inside(index: &Index, extent: Range, ranges: &mut [Range]) {
    for (atom, factor) in index.parts().1 {
        let v = match atom {
            Atom::Var(v) => *v as usize,
            // A remainder or quotient that stands alone says nothing of one end of an iterator.
            Atom::Div(..) | Atom::Mod(..) => continue,
        };
        let elsewhere = index.minus(&Index::var(v).times(*factor));
        if elsewhere.vars() >> v & 1 == 1 {
            continue;
        }
        // extent.lo <= factor * v + rest < extent.hi for some value of rest.
        let rest = elsewhere.span(ranges);
        let (least, most) = (extent.lo - (rest.hi - 1), extent.hi - 1 - rest.lo);
        let (lo, hi) = if *factor > 0 {
            (ceiling(least, *factor), most.div_euclid(*factor) + 1)
        } else {
            (ceiling(-most, -factor), (-least).div_euclid(-factor) + 1)
        };
        ranges[v] = ranges[v].and(Range { lo, hi });
        if ranges[v].is_empty() {
            return;
        }
    }
}

fn ceiling(a: i64, b: i64) -> i64 {
    -(-a).div_euclid(b)
}
