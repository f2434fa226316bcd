//! A derivation as steps: operands in the call's layout, the call, and what is done with its rows.
//!
//! In: a state of the search and the call that its focus is. Out: steps. Rows of a call come one after the
//! other; as each comes, it is added to what it belongs to (where what is streamed are dimensions of the
//! result and sums), or put in its place (where the result is but laid out another way), or kept, and what is
//! around the focus is computed of all.

use super::EmitError;
use super::lower::{Final, Lower, SELF, found, place_of};
use super::nest::{Bind, Dimension, Iterators, To, Unit, View, nest};
use super::steps::{Buffer, Nest, Place, Rows, Step, Store};
use crate::expr::{Access, Expr, Kind, Scope, Target, Tensor};
use crate::index::{Atom, Index, Range};
use crate::interpret::interpret;
use crate::library::{Bound, Call};
use crate::plan::is_reshape;
use crate::search::state::State;
use crate::search::walk::Found;
use ripple_program::code::DIGITS;
use ripple_program::packed_words;

/// The tensor that stands for a row of results.
const ROW: u32 = SELF - 1;

/// Rows on the card, before they are in the order in which they are read.
struct Weights {
    /// `(rows, numbers)`.
    values: Vec<i64>,
    numbers: usize,
}

/// A call with its operands.
struct Called<'a> {
    name: &'a str,
    state: &'a State,
    bound: &'a Bound,
    /// Dimensions of the call's result that a row has, and those that tell rows apart.
    across: Vec<usize>,
    along: Vec<usize>,
    /// What 1 of its sums stands for.
    unit: Unit,
    weights: Option<Weights>,
}

/// What a row's number says: digits, and what of the focus they are.
struct Order {
    digits: [i64; DIGITS],
    /// Each dimension of the focus that the digits give, over them.
    given: Vec<(usize, Index)>,
    /// Numbers of the rows, in the order in which they come; as they are, if nothing.
    rows: Option<Vec<usize>>,
    group: i64,
}

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
        let reach = self.reach(&bound.call, streamed.then_some(&values));
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

    /// The largest sum that a call can come to.
    fn reach(&self, call: &Call, values: Option<&Vec<Vec<i64>>>) -> i64 {
        let length = match *call {
            Call::Matmul { depth, .. } | Call::Window { depth, .. } => depth,
            Call::WindowSum { window, .. } => window,
            Call::Conv { kernel, channels, .. } => kernel.0 * kernel.1 * channels,
        };
        let most = values
            .map_or(127, |values| values.iter().flatten().map(|w| w.abs()).max().unwrap_or(0));
        length * most * 127
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

/// Operand B, which is known: rows of `numbers`.
fn folded(target: &Target, tensors: &[Tensor], values: &[Vec<i64>], numbers: i64) -> Weights {
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
    fn at(&self) -> &[Index] {
        match &self.bound.focus.body {
            Expr::Access(access) => &access.index,
            _ => &[],
        }
    }

    /// Where a number of the focus is in the result, the focus read at `map` over `ranges`.
    fn results_at(&self, map: &[Index], ranges: &[Range]) -> Vec<Index> {
        self.at().iter().map(|index| index.substituted(map, ranges)).collect()
    }

    /// The dimensions of the result as they lie in a row, and the row's numbers.
    fn row_dimensions(&self) -> (Vec<Dimension>, i64) {
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
    fn row(&self, place: Place, order: &Order, map: &[Index], ranges: &[Range]) -> (Expr, View) {
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
    fn streamed(&self) -> Vec<(usize, usize)> {
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
    fn has_own_order(&self) -> bool {
        self.weights.is_none()
    }

    /// The order in which rows come by themselves.
    fn natural_order(&self) -> Order {
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
    fn order_of(&self, dimensions: &[(usize, Range)], group: i64) -> Option<Order> {
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
    fn added_order(&self) -> Option<Order> {
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
    fn placed_order(&self) -> Option<(Order, Vec<Index>)> {
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
    fn in_order(&self, order: &Order) -> Vec<Vec<i8>> {
        let Some(weights) = &self.weights else { return Vec::new() };
        let row = |values: &[i64]| values.iter().map(|&w| w as i8).collect();
        let all: Vec<Vec<i8>> = weights.values.chunks_exact(weights.numbers).map(row).collect();
        match &order.rows {
            None => all,
            Some(rows) => rows.iter().filter_map(|&row| all.get(row).cloned()).collect(),
        }
    }

    /// The access of operand A or B in the call.
    fn read(&self, operand: usize) -> Option<&Access> {
        let factors = self.bound.result.body.factors()?;
        factors.into_iter().find(|access| access.target == self.bound.operands[operand])
    }

    /// Height and width of a convolution's image, and where its first pixel begins.
    fn image(&self, tensors: &[Tensor]) -> ([i64; 2], [i64; 2]) {
        let Some(access) = self.read(0) else { return ([0; 2], [0; 2]) };
        let result = &self.bound.result;
        let ranges = result.ranges();
        let first: Vec<i64> = ranges.iter().map(|range| range.lo).collect();
        let extents = [1, 2].map(|d| access.extent(tensors, d));
        let begins = [1, 2].map(|d| access.index[d].value(&first));
        (extents.map(|r| r.len()), [begins[0] - extents[0].lo, begins[1] - extents[1].lo])
    }

    /// Positions of a window's sequence, and which is the first place of the first one.
    fn sequence(&self, tensors: &[Tensor]) -> (i64, i64) {
        let Some(access) = self.read(1) else { return (0, 0) };
        let ranges = self.bound.result.ranges();
        let first: Vec<i64> = ranges.iter().map(|range| range.lo).collect();
        let extent = access.extent(tensors, 1);
        (extent.len(), access.index[1].value(&first) - extent.lo)
    }
}
