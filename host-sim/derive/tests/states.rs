//! States of the search: what they compute never changes, and one form stands for all that are the same.

mod common;

use common::{Random, assert_same};
use ripple_derive::expr::{Expr, Scope};
use ripple_derive::index::Index;
use ripple_derive::rules::variables;
use ripple_derive::search::moves::{Budget, moves};
use ripple_derive::search::state::State;

#[test]
fn paths_of_rules_keep_every_number() {
    let (mut steps, mut refused) = (0, 0);
    for seed in 0..1500 {
        let mut random = Random(seed);
        let (tensors, scope) = random.expression();
        let mut state = State::new(scope.clone()).canonical();
        let mut budget = Budget::of_depth(5);
        while budget.depth > 0 {
            let all = moves(&state, budget);
            let step = all[random.within(0, all.len() as i64) as usize].clone();
            budget = budget.after(&step).unwrap();
            let Some(derived) = step.apply(&state.focus, &tensors) else { continue };
            let Some(next) = state.then(derived) else {
                refused += 1;
                continue;
            };
            // What grows beyond all bounds is not computed here.
            if next.scope().work() * next.focus.work() > 2_000_000 {
                continue;
            }
            steps += 1;
            state = next.canonical();
            let what = format!("seed {seed}, {step:?}");
            assert_same(&tensors, &scope, &state.scope(), &mut random, &what);
        }
    }
    assert!(steps > 1500, "{steps} steps");
    assert!(refused > 10, "only {refused} steps were refused for what lies outside");
}

/// The same expression with loops of the focus, sums and factors in another order.
fn renamed(state: &State, random: &mut Random) -> State {
    let shuffled = |n: usize, random: &mut Random| {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, random.within(0, i as i64 + 1) as usize);
        }
        order
    };
    let order = shuffled(state.focus.loops.len(), random);
    let derived = variables::reorder(&state.focus, &order).unwrap();
    let mut next = state.then(derived).unwrap();
    // Sums of the focus in another order.
    let (count, focus) = (next.focus.loops.len(), next.focus.clone());
    let order = shuffled(focus.sums.len(), random);
    let mut number: Vec<u8> = (0..focus.iterators() as u8).collect();
    for (new, &old) in order.iter().enumerate() {
        number[count + old] = (count + new) as u8;
    }
    let body = focus.body.indexed(&|index| index.renamed(&number));
    let body = match body {
        Expr::Product(mut factors) => {
            factors.reverse();
            Expr::Product(factors)
        }
        other => other,
    };
    let sums = order.iter().map(|&old| focus.sums[old]).collect();
    next.focus = Scope { loops: focus.loops, sums, body };
    // And those outside.
    let outside = next.loops.len();
    let order = shuffled(next.sums.len(), random);
    let mut number: Vec<u8> = (0..(outside + order.len()) as u8).collect();
    for (new, &old) in order.iter().enumerate() {
        number[outside + old] = (outside + new) as u8;
    }
    next.map = next.map.iter().map(|index| index.renamed(&number)).collect();
    next.sums = order.iter().map(|&old| next.sums[old]).collect();
    next
}

#[test]
fn names_and_orders_do_not_change_the_fingerprint() {
    let mut different = 0;
    for seed in 0..4000 {
        let mut random = Random(seed);
        let (tensors, scope) = random.expression();
        let mut state = State::new(scope);
        let step = moves(&state, Budget::of_depth(3)).pop().unwrap();
        if let Some(next) = step.apply(&state.focus, &tensors).and_then(|d| state.then(d)) {
            state = next;
        }
        let other = renamed(&state, &mut random);
        different += u64::from(other != state);
        assert_eq!(state.canonical(), other.canonical(), "seed {seed}");
        assert_eq!(state.canonical().fingerprint(), other.canonical().fingerprint());
    }
    assert!(different > 2000, "{different}");
}

#[test]
fn a_canonical_form_is_its_own() {
    for seed in 0..2000 {
        let (_, scope) = Random(seed).expression();
        let state = State::new(scope).canonical();
        assert_eq!(state, state.canonical(), "seed {seed}");
    }
}

#[test]
fn what_differs_has_another_fingerprint() {
    let (_, scope) = Random(3).expression();
    let one = State::new(scope.clone()).canonical();
    let mut other = scope;
    other.body = other.body.indexed(&|index: &Index| index.clone().offset(1));
    let two = State::new(other).canonical();
    assert_ne!(one.fingerprint(), two.fingerprint());
}
