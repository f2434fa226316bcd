//! What the free search finds from textbook expressions: the four case studies of OLLIE (Zheng et al.,
//! arXiv 2208.02025), and the same at other sizes, strides and dilations. No rule is told which.
//!
//! `cargo test -p ripple-derive --test cases -- --nocapture` prints the table.

mod common;

use common::{CONV, Random, assert_same, machine};
use ripple_derive::library::{Call, Operator};
use ripple_derive::machine::{Core, Machine};
use ripple_derive::plan::OnMachine;
use ripple_derive::search::moves::Move;
use ripple_derive::search::walk::{Outcome, Settings, paths, search};
use ripple_derive::textbook::{Conv, Expression, conv, conv_transpose, window_scores, window_sum};
use std::time::Instant;

/// A Cortex-M4 at 64 MHz, with as much RAM as it takes.
fn m4() -> Machine {
    machine(Core::M4, 64.0, i64::MAX / 4)
}

/// Operators of the library, and a kernel of 3 x 3 that needs `work` of the multiply-accumulates.
fn library(work: Option<f64>) -> Vec<Operator> {
    let mut all = Operator::standard();
    all.extend(work.map(|work| Operator::conv(3, 3, work)));
    all
}

/// Everything to `depth`, whatever it costs.
fn derive(name: &str, of: &Expression, operators: &[Operator], depth: u8) -> Outcome {
    let settings = Settings { verify: true, bound: false, ..Settings::of_depth(depth) };
    searched(name, of, operators, settings)
}

fn searched(name: &str, of: &Expression, operators: &[Operator], settings: Settings) -> Outcome {
    of.scope.check(&of.tensors).unwrap();
    let machine = m4();
    let least_work = operators.iter().map(|operator| operator.work).fold(1.0, f64::min);
    let judge = OnMachine { machine: &machine, tensors: &of.tensors, least_work };
    let start = Instant::now();
    let outcome = search(&of.scope, &of.tensors, operators, &judge, settings, &mut |_| {});
    assert_eq!(outcome.collisions, 0, "{name}");
    println!(
        "{name}: depth {}, {} states, {} cut, {:.2} s",
        settings.depth,
        outcome.states,
        outcome.cut,
        start.elapsed().as_secs_f64()
    );
    outcome
}

/// How many rules lead to `call`; panics where it was not found.
fn rules_to(outcome: &Outcome, call: &Call) -> usize {
    let found = outcome.found.iter().find(|found| found.bound.call == *call);
    let found = found.unwrap_or_else(|| {
        let all: Vec<_> = outcome.found.iter().take(8).map(|found| &found.bound.call).collect();
        panic!("{call:?} is not among {all:?} ..")
    });
    let rules: Vec<&str> = found.steps.iter().map(Move::rule).collect();
    println!("  {call:?} by {} rules: {}", rules.len(), rules.join(", "));
    found.steps.len()
}

/// Convolution as a product of all pixels of the input with every tap of every filter.
fn pixels_by_taps(shape: Conv) -> Call {
    let Conv { input, channels, filters, kernel, .. } = shape;
    Call::Matmul {
        batch: 1,
        rows: input.0 * input.1,
        columns: kernel.0 * kernel.1 * filters,
        depth: channels,
    }
}

#[test]
fn conv3x3_is_a_product_and_shifted_sums() {
    let outcome = derive("conv3x3", &conv(CONV), &library(None), 4);
    assert!(rules_to(&outcome, &pixels_by_taps(CONV)) <= 4);
}

#[test]
#[ignore = "slow"]
fn conv_transpose_is_a_product_and_a_selection() {
    let shape =
        Conv { input: (2, 2), channels: 256, filters: 448, kernel: (4, 4), stride: 2, ..CONV };
    let of = conv_transpose(shape);
    let outcome =
        searched("conv-transpose 4x4, stride 2", &of, &library(None), Settings::of_depth(6));
    assert!(rules_to(&outcome, &pixels_by_taps(shape)) <= 6);
}

const CONV5: Conv = Conv::same((224, 224), 32, 1, 5);

