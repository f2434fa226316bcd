//! Expressions as nests: indices become affine forms, quotients and remainders parts of their own, reads that
//! may be outside get guards.
//!
//! In: an expression over iterators, what each tensor is and where. Out: a nest. Knows nothing of calls.

use super::EmitError;
use super::arrange::arrange;
use super::steps::{Affine, Buffer, Nest, Op, Part, Place, Read, Store};
use super::view::{Dimension, Unit, View};
use crate::expr::{Access, Expr, Function, Target};
use crate::index::{Atom, Index, Range};
use ripple_program::code::{DIGITS, MOST_ACCESSES, MOST_KEPT, MOST_LOOPS, MOST_PARTS};

/// How an iterator is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Bind {
    /// By a loop of the nest.
    Loop,
    /// By the digits of a row.
    Digits(Index),
}

/// Iterators of an expression.
pub struct Iterators<'a> {
    /// What they run over.
    pub ranges: &'a [Range],
    /// How each is given; indices of [`Bind::Digits`] are over the digits.
    pub binds: &'a [Bind],
    /// Which of them are summed over.
    pub sums: u64,
}

/// Where the nest writes.
pub struct To<'a> {
    /// The buffer.
    pub buffer: Buffer,
    /// Numbers there.
    pub numbers: i64,
    /// Which, over the iterators.
    pub at: &'a Index,
    /// How.
    pub store: Store,
}

/// What tensors and scopes are read from.
pub type Views<'a> = dyn Fn(&Target) -> Option<View> + 'a;

struct Builder<'a> {
    iterators: &'a Iterators<'a>,
    values: Vec<Affine>,
    loops: Vec<i64>,
    parts: Vec<Part>,
    reads: Vec<Read>,
    body: Vec<Op>,
    real: bool,
    kept: usize,
    name: &'a str,
}

/// The nest that computes `body` at every point of `iterators`.
///
/// # Errors
/// When it needs more than the executor has.
pub fn nest(
    name: &str,
    body: &Expr,
    iterators: &Iterators<'_>,
    views: &Views<'_>,
    to: &To<'_>,
    real: bool,
) -> Result<Nest, EmitError> {
    let looped: Vec<usize> = (0..iterators.binds.len())
        .filter(|&v| iterators.binds[v] == Bind::Loop && iterators.ranges[v].len() != 1)
        .collect();
    let values = (0..iterators.binds.len())
        .map(|v| match (&iterators.binds[v], looped.iter().position(|&l| l == v)) {
            (_, Some(place)) => Affine::var(DIGITS + place).plus(iterators.ranges[v].lo),
            (Bind::Loop, None) => Affine::constant(iterators.ranges[v].lo),
            (Bind::Digits(_), None) => Affine::default(),
        })
        .collect();
    let mut loops: Vec<i64> = looped.iter().map(|&v| iterators.ranges[v].len()).collect();
    let mut sums: Vec<bool> = looped.iter().map(|&v| iterators.sums >> v & 1 == 1).collect();
    if loops.is_empty() {
        (loops, sums) = (vec![1], vec![false]);
    }
    let mut builder = Builder {
        iterators,
        values,
        loops,
        parts: Vec::new(),
        reads: Vec::new(),
        body: Vec::new(),
        real,
        kept: 0,
        name,
    };
    // Digits are variables by themselves; what is read of them may need parts.
    let digits: Vec<Affine> = (0..DIGITS).map(Affine::var).collect();
    for v in 0..iterators.binds.len() {
        if let Bind::Digits(index) = &iterators.binds[v] {
            builder.values[v] = builder.index_over(index, &digits);
        }
    }
    builder.expression(body, &mut Vec::new(), views)?;
    let at = builder.index(to.at);
    let Builder { loops, parts, reads, body, .. } = builder;
    let (buffer, numbers, store) = (to.buffer, to.numbers, to.store);
    let mut nest = Nest { real, store, loops, body, parts, to: buffer, numbers, at, reads };
    arrange(&mut nest, &mut sums);
    let limit = |what, found: usize, most: usize| match found > most {
        true => Err(EmitError::Room { name: name.to_owned(), what, found, most }),
        false => Ok(()),
    };
    limit("loops", nest.loops.len(), MOST_LOOPS)?;
    limit("quotients and remainders", nest.parts.len(), MOST_PARTS)?;
    limit("reads at a point", nest.reads.len(), MOST_ACCESSES)?;
    Ok(nest)
}

