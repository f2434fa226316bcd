//! A derivation as steps: operands in the call's layout, and the call.
//!
//! In: a state of the search and the call that its focus is. Out: steps. What becomes of the call's rows is not
//! known here.

use super::EmitError;
use super::lower::{Lower, found, place_of};
use super::nest::{Bind, Iterators, To, nest};
use super::rows::{Called, folded};
use super::steps::{Buffer, Place, Rows, Step, Store};
use super::view::Unit;
use crate::expr::{Access, Expr, Kind, Scope, Target, Tensor};
use crate::index::{Index, Range};
use crate::library::Call;
use crate::plan::is_reshape;
use crate::search::walk::Found;
use ripple_program::packed_words;

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
            Call::Window { batch, positions, window, step, depth }
            | Call::WindowSum { batch, positions, window, step, depth } => {
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
                    step,
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
}
