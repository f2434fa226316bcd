//! The moves of the free search: where each rule may be applied to a state.
//!
//! In: a state. Out: rules with their operands, all that ranges and factors of the expression suggest. No
//! move knows what the expression is for.

use super::state::State;
use crate::expr::{Access, Scope, Tensors};
use crate::index::{Atom, Index, Range};
use crate::rules::relayout::{Relayout, relayout};
use crate::rules::{Derived, boundary, sums, variables};
use std::collections::BTreeSet;

/// A rule and where it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Summation splitting: these sums, as bits.
    Split(u64),
    /// Variable substitution of a loop by a combination of loops.
    Substitute(usize, Index),
    /// Variable substitution by quotient and remainder of the iterator and an offset.
    Divide(usize, i64, i64),
    /// Variable substitution of a sum by its quotient, and the remainder of it and others, which may be taken away
    /// from.
    Rotate(usize, i64, Index, bool),
    /// Variable substitution of two iterators by one.
    Join(usize, usize),
    /// Boundary tightening.
    Tighten,
    /// Boundary relaxing.
    Relax(usize, Range),
    /// The dimension of what a factor reads, split.
    SplitDimension(usize, usize, i64),
}

impl Move {
    /// The name of its rule.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Split(_) => "summation splitting",
            Self::Substitute(..) | Self::Divide(..) | Self::Rotate(..) | Self::Join(..) => {
                "variable substitution"
            }
            Self::Tighten => "boundary tightening",
            Self::Relax(..) => "boundary relaxing",
            Self::SplitDimension(..) => "dimension splitting",
        }
    }

    /// What the rule makes of a state, in canonical form.
    pub fn step(&self, state: &State, tensors: &Tensors) -> Option<State> {
        let derived = self.apply(&state.focus, tensors)?;
        Some(state.then(derived)?.canonical())
    }

    /// What the rule makes of `scope`.
    pub fn apply(&self, scope: &Scope, tensors: &Tensors) -> Option<Derived> {
        match self {
            Self::Split(outer) => sums::split(scope, *outer),
            Self::Substitute(x, t) => variables::substitute(scope, *x, t),
            Self::Divide(v, k, offset) => variables::divide(scope, tensors, *v, *k, *offset),
            Self::Rotate(v, k, rest, negative) => variables::rotate(scope, *v, *k, rest, *negative),
            Self::Join(i, j) => variables::join(scope, *i, *j),
            Self::Tighten => boundary::tighten(scope, tensors),
            Self::Relax(v, to) => boundary::relax(scope, tensors, *v, *to),
            Self::SplitDimension(which, dimension, by) => {
                let change = Relayout::Split { dimension: *dimension, by: *by };
                relayout(scope, tensors, *which, &change)
            }
        }
    }
}

/// How often a path may still use the rules that multiply iterators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Rules of any kind.
    pub depth: u8,
    /// Substitutions by quotient and remainder.
    pub divisions: u8,
    /// Summation splittings.
    pub splits: u8,
    /// Boundaries relaxed.
    pub relaxings: u8,
}

impl Budget {
    /// What the search begins with.
    pub const fn of_depth(depth: u8) -> Self {
        Self { depth, divisions: 3, splits: 1, relaxings: 1 }
    }

    /// What is left after `step`; `None` where it is not allowed any more.
    pub fn after(self, step: &Move) -> Option<Self> {
        let mut left = self;
        left.depth = left.depth.checked_sub(1)?;
        match step {
            Move::Split(_) => left.splits = left.splits.checked_sub(1)?,
            Move::Divide(..) => left.divisions = left.divisions.checked_sub(1)?,
            Move::Relax(..) => left.relaxings = left.relaxings.checked_sub(1)?,
            // A remainder that is a value of its own is one no more: there are only so many.
            Move::Substitute(..)
            | Move::Rotate(..)
            | Move::Join(..)
            | Move::Tighten
            | Move::SplitDimension(..) => {}
        }
        Some(left)
    }

    /// Whether it has at least as much of everything.
    pub const fn covers(self, other: Self) -> bool {
        self.depth >= other.depth
            && self.divisions >= other.divisions
            && self.splits >= other.splits
            && self.relaxings >= other.relaxings
    }
}

/// Iterators this long or shorter are also divided by every small number.
const SHORT: i64 = 10;
/// The small numbers.
const SMALL: [i64; 2] = [2, 3];

