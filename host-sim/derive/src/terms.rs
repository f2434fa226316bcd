//! How many terms an expression adds up that are not 0 by where they are read: what no rule can save.
//!
//! In: a scope. Out: a number of points of its loops and sums, never too large.

use crate::expr::{Scope, Tensors};
use crate::index::{Index, Range};
use rustc_hash::FxHashMap;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::cell::RefCell;
use std::hash::Hash;

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
    let counted = groups.iter().map(|(vars, indices)| known_count(*vars, indices, &ranges));
    free.chain(counted).fold(1, i64::saturating_mul)
}

/// Most counts that are kept.
const MOST_KNOWN: usize = 1 << 16;

thread_local! {
    /// Counts by what they were counted of: a search has the same few indices in most of its states.
    static KNOWN: RefCell<FxHashMap<u128, i64>> = RefCell::default();
}

/// What [`count`] says, counted once.
fn known_count(vars: u64, indices: &[(&Index, Range)], ranges: &[Range]) -> i64 {
    let mut hasher = SipHasher13::new();
    (vars, indices).hash(&mut hasher);
    ranges.iter().enumerate().filter(|(v, _)| vars >> v & 1 == 1).for_each(|v| v.hash(&mut hasher));
    let key = hasher.finish128().as_u128();
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        *known.entry(key).or_insert_with(|| count(vars, indices, ranges))
    })
}

fn count(vars: u64, indices: &[(&Index, Range)], ranges: &[Range]) -> i64 {
    let members = |set: u64| (0..ranges.len()).filter(move |v| set >> v & 1 == 1);
    let longest = |set: u64, indices: &[(&Index, Range)]| {
        let linear = |v: &usize| indices.iter().all(|(index, _)| !index.bends(*v));
        members(set).filter(linear).max_by_key(|&v| ranges[v].len())
    };
    // The longest iterator is not gone through, if it is linear wherever it occurs.
    let skipped = longest(vars, indices);
    let points = members(vars).filter(|&v| Some(v) != skipped).map(|v| ranges[v].len());
    if points.fold(1, i64::saturating_mul) > MOST_POINTS {
        return 1;
    }
    // What never leaves its target leaves nothing out: iterators that are in nothing else are counted as they are.
    let indices: Vec<(&Index, Range)> =
        indices.iter().filter(|(i, extent)| !extent.covers(i.span(ranges))).copied().collect();
    let bound = indices.iter().fold(0, |set, (index, _)| set | index.vars());
    let free = members(vars & !bound).map(|v| ranges[v].len()).fold(1, i64::saturating_mul);
    let skipped = longest(bound, &indices);
    let others: Vec<usize> = members(bound).filter(|&v| Some(v) != skipped).collect();
    if free == 0 || others.iter().any(|&v| ranges[v].is_empty()) {
        return 0;
    }
    let mut at: Vec<i64> = ranges.iter().map(|range| range.lo).collect();
    let mut sum = 0i64;
    loop {
        sum += match skipped {
            Some(v) => along(v, &indices, ranges[v], &mut at),
            None => {
                let inside = |(index, extent): &(&Index, Range)| extent.contains(index.value(&at));
                i64::from(indices.iter().all(inside))
            }
        };
        // The next point, the last iterator fastest.
        let next = others.iter().rev().find(|&&v| {
            at[v] += 1;
            let done = at[v] == ranges[v].hi;
            if done {
                at[v] = ranges[v].lo;
            }
            !done
        });
        if next.is_none() {
            return free.saturating_mul(sum);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every point, whether or not an index can leave its target.
    fn one_by_one(indices: &[(&Index, Range)], ranges: &[Range]) -> i64 {
        let inside = |point: &Vec<i64>| {
            i64::from(indices.iter().all(|(index, extent)| extent.contains(index.value(point))))
        };
        crate::interpret::Points::over(ranges).map(|point| inside(&point)).sum()
    }

    #[test]
    fn points_are_counted_as_if_one_by_one() {
        let (mut state, mut bent, mut partial) = (7u64, 0, 0);
        let mut within = |lo: i64, hi: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            lo + ((state >> 33) as i64) % (hi - lo)
        };
        for _ in 0..3000 {
            let mut range = |most: i64| {
                let lo = within(-2, 3);
                Range { lo, hi: lo + within(1, most) }
            };
            let ranges = [range(7), range(5), range(4), range(3)];
            let extents = [range(9), range(6), range(12)];
            let mut index = |n: usize| {
                let sum = (0..3).fold(Index::constant(within(-2, 3)), |sum, _| {
                    let v = within(0, ranges.len() as i64) as usize;
                    sum.plus(&Index::var(v).times(within(-2, 4)))
                });
                match within(0, 6) {
                    0 if n == 0 => sum.divided(2, &ranges),
                    1 if n == 0 => sum.modulo(3, &ranges),
                    _ => sum,
                }
            };
            let own = [index(0), index(1), index(2)];
            bent += u32::from(!own[0].is_linear());
            let indices: Vec<(&Index, Range)> = own.iter().zip(extents).collect();
            let found = count(0b1111, &indices, &ranges);
            let all: i64 = ranges.iter().map(|range| range.len()).product();
            partial += u32::from(0 < found && found < all);
            assert_eq!(found, one_by_one(&indices, &ranges), "{own:?} in {extents:?}, {ranges:?}");
        }
        assert!(bent > 300 && partial > 300, "{bent} with quotients, {partial} in part");
    }
}