/// A convolution of 3 x 3 with four filters in the place of each: the kernel padded to 6 x 6.
fn four_of_three(outcome: &Outcome) -> usize {
    let is = |call: &&Call| {
        matches!(
            call,
            Call::Conv { filters: 4, kernel: (3, 3), stride: (1, 1), dilation: (1, 1), .. }
        )
    };
    let call = outcome.found.iter().map(|found| &found.bound.call).find(is);
    rules_to(outcome, call.expect("a convolution of 3 x 3 with four filters"))
}

#[test]
fn conv5x5_is_four_of_3x3_and_shifted_sums() {
    let outcome = derive("conv5x5", &conv(CONV5), &library(None), 5);
    assert!(four_of_three(&outcome) <= 5);
}

#[test]
fn a_dilated_window_is_a_dense_one() {
    let of = window_scores(8, 10_000, 1000, 64, 4);
    let outcome = derive("window, dilation 4", &of, &library(None), 4);
    let dense = Call::Window { batch: 32, positions: 2500, window: 2001, step: 1, depth: 64 };
    assert!(rules_to(&outcome, &dense) <= 4);
}

#[test]
fn so_are_other_sizes_strides_and_dilations() {
    let shapes = [
        ("conv 1x5", Conv { kernel: (1, 5), padding: (0, 2), ..CONV }, 3),
        (
            "conv 7x7",
            Conv { kernel: (7, 7), padding: (3, 3), channels: 24, filters: 16, ..CONV },
            4,
        ),
        ("conv3x3, dilation 2", Conv { dilation: 2, padding: (2, 2), ..CONV }, 4),
    ];
    for (name, shape, rules) in shapes {
        let outcome = derive(name, &conv(shape), &library(None), rules);
        assert!(rules_to(&outcome, &pixels_by_taps(shape)) <= rules.into());
    }
    // Every second row and column: the taps apart too, so that they are neighbours again.
    let of = conv(Conv { input: (8, 8), stride: 2, ..CONV });
    let outcome = derive("conv3x3, stride 2", &of, &library(None), 5);
    let phases = Call::Matmul { batch: 1, rows: 25, columns: 4 * 512, depth: 4 * 512 };
    assert!(rules_to(&outcome, &phases) <= 5);
    for (dilation, positions) in [(2, 600), (3, 900)] {
        let of = window_scores(2, positions, 16, 32, dilation);
        let outcome = derive("window", &of, &library(None), 4);
        let positions = positions / dilation;
        let dense = Call::Window { batch: 2 * dilation, positions, window: 33, step: 1, depth: 32 };
        assert!(rules_to(&outcome, &dense) <= 4);
        let of = window_sum(2, positions * dilation, 16, 32, dilation);
        let outcome = derive("window sum", &of, &library(None), 4);
        let dense =
            Call::WindowSum { batch: 2 * dilation, positions, window: 33, step: 1, depth: 32 };
        assert!(rules_to(&outcome, &dense) <= 4);
    }
}

#[test]
#[ignore = "slow"]
fn conv_transpose_of_another_size_and_stride() {
    let shape =
        Conv { input: (3, 3), stride: 3, padding: (0, 0), channels: 64, filters: 32, ..CONV };
    let of = conv_transpose(shape);
    let outcome =
        searched("conv-transpose 3x3, stride 3", &of, &library(None), Settings::of_depth(6));
    assert!(rules_to(&outcome, &pixels_by_taps(shape)) <= 6);
}

#[test]
#[ignore = "slow"]
fn the_cost_decides_on_four_convolutions_of_3x3() {
    // 36 taps in the place of 25: no kernel of 3 x 3 as fast as the others is worth that.
    let settings = Settings::of_depth(5);
    let of = conv(CONV5);
    let declined = searched("conv5x5, no better kernel", &of, &library(Some(1.0)), settings);
    let best = &declined.found[0];
    assert!(best.steps.is_empty() && best.bound.operator == "conv", "{:?}", best.bound.call);
    // One that needs 4 multiplications for 9, as Winograd's does, is.
    let accepted = searched("conv5x5, 4 for 9", &of, &library(Some(4.0 / 9.0)), settings);
    assert!(accepted.found[0].bound.operator == "conv3x3", "{:?}", accepted.found[0].bound.call);
    assert!(four_of_three(&accepted) <= 5);
}

