//! Loops of a nest, joined where they run on and put in the order in which they are best run along.
//!
//! In: a nest, and which of its loops are sums. Out: the same nest with fewer loops, or others last. Knows nothing of
//! what is computed.

use super::steps::{Affine, Nest};
use ripple_program::code::DIGITS;

/// Every affine form of a nest.
fn forms(nest: &mut Nest) -> Vec<&mut Affine> {
    let reads = nest.reads.iter_mut().flat_map(|read| {
        [&mut read.at].into_iter().chain(read.guards.iter_mut().map(|(index, _)| index))
    });
    let parts = nest.parts.iter_mut().map(|part| &mut part.of);
    [&mut nest.at].into_iter().chain(reads).chain(parts).collect()
}

/// Variables by other numbers: `to` for each loop, parts behind so many.
fn renumbered(nest: &mut Nest, to: &[usize], loops: usize) {
    let before = to.len();
    for form in forms(nest) {
        for (variable, _) in &mut form.terms {
            if let Some(of) = variable.checked_sub(DIGITS) {
                *variable = DIGITS + if of < before { to[of] } else { of - before + loops };
            }
        }
        form.terms.sort_unstable();
    }
}

/// Joins loops that run on into one another, and puts the one last that is best run along.
pub fn arrange(nest: &mut Nest, sums: &mut Vec<bool>) {
    join(nest, sums);
    let loops = nest.loops.len();
    // Loops that parts depend on, of others too.
    let mut bends: u64 = 0;
    for part in &nest.parts {
        part.of.terms.iter().for_each(|&(v, _)| bends |= 1 << v);
    }
    let last_sum = sums.iter().rposition(|&sum| sum);
    let possible = |l: &usize| !nest.real || !sums[*l] || last_sum == Some(*l);
    let best = (0..loops).filter(possible).max_by_key(|&l| {
        let variable = DIGITS + l;
        let straight = bends >> variable & 1 == 0;
        let steps = nest.reads.iter().map(|read| &read.at).chain([&nest.at]);
        let near = steps.filter(|at| at.factor(variable).abs() <= 1).count();
        (straight, nest.loops[l].min(64), near, l)
    });
    if let Some(best) = best.filter(|&best| best + 1 < loops) {
        let to: Vec<usize> = (0..loops)
            .map(|l| match l.cmp(&best) {
                std::cmp::Ordering::Less => l,
                std::cmp::Ordering::Equal => loops - 1,
                std::cmp::Ordering::Greater => l - 1,
            })
            .collect();
        let (extent, sum) = (nest.loops.remove(best), sums.remove(best));
        nest.loops.push(extent);
        sums.push(sum);
        renumbered(nest, &to, loops);
        join(nest, sums);
    }
}

fn join(nest: &mut Nest, sums: &mut Vec<bool>) {
    let mut at = 0;
    while at + 1 < nest.loops.len() {
        let (outer, inner, extent) = (DIGITS + at, DIGITS + at + 1, nest.loops[at + 1]);
        let runs_on = sums[at] == sums[at + 1]
            && forms(nest).iter().all(|form| form.factor(outer) == extent * form.factor(inner));
        if !runs_on {
            at += 1;
            continue;
        }
        for form in forms(nest) {
            form.terms.retain(|(variable, _)| *variable != outer);
        }
        let loops = nest.loops.len();
        nest.loops[at + 1] *= nest.loops[at];
        nest.loops.remove(at);
        sums.remove(at);
        let to: Vec<usize> = (0..loops).map(|l| if l > at { l - 1 } else { l }).collect();
        renumbered(nest, &to, loops - 1);
        at = 0;
    }
}
