//! Every rule gives an expression with the same numbers: all of them, of arbitrary small expressions.

mod common;

use common::{Random, assert_same};
use ripple_derive::expr::{Access, Expr, Scope, Target, Tensor};
use ripple_derive::index::{Index, Range};
use ripple_derive::rules::relayout::{Relayout, relayout};
use ripple_derive::rules::{Derived, boundary, sums, traversal, variables};
use std::sync::Arc;

/// Expressions that each rule is tried on.
const EXPRESSIONS: u64 = 3000;

/// Applies `rule` to arbitrary expressions and compares; it must have held for at least `least`.
fn holds(name: &str, least: u64, rule: impl Fn(&mut Random, &[Tensor], &Scope) -> Option<Derived>) {
    let mut held = 0;
    for seed in 0..EXPRESSIONS {
        let mut random = Random(seed);
        let (tensors, scope) = random.expression();
        if let Some(derived) = rule(&mut random, &tensors, &scope) {
            held += 1;
            let after = derived.scope(&scope.loops);
            assert_same(&tensors, &scope, &after, &mut random, &format!("{name}, seed {seed}"));
        }
    }
    assert!(held >= least, "{name} held for {held} of {EXPRESSIONS}");
}

/// One of the scope's iterators.
fn iterator(random: &mut Random, scope: &Scope) -> usize {
    random.within(0, scope.iterators() as i64) as usize
}

#[test]
fn summation_splitting() {
    holds("split", 800, |random, _, scope| {
        sums::split(scope, random.within(0, 1 << scope.sums.len()) as u64)
    });
}

#[test]
fn substitution_by_a_combination() {
    holds("substitute", 1000, |random, _, scope| {
        let loops = scope.loops.len();
        let x = random.within(0, loops as i64) as usize;
        let mut t = Index::var(x).times([1, -1][random.within(0, 2) as usize]);
        for v in (0..loops).filter(|&v| v != x) {
            t = t.plus(&Index::var(v).times(random.within(-2, 3)));
        }
        variables::substitute(scope, x, &t.offset(random.within(-2, 3)))
    });
}

#[test]
fn substitution_by_quotient_and_remainder_of_any_divisor() {
    holds("divide", 1500, |random, tensors, scope| {
        let v = iterator(random, scope);
        variables::divide(scope, tensors, v, random.within(2, 7), random.within(-3, 4))
    });
}

#[test]
fn substitution_of_a_sum_by_a_remainder_with_others() {
    holds("rotate", 300, |random, _, scope| {
        let (v, k) = (iterator(random, scope), random.within(2, 4));
        let rest = random.index(&scope.loops);
        variables::rotate(scope, v, k, &rest, random.chance(50))
    });
}

#[test]
fn a_sum_is_divided_with_a_remainder_only_where_nothing_is_added() {
    // sum over r in 0..5 . A[h + r] K[r]: a sixth place of the kernel is 0.
    let tensor = |name: &str, n| Tensor::new(name, ripple_derive::expr::Kind::Input, &[n]);
    let tensors = [tensor("A", 9), tensor("K", 5), tensor("L", 6)];
    let access =
        |id, index| Expr::Access(Access { target: Target::Tensor(id), index: vec![index] });
    let of = |kernel| Scope {
        loops: vec![Range::to(5)],
        sums: vec![Range::to(5)],
        body: Expr::product(vec![
            access(0, Index::var(0).plus(&Index::var(1))),
            access(kernel, Index::var(1)),
        ]),
    };
    let derived = variables::divide(&of(1), &tensors, 1, 3, 0).unwrap();
    assert_eq!(derived.inner.sums, [Range::to(2), Range::to(3)]);
    assert_same(&tensors, &of(1), &derived.scope(&[Range::to(5)]), &mut Random(1), "5 as 2 * 3");
    assert_eq!(variables::divide(&of(2), &tensors, 1, 3, 0), None, "a kernel of 6 is not 0 there");
}

#[test]
fn substitution_of_two_by_one() {
    holds("join", 800, |random, _, scope| {
        let (i, j) = (iterator(random, scope), iterator(random, scope));
        variables::join(scope, i, j)
    });
}