/// Every move that `budget` allows, most promising rules first.
pub fn moves(state: &State, budget: Budget) -> Vec<Move> {
    let focus = &state.focus;
    let (loops, ranges) = (focus.loops.len(), focus.ranges());
    let mut accesses: Vec<&Access> = Vec::new();
    focus.body.accesses(&mut |access| accesses.push(access));
    let mut all = vec![Move::Tighten];
    if budget.splits > 0 && focus.sums.len() > 1 {
        all.extend((1..(1u64 << focus.sums.len()) - 1).map(Move::Split));
    }
    let mut indices: Vec<&Index> = Vec::new();
    accesses.iter().flat_map(|access| &access.index).for_each(|i| nested(i, &mut indices));
    combinations(&indices, loops, &mut all);
    for (which, access) in accesses.iter().enumerate() {
        split_dimensions(which, access, &ranges, &mut all);
    }
    for (v, range) in ranges.iter().enumerate() {
        let mut by = BTreeSet::new();
        if v >= loops && range.len() <= SHORT {
            by.extend(SMALL);
        }
        for index in indices.iter().filter(|index| index.vars() >> v & 1 == 1) {
            index.factors(&mut |k| {
                by.insert(k);
            });
        }
        for k in by.into_iter().filter(|&k| k < range.len()) {
            if budget.divisions > 0 {
                let offsets = phases(&indices, v, k);
                all.extend(offsets.into_iter().map(|offset| Move::Divide(v, k, offset)));
            }
            if budget.relaxings > 0 && range.len() % k != 0 {
                let longer = (range.len() + k - 1) / k * k;
                all.push(Move::Relax(v, Range { lo: range.lo, hi: range.lo + longer }));
            }
        }
    }
    rotations(&indices, &ranges, loops, &mut all);
    joins(&indices, &ranges, loops, &mut all);
    all
}

/// A sum whose remainder together with loops is all that an index has of it: that remainder can be a sum.
fn rotations(indices: &[&Index], ranges: &[Range], loops: usize, all: &mut Vec<Move>) {
    for index in indices {
        for (atom, _) in index.parts().1 {
            let Atom::Mod(of, k) = atom else { continue };
            for (v, range) in ranges.iter().enumerate().skip(loops) {
                let factor = of.factor(v).rem_euclid(*k);
                let negative = factor != 1;
                let rest = of.minus(&Index::var(v).times(of.factor(v)));
                let unit = factor == 1 || factor == k - 1;
                let others = rest.vars();
                if !unit || range.len() % k != 0 || others == 0 || others >> loops != 0 {
                    continue;
                }
                let step = Move::Rotate(v, *k, rest, negative);
                if !all.contains(&step) {
                    all.push(step);
                }
            }
        }
    }
}

/// What is added to `v` where it is divided by `k` already, below `k`; 0 where it is not.
fn phases(indices: &[&Index], v: usize, k: i64) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    for (atom, _) in indices.iter().flat_map(|index| index.parts().1) {
        if let Atom::Div(of, by) | Atom::Mod(of, by) = atom
            && *by == k
            && of.factor(v) == 1
        {
            found.insert(of.parts().0.rem_euclid(k));
        }
    }
    if found.is_empty() {
        found.insert(0);
    }
    found
}

/// `index` and all indices in its quotients and remainders.
fn nested<'a>(index: &'a Index, into: &mut Vec<&'a Index>) {
    into.push(index);
    for (atom, _) in index.parts().1 {
        if let Atom::Div(of, _) | Atom::Mod(of, _) = atom {
            nested(of, into);
        }
    }
}

/// Loops that are added up in some index can be one iterator.
fn combinations(indices: &[&Index], loops: usize, all: &mut Vec<Move>) {
    for index in indices {
        let mut sum = Index::default();
        for (atom, factor) in index.parts().1 {
            if let Atom::Var(v) = atom
                && (*v as usize) < loops
            {
                sum = sum.plus(&Index::var(*v as usize).times(*factor));
            }
        }
        let terms: Vec<(usize, i64)> =
            (0..loops).map(|v| (v, sum.factor(v))).filter(|t| t.1 != 0).collect();
        if terms.len() < 2 {
            continue;
        }
        for &(x, factor) in terms.iter().filter(|(_, f)| terms.iter().all(|t| t.1 % f == 0)) {
            let t = terms
                .iter()
                .fold(Index::default(), |t, &(v, f)| t.plus(&Index::var(v).times(f / factor)));
            let step = Move::Substitute(x, t);
            if !all.contains(&step) {
                all.push(step);
            }
        }
    }
}

/// A dimension is split where quotient and remainder of its index are simpler than the index.
fn split_dimensions(which: usize, access: &Access, ranges: &[Range], all: &mut Vec<Move>) {
    for (dimension, index) in access.index.iter().enumerate() {
        let mut by = BTreeSet::new();
        for (_, factor) in index.parts().1 {
            if factor.abs() > 1 {
                by.insert(factor.abs());
            }
        }
        for k in by {
            let (quotient, rest) = (index.divided(k, ranges), index.modulo(k, ranges));
            if quotient.is_linear() && rest.is_linear() {
                all.push(Move::SplitDimension(which, dimension, k));
            }
        }
    }
}

/// Two iterators that some index counts through together can be one.
fn joins(indices: &[&Index], ranges: &[Range], loops: usize, all: &mut Vec<Move>) {
    for (i, j) in (0..ranges.len()).flat_map(|i| (0..ranges.len()).map(move |j| (i, j))) {
        let n = ranges[j].len();
        let together = |index: &&&Index| {
            let (a, b) = (index.factor(i), index.factor(j));
            b != 0 && a == b * n
        };
        if i != j && (i < loops) == (j < loops) && n > 1 && indices.iter().any(|x| together(&x)) {
            all.push(Move::Join(i, j));
        }
    }
}