/// A million different states, each kept and compared: no two have one fingerprint.
#[test]
#[ignore = "slow"]
fn campaign_of_a_million_states_with_a_million_fingerprints() {
    let shape =
        Conv { input: (2, 2), channels: 256, filters: 448, kernel: (4, 4), stride: 2, ..CONV };
    let settings =
        Settings { verify: true, bound: false, most_states: 1_000_000, ..Settings::of_depth(8) };
    let outcome = searched("a million states", &conv_transpose(shape), &[], settings);
    assert_eq!((outcome.states, outcome.collisions), (1_000_000, 0));
}

/// The time of a whole search, to depth 7 and with the bound.
#[test]
#[ignore = "slow"]
fn campaign_of_searches_to_depth_7() {
    let tconv =
        Conv { input: (2, 2), channels: 256, filters: 448, kernel: (4, 4), stride: 2, ..CONV };
    // Whether something that is derived costs less than everything of the library, as it is given.
    let cases = [
        ("conv3x3", conv(CONV), library(None), false),
        ("conv-transpose 4x4, stride 2", conv_transpose(tconv), library(None), true),
        ("conv5x5, 4 for 9", conv(CONV5), library(Some(4.0 / 9.0)), true),
        ("window, dilation 4", window_scores(8, 10_000, 1000, 64, 4), library(None), false),
    ];
    for (name, of, operators, gains) in cases {
        let outcome = searched(name, &of, &operators, Settings::of_depth(7));
        let best = &outcome.found[0];
        println!("  best: {}, by {} rules", best.bound.call, best.steps.len());
        assert!(!gains || !best.steps.is_empty(), "{name}");
    }
}

#[test]
fn fingerprints_save_most_states() {
    let (of, depth) = (conv(CONV), 6);
    let settings = Settings { bound: false, ..Settings::of_depth(depth) };
    let states = searched("conv3x3", &of, &[], settings).states;
    let paths = paths(&of.scope, &of.tensors, depth);
    println!("  {paths} paths: {} times the states", paths / u128::from(states));
    assert!(paths >= 12 * u128::from(states));
}

#[test]
fn the_bound_leaves_out_nothing_that_costs_less() {
    let small = Conv { input: (6, 5), channels: 16, filters: 8, ..CONV };
    let cases = [
        ("conv3x3", conv(small)),
        ("conv3x3, stride 2", conv(Conv { stride: 2, ..small })),
        ("conv3x3, far padding", conv(Conv { padding: (4, 4), ..small })),
        (
            "conv-transpose",
            conv_transpose(Conv { input: (2, 2), kernel: (4, 4), stride: 2, ..small }),
        ),
        ("window", window_scores(2, 12, 1, 8, 2)),
    ];
    let mut cut = 0;
    for (name, of) in cases {
        let all = derive(name, &of, &library(Some(0.5)), 4);
        let bound = searched(name, &of, &library(Some(0.5)), Settings::of_depth(4));
        assert_eq!(all.found[0].cost, bound.found[0].cost, "{name}");
        assert!(bound.states <= all.states);
        cut += bound.cut;
    }
    assert!(cut > 100, "{cut}");
}

#[test]
fn every_derivation_has_the_numbers_of_the_textbook() {
    let small = Conv { input: (4, 3), channels: 2, filters: 2, ..CONV };
    let cases = [
        ("conv3x3", conv(small)),
        ("conv5x5", conv(Conv { kernel: (5, 5), padding: (2, 2), filters: 1, ..small })),
        ("conv3x3, stride 2", conv(Conv { stride: 2, ..small })),
        (
            "conv-transpose",
            conv_transpose(Conv { input: (2, 2), kernel: (4, 4), stride: 2, ..small }),
        ),
        ("window", window_scores(2, 6, 1, 2, 2)),
        ("window sum", window_sum(2, 6, 1, 2, 2)),
    ];
    for (name, of) in cases {
        let outcome = derive(name, &of, &library(Some(0.5)), 4);
        assert!(outcome.found.len() > 8, "{name}: {}", outcome.found.len());
        let mut random = Random(11);
        for found in &outcome.found {
            let what = format!("{name}: {:?} by {:?}", found.bound.call, found.steps);
            assert_same(&of.tensors, &of.scope, &found.program(), &mut random, &what);
        }
    }
}
