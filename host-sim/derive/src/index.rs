//! Affine indices with floor division and modulo, in one normal form.
//!
//! In: iterators by number, and the ranges they run over. Out: sums of iterators, quotients and
//! remainders, what they range over and what becomes of them under substitution. Knows nothing of tensors.

use smallvec::{SmallVec, smallvec};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Values of an iterator, a dimension or an index: `lo` and all up to, but without, `hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    /// The first.
    pub lo: i64,
    /// One past the last.
    pub hi: i64,
}

impl Range {
    /// `0..extent`.
    pub const fn to(extent: i64) -> Self {
        Self { lo: 0, hi: extent }
    }

    /// How many values.
    pub const fn len(self) -> i64 {
        if self.hi > self.lo { self.hi - self.lo } else { 0 }
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.hi <= self.lo
    }

    /// Whether all of `other` is in it.
    pub const fn covers(self, other: Self) -> bool {
        other.is_empty() || (self.lo <= other.lo && other.hi <= self.hi)
    }

    /// Whether nothing of `other` is in it.
    pub const fn misses(self, other: Self) -> bool {
        other.hi <= self.lo || self.hi <= other.lo
    }

    /// What both have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { lo: self.lo.max(other.lo), hi: self.hi.min(other.hi) }
    }

    /// Whether `value` is in it.
    pub const fn contains(self, value: i64) -> bool {
        self.lo <= value && value < self.hi
    }

    /// Its values, in order.
    pub fn values(self) -> std::ops::Range<i64> {
        self.lo..self.hi
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.lo, self.hi)
    }
}

/// What an index adds up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    /// An iterator, by its number in the scope: loops first, then sums.
    Var(u8),
    /// The quotient, rounded down. The divisor is at least 2.
    Div(Arc<Index>, i64),
    /// The remainder, never negative. The divisor is at least 2.
    Mod(Arc<Index>, i64),
}

/// `constant + sum of factor * atom`. Atoms ascend, none twice, no factor is 0; a quotient and a
/// remainder that make up their number again are that number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Index {
    constant: i64,
    terms: Terms,
}

/// Most indices have two terms at most.
type Terms = SmallVec<[(Atom, i64); 2]>;

impl Index {
    /// The same number everywhere.
    pub fn constant(value: i64) -> Self {
        Self { constant: value, terms: SmallVec::new() }
    }

    /// An iterator.
    pub fn var(number: usize) -> Self {
        Self { constant: 0, terms: smallvec![(Atom::Var(number as u8), 1)] }
    }

    /// Its parts: what is added whatever the iterators are, and the terms.
    pub fn parts(&self) -> (i64, &[(Atom, i64)]) {
        (self.constant, &self.terms)
    }

    /// The constant that it is, if it is one.
    pub fn as_constant(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// The iterator that it is, if it is one and nothing else.
    pub fn as_var(&self) -> Option<usize> {
        match self.terms.as_slice() {
            [(Atom::Var(v), 1)] if self.constant == 0 => Some(*v as usize),
            _ => None,
        }
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add_scaled(other, 1);
        sum
    }

    /// `self - other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add_scaled(other, -1);
        sum
    }

    /// `factor * self`.
    #[must_use]
    pub fn times(&self, factor: i64) -> Self {
        let mut sum = Self::default();
        sum.add_scaled(self, factor);
        sum
    }

    /// `self + value`.
    #[must_use]
    pub fn offset(mut self, value: i64) -> Self {
        self.constant += value;
        self
    }

    fn add_scaled(&mut self, other: &Self, factor: i64) {
        self.constant += factor * other.constant;
        for (atom, f) in &other.terms {
            self.add_term(atom.clone(), factor * f);
        }
    }

    fn add_term(&mut self, atom: Atom, factor: i64) {
        if factor == 0 {
            return;
        }
        match self.terms.binary_search_by(|(other, _)| other.cmp(&atom)) {
            Ok(at) => {
                self.terms[at].1 += factor;
                if self.terms[at].1 == 0 {
                    self.terms.remove(at);
                    return;
                }
            }
            Err(at) => self.terms.insert(at, (atom, factor)),
        }
        self.reunite();
    }

    /// `k * (i / k) + i % k` is `i`.
    fn reunite(&mut self) {
        let found = self.terms.iter().enumerate().try_for_each(|(at, (atom, factor))| {
            let Atom::Mod(of, k) = atom else { return ControlFlow::Continue(()) };
            let quotient = Atom::Div(of.clone(), *k);
            match self.terms.binary_search_by(|(other, _)| other.cmp(&quotient)) {
                Ok(with) if self.terms[with].1 == factor * k => ControlFlow::Break((at, with)),
                _ => ControlFlow::Continue(()),
            }
        });
        if let ControlFlow::Break((at, with)) = found {
            let (first, second) = (at.max(with), at.min(with));
            let factor = self.terms[at].1;
            let whole = match self.terms[at].0.clone() {
                Atom::Mod(of, _) => of,
                _ => return,
            };
            self.terms.remove(first);
            self.terms.remove(second);
            self.add_scaled(&whole, factor);
        }
    }

    /// The quotient by `k >= 1`, rounded down, when iterators run over `ranges`.
    ///
    /// # Panics
    /// When `k` is less than 1.
    #[must_use]
    pub fn divided(&self, k: i64, ranges: &[Range]) -> Self {
        assert!(k >= 1, "divided by {k}");
        if k == 1 {
            return self.clone();
        }
        let (mut whole, mut rest) = (Self::default(), Self::default());
        whole.constant = self.constant.div_euclid(k);
        rest.constant = self.constant.rem_euclid(k);
        for (atom, factor) in &self.terms {
            let into =
                if factor % k == 0 { (&mut whole, factor / k) } else { (&mut rest, *factor) };
            into.0.add_term(atom.clone(), into.1);
        }
        let span = rest.span(ranges);
        let (low, high) = (span.lo.div_euclid(k), (span.hi - 1).div_euclid(k));
        if low == high {
            return whole.offset(low);
        }
        // A quotient of a quotient is one quotient.
        if let [(Atom::Div(of, inner), 1)] = rest.terms.as_slice() {
            let numerator = (**of).clone().offset(rest.constant * inner);
            return whole.plus(&numerator.divided(k * inner, ranges));
        }
        whole.add_term(Atom::Div(Arc::new(rest), k), 1);
        whole
    }

    /// The remainder by `k >= 1`, never negative, when iterators run over `ranges`.
    ///
    /// # Panics
    /// When `k` is less than 1.
    #[must_use]
    pub fn modulo(&self, k: i64, ranges: &[Range]) -> Self {
        assert!(k >= 1, "modulo {k}");
        let mut rest = Self::constant(self.constant.rem_euclid(k));
        for (atom, factor) in self.terms.iter().filter(|(_, factor)| factor % k != 0) {
            rest.add_term(atom.clone(), *factor);
        }
        let within = |index: &Self| {
            let span = index.span(ranges);
            let (low, high) = (span.lo.div_euclid(k), (span.hi - 1).div_euclid(k));
            (low == high).then(|| index.clone().offset(-low * k))
        };
        if let Some(found) = within(&rest) {
            return found;
        }
        let mut reduced = Self::constant(rest.constant);
        for (atom, factor) in &rest.terms {
            // A remainder by a multiple of `k` is a remainder by `k`.
            let atom = match atom {
                Atom::Mod(of, inner) if inner % k == 0 => {
                    reduced.add_scaled(of, factor.rem_euclid(k));
                    continue;
                }
                other => other.clone(),
            };
            reduced.add_term(atom, factor.rem_euclid(k));
        }
        if reduced != rest {
            return reduced.modulo(k, ranges);
        }
        Self { constant: 0, terms: smallvec![(Atom::Mod(Arc::new(reduced), k), 1)] }
    }

    /// The values that it may take when iterators run over `ranges`: exact without quotients and
    /// remainders, else never too few.
    pub fn span(&self, ranges: &[Range]) -> Range {
        let (mut lo, mut last) = (self.constant, self.constant);
        for (atom, factor) in &self.terms {
            let (low, high) = atom.bounds(ranges);
            let (a, b) = (low * factor, high * factor);
            lo += a.min(b);
            last += a.max(b);
        }
        Range { lo, hi: last + 1 }
    }

    /// Its value for these iterators.
    pub fn value(&self, iterators: &[i64]) -> i64 {
        let terms = self.terms.iter().map(|(atom, factor)| {
            factor
                * match atom {
                    Atom::Var(v) => iterators[*v as usize],
                    Atom::Div(of, k) => of.value(iterators).div_euclid(*k),
                    Atom::Mod(of, k) => of.value(iterators).rem_euclid(*k),
                }
        });
        self.constant + terms.sum::<i64>()
    }

    /// Each iterator replaced by its index in `with`, over iterators that run over `ranges`.
    #[must_use]
    pub fn substituted(&self, with: &[Self], ranges: &[Range]) -> Self {
        let mut out = Self::constant(self.constant);
        for (atom, factor) in &self.terms {
            match atom {
                Atom::Var(v) => out.add_scaled(&with[*v as usize], *factor),
                Atom::Div(of, k) => {
                    out.add_scaled(&of.substituted(with, ranges).divided(*k, ranges), *factor);
                }
                Atom::Mod(of, k) => {
                    out.add_scaled(&of.substituted(with, ranges).modulo(*k, ranges), *factor);
                }
            }
        }
        out
    }

    /// Each iterator given its number in `with`.
    #[must_use]
    pub fn renamed(&self, with: &[u8]) -> Self {
        let mut terms: Terms = self
            .terms
            .iter()
            .map(|(atom, factor)| {
                let atom = match atom {
                    Atom::Var(v) => Atom::Var(with[*v as usize]),
                    Atom::Div(of, k) => Atom::Div(Arc::new(of.renamed(with)), *k),
                    Atom::Mod(of, k) => Atom::Mod(Arc::new(of.renamed(with)), *k),
                };
                (atom, *factor)
            })
            .collect();
        terms.sort_unstable();
        Self { constant: self.constant, terms }
    }

    /// The iterators in it, as a set of bits.
    pub fn vars(&self) -> u64 {
        self.terms.iter().fold(0, |set, (atom, _)| {
            set | match atom {
                Atom::Var(v) => 1 << v,
                Atom::Div(of, _) | Atom::Mod(of, _) => of.vars(),
            }
        })
    }

    /// The factor of iterator `v` outside quotients and remainders.
    pub fn factor(&self, v: usize) -> i64 {
        let found = self.terms.iter().find(|(atom, _)| *atom == Atom::Var(v as u8));
        found.map_or(0, |(_, factor)| *factor)
    }

    /// Whether iterator `v` is in a quotient or a remainder.
    pub fn bends(&self, v: usize) -> bool {
        self.terms.iter().any(|(atom, _)| match atom {
            Atom::Var(_) => false,
            Atom::Div(of, _) | Atom::Mod(of, _) => of.vars() >> v & 1 == 1,
        })
    }

    /// Hands on every factor and divisor in it that is at least 2, without sign.
    pub fn factors(&self, with: &mut dyn FnMut(i64)) {
        for (atom, factor) in &self.terms {
            if factor.abs() >= 2 {
                with(factor.abs());
            }
            if let Atom::Div(of, k) | Atom::Mod(of, k) = atom {
                with(*k);
                of.factors(with);
            }
        }
    }

    /// Whether it has neither quotients nor remainders.
    pub fn is_linear(&self) -> bool {
        self.terms.iter().all(|(atom, _)| matches!(atom, Atom::Var(_)))
    }
}

impl Atom {
    /// The least and the greatest value.
    fn bounds(&self, ranges: &[Range]) -> (i64, i64) {
        match self {
            Self::Var(v) => {
                let range = ranges[*v as usize];
                (range.lo, range.hi - 1)
            }
            Self::Div(of, k) => {
                let span = of.span(ranges);
                (span.lo.div_euclid(*k), (span.hi - 1).div_euclid(*k))
            }
            Self::Mod(of, k) => {
                let span = of.span(ranges);
                match (span.lo.div_euclid(*k), (span.hi - 1).div_euclid(*k)) {
                    (low, high) if low == high => {
                        (span.lo.rem_euclid(*k), (span.hi - 1).rem_euclid(*k))
                    }
                    _ => (0, k - 1),
                }
            }
        }
    }
}
