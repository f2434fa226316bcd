//! Definitions as steps: where tensors are, what they stand for, what is done with sums.
//!
//! In: a network and its numbers. Out: steps over buffers. Knows calls only as what gives sums.

use super::EmitError;
use super::nest::{Bind, Iterators, To, nest};
use super::numbers::Numbers;
use super::steps::{Buffer, Nest, Place, Room, Step, Store};
use super::view::{Unit, View};
use super::write::{Port, Shape};
use crate::expr::{Access, Expr, Kind, Scope, Target};
use crate::index::{Index, Range};
use crate::network::Network;
use ripple_program::code::kind;

/// The tensor that stands for what a product or a sum comes to.
pub const SELF: u32 = u32::MAX;

/// A tensor in the arena.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Where.
    pub place: Place,
    /// What a 1 stands for.
    pub unit: Unit,
}

/// What is done where a sum is stored.
pub struct Final {
    /// The tensor that is stored.
    pub tensor: usize,
    /// What it is, over its dimensions, of [`SELF`] and others.
    pub body: Expr,
    /// Its dimensions.
    pub loops: Vec<Range>,
}

/// Steps that come to be.
pub struct Lower<'a> {
    pub network: &'a Network,
    pub numbers: &'a Numbers,
    pub rooms: Vec<Room>,
    pub steps: Vec<Step>,
    pub constants: Vec<i32>,
    /// Tensors by their place in the network.
    held: Vec<Option<Held>>,
    /// Where weights are among the constants.
    pooled: Vec<Option<usize>>,
    /// Definitions that were done where another one was stored.
    done: Vec<bool>,
    inputs: Vec<usize>,
}

impl<'a> Lower<'a> {
    pub fn new(network: &'a Network, numbers: &'a Numbers) -> Self {
        let mut lower = Self {
            network,
            numbers,
            rooms: Vec::new(),
            steps: Vec::new(),
            constants: Vec::new(),
            held: vec![None; network.tensors.len()],
            pooled: vec![None; network.tensors.len()],
            done: vec![false; network.definitions.len()],
            inputs: network.inputs().collect(),
        };
        for id in lower.inputs.clone() {
            let tensor = &network.tensors[id];
            let buffer = lower.room(tensor.len(), &tensor.name);
            let unit = match numbers.real {
                true => Unit::Scale(numbers.scale(id)),
                false => Unit::ONE,
            };
            lower.held[id] = Some(Held { place: Place::Small(buffer), unit });
        }
        lower
    }

    /// A buffer of so many bytes.
    pub fn room(&mut self, bytes: i64, what: &str) -> Buffer {
        self.rooms.push(Room { bytes, what: what.to_owned() });
        self.rooms.len() - 1
    }

