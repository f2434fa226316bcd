//! What derivation gains over the best plan of fixed operators, all of them built of the same loops.
//!
//! `cargo test -p ripple-derive --test gains -- --ignored --nocapture` prints the table.

mod common;

use common::{CONV, machine};
use ripple_derive::derive::{Part, derive};
use ripple_derive::fixed;
use ripple_derive::library::Operator;
use ripple_derive::machine::{Core, Cost, Machine};
use ripple_derive::network::Network;
use ripple_derive::search::walk::Settings;
use ripple_derive::textbook::{Conv, Expression, conv, conv_transpose};

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

fn row(name: &str, what: &str, cost: &Cost) {
    println!(
        "{name:<28} {what:<62} {:>5} {:>9} {:>8} {:>12.0} {:>9.2}",
        cost.commands,
        cost.bytes,
        cost.ram,
        cost.instructions,
        cost.nanoseconds / 1e6
    );
}

#[test]
#[ignore = "slow"]
fn no_derived_plan_is_slower_than_the_best_of_fixed_operators() {
    let tconv = Conv {
        input: (4, 4),
        channels: 64,
        filters: 32,
        kernel: (3, 3),
        stride: 3,
        padding: (0, 0),
        ..CONV
    };
    let phases = Conv {
        input: (8, 8),
        channels: 64,
        filters: 32,
        kernel: (4, 4),
        stride: 2,
        padding: (1, 1),
        ..CONV
    };
    let conv5 =
        Conv { input: (24, 24), channels: 32, filters: 1, kernel: (5, 5), padding: (2, 2), ..CONV };
    println!(
        "{:<28} {:<62} {:>5} {:>9} {:>8} {:>12} {:>9}",
        "case", "plan", "cmds", "bytes", "RAM", "instr", "ms"
    );
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
        for (name, fixed, of, depth) in cases {
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
