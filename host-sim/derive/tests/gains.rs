//! What derivation gains over the best plan of fixed operators, all of them built of the same loops.
//!
//! `cargo test -p ripple-derive --test gains -- --ignored --nocapture` prints the table.

mod common;

use common::{CONV, heads, machine, row};
use ripple_derive::derive::{Part, derive};
use ripple_derive::fixed;
use ripple_derive::library::Operator;
use ripple_derive::machine::{Core, Cost, Machine};
use ripple_derive::network::Network;
use ripple_derive::search::walk::Settings;
use ripple_derive::textbook::{Conv, Expression, conv, conv_transpose, window_scores, window_sum};

/// A Cortex-M4 at 64 MHz and a Cortex-M55 at 160 MHz, each with an SD card at High Speed.
fn machines(ram: i64) -> [Machine; 2] {
    [(Core::M4, 64.0), (Core::M55, 160.0)].map(|(core, hz)| machine(core, hz, ram))
}

fn derived(of: Expression, machine: &Machine, depth: u8) -> (String, Cost) {
    let mut network = Network { tensors: of.tensors, definitions: Vec::new() };
    network.define("O", of.scope);
    let operators = Operator::standard();
    let settings = Settings::of_depth(depth);
    let program = derive(&network, machine, &operators, settings, &mut |_, _, _, _| {}).unwrap();
    let Part::Derived(derivation) = &program.parts[0] else { panic!("{:?}", program.parts) };
    (derivation.found.bound.call.to_string(), program.cost)
}

#[test]
#[ignore = "slow"]
fn no_derived_plan_is_slower_than_the_best_of_fixed_operators() {
    let tconv = Conv::up(4, [64, 32], 3, 3, 0);
    let phases = Conv::up(8, [64, 32], 4, 2, 1);
    let conv5 = Conv::same((24, 24), 32, 1, 5);
    heads("case");
    for machine in machines(400 << 10) {
        let cases = [
            ("conv3x3", fixed::conv(CONV, &machine), conv(CONV), 4),
            ("conv5x5", fixed::conv(conv5, &machine), conv(conv5), 4),
            (
                "conv-transpose 3x3 stride 3",
                fixed::conv_transpose(tconv, &machine),
                conv_transpose(tconv),
                6,
            ),
            (
                "conv-transpose 4x4 stride 2",
                fixed::conv_transpose(phases, &machine),
                conv_transpose(phases),
                5,
            ),
        ];
        let windows = [
            ("scores, dilation 4", window_scores(4, 256, 16, 32, 4)),
            ("weighed, dilation 4", window_sum(4, 256, 16, 32, 4)),
        ];
        let windows = windows.map(|(name, of)| {
            let operators = Operator::standard();
            (name, fixed::plans(&of.scope, &of.tensors, &machine, &operators), of, 4)
        });
        for (name, fixed, of, depth) in cases.into_iter().chain(windows) {
            let name = format!("{name}, {}", machine.name);
            for plan in &fixed {
                row(&name, plan.name, &plan.cost);
            }
            let (call, cost) = derived(of, &machine, depth);
            row(&name, &format!("derived: {call}"), &cost);
            let gain = fixed[0].cost.nanoseconds / cost.nanoseconds;
            println!("  {gain:.2} times as fast as {}", fixed[0].name);
            assert!(gain >= 0.999, "{name}: {gain}");
            let least = match name.as_str() {
                "conv-transpose 4x4 stride 2, M4" => 1.1,
                "conv-transpose 4x4 stride 2, M55" => 1.4,
                _ => continue,
            };
            assert!(gain >= least, "{name}: {gain}, a product for each phase of the result");
        }
    }
}

#[test]
fn fixed_plans_that_do_not_fit_are_none() {
    let [machine, _] = machines(120 << 10);
    let names: Vec<&str> = fixed::conv(CONV, &machine).iter().map(|plan| plan.name).collect();
    assert!(!names.contains(&"im2col and matmul"), "{names:?}");
    assert!(!names.is_empty());
}