    pub fn name(&self, tensor: usize) -> &'a str {
        &self.network.tensors[tensor].name
    }

    /// A tensor of the network as nests read it. Weights go among the constants.
    pub fn view(&mut self, id: usize) -> Option<View> {
        let tensor = &self.network.tensors[id];
        let shape: Vec<Range> = tensor.shape.iter().copied().map(Range::to).collect();
        if tensor.kind == Kind::Weight {
            let first = *self.pooled[id].get_or_insert_with(|| {
                let first = self.constants.len();
                let real = self.numbers.real;
                let bits = |x: &f64| if real { (*x as f32).to_bits() as i32 } else { *x as i32 };
                self.constants.extend(self.numbers.weights[id].iter().map(bits));
                first
            });
            let place = match self.numbers.real {
                true => Place::RealConstant(first),
                false => Place::Constant(first),
            };
            return Some(View::whole(place, &shape, Unit::ONE));
        }
        let held = self.held[id].as_ref()?;
        Some(View::whole(held.place, &shape, held.unit.clone()))
    }

    /// Views of all tensors that `body` reads, `also` among them.
    pub fn views(
        &mut self,
        body: &Expr,
        map: &dyn Fn(u32) -> usize,
        also: &[(u32, View)],
    ) -> Vec<(u32, View)> {
        let mut all = also.to_vec();
        let mut ids = Vec::new();
        let _ = body.with_tensors(&mut |id| {
            ids.push(id);
            id
        });
        for id in ids {
            if all.iter().all(|(known, _)| *known != id)
                && let Some(view) = self.view(map(id))
            {
                all.push((id, view));
            }
        }
        all
    }

    /// Where a tensor is stored, and how; it is there from now on.
    fn stored(&mut self, id: usize) -> (Buffer, Store) {
        let tensor = &self.network.tensors[id];
        let last = self.network.definitions.last().is_some_and(|d| d.tensor as usize == id);
        let bytes = if last { 4 * tensor.len() } else { tensor.len() };
        let buffer = self.room(bytes, &tensor.name);
        let (place, unit, store) = match (self.numbers.real, last) {
            (true, true) => (Place::Real(buffer), Unit::ONE, Store::Write),
            (false, true) => (Place::Whole(buffer), Unit::ONE, Store::Write),
            (true, false) => {
                let scale = self.numbers.scale(id);
                let factor = (1.0 / scale).to_bits() as i32;
                (Place::Small(buffer), Unit::Scale(scale), Store::Small(factor, 0))
            }
            (false, false) => {
                let shift = self.numbers.shift(id, false);
                (Place::Small(buffer), Unit::Shift(shift), Store::Small(1, shift))
            }
        };
        self.held[id] = Some(Held { place, unit });
        (buffer, store)
    }

    /// What is stored where definition `at` comes to its end: itself, or what alone reads it, place by place,
    /// of nothing that comes after it.
    pub fn last_of(&mut self, at: usize) -> Final {
        let definition = &self.network.definitions[at];
        let own: Vec<Index> = (0..definition.scope.loops.len()).map(Index::var).collect();
        let read = |index| Expr::Access(Access { target: Target::Tensor(SELF), index });
        let readers = self.network.readers(definition.tensor);
        let itself = Final {
            tensor: definition.tensor as usize,
            body: read(own.clone()),
            loops: definition.scope.loops.clone(),
        };
        let &[reader] = readers.as_slice() else { return itself };
        let next = &self.network.definitions[reader];
        let mut fits = next.scope.sums.is_empty() && next.scope.loops == definition.scope.loops;
        let body = next.scope.body.mapped(&mut |access| {
            if access.target == Target::Tensor(definition.tensor) {
                fits &= access.index == own;
                return read(access.index.clone());
            }
            let _ = access.target.with_tensors(&mut |id| {
                let known = self.held[id as usize].is_some();
                fits &= known || self.network.tensors[id as usize].kind == Kind::Weight;
                id
            });
            Expr::Access(access.clone())
        });
        if !fits {
            return itself;
        }
        self.done[reader] = true;
        Final { tensor: next.tensor as usize, body, loops: next.scope.loops.clone() }
    }

    /// The nest that stores `last`, its iterators given as `binds` say, [`SELF`] as `own` says.
    pub fn finish(
        &mut self,
        last: &Final,
        iterators: &Iterators<'_>,
        index: &dyn Fn(&Index) -> Index,
        own: (Expr, View),
    ) -> Result<Nest, EmitError> {
        let Final { tensor, body, loops } = last;
        let (value, view) = own;
        let body = body.mapped(&mut |access| match access.target {
            Target::Tensor(SELF) => value.clone(),
            _ => {
                let index = access.index.iter().map(index).collect();
                Expr::Access(Access { target: access.target.clone(), index })
            }
        });
        let views = self.views(&body, &|id| id as usize, &[(SELF, view)]);
        let mut place = Index::default();
        let mut numbers = 1;
        for (v, range) in loops.iter().enumerate() {
            place = place.times(range.len()).plus(&index(&Index::var(v))).offset(-range.lo);
            numbers *= range.len();
        }
        let (buffer, store) = self.stored(*tensor);
        let to = To { buffer, numbers, at: &place, store };
        let name = self.name(*tensor);
        nest(name, &body, iterators, &found(&views), &to, self.numbers.real)
    }

    /// A definition that is a generated operator.
    pub fn generated(&mut self, at: usize) -> Result<(), EmitError> {
        if self.done[at] {
            return Ok(());
        }
        let definition = &self.network.definitions[at];
        let scope = &definition.scope;
        let name = self.name(definition.tensor as usize);
        if scope.sums.is_empty() {
            let last = Final {
                tensor: definition.tensor as usize,
                body: scope.body.clone(),
                loops: scope.loops.clone(),
            };
            let binds = vec![Bind::Loop; scope.loops.len()];
            let iterators = Iterators { ranges: &scope.loops, binds: &binds, sums: 0 };
            let none = View::whole(Place::Constant(0), &[], Unit::ONE);
            let nest = self.finish(&last, &iterators, &Index::clone, (Expr::Constant(0), none))?;
            self.steps.push(Step::Nest(nest));
            return Ok(());
        }
        let last = self.last_of(at);
        let sums = self.summed(name, scope, &|id| id as usize, &[], self.numbers.real)?;
        let place = if self.numbers.real { Place::Real(sums) } else { Place::Whole(sums) };
        let view = View::whole(place, &scope.loops, Unit::ONE);
        self.finished(&last, view)
    }

    /// `scope` added up, in a buffer of 32 bits.
    pub fn summed(
        &mut self,
        name: &str,
        scope: &Scope,
        map: &dyn Fn(u32) -> usize,
        also: &[(u32, View)],
        real: bool,
    ) -> Result<Buffer, EmitError> {
        let views = self.views(&scope.body, map, also);
        let sums = self.room(4 * scope.len(), "sums");
        self.steps.push(Step::Zero(sums, scope.len()));
        let ranges = scope.ranges();
        let binds = vec![Bind::Loop; ranges.len()];
        let summed = (scope.loops.len()..ranges.len()).fold(0, |set, v| set | 1 << v);
        let iterators = Iterators { ranges: &ranges, binds: &binds, sums: summed };
        let at = place_of(&scope.loops);
        let to = To { buffer: sums, numbers: scope.len(), at: &at, store: Store::Add };
        let nest = nest(name, &scope.body, &iterators, &found(&views), &to, real)?;
        self.steps.push(Step::Nest(nest));
        Ok(sums)
    }

    /// Stores `last` of what a buffer holds, dimension by dimension.
    pub fn finished(&mut self, last: &Final, view: View) -> Result<(), EmitError> {
        let index = (0..last.loops.len()).map(Index::var).collect();
        let value = Expr::Access(Access { target: Target::Tensor(SELF), index });
        let binds = vec![Bind::Loop; last.loops.len()];
        let iterators = Iterators { ranges: &last.loops, binds: &binds, sums: 0 };
        let nest = self.finish(last, &iterators, &Index::clone, (value, view))?;
        self.steps.push(Step::Nest(nest));
        Ok(())
    }

    /// Inputs and the output.
    pub fn ports(&self) -> (Vec<Port>, Vec<Port>) {
        let port = |id: usize| {
            let held = self.held[id].as_ref()?;
            let (buffer, kind) = match held.place {
                Place::Whole(buffer) => (buffer, kind::WHOLE),
                Place::Real(buffer) => (buffer, kind::REAL),
                Place::Small(buffer) => (buffer, kind::SMALL),
                Place::Constant(_) | Place::RealConstant(_) => return None,
            };
            let scale = match held.unit {
                Unit::Scale(scale) => scale,
                Unit::Shift(shift) => f64::from(shift).exp2() as f32,
                Unit::Scales(..) => return None,
            };
            let tensor = &self.network.tensors[id];
            let own = || Shape::of(&tensor.shape, false);
            let shape = self.numbers.shapes.get(&id).copied().unwrap_or_else(own);
            Some(Port { buffer, numbers: tensor.len(), kind, scale, shape })
        };
        let last = self.network.definitions.last().map(|d| d.tensor as usize);
        let inputs = self.inputs.iter().filter_map(|&id| port(id)).collect();
        (inputs, last.and_then(port).into_iter().collect())
    }
}

/// The views of tensors, by target.
pub fn found(views: &[(u32, View)]) -> impl Fn(&Target) -> Option<View> {
    move |target| match target {
        Target::Tensor(id) => views.iter().find(|(known, _)| known == id).map(|(_, v)| v.clone()),
        Target::Scope(_) => None,
    }
}

/// The place of a number among those of `loops`, row after row.
pub fn place_of(loops: &[Range]) -> Index {
    loops.iter().enumerate().fold(Index::default(), |place, (v, range)| {
        place.times(range.len()).plus(&Index::var(v)).offset(-range.lo)
    })
}

impl Lower<'_> {
    /// What 1 of a tensor stands for.
    pub fn held_unit(&self, id: usize) -> Unit {
        self.held[id].as_ref().map_or(Unit::ONE, |held| held.unit.clone())
    }

    /// Where a tensor is, if it is in 8 bits.
    pub fn held_small(&self, id: usize) -> Option<Buffer> {
        match self.held[id].as_ref()?.place {
            Place::Small(buffer) => Some(buffer),
            _ => None,
        }
    }
}
