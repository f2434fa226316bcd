//! Rows of a call: in which order they come, and what of the focus is in them.
//!
//! In: a state, and the call that its focus is. Out: digits of a row's number for what tells rows apart, places
//! in a row for the others, weights in that order. Knows nothing of buffers and steps.

use super::lower::SELF;
use super::steps::Place;
use super::view::{Dimension, Unit, View};
use crate::expr::{Access, Expr, Target, Tensor};
use crate::index::{Atom, Index, Range};
use crate::interpret::interpret;
use crate::library::{Bound, Call};
use crate::search::state::State;
use ripple_program::code::DIGITS;

/// The tensor that stands for a row of results.
pub const ROW: u32 = SELF - 1;

/// Rows on the card, before they are in the order in which they are read.
pub struct Weights {
    /// `(rows, numbers)`.
    pub values: Vec<i64>,
    pub numbers: usize,
}

/// A call with its operands.
pub struct Called<'a> {
    pub name: &'a str,
    pub state: &'a State,
    pub bound: &'a Bound,
    /// Dimensions of the call's result that a row has, and those that tell rows apart.
    pub across: Vec<usize>,
    pub along: Vec<usize>,
    /// What 1 of its sums stands for.
    pub unit: Unit,
    pub weights: Option<Weights>,
}

/// What a row's number says: digits, and what of the focus they are.
pub struct Order {
    pub digits: [i64; DIGITS],
    /// Each dimension of the focus that the digits give, over them.
    pub given: Vec<(usize, Index)>,
    /// Numbers of the rows, in the order in which they come; as they are, if nothing.
    pub rows: Option<Vec<usize>>,
    pub group: i64,
}

/// Operand B, which is known: rows of `numbers`.
pub fn folded(target: &Target, tensors: &[Tensor], values: &[Vec<i64>], numbers: i64) -> Weights {
    let values = match target {
        Target::Tensor(id) => values[*id as usize].clone(),
        Target::Scope(scope) => {
            let shapes: Vec<Vec<i64>> = tensors.iter().map(|t| t.shape.clone()).collect();
            interpret(scope, &shapes, values).unwrap_or_default()
        }
    };
    Weights { values, numbers: numbers.max(1) as usize }
}

/// The members of a mixed radix, each over the number `digits` that it makes up; `None` where it is none.
fn members(
    index: &Index,
    ranges: &[Range],
    digit: &Index,
    all: Range,
) -> Option<Vec<(usize, Index)>> {
    let (_, terms) = index.parts();
    let mut found: Vec<(usize, i64)> = Vec::new();
    for (atom, factor) in terms {
        let Atom::Var(v) = atom else { return None };
        found.push((*v as usize, *factor));
    }
    found.sort_by_key(|&(_, factor)| factor);
    let mut step = 1;
    let mut members = Vec::new();
    let over = [Range::to(1 << 24); DIGITS];
    for &(v, factor) in &found {
        if ranges[v].len() == 1 {
            members.push((v, Index::constant(ranges[v].lo)));
            continue;
        }
        if factor != step {
            return None;
        }
        let quotient = digit.divided(step, &over);
        step *= ranges[v].len();
        let value =
            if step == all.len() { quotient } else { quotient.modulo(ranges[v].len(), &over) };
        members.push((v, value.offset(ranges[v].lo)));
    }
    (step == all.len()).then_some(members)
}

