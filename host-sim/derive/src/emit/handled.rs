//! What is done with the rows of a call.
//!
//! In: a call, and where a row of its results is. Out: nests, and steps after the last row. Rows come one after the
//! other; as each comes, it is added to what it belongs to (where what is streamed are dimensions of the result and
//! sums), or put in its place (where the result is but laid out another way), or kept, and what is around the focus
//! is computed of all. Knows nothing of operands.

use super::EmitError;
use super::lower::{Final, Lower, SELF, found, place_of};
use super::nest::{Bind, Iterators, To, nest};
use super::rows::{Called, Order, ROW};
use super::steps::{Buffer, Nest, Place, Step, Store};
use super::view::{Dimension, Unit, View};
use crate::expr::{Access, Expr, Scope, Target};
use crate::index::Index;
use ripple_program::code::DIGITS;

/// What is done with a row.
pub struct Handled {
    /// In which order rows come.
    pub order: Order,
    /// Where they are added up, and how many numbers.
    pub sums: Option<(Buffer, i64)>,
    /// What is done with each.
    pub each: Nest,
    /// What is done with the sums when they are whole.
    pub finish: Option<Nest>,
    /// Done after the last row.
    pub after: Vec<Step>,
}

impl Lower<'_> {
    /// What is done with each row of a call, which is at `place`.
    pub fn handled(
        &mut self,
        called: &Called<'_>,
        last: &Final,
        place: Place,
    ) -> Result<Handled, EmitError> {
        if let Some(order) = called.added_order() {
            return self.added(called, last, place, order);
        }
        if let Some((order, inverse)) = called.placed_order() {
            return self.placed(called, last, place, order, &inverse);
        }
        self.kept(called, last, place)
    }

    /// Rows are added to what they belong to, which is finished as soon as it is whole.
    fn added(
        &mut self,
        called: &Called<'_>,
        last: &Final,
        place: Place,
        order: Order,
    ) -> Result<Handled, EmitError> {
        let state = called.state;
        let outer = state.outer();
        let mut binds = vec![Bind::Loop; outer.len()];
        for (d, index) in &order.given {
            if let Some(v) = state.map[*d].as_var() {
                binds[v] = Bind::Digits(index.clone());
            }
        }
        let (value, view) = called.row(place, &order, &state.map, &outer);
        if state.sums.is_empty() {
            let iterators = Iterators { ranges: &outer, binds: &binds, sums: 0 };
            let each = self.finish(last, &iterators, &Index::clone, (value, view))?;
            return Ok(Handled { order, sums: None, each, finish: None, after: Vec::new() });
        }
        // The sums have the dimensions that no digit gives.
        let mut numbers = 1;
        let mut dimensions = vec![Dimension::Fixed; state.loops.len()];
        let mut at = Index::default();
        for (v, range) in state.loops.iter().enumerate().rev() {
            if binds[v] == Bind::Loop {
                dimensions[v] = Dimension::Inside(range.lo, numbers);
                at = at.plus(&Index::var(v).offset(-range.lo).times(numbers));
                numbers *= range.len();
            }
        }
        let sums = self.room(4 * numbers, "sums");
        let whole = View { unit: Unit::ONE, ..view };
        let summed = (state.loops.len()..outer.len()).fold(0, |set, v| set | 1 << v);
        let iterators = Iterators { ranges: &outer, binds: &binds, sums: summed };
        let to = To { buffer: sums, numbers, at: &at, store: Store::Add };
        let views = [(ROW, whole)];
        let each = nest(called.name, &value, &iterators, &found(&views), &to, false)?;
        let index = (0..state.loops.len()).map(Index::var).collect();
        let value = Expr::Access(Access { target: Target::Tensor(SELF), index });
        let unit = called.unit.clone();
        let view = View { place: Place::Whole(sums), numbers, dimensions, unit };
        let binds = &binds[..state.loops.len()];
        let iterators = Iterators { ranges: &state.loops, binds, sums: 0 };
        let finish = Some(self.finish(last, &iterators, &Index::clone, (value, view))?);
        Ok(Handled { order, sums: Some((sums, numbers)), each, finish, after: Vec::new() })
    }

    /// Each number of a row has a place of its own in the result.
    fn placed(
        &mut self,
        called: &Called<'_>,
        last: &Final,
        place: Place,
        order: Order,
        inverse: &[Index],
    ) -> Result<Handled, EmitError> {
        let ranges = called.state.focus.loops.clone();
        let mut binds = vec![Bind::Loop; ranges.len()];
        for (d, index) in &order.given {
            binds[*d] = Bind::Digits(index.clone());
        }
        let own: Vec<Index> = (0..ranges.len()).map(Index::var).collect();
        let (value, mut view) = called.row(place, &order, &own, &ranges);
        if let Unit::Scales(_, _, index) = &mut view.unit {
            *index = index.substituted(inverse, &ranges);
        }
        let iterators = Iterators { ranges: &ranges, binds: &binds, sums: 0 };
        let moved = |index: &Index| index.substituted(inverse, &ranges);
        let each = self.finish(last, &iterators, &moved, (value, view))?;
        Ok(Handled { order, sums: None, each, finish: None, after: Vec::new() })
    }

    /// All rows are kept, and what is around them is computed then.
    fn kept(
        &mut self,
        called: &Called<'_>,
        last: &Final,
        place: Place,
    ) -> Result<Handled, EmitError> {
        let state = called.state;
        let result = &called.bound.result.loops;
        let order = called.natural_order();
        let numbers: i64 = called.bound.result.len();
        let all = self.room(4 * numbers, "results of a call");
        let mut binds = vec![Bind::Loop; result.len()];
        for (slot, &d) in called.along.iter().enumerate() {
            let digit = DIGITS - called.along.len() + slot;
            binds[d] = Bind::Digits(Index::var(digit).offset(result[d].lo));
        }
        let (dimensions, row) = called.row_dimensions();
        let index = (0..result.len()).map(Index::var).collect();
        let value = Expr::Access(Access { target: Target::Tensor(ROW), index });
        let views = [(ROW, View { place, numbers: row, dimensions, unit: Unit::ONE })];
        let iterators = Iterators { ranges: result, binds: &binds, sums: 0 };
        let at = place_of(result);
        let to = To { buffer: all, numbers, at: &at, store: Store::Write };
        let each = nest(called.name, &value, &iterators, &found(&views), &to, false)?;

        // What reads them: the focus around the whole result.
        let outer = state.outer();
        let at = called.results_at(&state.map, &outer);
        let index: Vec<Index> = state.map.iter().cloned().chain(at).collect();
        let value = Expr::Access(Access { target: Target::Tensor(ROW), index: index.clone() });
        let whole = View::whole(Place::Whole(all), result, called.unit.clone());
        let guards = state.focus.loops.iter().map(|&range| Dimension::Guard(range));
        let inside = whole.dimensions.iter().map(|dimension| match *dimension {
            Dimension::Read(range, step) => Dimension::Inside(range.lo, step),
            other => other,
        });
        let view = View { dimensions: guards.chain(inside).collect(), ..whole };
        let before = self.steps.len();
        if state.sums.is_empty() {
            let body = Expr::Access(Access { target: Target::Tensor(SELF), index });
            let binds = vec![Bind::Loop; outer.len()];
            let iterators = Iterators { ranges: &outer, binds: &binds, sums: 0 };
            let nest = self.finish(last, &iterators, &Index::clone, (body, view))?;
            self.steps.push(Step::Nest(nest));
        } else {
            let scope = Scope { loops: state.loops.clone(), sums: state.sums.clone(), body: value };
            let plain = View { unit: Unit::ONE, ..view };
            let none = |_| 0;
            let sums = self.summed(called.name, &scope, &none, &[(ROW, plain)], false)?;
            let view = View::whole(Place::Whole(sums), &state.loops, called.unit.clone());
            self.finished(last, view)?;
        }
        let after = self.steps.split_off(before);
        Ok(Handled { order, sums: None, each, finish: None, after })
    }
}
