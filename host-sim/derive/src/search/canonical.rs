//! The canonical form of a state: the same for all that differ in names, and in the order of sums, of
//! factors and of the dimensions of the focus.
//!
//! In: a state. Out: one that computes the same, ranges beginning at 0, iterators in an order that their
//! use decides. Iterators are told apart by colours, refined by where they are used; where colours are
//! the same, the least of the forms is taken.

use super::state::State;
use crate::expr::{Access, Scope, Target};
use crate::index::{Atom, Index, Range};
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

/// Rounds of refinement.
const ROUNDS: usize = 3;
/// Most orders of iterators of the same colour that are compared.
const MOST_ORDERS: usize = 720;

impl State {
    /// The canonical form.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let state = from_zero(self);
        let colours = Colours::of(&state);
        let mut orders = vec![Orders::default()];
        let sums = state.sums.len();
        let (loops, inner) = (state.focus.loops.len(), state.focus.sums.len());
        let kinds: [(&[u64], usize); 3] = [
            (&colours.outer[state.loops.len()..], sums),
            (&colours.focus[..loops], loops),
            (&colours.focus[loops..], inner),
        ];
        for (kind, (colours, count)) in kinds.into_iter().enumerate() {
            let choices = orders_of(colours, count, MOST_ORDERS / orders.len().max(1));
            orders = orders
                .iter()
                .flat_map(|order| {
                    choices.iter().map(move |choice| {
                        let mut order = order.clone();
                        order.0[kind].clone_from(choice);
                        order
                    })
                })
                .collect();
        }
        let forms = orders.iter().map(|order| ordered(&state, order));
        forms.min().unwrap_or(state)
    }
}

/// For sums outside, loops and sums of the focus: the old place of each new one.
#[derive(Clone, Default)]
struct Orders([Vec<usize>; 3]);

/// The orders by colour: all of them where some are the same, but no more than `most`.
fn orders_of(colours: &[u64], count: usize, most: usize) -> Vec<Vec<usize>> {
    let mut first: Vec<usize> = (0..count).collect();
    first.sort_by_key(|&i| colours[i]);
    let mut all = vec![first.clone()];
    let mut start = 0;
    while start < count {
        let same = first[start..].iter().take_while(|&&i| colours[i] == colours[first[start]]);
        let end = start + same.count();
        if end - start > 1 {
            let mut grown = Vec::new();
            for order in &all {
                permutations(order, start, end, &mut grown);
            }
            if grown.len() > most {
                break;
            }
            all = grown;
        }
        start = end;
    }
    all
}

fn permutations(order: &[usize], start: usize, end: usize, into: &mut Vec<Vec<usize>>) {
    if start + 1 >= end {
        into.push(order.to_vec());
        return;
    }
    for i in start..end {
        let mut next = order.to_vec();
        next.swap(start, i);
        permutations(&next, start + 1, end, into);
    }
}

/// Every iterator but the loops of the result begins at 0, and no sum has one value only.
fn from_zero(state: &State) -> State {
    let State { loops, sums, map, focus } = state;
    let starts = focus.loops.iter().chain(&focus.sums).chain(sums).all(|range| range.lo == 0);
    if starts && focus.sums.iter().chain(sums).all(|range| range.len() > 1) {
        return state.clone();
    }
    let ranges = focus.ranges();
    let count = focus.loops.len();
    let (mut with, mut kept) = (Vec::with_capacity(ranges.len()), Vec::new());
    for (v, range) in ranges.iter().enumerate() {
        if v >= count && range.len() == 1 {
            with.push(Index::constant(range.lo));
        } else {
            with.push(Index::var(kept.len()).offset(range.lo));
            kept.push(Range::to(range.len()));
        }
    }
    let body = focus.body.indexed(&|index| index.substituted(&with, &kept));
    let shifted = kept.split_off(count);
    let new_focus = Scope { loops: kept, sums: shifted, body };

    let mut outer: Vec<Index> = (0..loops.len()).map(Index::var).collect();
    let mut new = loops.clone();
    for range in sums {
        if range.len() == 1 {
            outer.push(Index::constant(range.lo));
        } else {
            outer.push(Index::var(new.len()).offset(range.lo));
            new.push(Range::to(range.len()));
        }
    }
    let map = map.iter().zip(&focus.loops);
    let map = map.map(|(i, range)| i.substituted(&outer, &new).offset(-range.lo)).collect();
    let sums = new.split_off(loops.len());
    State { loops: loops.clone(), sums, map, focus: new_focus }
}

