//! What the search goes through: a scope that is computed, and how the result is read from it.
//!
//! In: a derived scope. Out: the same expression with it in place, in canonical form. Knows nothing of
//! which rule is worth applying.

use crate::expr::{Access, Expr, Scope, Target};
use crate::index::{Atom, Index, Range};
use crate::rules::Derived;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hash;
use std::sync::Arc;

/// `L loops . sum over sums . focus[map]`: the rules are applied to the focus, and what undoes them is
/// merged into the map at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    /// Dimensions of the result.
    pub loops: Vec<Range>,
    /// What is summed over outside of the focus.
    pub sums: Vec<Range>,
    /// Where the focus is read, by its dimensions.
    pub map: Vec<Index>,
    /// What is computed.
    pub focus: Scope,
}

/// 128 bits that stand for a state in canonical form.
pub type Fingerprint = u128;

impl State {
    /// The expression as it is given: nothing around the focus.
    pub fn new(scope: Scope) -> Self {
        let map = (0..scope.loops.len()).map(Index::var).collect();
        Self { loops: scope.loops.clone(), sums: Vec::new(), map, focus: scope }
    }

    /// Ranges of what is outside: loops, then sums.
    pub fn outer(&self) -> Vec<Range> {
        [self.loops.as_slice(), &self.sums].concat()
    }

    /// The expression as one scope.
    pub fn scope(&self) -> Scope {
        let target = Target::Scope(Arc::new(self.focus.clone()));
        let body = Expr::Access(Access { target, index: self.map.clone() });
        Scope { loops: self.loops.clone(), sums: self.sums.clone(), body }
    }

    /// Whether the focus is all there is: read in place.
    pub fn is_plain(&self) -> bool {
        self.sums.is_empty()
            && self.loops == self.focus.loops
            && self.map.iter().enumerate().all(|(d, index)| index.as_var() == Some(d))
    }

    /// Whether the focus is the result, but for the order of its dimensions.
    pub fn is_reordered(&self) -> bool {
        let mut seen = 0u64;
        let mut in_place = self.map.iter().zip(&self.focus.loops).map(|(index, range)| {
            let v = index.as_var().filter(|&v| self.loops.get(v) == Some(range));
            v.inspect(|v| seen |= 1 << v).is_some()
        });
        let all = in_place.all(|same| same);
        all && self.sums.is_empty()
            && self.map.len() == self.loops.len()
            && seen.count_ones() as usize == self.loops.len()
    }

    /// The state with `derived` in the place of the focus, which it was derived from. Where the focus was
    /// read outside of its ranges, which is 0, the new one must be too: `None` where that is not known.
    pub fn then(&self, derived: Derived) -> Option<Self> {
        let before = self.outer();
        for (d, (index, &range)) in self.map.iter().zip(&self.focus.loops).enumerate() {
            if !range.covers(index.span(&before)) && !keeps_outside(d, range, &derived) {
                return None;
            }
        }
        let mut sums = self.sums.clone();
        sums.extend_from_slice(&derived.sums);
        let outer = [self.loops.as_slice(), &sums].concat();
        let mut with = self.map.clone();
        with.extend((before.len()..outer.len()).map(Index::var));
        let map = derived.map.iter().map(|index| index.substituted(&with, &outer)).collect();
        Some(Self { loops: self.loops.clone(), sums, map, focus: derived.inner })
    }

    /// The fingerprint of the state as it is: of one in canonical form, that of all it stands for.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = SipHasher13::new();
        self.hash(&mut hasher);
        hasher.finish128().as_u128()
    }
}

/// Whether values of dimension `d` outside of `range` stay outside in what was derived.
fn keeps_outside(d: usize, range: Range, derived: &Derived) -> bool {
    let itself = Index::var(d);
    derived.map.iter().zip(&derived.inner.loops).any(|(index, new)| {
        if *index == itself {
            return range.covers(*new);
        }
        // A quotient whose range begins and ends where the old one does.
        match index.parts() {
            (constant, [(Atom::Div(of, k), 1)]) => {
                let offset = of.parts().0;
                let (lo, hi) = ((new.lo - constant) * k, (new.hi - constant) * k);
                **of == itself.clone().offset(offset)
                    && (lo, hi) == (range.lo + offset, range.hi + offset)
            }
            _ => false,
        }
    })
}
