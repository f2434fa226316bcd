//! How many terms an expression adds up that are not 0 by where they are read: what no rule can save.
//!
//! In: a scope. Out: a number of points of its loops and sums, never too large.

use crate::expr::{Scope, Tensors};
use crate::index::{Index, Range};
use crate::interpret::Points;

/// Most points that are looked at for one group of iterators that occur together.
const MOST_POINTS: i64 = 4096;

/// Points of loops and sums for which every factor of the body is read inside of its target. Iterators
/// that share an index are counted together, exactly; where that would be too many points, as 1. A body
/// that is not a product of accesses counts as 1.
pub fn terms(scope: &Scope, tensors: &Tensors) -> i64 {
    let Some(factors) = scope.body.factors() else { return 1 };
    let ranges = scope.ranges();
    let mut groups: Vec<(u64, Vec<(&Index, Range)>)> = Vec::new();
    for access in factors {
        for (d, index) in access.index.iter().enumerate() {
            let mut vars = index.vars();
            let mut own = vec![(index, access.extent(tensors, d))];
            // Groups that share an iterator with this index are one group.
            groups.retain_mut(|(others, indices)| {
                let apart = *others & vars == 0;
                if !apart {
                    vars |= *others;
                    own.append(indices);
                }
                apart
            });
            groups.push((vars, own));
        }
    }
    let known = groups.iter().fold(0, |set, (vars, _)| set | vars);
    let free = (0..ranges.len()).filter(|v| known >> v & 1 == 0).map(|v| ranges[v].len());
    let counted = groups.iter().map(|(vars, indices)| count(*vars, indices, &ranges));
    free.chain(counted).fold(1, i64::saturating_mul)
}

fn count(vars: u64, indices: &[(&Index, Range)], ranges: &[Range]) -> i64 {
    let members: Vec<usize> = (0..ranges.len()).filter(|v| vars >> v & 1 == 1).collect();
    // The longest iterator is not gone through, if it is linear wherever it occurs.
    let linear = |v: usize| {
        indices.iter().all(|(index, _)| {
            let rest = index.minus(&Index::var(v).times(index.factor(v)));
            rest.vars() >> v & 1 == 0
        })
    };
    let longest = members.iter().copied().filter(|&v| linear(v)).max_by_key(|&v| ranges[v].len());
    let others: Vec<usize> = members.iter().copied().filter(|&v| Some(v) != longest).collect();
    let spans: Vec<Range> = others.iter().map(|&v| ranges[v]).collect();
    if spans.iter().map(|range| range.len()).fold(1, i64::saturating_mul) > MOST_POINTS {
        return 1;
    }
    let mut at: Vec<i64> = vec![0; ranges.len()];
    let mut sum = 0;
    for point in Points::over(&spans) {
        others.iter().zip(&point).for_each(|(&v, &value)| at[v] = value);
        sum += match longest {
            Some(v) => along(v, indices, ranges[v], &mut at),
            None => {
                let inside = |(index, extent): &(&Index, Range)| extent.contains(index.value(&at));
                i64::from(indices.iter().all(inside))
            }
        };
    }
    sum
}

/// Values of `v` for which all indices are inside, the other iterators being `at`.
fn along(v: usize, indices: &[(&Index, Range)], range: Range, at: &mut [i64]) -> i64 {
    at[v] = 0;
    let mut left = range;
    for (index, extent) in indices {
        let (factor, rest) = (index.factor(v), index.value(at));
        // extent.lo <= factor * v + rest <= extent.hi - 1
        let (low, high) = (extent.lo - rest, extent.hi - 1 - rest);
        let (first, last) = match factor {
            0 if low <= 0 && 0 <= high => continue,
            0 => return 0,
            f if f > 0 => (-(-low).div_euclid(f), high.div_euclid(f)),
            f => (-high.div_euclid(-f), (-low).div_euclid(-f)),
        };
        left = left.and(Range { lo: first, hi: last + 1 });
    }
    left.len()
}
