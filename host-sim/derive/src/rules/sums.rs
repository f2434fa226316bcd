//! Summation splitting: `sum over a, b . f` is `sum over a . { L a . sum over b . f }`.

use super::{Derived, renumbered};
use crate::expr::Scope;
use crate::index::Index;

/// Moves the sums in `outer`, bits by their place among the sums, out of the scope: they become its last
/// dimensions. `None` unless some are moved and some stay.
pub fn split(scope: &Scope, outer: u64) -> Option<Derived> {
    let (loops, count) = (scope.loops.len(), scope.sums.len());
    let all = (1u64 << count) - 1;
    if outer == 0 || outer & !all != 0 || outer == all {
        return None;
    }
    let is_moved = |sum: &usize| outer >> sum & 1 == 1;
    let moved: Vec<usize> = (0..count).filter(is_moved).collect();
    let kept = (0..count).filter(|sum| !is_moved(sum));
    let order: Vec<usize> =
        (0..loops).chain(moved.iter().copied().chain(kept).map(|sum| loops + sum)).collect();
    let inner = renumbered(scope, &order, loops + moved.len());
    let map = (0..loops + moved.len()).map(Index::var).collect();
    Some(Derived { inner, sums: moved.iter().map(|&sum| scope.sums[sum]).collect(), map })
}
