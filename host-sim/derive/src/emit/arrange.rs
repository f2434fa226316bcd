//! Loops of a nest, split where they bend, joined where they run on and put in the order in which they are best run
//! along.
//!
//! In: a nest, and which of its loops are sums. Out: the same nest with fewer quotients and remainders, fewer loops,
//! or others last. Knows nothing of what is computed.

use super::steps::{Affine, Nest, Part};
use ripple_program::code::{DIGITS, MOST_LOOPS};

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

/// Splits loops that bend, joins those that run on into one another, and puts the one last that is best run along.
pub fn arrange(nest: &mut Nest, sums: &mut Vec<bool>) {
    while let Some(split) = split(nest, sums) {
        *nest = split;
    }
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

/// A loop of which a quotient and a remainder by one number are read, and which is no sum, as two: the quotient and
/// the remainder are loops then. `None` where there is none, or no room.
fn split(nest: &Nest, sums: &mut Vec<bool>) -> Option<Nest> {
    let loops = nest.loops.len();
    if loops >= MOST_LOOPS {
        return None;
    }
    let direct = |part: &Part, l: usize| part.of == Affine::var(DIGITS + l);
    let (at, by) = (0..loops).filter(|&l| !sums[l]).find_map(|l| {
        let own = nest.parts.iter().filter(|part| direct(part, l));
        let by = own.clone().map(|part| part.by).min()?;
        let whole = nest.loops[l] % by == 0 && (2..nest.loops[l]).contains(&by);
        (whole && own.clone().all(|part| part.by % by == 0)).then_some((l, by))
    })?;
    let quotients = nest.loops[at] / by;
    let (outer, inner) = (Affine::var(DIGITS + at), Affine::var(DIGITS + at + 1));
    // What each variable is now; parts follow in their order.
    let mut now: Vec<Affine> = (0..DIGITS + at).map(Affine::var).collect();
    let mut both = inner.clone();
    both.add(&outer, by);
    now.push(both);
    now.extend((DIGITS + at + 1..DIGITS + loops).map(|v| Affine::var(v + 1)));
    let mut parts: Vec<Part> = Vec::new();
    for part in &nest.parts {
        let itself = direct(part, at);
        let of = if itself { outer.clone() } else { over(&part.of, &now) };
        let by = if itself { part.by / by } else { part.by };
        // Of the quotient: itself where it is divided by 1, nothing where it is always less.
        let mut value = match part.remainder {
            _ if itself && by == 1 => {
                if part.remainder {
                    Affine::default()
                } else {
                    outer.clone()
                }
            }
            false if itself && by >= quotients => Affine::default(),
            true if itself && by >= quotients => outer.clone(),
            remainder => {
                parts.push(Part { remainder, by, of });
                Affine::var(DIGITS + loops + parts.len())
            }
        };
        if itself && part.remainder {
            let mut whole = inner.clone();
            whole.add(&value, nest.loops[at] / quotients);
            value = whole;
        }
        now.push(value);
    }
    let mut out = nest.clone();
    out.loops[at] = by;
    out.loops.insert(at, quotients);
    sums.insert(at, false);
    out.parts = parts;
    out.at = over(&nest.at, &now);
    for (new, read) in out.reads.iter_mut().zip(&nest.reads) {
        new.at = over(&read.at, &now);
        for (guard, (index, _)) in new.guards.iter_mut().zip(&read.guards) {
            guard.0 = over(index, &now);
        }
    }
    Some(out)
}

/// `form` with other forms in the place of its variables.
fn over(form: &Affine, now: &[Affine]) -> Affine {
    let mut out = Affine::constant(form.constant);
    form.terms.iter().for_each(|&(variable, factor)| out.add(&now[variable], factor));
    out
}
