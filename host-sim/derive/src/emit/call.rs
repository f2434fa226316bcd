//! A derivation as steps: operands in the call's layout, the call, and what is done with its rows.
//!
//! In: a state of the search and the call that its focus is. Out: steps. Rows of a call come one after the
//! other; as each comes, it is added to what it belongs to (where what is streamed are dimensions of the
//! result and sums), or put in its place (where the result is but laid out another way), or kept, and what is
//! around the focus is computed of all.

use super::EmitError;
use super::lower::{Final, Lower, SELF, found, place_of};
use super::nest::{Bind, Dimension, Iterators, To, Unit, View, nest};
use super::rows::{Called, Order, ROW, folded};
use super::steps::{Buffer, Nest, Place, Rows, Step, Store};
use crate::expr::{Access, Expr, Kind, Scope, Target, Tensor};
use crate::index::{Index, Range};
use crate::library::Call;
use crate::plan::is_reshape;
use crate::search::walk::Found;
use ripple_program::code::DIGITS;
use ripple_program::packed_words;

/// What is done with a row.
struct Handled {
    order: Order,
    sums: Option<(Buffer, i64)>,
    each: Nest,
    finish: Option<Nest>,
    /// Done after the last row.
    after: Vec<Step>,
}

impl Lower<'_> {
    /// A definition that was derived.
    pub fn derived(&mut self, at: usize, derivation: &Found) -> Result<(), EmitError> {
        let definition = self.network.definitions[at].clone();
        let mut used: Vec<u32> = Vec::new();
        let _ = definition.scope.body.with_tensors(&mut |id| {
            if !used.contains(&id) {
                used.push(id);
            }
            id
        });
        let tensors: Vec<Tensor> =
            used.iter().map(|&id| self.network.tensors[id as usize].clone()).collect();
        let (state, bound) = (&derivation.state, &derivation.bound);
        let name = self.name(definition.tensor as usize);
        let weight = |target: &Target| {
            Access { target: target.clone(), index: Vec::new() }.is_weight(&tensors)
        };
        let streamed = weight(&bound.operands[1]);
        let (unit, values) = self.units(&definition.scope, &used, &tensors);
        // The largest sum that it can come to.
        let heaviest = values.iter().flatten().map(|w| w.abs()).max().filter(|_| streamed);
        let terms: i64 = definition.scope.sums.iter().map(|range| range.len()).product();
        let reach = terms.saturating_mul(heaviest.unwrap_or(127) * 127);
        if reach > i64::from(i32::MAX) {
            return Err(EmitError::Sum { name: name.to_owned(), found: reach });
        }
        let first = self.operand(name, &bound.operands[0], &used, &tensors, None)?;
        let (across, along) = match bound.call {
            Call::Matmul { .. } => (vec![1], vec![0, 2]),
            Call::Conv { .. } => (vec![0, 1, 2], vec![3]),
            Call::Window { .. } | Call::WindowSum { .. } => (vec![2], vec![0, 1]),
        };
        let mut called = Called { name, state, bound, across, along, unit, weights: None };
        let last = self.last_of(at);
        let pad4 = |n: i64| (n + 3) / 4 * 4;
        match bound.call {
            Call::Matmul { batch, rows, columns, depth } => {
                let each = packed_words(depth as usize) as i64;
                let packed = self.room(4 * each * batch * rows, "packed vectors");
                let all = batch * rows;
                self.steps.push(Step::Pack { from: first, to: packed, rows: all, cols: depth });
                let products = self.room(4 * rows, "products of a row");
                let place = Place::Whole(products);
                let second = if streamed {
                    called.weights = Some(folded(&bound.operands[1], &tensors, &values, depth));
                    None
                } else {
                    let second = &bound.operands[1];
                    Some(self.operand(name, second, &used, &tensors, Some(pad4(depth)))?)
                };
                let handled = self.handled(&called, &last, place)?;
                let rows_of = match second {
                    None => Rows::Card(called.in_order(&handled.order)),
                    Some(buffer) => Rows::Arena(buffer, batch * columns),
                };
                self.steps.push(Step::Product {
                    rows: rows_of,
                    cols: pad4(depth),
                    packed,
                    vectors: rows,
                    batch,
                    products,
                    digits: handled.order.digits,
                    group: handled.order.group,
                    sums: handled.sums,
                    each: handled.each,
                    finish: handled.finish,
                });
                self.steps.extend(handled.after);
            }
            Call::Conv { images, output, kernel, channels, stride, dilation, .. } => {
                let numbers = kernel.0 * kernel.1 * channels;
                called.weights = Some(folded(&bound.operands[1], &tensors, &values, numbers));
                let results = self.room(4 * images * output.0 * output.1, "results of a filter");
                let handled = self.handled(&called, &last, Place::Whole(results))?;
                let (input, offset) = called.image(&tensors);
                self.steps.push(Step::Conv {
                    rows: called.in_order(&handled.order),
                    cols: pad4(numbers),
                    image: first,
                    images,
                    input,
                    channels,
                    output: [output.0, output.1],
                    kernel: [kernel.0, kernel.1],
                    stride: [stride.0, stride.1],
                    dilation: [dilation.0, dilation.1],
                    offset,
                    results,
                    each: handled.each,
                });
                self.steps.extend(handled.after);
            }
            Call::Window { batch, positions, window, depth }
            | Call::WindowSum { batch, positions, window, depth } => {
                let weighed = matches!(bound.call, Call::WindowSum { .. });
                let sequence = self.operand(name, &bound.operands[1], &used, &tensors, None)?;
                let words = packed_words(depth as usize) as i64;
                let packed = (!weighed).then(|| self.room(4 * words, "a packed vector"));
                let results = self.room(4 * if weighed { depth } else { window }, "results");
                let handled = self.handled(&called, &last, Place::Whole(results))?;
                let (length, offset) = called.sequence(&tensors);
                self.steps.push(Step::Window {
                    weighed,
                    rows: first,
                    sequence,
                    batch,
                    positions,
                    length,
                    window,
                    depth,
                    offset,
                    packed,
                    results,
                    each: handled.each,
                });
                self.steps.extend(handled.after);
            }
        }
        Ok(())
    }

    /// What 1 of the sums stands for, and all weights that are read in 8 bits, by their place in `used`.
    fn units(&mut self, scope: &Scope, used: &[u32], tensors: &[Tensor]) -> (Unit, Vec<Vec<i64>>) {
        let mut values = vec![Vec::new(); used.len()];
        let (mut shift, mut scale, mut channels) = (0, 1.0f32, None);
        for access in scope.body.factors().unwrap_or_default() {
            let mut ids = Vec::new();
            let _ = access.target.with_tensors(&mut |id| {
                ids.push(id);
                id
            });
            for id in ids {
                let place = used.iter().position(|&known| known == id).unwrap_or(0);
                if tensors[place].kind != Kind::Weight {
                    match self.held_unit(id as usize) {
                        Unit::Shift(by) => shift += by,
                        Unit::Scale(by) => scale *= by,
                        Unit::Scales(..) => {}
                    }
                    continue;
                }
                // A dimension of the weight that is one of the result: a scale for each of its values.
                let own = |index: &Index| {
                    index.as_var().filter(|&v| v < scope.loops.len() && scope.loops[v].lo == 0)
                };
                let direct = matches!(access.target, Target::Tensor(_));
                let places = access.index.iter().enumerate();
                let along = places
                    .filter_map(|(d, index)| Some((d, own(index)?)))
                    .find(|&(d, v)| direct && scope.loops[v].len() == tensors[place].shape[d]);
                let shape = &tensors[place].shape;
                let (small, scales) = self.numbers.small(id as usize, shape, along.map(|(d, _)| d));
                values[place] = small;
                match along.filter(|_| self.numbers.real) {
                    Some((_, v)) => channels = Some((v, scales)),
                    None => scale *= scales[0],
                }
            }
        }
        let unit = match channels {
            None if self.numbers.real => Unit::Scale(scale),
            None => Unit::Shift(shift),
            Some((v, scales)) => {
                let first = self.constants.len();
                let bits = scales.iter().map(|own| (own * scale).to_bits() as i32);
                self.constants.extend(bits);
                Unit::Scales(first, scales.len() as i64, Index::var(v))
            }
        };
        (unit, values)
    }

    /// A target in the arena, row after row of its dimensions, in 8 bits; the last dimension as long as
    /// `padded` says, with zeroes.
    fn operand(
        &mut self,
        name: &str,
        target: &Target,
        used: &[u32],
        tensors: &[Tensor],
        padded: Option<i64>,
    ) -> Result<Buffer, EmitError> {
        let extents: Vec<Range> = match target {
            Target::Tensor(id) => {
                tensors[*id as usize].shape.iter().copied().map(Range::to).collect()
            }
            Target::Scope(scope) => scope.loops.clone(),
        };
        let as_long = padded.is_none_or(|long| extents.last().is_none_or(|r| r.len() == long));
        if as_long {
            let same = match target {
                Target::Tensor(id) => Some(*id),
                Target::Scope(copy) if is_reshape(copy, tensors) => match &copy.body {
                    Expr::Access(Access { target: Target::Tensor(id), .. }) => Some(*id),
                    _ => None,
                },
                Target::Scope(_) => None,
            };
            let held = same.and_then(|id| self.held_small(used[id as usize] as usize));
            if let Some(buffer) = held {
                return Ok(buffer);
            }
        }
        let mut ranges = extents.clone();
        if let (Some(long), Some(last)) = (padded, ranges.last_mut()) {
            *last = Range { lo: last.lo, hi: last.lo + long };
        }
        let index = (0..ranges.len()).map(Index::var).collect();
        let body = Expr::Access(Access { target: target.clone(), index });
        let mut views = self.views(&body, &|id| used[id as usize] as usize, &[]);
        // What is moved is what it was.
        views.iter_mut().for_each(|(_, view)| view.unit = Unit::ONE);
        let numbers = ranges.iter().map(|range| range.len()).product();
        let buffer = self.room(numbers, "a copy");
        let binds = vec![Bind::Loop; ranges.len()];
        let iterators = Iterators { ranges: &ranges, binds: &binds, sums: 0 };
        let at = place_of(&ranges);
        let to = To { buffer, numbers, at: &at, store: Store::Small(1, 0) };
        let copy = nest(name, &body, &iterators, &found(&views), &to, false)?;
        self.steps.push(Step::Nest(copy));
        Ok(buffer)
    }

    /// What is done with each row of a call, which is at `place`.
    fn handled(
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