impl Called<'_> {
    pub fn at(&self) -> &[Index] {
        match &self.bound.focus.body {
            Expr::Access(access) => &access.index,
            _ => &[],
        }
    }

    /// Where a number of the focus is in the result, the focus read at `map` over `ranges`.
    pub fn results_at(&self, map: &[Index], ranges: &[Range]) -> Vec<Index> {
        self.at().iter().map(|index| index.substituted(map, ranges)).collect()
    }

    /// The dimensions of the result as they lie in a row, and the row's numbers.
    pub fn row_dimensions(&self) -> (Vec<Dimension>, i64) {
        let result = &self.bound.result.loops;
        let mut dimensions = vec![Dimension::Fixed; result.len()];
        let mut step = 1;
        for &d in self.across.iter().rev() {
            dimensions[d] = Dimension::Inside(result[d].lo, step);
            step *= result[d].len();
        }
        (dimensions, step)
    }

    /// A number of a row, as what is around the focus reads it at `map` over `ranges`.
    pub fn row(
        &self,
        place: Place,
        order: &Order,
        map: &[Index],
        ranges: &[Range],
    ) -> (Expr, View) {
        let focus = &self.state.focus.loops;
        let (own, numbers) = self.row_dimensions();
        let given = |d: usize| order.given.iter().any(|(known, _)| *known == d);
        let guards = focus.iter().enumerate().map(|(d, &range)| match given(d) {
            true => Dimension::Fixed,
            false => Dimension::Guard(range),
        });
        let dimensions = guards.chain(own).collect();
        let index = map.iter().cloned().chain(self.results_at(map, ranges)).collect();
        let value = Expr::Access(Access { target: Target::Tensor(ROW), index });
        // `finish` puts it in the place of the sum, and looks at that tensor's view.
        let target = if self.state.sums.is_empty() { SELF } else { ROW };
        let value = value.with_tensors(&mut |_| target);
        (value, View { place, numbers, dimensions, unit: self.unit.clone() })
    }

    /// Dimensions of the focus that tell rows apart, with the dimension of the result that they are of.
    pub fn streamed(&self) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        for &place in &self.along {
            let vars = self.at()[place].vars();
            all.extend(
                (0..self.state.focus.loops.len())
                    .filter(|d| vars >> d & 1 == 1)
                    .map(|d| (d, place)),
            );
        }
        all
    }

    /// Whether rows come as the call has them, and not in an order of our own.
    pub fn has_own_order(&self) -> bool {
        self.weights.is_none()
    }

    /// The order in which rows come by themselves.
    pub fn natural_order(&self) -> Order {
        let result = &self.bound.result.loops;
        let mut digits = [1; DIGITS];
        let mut given = Vec::new();
        let mut whole = true;
        for (slot, &d) in self.along.iter().enumerate() {
            let digit = DIGITS - self.along.len() + slot;
            digits[digit] = result[d].len();
            let offset = Index::var(digit).offset(result[d].lo);
            match self.at()[d].as_var() {
                Some(v) => given.push((v, offset)),
                None => {
                    let focus = &self.state.focus.loops;
                    let members = members(&self.at()[d], focus, &Index::var(digit), result[d]);
                    whole &= members.is_some();
                    given.extend(members.unwrap_or_default());
                }
            }
        }
        // What cannot be told from the digits is not given by them.
        if !whole {
            given.clear();
        }
        Order { digits, given, rows: None, group: 1 }
    }

    /// An order in which `dimensions` of the focus, each with the values that are wanted, are digits, the last
    /// one fastest. Dimensions of the batch come first.
    pub fn order_of(&self, dimensions: &[(usize, Range)], group: i64) -> Option<Order> {
        let dimensions: Vec<_> = dimensions.iter().filter(|(_, r)| r.len() > 1).copied().collect();
        let first = DIGITS.checked_sub(dimensions.len())?;
        let mut digits = [1; DIGITS];
        let mut given = Vec::new();
        for (i, &(d, range)) in dimensions.iter().enumerate() {
            digits[first + i] = range.len();
            given.push((d, Index::var(first + i).offset(range.lo)));
        }
        for (d, _) in self.streamed() {
            if given.iter().all(|(known, _)| *known != d) {
                given.push((d, Index::constant(self.state.focus.loops[d].lo)));
            }
        }
        let result = &self.bound.result.loops;
        let focus = &self.state.focus.loops;
        let total: i64 = digits.iter().product();
        let mut rows = Vec::with_capacity(total as usize);
        for number in 0..total {
            let mut rest = number;
            let mut at: Vec<i64> = focus.iter().map(|range| range.lo).collect();
            for (&(d, range), extent) in dimensions.iter().zip(&digits[first..]).rev() {
                at[d] = range.lo + rest % extent;
                rest /= extent;
            }
            let row = self.along.iter().fold(0, |row, &place| {
                row * result[place].len() + self.at()[place].value(&at) - result[place].lo
            });
            rows.push(row as usize);
        }
        Some(Order { digits, given, rows: Some(rows), group })
    }

    /// Whether every dimension that tells rows apart is read in place: then in which order they come.
    pub fn added_order(&self) -> Option<Order> {
        let state = self.state;
        let outer = state.outer();
        let mut taken = 0u64;
        let mut dimensions = Vec::new();
        let streamed = self.streamed();
        let batch =
            |d: usize| matches!(self.bound.call, Call::Matmul { .. }) && streamed.contains(&(d, 0));
        for &(d, _) in &streamed {
            let (v, range) = (state.map[d].as_var()?, state.focus.loops[d]);
            if taken >> v & 1 == 1 || !range.covers(outer[v]) {
                return None;
            }
            taken |= 1 << v;
            let sum = v >= state.loops.len();
            if batch(d) && (sum || range != outer[v]) || self.has_own_order() && range != outer[v] {
                return None;
            }
            dimensions.push((d, v, outer[v], sum));
        }
        if self.has_own_order() {
            let order = self.natural_order();
            let known = order.given.len() >= streamed.len();
            return (state.sums.is_empty() && known).then_some(order);
        }
        dimensions.sort_by_key(|&(d, v, _, sum)| (!batch(d), sum, v));
        let group = dimensions.iter().filter(|d| d.3).map(|d| d.2.len()).product();
        if matches!(self.bound.call, Call::Conv { .. }) && group > 1 {
            return None;
        }
        let all: Vec<_> = dimensions.iter().map(|&(d, _, range, _)| (d, range)).collect();
        self.order_of(&all, group)
    }

    /// Whether the result is the focus in another layout: then the order, and each dimension of the result
    /// over those of the focus.
    pub fn placed_order(&self) -> Option<(Order, Vec<Index>)> {
        let state = self.state;
        let numbers: i64 = state.loops.iter().map(|range| range.len()).product();
        if !state.sums.is_empty() || numbers != state.focus.len() {
            return None;
        }
        let outer = state.outer();
        let mut inverse = Vec::with_capacity(outer.len());
        for v in 0..outer.len() {
            let direct = state.map.iter().position(|index| index.as_var() == Some(v));
            let found = direct.map(Index::var).or_else(|| {
                (0..state.map.len()).find_map(|d| {
                    let (0, [(Atom::Div(of, k), 1)]) = state.map[d].parts() else { return None };
                    let rest = state.map.iter().position(|index| {
                        matches!(index.parts(), (0, [(Atom::Mod(other, by), 1)]) if other == of && by == k)
                    })?;
                    let shifted = Index::var(v).offset(of.parts().0);
                    let whole = Index::var(d).times(*k).plus(&Index::var(rest));
                    (**of == shifted).then(|| whole.offset(-of.parts().0))
                })
            })?;
            inverse.push(found);
        }
        // There and back again is the same.
        let focus = &state.focus.loops;
        let back = state.map.iter().map(|index| index.substituted(&inverse, focus));
        let same = back.enumerate().all(|(d, index)| {
            index.as_var() == Some(d)
                || focus[d].len() == 1 && index.as_constant() == Some(focus[d].lo)
        });
        if !same {
            return None;
        }
        let streamed = self.streamed();
        let order = if self.has_own_order() {
            let order = self.natural_order();
            (order.given.len() >= streamed.len()).then_some(order)?
        } else {
            if matches!(self.bound.call, Call::Conv { .. }) && streamed.len() > 1 {
                return None;
            }
            let all: Vec<_> = streamed.iter().map(|&(d, _)| (d, focus[d])).collect();
            self.order_of(&all, 1)?
        };
        Some((order, inverse))
    }

    /// Rows on the card, in the order in which they are read.
    pub fn in_order(&self, order: &Order) -> Vec<Vec<i8>> {
        let Some(weights) = &self.weights else { return Vec::new() };
        let row = |values: &[i64]| values.iter().map(|&w| w as i8).collect();
        let all: Vec<Vec<i8>> = weights.values.chunks_exact(weights.numbers).map(row).collect();
        match &order.rows {
            None => all,
            Some(rows) => rows.iter().filter_map(|&row| all.get(row).cloned()).collect(),
        }
    }

    /// The access of operand A or B in the call.
    pub fn read(&self, operand: usize) -> Option<&Access> {
        let factors = self.bound.result.body.factors()?;
        factors.into_iter().find(|access| access.target == self.bound.operands[operand])
    }

    /// Height and width of a convolution's image, and where its first pixel begins.
    pub fn image(&self, tensors: &[Tensor]) -> ([i64; 2], [i64; 2]) {
        let Some(access) = self.read(0) else { return ([0; 2], [0; 2]) };
        let result = &self.bound.result;
        let ranges = result.ranges();
        let first: Vec<i64> = ranges.iter().map(|range| range.lo).collect();
        let extents = [1, 2].map(|d| access.extent(tensors, d));
        let begins = [1, 2].map(|d| access.index[d].value(&first));
        (extents.map(|r| r.len()), [begins[0] - extents[0].lo, begins[1] - extents[1].lo])
    }

    /// Positions of a window's sequence, and which is the first place of the first one.
    pub fn sequence(&self, tensors: &[Tensor]) -> (i64, i64) {
        let Some(access) = self.read(1) else { return (0, 0) };
        let ranges = self.bound.result.ranges();
        let first: Vec<i64> = ranges.iter().map(|range| range.lo).collect();
        let extent = access.extent(tensors, 1);
        (extent.len(), access.index[1].value(&first) - extent.lo)
    }
}