fn ordered(state: &State, order: &Orders) -> State {
    let [sums, loops, inner] = &order.0;
    let (outside, count) = (state.loops.len(), state.focus.loops.len());
    let mut number: Vec<u8> = (0..(outside + sums.len()) as u8).collect();
    for (new, &old) in sums.iter().enumerate() {
        number[outside + old] = (outside + new) as u8;
    }
    let map = loops.iter().map(|&old| state.map[old].renamed(&number)).collect();
    let mut number = vec![0u8; count + inner.len()];
    for (new, &old) in loops.iter().enumerate() {
        number[old] = new as u8;
    }
    for (new, &old) in inner.iter().enumerate() {
        number[count + old] = (count + new) as u8;
    }
    State {
        loops: state.loops.clone(),
        sums: sums.iter().map(|&old| state.sums[old]).collect(),
        map,
        focus: Scope {
            loops: loops.iter().map(|&old| state.focus.loops[old]).collect(),
            sums: inner.iter().map(|&old| state.focus.sums[old]).collect(),
            body: state.focus.body.indexed(&|index| index.renamed(&number)),
        },
    }
}

fn mix(parts: &[u64]) -> u64 {
    let mut hasher = FxHasher::default();
    parts.hash(&mut hasher);
    let h = hasher.finish();
    (h ^ (h >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A colour for each iterator.
struct Colours {
    outer: Vec<u64>,
    focus: Vec<u64>,
}

impl Colours {
    fn of(state: &State) -> Self {
        let range = |kind: u64, range: &Range| mix(&[kind, range.lo as u64, range.hi as u64]);
        let place = |(i, r): (usize, &Range)| mix(&[range(1, r), i as u64]);
        let mut outer: Vec<u64> = state.loops.iter().enumerate().map(place).collect();
        outer.extend(state.sums.iter().map(|r| range(2, r)));
        let mut focus: Vec<u64> = state.focus.loops.iter().map(|r| range(3, r)).collect();
        focus.extend(state.focus.sums.iter().map(|r| range(4, r)));
        let mut colours = Self { outer, focus };
        let mut accesses = Vec::new();
        state.focus.body.accesses(&mut |access| accesses.push((access, target(access))));
        for _ in 0..ROUNDS {
            colours.refine(state, &accesses);
        }
        colours
    }

    fn refine(&mut self, state: &State, accesses: &[(&Access, u64)]) {
        let (mut outer, mut focus) = (self.outer.clone(), self.focus.clone());
        for (d, index) in state.map.iter().enumerate() {
            let whole = of_index(index, &self.outer);
            focus[d] = mix(&[focus[d], whole]);
            let from = mix(&[self.focus[d], whole]);
            occurrences(index, from, &mut |v, seen| outer[v] = outer[v].wrapping_add(seen));
        }
        for (access, target) in accesses {
            let parts: Vec<u64> = access.index.iter().map(|i| of_index(i, &self.focus)).collect();
            let whole = mix(&[*target, mix(&parts)]);
            for (d, index) in access.index.iter().enumerate() {
                let from = mix(&[whole, d as u64, parts[d]]);
                occurrences(index, from, &mut |v, seen| focus[v] = focus[v].wrapping_add(seen));
            }
        }
        *self = Self { outer, focus };
    }
}

fn target(access: &Access) -> u64 {
    match &access.target {
        Target::Tensor(id) => mix(&[5, u64::from(*id)]),
        Target::Scope(scope) => {
            let mut hasher = FxHasher::default();
            scope.hash(&mut hasher);
            mix(&[6, hasher.finish()])
        }
    }
}

fn of_index(index: &Index, colours: &[u64]) -> u64 {
    let (constant, terms) = index.parts();
    let sum = terms.iter().fold(0u64, |sum, (atom, factor)| {
        let atom = match atom {
            Atom::Var(v) => colours[*v as usize],
            Atom::Div(of, k) => mix(&[7, of_index(of, colours), *k as u64]),
            Atom::Mod(of, k) => mix(&[8, of_index(of, colours), *k as u64]),
        };
        sum.wrapping_add(mix(&[atom, *factor as u64]))
    });
    mix(&[constant as u64, sum])
}

fn occurrences(index: &Index, from: u64, with: &mut dyn FnMut(usize, u64)) {
    for (atom, factor) in index.parts().1 {
        match atom {
            Atom::Var(v) => with(*v as usize, mix(&[from, *factor as u64])),
            Atom::Div(of, k) => occurrences(of, mix(&[from, 9, *k as u64]), with),
            Atom::Mod(of, k) => occurrences(of, mix(&[from, 10, *k as u64]), with),
        }
    }
}