#[test]
fn loops_in_another_order() {
    holds("reorder", 2500, |random, _, scope| {
        let mut order: Vec<usize> = (0..scope.loops.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, random.within(0, i as i64 + 1) as usize);
        }
        variables::reorder(scope, &order)
    });
}

#[test]
fn boundaries_tightened() {
    holds("tighten", 600, |_, tensors, scope| boundary::tighten(scope, tensors));
}

#[test]
fn boundaries_relaxed() {
    holds("relax", 1000, |random, tensors, scope| {
        let v = iterator(random, scope);
        let range = scope.ranges()[v];
        let to = Range { lo: range.lo - random.within(0, 3), hi: range.hi + random.within(0, 3) };
        boundary::relax(scope, tensors, v, to)
    });
}

/// Which access, and how many dimensions it has.
fn access(random: &mut Random, scope: &Scope) -> (usize, usize) {
    let mut ranks = Vec::new();
    scope.body.accesses(&mut |access| ranks.push(access.index.len()));
    let which = random.within(0, ranks.len() as i64) as usize;
    (which, ranks[which])
}

#[test]
fn dimensions_split() {
    holds("dimension split", 2500, |random, tensors, scope| {
        let (which, rank) = access(random, scope);
        let dimension = random.within(0, rank as i64) as usize;
        relayout(scope, tensors, which, &Relayout::Split { dimension, by: random.within(2, 5) })
    });
}

#[test]
fn dimensions_merged() {
    holds("dimension merge", 500, |random, tensors, scope| {
        let (which, rank) = access(random, scope);
        let dimension = random.within(0, rank as i64) as usize;
        relayout(scope, tensors, which, &Relayout::Merge { dimension })
    });
}

#[test]
fn dimensions_in_another_order() {
    holds("dimension reorder", 2500, |random, tensors, scope| {
        let (which, rank) = access(random, scope);
        let order = (0..rank).rev().collect();
        relayout(scope, tensors, which, &Relayout::Reorder(order))
    });
}

#[test]
fn a_layout_and_its_inverse_are_none() {
    let mut undone = 0;
    for seed in 0..EXPRESSIONS {
        let mut random = Random(seed);
        let (tensors, scope) = random.expression();
        let (which, rank) = access(&mut random, &scope);
        let there: Vec<usize> = (0..rank).map(|d| (d + 1) % rank).collect();
        let back: Vec<usize> = (0..rank).map(|d| (d + rank - 1) % rank).collect();
        let Some(once) = relayout(&scope, &tensors, which, &Relayout::Reorder(there)) else {
            continue;
        };
        // Products are put in order again, so the copy may be elsewhere among the accesses.
        let all = scope.body.factors().map_or(1, |f| f.len());
        let twice = (0..all).filter_map(|which| {
            relayout(&once.inner, &tensors, which, &Relayout::Reorder(back.clone()))
        });
        undone += u64::from(twice.map(|d| d.inner).any(|inner| inner == scope));
    }
    assert!(undone > EXPRESSIONS / 2, "{undone}");
}

#[test]
fn traversals_merged() {
    let mut held = 0;
    for seed in 0..EXPRESSIONS {
        let mut random = Random(seed);
        let (tensors, scope) = random.expression();
        // What is derived is read by a scope that can often be merged.
        let derived = sums::split(&scope, 1).map(|derived| derived.scope(&scope.loops));
        let scope = derived.unwrap_or_else(|| {
            let index = scope.loops.iter().map(|_| random.index(&scope.ranges())).collect();
            let (loops, sums) = (scope.loops.clone(), scope.sums.clone());
            let target = Target::Scope(Arc::new(scope));
            Scope { loops, sums, body: Expr::Access(Access { target, index }) }
        });
        if let Some(merged) = traversal::merge(&scope, &tensors) {
            held += 1;
            assert_same(&tensors, &scope, &merged, &mut random, &format!("merge, seed {seed}"));
        }
    }
    assert!(held > 700, "{held}");
}