impl Builder<'_> {
    fn index(&mut self, index: &Index) -> Affine {
        let values = self.values.clone();
        self.index_over(index, &values)
    }

    fn index_over(&mut self, index: &Index, values: &[Affine]) -> Affine {
        let (constant, terms) = index.parts();
        let mut out = Affine::constant(constant);
        for (atom, factor) in terms {
            match atom {
                Atom::Var(v) => out.add(&values[*v as usize], *factor),
                Atom::Div(of, by) | Atom::Mod(of, by) => {
                    let remainder = matches!(atom, Atom::Mod(..));
                    let of = self.index_over(of, values);
                    if of.terms.is_empty() {
                        let value = match remainder {
                            true => of.constant.rem_euclid(*by),
                            false => of.constant.div_euclid(*by),
                        };
                        out.constant += factor * value;
                        continue;
                    }
                    let part = Part { remainder, by: *by, of };
                    let place = self.parts.iter().position(|known| *known == part);
                    let place = place.unwrap_or_else(|| {
                        self.parts.push(part);
                        self.parts.len() - 1
                    });
                    out.add(&Affine::var(DIGITS + self.loops.len() + place), *factor);
                }
            }
        }
        out
    }

    /// What `body` keeps; 0 where one of `guarded` is outside.
    fn expression(
        &mut self,
        body: &Expr,
        guarded: &mut Vec<(Index, Range)>,
        views: &Views<'_>,
    ) -> Result<(), EmitError> {
        match body {
            Expr::Access(access) => self.access(access, guarded, views),
            Expr::Constant(value) => self.constant(*value as f64),
            Expr::Product(parts) | Expr::Sum(parts) => {
                let op = if matches!(body, Expr::Sum(_)) { Op::Add } else { Op::Times };
                for (i, part) in parts.iter().enumerate() {
                    self.expression(part, guarded, views)?;
                    if i > 0 {
                        self.body.push(op);
                        self.kept -= 1;
                    }
                }
                Ok(())
            }
            Expr::Apply(function, inner) => {
                self.expression(inner, guarded, views)?;
                self.body.push(self.function(*function)?);
                Ok(())
            }
        }
    }

    fn function(&self, function: Function) -> Result<Op, EmitError> {
        match function.name() {
            "relu" => Ok(Op::Relu),
            "tanh" => Ok(Op::Tanh),
            "square" => Ok(Op::Square),
            "sigmoid" if self.real => Ok(Op::Sigmoid),
            "exp" if self.real => Ok(Op::Exp),
            "reciprocal" if self.real => Ok(Op::Reciprocal),
            "rsqrt" if self.real => Ok(Op::InverseRoot),
            function => Err(EmitError::Function { name: self.name.to_owned(), function }),
        }
    }

    fn keep(&mut self) -> Result<(), EmitError> {
        self.kept += 1;
        if self.kept > MOST_KEPT {
            let (name, found) = (self.name.to_owned(), self.kept);
            let what = "numbers kept at once";
            return Err(EmitError::Room { name, what, found, most: MOST_KEPT });
        }
        Ok(())
    }

    fn constant(&mut self, value: f64) -> Result<(), EmitError> {
        self.keep()?;
        let bits = if self.real { (value as f32).to_bits() as i32 } else { value as i32 };
        self.body.push(Op::Constant(bits));
        Ok(())
    }

    /// A number that is read, `guarded` where a scope around it says so.
    fn access(
        &mut self,
        access: &Access,
        guarded: &mut Vec<(Index, Range)>,
        views: &Views<'_>,
    ) -> Result<(), EmitError> {
        let ranges = self.iterators.ranges;
        let Some(view) = views(&access.target) else {
            let Target::Scope(scope) = &access.target else {
                return Err(EmitError::Unknown { name: self.name.to_owned() });
            };
            // What adds nothing up is computed where it is read; outside of it 0 is, whatever it says.
            let mut constants = false;
            has_constant(&scope.body, &mut constants);
            if !scope.sums.is_empty() || constants {
                return Err(EmitError::Unknown { name: self.name.to_owned() });
            }
            let before = guarded.len();
            for (index, &range) in access.index.iter().zip(&scope.loops) {
                if !range.covers(index.span(ranges)) {
                    guarded.push((index.clone(), range));
                }
            }
            let body = scope.body.indexed(&|index| index.substituted(&access.index, ranges));
            let done = self.expression(&body, guarded, views);
            guarded.truncate(before);
            return done;
        };
        let mut at = Affine::default();
        let mut guards = Vec::new();
        for (index, range) in guarded.iter() {
            let of = self.index(index).plus(-range.lo);
            guards.push((of, range.len()));
        }
        for (index, &dimension) in access.index.iter().zip(&view.dimensions) {
            let (lo, step, guard) = match dimension {
                Dimension::Read(range, step) => (range.lo, step, Some(range)),
                Dimension::Inside(lo, step) => (lo, step, None),
                Dimension::Guard(range) => (range.lo, 0, Some(range)),
                Dimension::Fixed => continue,
            };
            let guard = guard.filter(|range| !range.covers(index.span(ranges)));
            if step == 0 && guard.is_none() {
                continue;
            }
            let of = self.index(index).plus(-lo);
            at.add(&of, step);
            guards.extend(guard.map(|range| (of, range.len())));
        }
        self.load(Read { place: view.place, numbers: view.numbers, at, guards })?;
        match view.unit {
            Unit::Shift(0) => Ok(()),
            Unit::Shift(shift) => self.scaled(f64::from(shift).exp2()),
            Unit::Scale(1.0) => Ok(()),
            Unit::Scale(scale) => self.scaled(scale.into()),
            Unit::Scales(first, numbers, index) => {
                let at = self.index(&index);
                let place = Place::RealConstant(first);
                self.load(Read { place, numbers, at, guards: Vec::new() })?;
                self.body.push(Op::Times);
                self.kept -= 1;
                Ok(())
            }
        }
    }

    fn scaled(&mut self, by: f64) -> Result<(), EmitError> {
        self.constant(by)?;
        self.body.push(Op::Times);
        self.kept -= 1;
        Ok(())
    }

    fn load(&mut self, read: Read) -> Result<(), EmitError> {
        self.keep()?;
        let place = self.reads.iter().position(|known| *known == read).unwrap_or_else(|| {
            self.reads.push(read);
            self.reads.len() - 1
        });
        self.body.push(Op::Load(place));
        Ok(())
    }
}

/// Whether `body` may be another number than 0 where all that it reads is 0.
fn has_constant(body: &Expr, found: &mut bool) {
    match body {
        Expr::Constant(_) => *found = true,
        Expr::Access(_) => {}
        Expr::Product(parts) | Expr::Sum(parts) => {
            parts.iter().for_each(|part| has_constant(part, found));
        }
        Expr::Apply(function, inner) => {
            *found |= !matches!(function.name(), "relu" | "tanh" | "square");
            has_constant(inner, found);
        }
    }
}
