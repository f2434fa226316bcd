//! Arbitrary small expressions, and what they are computed from; machines and a layer to plan for.
#![allow(dead_code, reason = "no test uses all of it")]

use ripple_derive::expr::{Access, Expr, Function, Kind, Scope, Target, Tensor};
use ripple_derive::index::{Index, Range};
use ripple_derive::interpret::{Modular, Number, interpret};
use ripple_derive::machine::{Core, Cost, Machine};
use ripple_derive::textbook::Conv;
use std::sync::Arc;

/// A layer of 512 channels of 7 x 7 numbers.
pub const CONV: Conv = Conv::same((7, 7), 512, 512, 3);

/// The columns of [`row`].
pub fn heads(case: &str) {
    println!(
        "{case:<28} {:<62} {:>5} {:>9} {:>8} {:>12} {:>9}",
        "plan", "cmds", "bytes", "RAM", "instr", "ms"
    );
}

/// A line of a table of costs.
pub fn row(case: &str, what: &str, cost: &Cost) {
    println!(
        "{case:<28} {what:<62} {:>5} {:>9} {:>8} {:>12.0} {:>9.3}",
        cost.commands,
        cost.bytes,
        cost.ram,
        cost.instructions,
        cost.nanoseconds / 1e6
    );
}

/// A core at `megahertz` with an SD card at High Speed.
pub fn machine(core: Core, megahertz: f64, ram: i64) -> Machine {
    Machine {
        name: core.name.to_owned(),
        core,
        megahertz,
        command_ns: 400_000.0,
        bytes_per_second: 20e6,
        ram,
        staging: 64 << 10,
    }
}

/// A sequence that its seed decides: SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `lo..hi`.
    pub fn within(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.next() % (hi - lo) as u64) as i64
    }

    pub fn chance(&mut self, in_hundred: u64) -> bool {
        self.next() % 100 < in_hundred
    }

    fn range(&mut self) -> Range {
        let lo = self.within(-2, 3);
        Range { lo, hi: lo + self.within(1, 6) }
    }

    /// An index over `ranges`: linear, now and then with a quotient or a remainder.
    pub fn index(&mut self, ranges: &[Range]) -> Index {
        let mut index = Index::constant(self.within(-3, 4));
        for _ in 0..self.within(0, 4) {
            if ranges.is_empty() {
                break;
            }
            let v = self.within(0, ranges.len() as i64) as usize;
            let factor = [1, 1, 1, -1, 2, 3, -2][self.within(0, 7) as usize];
            index = index.plus(&Index::var(v).times(factor));
        }
        match self.within(0, 8) {
            0 => index.divided(self.within(2, 5), ranges),
            1 => index.modulo(self.within(2, 5), ranges),
            _ => index,
        }
    }

    fn access(&mut self, tensors: &[Tensor], ranges: &[Range], depth: u32) -> Access {
        let id = self.within(0, tensors.len() as i64) as u32;
        let rank = tensors[id as usize].shape.len();
        if depth > 0 && self.chance(25) {
            let inner = Arc::new(self.scope_of(tensors, depth - 1));
            let index = inner.loops.iter().map(|_| self.index(ranges)).collect();
            return Access { target: Target::Scope(inner), index };
        }
        let index = (0..rank).map(|_| self.index(ranges)).collect();
        Access { target: Target::Tensor(id), index }
    }

    fn body(&mut self, tensors: &[Tensor], ranges: &[Range], depth: u32) -> Expr {
        match self.within(0, 10) {
            0 => Expr::Apply(
                Function::ALL[self.within(0, Function::ALL.len() as i64) as usize],
                Box::new(Expr::Access(self.access(tensors, ranges, depth))),
            ),
            1 => Expr::sum(vec![
                Expr::Access(self.access(tensors, ranges, depth)),
                Expr::product(vec![
                    Expr::Constant(self.within(-2, 3)),
                    Expr::Access(self.access(tensors, ranges, depth)),
                ]),
            ]),
            n => {
                let factors = 1 + usize::from(n > 3) + usize::from(n > 8);
                let all = (0..factors).map(|_| Expr::Access(self.access(tensors, ranges, depth)));
                Expr::product(all.collect())
            }
        }
    }

    fn scope_of(&mut self, tensors: &[Tensor], depth: u32) -> Scope {
        let loops: Vec<Range> = (0..self.within(1, 4)).map(|_| self.range()).collect();
        let sums: Vec<Range> = (0..self.within(0, 4)).map(|_| self.range()).collect();
        let ranges = [loops.as_slice(), &sums].concat();
        let body = self.body(tensors, &ranges, depth);
        Scope { loops, sums, body }
    }

    /// Tensors, and a scope of them that may read outside of them.
    pub fn expression(&mut self) -> (Vec<Tensor>, Scope) {
        let tensors: Vec<Tensor> = (0..self.within(1, 4))
            .map(|i| {
                let shape: Vec<i64> = (0..self.within(1, 4)).map(|_| self.within(1, 6)).collect();
                let kind = if i == 0 { Kind::Input } else { Kind::Weight };
                Tensor::new(format!("T{i}"), kind, &shape)
            })
            .collect();
        let scope = self.scope_of(&tensors, 1);
        (tensors, scope)
    }

    /// Numbers for each tensor.
    pub fn numbers<N: Number>(&mut self, tensors: &[Tensor], most: i64) -> Vec<Vec<N>> {
        let of = |tensor: &Tensor, random: &mut Self| {
            (0..tensor.len()).map(|_| N::of(random.within(-most, most + 1))).collect()
        };
        tensors.iter().map(|tensor| of(tensor, self)).collect()
    }
}

/// Shapes of the tensors, as the interpreter takes them.
pub fn shapes(tensors: &[Tensor]) -> Vec<Vec<i64>> {
    tensors.iter().map(|tensor| tensor.shape.clone()).collect()
}

/// Panics unless both scopes have the same numbers everywhere, in integers and modulo a prime.
pub fn assert_same(tensors: &[Tensor], a: &Scope, b: &Scope, random: &mut Random, what: &str) {
    let shapes = shapes(tensors);
    let integers = random.numbers::<i64>(tensors, 50);
    let of = |scope| interpret(scope, &shapes, &integers);
    assert_eq!(of(a).unwrap(), of(b).unwrap(), "{what}: {a:?} became {b:?}");
    let modular = random.numbers::<Modular>(tensors, i64::MAX / 4);
    let of = |scope| interpret(scope, &shapes, &modular);
    assert_eq!(of(a).unwrap(), of(b).unwrap(), "{what}, modulo a prime: {a:?} became {b:?}");
}
