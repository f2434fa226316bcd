//! The exact interpreter: every number of an expression, in integers or in integers modulo a prime.
//!
//! In: a scope and the numbers of its tensors. Out: the numbers of its result. Obviously right and
//! slow: what all else is compared with. Knows nothing of rules.

use crate::expr::{Access, Expr, Function, Scope, Target};
use crate::index::Range;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Numbers that an expression is computed in.
pub trait Number: Copy + PartialEq + std::fmt::Debug {
    /// An integer as such a number.
    fn of(value: i64) -> Self;
    /// The sum. `None` where it has no value.
    fn plus(self, other: Self) -> Option<Self>;
    /// The product. `None` where it has no value.
    fn times(self, other: Self) -> Option<Self>;
    /// The function's value.
    fn apply(self, function: Function) -> Option<Self>;
}

impl Number for i64 {
    fn of(value: i64) -> Self {
        value
    }

    fn plus(self, other: Self) -> Option<Self> {
        self.checked_add(other)
    }

    fn times(self, other: Self) -> Option<Self> {
        self.checked_mul(other)
    }

    fn apply(self, function: Function) -> Option<Self> {
        match function {
            Function::Relu => Some(self.max(0)),
            Function::Tanh => Some(self.signum()),
            Function::Square => self.checked_mul(self),
            Function::Sigmoid => Some(i64::from(self >= 0)),
            Function::Exp => Some(self.max(1)),
            Function::Reciprocal | Function::InverseRoot => Some(if self < 0 { -1 } else { 1 }),
        }
    }
}

/// An integer modulo `2^61 - 1`, a prime. Functions are arbitrary but fixed maps that keep 0 where they do, so
/// two expressions agree only where they apply the same function to the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modular(u64);

/// `2^61 - 1`.
pub const PRIME: u64 = (1 << 61) - 1;

impl Number for Modular {
    fn of(value: i64) -> Self {
        Self(i128::from(value).rem_euclid(i128::from(PRIME)) as u64)
    }

    fn plus(self, other: Self) -> Option<Self> {
        Some(Self((self.0 + other.0) % PRIME))
    }

    fn times(self, other: Self) -> Option<Self> {
        Some(Self((u128::from(self.0) * u128::from(other.0) % u128::from(PRIME)) as u64))
    }

    fn apply(self, function: Function) -> Option<Self> {
        // x^(2k+1) + x^2: no ring map, and 0 stays 0 where it should.
        let square = self.times(self)?;
        let mut power = self;
        for _ in 0..=function as u32 {
            power = power.times(square)?;
        }
        let zero = if function.keeps_zero() { Self(0) } else { Self(1) };
        power.plus(square)?.plus(zero)
    }
}

/// Some number could not be computed: it does not fit 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number of the result does not fit 64 bits")]
pub struct Overflow;

/// Every number of `scope`, the last dimension contiguous. `tensors`: the numbers of each.
///
/// # Errors
/// Where a number does not fit.
///
/// # Panics
/// When a tensor has fewer numbers than its shape, or a scope that [`Scope::check`] refuses is given.
pub fn interpret<N: Number>(
    scope: &Scope,
    shapes: &[Vec<i64>],
    tensors: &[Vec<N>],
) -> Result<Vec<N>, Overflow> {
    let mut inner = Interpreter { shapes, tensors, scopes: FxHashMap::default() };
    inner.scope(scope)
}

struct Interpreter<'a, N> {
    shapes: &'a [Vec<i64>],
    tensors: &'a [Vec<N>],
    /// Inner scopes, by address: they live as long as the outermost.
    scopes: FxHashMap<*const Scope, Arc<Vec<N>>>,
}

impl<N: Number> Interpreter<'_, N> {
    fn scope(&mut self, scope: &Scope) -> Result<Vec<N>, Overflow> {
        let mut inner = Vec::new();
        scope.body.accesses(&mut |access| {
            if let Target::Scope(scope) = &access.target {
                inner.push(scope);
            }
        });
        for scope in inner {
            if !self.scopes.contains_key(&Arc::as_ptr(scope)) {
                let numbers = Arc::new(self.scope(scope)?);
                self.scopes.insert(Arc::as_ptr(scope), numbers);
            }
        }
        let mut out = Vec::with_capacity(scope.len() as usize);
        let mut at: Vec<i64> = Vec::new();
        for loops in Points::over(&scope.loops) {
            let mut sum = N::of(0);
            for sums in Points::over(&scope.sums) {
                at.clear();
                at.extend_from_slice(&loops);
                at.extend_from_slice(&sums);
                sum = sum.plus(self.body(&scope.body, &at)?).ok_or(Overflow)?;
            }
            out.push(sum);
        }
        Ok(out)
    }

    fn body(&self, body: &Expr, at: &[i64]) -> Result<N, Overflow> {
        match body {
            Expr::Constant(value) => Ok(N::of(*value)),
            Expr::Access(access) => Ok(self.access(access, at)),
            Expr::Product(parts) => parts.iter().try_fold(N::of(1), |product, part| {
                product.times(self.body(part, at)?).ok_or(Overflow)
            }),
            Expr::Sum(parts) => parts
                .iter()
                .try_fold(N::of(0), |sum, part| sum.plus(self.body(part, at)?).ok_or(Overflow)),
            Expr::Apply(function, inner) => self.body(inner, at)?.apply(*function).ok_or(Overflow),
        }
    }

    fn access(&self, access: &Access, at: &[i64]) -> N {
        let mut place = 0;
        for (dimension, index) in access.index.iter().enumerate() {
            let range = match &access.target {
                Target::Tensor(id) => Range::to(self.shapes[*id as usize][dimension]),
                Target::Scope(scope) => scope.loops[dimension],
            };
            let value = index.value(at);
            if !range.contains(value) {
                return N::of(0);
            }
            place = place * range.len() + value - range.lo;
        }
        match &access.target {
            Target::Tensor(id) => self.tensors[*id as usize][place as usize],
            Target::Scope(scope) => self.scopes[&Arc::as_ptr(scope)][place as usize],
        }
    }
}

/// Every point of a box, the last coordinate fastest.
pub struct Points<'a> {
    ranges: &'a [Range],
    next: Option<Vec<i64>>,
}

impl<'a> Points<'a> {
    /// The points with one coordinate out of each range.
    pub fn over(ranges: &'a [Range]) -> Self {
        let first = ranges.iter().map(|range| range.lo).collect();
        let any = ranges.iter().all(|range| !range.is_empty());
        Self { ranges, next: any.then_some(first) }
    }
}

impl Iterator for Points<'_> {
    type Item = Vec<i64>;

    fn next(&mut self) -> Option<Vec<i64>> {
        let point = self.next.clone()?;
        let mut after = point.clone();
        self.next = None;
        for (coordinate, range) in after.iter_mut().zip(self.ranges).rev() {
            *coordinate += 1;
            if *coordinate < range.hi {
                self.next = Some(after);
                break;
            }
            *coordinate = range.lo;
        }
        Some(point)
    }
}
