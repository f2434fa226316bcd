//! Variable substitution: iterators replaced one to one by others, and what undoes it.

use super::boundary::vanishes;
use super::{Derived, renumbered, replaced};
use crate::expr::{Scope, Tensors};
use crate::index::{Index, Range};

/// Replaces loop `x` by `t`, a linear combination of loops in which `x` has the factor 1 or -1. The new
/// loop takes every value that `t` may have: what is computed beyond is never read.
///
/// `None` where `t` is not such a combination.
pub fn substitute(scope: &Scope, x: usize, t: &Index) -> Option<Derived> {
    let loops = scope.loops.len();
    let sign = t.factor(x);
    if x >= loops || sign.abs() != 1 || !t.is_linear() || t.vars() >> loops != 0 {
        return None;
    }
    if t.vars() == 1 << x && sign == 1 && t.parts().0 == 0 {
        return None;
    }
    // x = sign * (t - rest)
    let rest = t.minus(&Index::var(x).times(sign));
    let mut with: Vec<Index> = (0..scope.iterators()).map(Index::var).collect();
    with[x] = Index::var(x).minus(&rest).times(sign);
    let mut ranges = scope.loops.clone();
    ranges[x] = t.span(&scope.loops);
    let mut map: Vec<Index> = (0..loops).map(Index::var).collect();
    map[x] = t.clone();
    Some(Derived {
        inner: replaced(scope, ranges, scope.sums.clone(), &with),
        sums: Vec::new(),
        map,
    })
}

/// Replaces iterator `v` by quotient and remainder of `v + offset` by `k`: two iterators in its place, the
/// quotient first. Where they have more values than `v`, its range grows: always for a loop, and for a sum
/// only if everything that is added then is 0.
pub fn divide(scope: &Scope, tensors: &Tensors, v: usize, k: i64, offset: i64) -> Option<Derived> {
    let (loops, all) = (scope.loops.len(), scope.ranges());
    let range = *all.get(v)?;
    if k < 2 {
        return None;
    }
    let (lo, hi) = (range.lo + offset, range.hi + offset);
    let quotient = Range { lo: lo.div_euclid(k), hi: (hi + k - 1).div_euclid(k) };
    if v >= loops {
        let grown = Range { lo: quotient.lo * k - offset, hi: quotient.hi * k - offset };
        if grown != range && !vanishes(scope, tensors, v, grown) {
            return None;
        }
    }
    let mut ranges = all.clone();
    ranges[v] = quotient;
    ranges.insert(v + 1, Range::to(k));
    let with: Vec<Index> = (0..all.len())
        .map(|old| match old {
            _ if old < v => Index::var(old),
            _ if old > v => Index::var(old + 1),
            _ => Index::var(v).times(k).plus(&Index::var(v + 1)).offset(-offset),
        })
        .collect();
    let sums = ranges.split_off(loops + usize::from(v < loops));
    let inner = replaced(scope, ranges, sums, &with);
    let mut map: Vec<Index> = (0..loops).map(Index::var).collect();
    if v < loops {
        let numerator = Index::var(v).offset(offset);
        map[v] = numerator.divided(k, &scope.loops);
        map.insert(v + 1, numerator.modulo(k, &scope.loops));
    }
    Some(Derived { inner, sums: Vec::new(), map })
}

/// Replaces sum `v`, whose length is a multiple of `k`, by its quotient by `k` and the remainder by `k` of
/// `rest + v`, or of `rest - v` if `negative`: for whatever value of `rest`, which does not have `v` in it, each
/// value of `v` is one pair of both. What is 0 unless such a remainder has one value is added up over that value
/// alone then.
pub fn rotate(scope: &Scope, v: usize, k: i64, rest: &Index, negative: bool) -> Option<Derived> {
    let (loops, all) = (scope.loops.len(), scope.ranges());
    let range = *all.get(v)?;
    let known = rest.vars() >> v & 1 == 0 && rest.vars() >> all.len() == 0;
    if v < loops || k < 2 || range.len() % k != 0 || !known {
        return None;
    }
    let mut ranges = all.clone();
    ranges[v] = Range::to(range.len() / k);
    ranges.insert(v + 1, Range::to(k));
    let moved = |old: usize| old + usize::from(old > v);
    let number: Vec<u8> = (0..all.len()).map(|old| moved(old) as u8).collect();
    let apart = Index::var(v + 1).minus(&rest.renamed(&number));
    let apart = if negative { apart.times(-1) } else { apart };
    let remainder = apart.offset(-range.lo).modulo(k, &ranges);
    let whole = Index::var(v).times(k).plus(&remainder).offset(range.lo);
    let with: Vec<Index> = (0..all.len())
        .map(|old| if old == v { whole.clone() } else { Index::var(moved(old)) })
        .collect();
    let sums = ranges.split_off(loops);
    Some(Derived::in_place(replaced(scope, ranges, sums, &with)))
}

/// Replaces iterators `i` and `j`, both loops or both sums, by one that counts through them, `j` fastest.
/// It takes the place of `i`.
pub fn join(scope: &Scope, i: usize, j: usize) -> Option<Derived> {
    let (loops, all) = (scope.loops.len(), scope.ranges());
    if i == j || i >= all.len() || j >= all.len() || (i < loops) != (j < loops) {
        return None;
    }
    let (n, low) = (all[j].len(), all[j].lo);
    let mut ranges = all.clone();
    ranges[i] = Range { lo: all[i].lo * n, hi: all[i].hi * n };
    ranges.remove(j);
    let new = |old: usize| old - usize::from(old > j);
    let sums = ranges.split_off(loops - usize::from(j < loops));
    let both = [ranges.as_slice(), &sums].concat();
    let with: Vec<Index> = (0..all.len())
        .map(|old| match old {
            _ if old == i => Index::var(new(i)).divided(n, &both),
            _ if old == j => Index::var(new(i)).modulo(n, &both).offset(low),
            _ => Index::var(new(old)),
        })
        .collect();
    let inner = replaced(scope, ranges, sums, &with);
    let mut map: Vec<Index> = (0..loops).map(Index::var).collect();
    if i < loops {
        map[i] = Index::var(i).times(n).plus(&Index::var(j)).offset(-low);
        map.remove(j);
    }
    Some(Derived { inner, sums: Vec::new(), map })
}

/// Puts the loops in another order: `order` has the old number of each new one.
pub fn reorder(scope: &Scope, order: &[usize]) -> Option<Derived> {
    let loops = scope.loops.len();
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..loops) {
        return None;
    }
    let all: Vec<usize> = order.iter().copied().chain(loops..scope.iterators()).collect();
    let map = order.iter().map(|&old| Index::var(old)).collect();
    Some(Derived { inner: renumbered(scope, &all, loops), sums: Vec::new(), map })
}
