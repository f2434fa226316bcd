//! Seven networks from end to end: what each costs with the best fixed operator for every expression, and what
//! with derived ones; and that all numbers of their plans are those of the network.
//!
//! `cargo test -p ripple-derive --test networks -- --ignored --nocapture` prints the table.

mod common;
mod zoo;

use common::{Random, heads, row};
use ripple_derive::cache::Cache;
use ripple_derive::derive::{Part, Program, derive_with};
use ripple_derive::expr::{Kind, Tensor};
use ripple_derive::interpret::Modular;
use ripple_derive::library::Operator;
use ripple_derive::machine::{Core, Cost, Machine};
use ripple_derive::network::Network;
use ripple_derive::plan::OnMachine;
use ripple_derive::search::state::State;
use ripple_derive::search::walk::{Judge, Settings};

/// Figures of two boards and their card: a Cortex-M4 at 64 MHz and a Cortex-M55 at 160 MHz, with an SD card at
/// High Speed and the RAM that their firmware leaves.
fn machines() -> [Machine; 2] {
    [("mps2-an386", Core::M4, 64.0), ("mps3-an547", Core::M55, 160.0)].map(
        |(name, core, megahertz)| Machine {
            name: name.to_owned(),
            core,
            megahertz,
            command_ns: 400_000.0,
            bytes_per_second: 20e6,
            ram: 500 << 10,
            staging: 64 << 10,
        },
    )
}

fn derived(network: &Network, machine: &Machine, depth: u8, cache: Option<&Cache<'_>>) -> Program {
    let (operators, settings) = (Operator::standard(), Settings::of_depth(depth));
    let quiet = &mut |_: &str, _: usize, _: usize, _: u64| {};
    derive_with(network, machine, &operators, settings, cache, quiet).unwrap()
}

/// The network's result: what is given has numbers that its name and the seed decide, whatever else there is.
fn result(network: &Network, seed: u64) -> Vec<Modular> {
    let given = |(id, tensor): (usize, &Tensor)| {
        if network.definition_of(id as u32).is_some() {
            return Vec::new();
        }
        let of = |seed: u64, byte| Random(seed ^ u64::from(byte)).next();
        let mut random = Random(tensor.name.bytes().fold(seed, of));
        random.numbers::<Modular>(std::slice::from_ref(tensor), 1 << 40).remove(0)
    };
    let given = network.tensors.iter().enumerate().map(given).collect();
    let last = network.definitions.last().unwrap().tensor as usize;
    network.interpret(given).unwrap().swap_remove(last)
}

#[test]
#[ignore = "slow"]
fn campaign_of_seven_networks_on_two_boards() {
    heads("network");
    for (machine, least_mean) in machines().into_iter().zip([1.15, 1.46]) {
        let (mut product, mut largest, mut count) = (1.0f64, 0.0f64, 0);
        for (name, network, depth) in zoo::all() {
            let program = derived(&network, &machine, depth, None);
            let name = format!("{name}, {}", machine.core.name);
            row(&name, "as given", &program.given);
            row(&name, "fixed", &program.fixed);
            row(&name, "derived, each definition read by itself", &program.apart);
            row(&name, "derived", &program.cost);
            let times = |cost: &Cost| program.fixed.nanoseconds / cost.nanoseconds;
            let (gain, apart, most) =
                (times(&program.cost), times(&program.apart), at_most(&program, &machine));
            println!(
                "  {gain:.2} times as fast as the best fixed operators, {apart:.2} by rules alone; at most {most:.2}"
            );
            for part in &program.parts {
                if let Part::Derived(derivation) = part {
                    let (rules, call) =
                        (derivation.found.steps.len(), &derivation.found.bound.call);
                    println!("    by {rules} rules: {call}");
                }
            }
            assert!(gain >= 0.9999 && apart >= 0.9999, "{name}: slower than fixed operators");
            assert!(gain <= most, "{name}: {gain}, and at most {most}");
            (product, largest, count) = (product * gain, largest.max(gain), count + 1);
            let (carried_out, _) = program.carried_out();
            assert_eq!(result(&network, 5), result(&carried_out, 5), "{name}");
        }
        let mean = product.powf(1.0 / f64::from(count));
        println!("{}: geometric mean {mean:.2}, largest {largest:.2}", machine.name);
        assert!(mean >= least_mean, "{mean}");
    }
}

/// What no plan of the same loops can gain: each number of a product is a dot product at least, of what is not 0 by
/// where it is read; nothing is copied, and what is between products costs nothing; each byte is read once.
fn at_most(program: &Program, machine: &Machine) -> f64 {
    let (mut work, mut bytes) = (0.0, 0);
    for part in &program.parts {
        let Part::Derived(derivation) = part else { continue };
        let judge = OnMachine { machine, tensors: &derivation.tensors, least_work: 1.0 };
        let scope = &derivation.scope;
        work += judge.least(&State::new(scope.clone()).canonical());
        work += machine.compute(machine.core.dot.call * scope.len() as f64);
        bytes += derivation
            .tensors
            .iter()
            .filter(|t| t.kind == Kind::Weight)
            .map(Tensor::len)
            .sum::<i64>();
    }
    let read = machine.command_ns + bytes as f64 * 1e9 / machine.bytes_per_second;
    program.fixed.nanoseconds / work.max(read)
}

/// Nothing is searched for, so that this is quick: layers as they are, but fused and folded.
#[test]
fn every_network_has_the_same_numbers_after_the_rules_between_expressions() {
    let [machine, _] = machines();
    let mut fitting = 0;
    for (name, network, _) in zoo::all() {
        if name == "ResNet-18" || name == "CSRNet" {
            // Seconds in the exact interpreter.
            continue;
        }
        let program = derived(&network, &machine, 0, None);
        // As it is given it costs what it costs in whatever RAM that takes.
        let (cost, given) = (program.cost, program.given);
        let fits = given.ram <= machine.ram;
        assert!(!fits || cost.nanoseconds <= given.nanoseconds, "{name}: {cost:?}, {given:?}");
        fitting += u32::from(fits);
        let (carried_out, _) = program.carried_out();
        assert_eq!(result(&network, 3), result(&carried_out, 3), "{name}");
    }
    assert!(fitting >= 3, "{fitting} networks fit as they are given");
}

#[test]
fn normalisations_are_folded_into_the_weights() {
    let [machine, _] = machines();
    let (_, network, _) = zoo::all().swap_remove(4);
    let program = derived(&network, &machine, 0, None);
    let folded = program.rules.iter().filter(|rule| rule.starts_with("factor folding")).count();
    // One for each of its 20 convolutions.
    assert_eq!(folded, 20, "{:?}", program.rules);
}

#[test]
fn what_was_found_is_not_searched_for_again() {
    let folder = std::env::temp_dir().join(format!("ripple-derive-cache-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let told = std::cell::RefCell::new(Vec::new());
    let warn = |line: &str| told.borrow_mut().push(line.to_owned());
    let cache = Cache::at(&folder, &warn);
    let [machine, other] = machines();
    let (_, network, _) = zoo::all().swap_remove(3);
    let first = derived(&network, &machine, 3, Some(&cache));
    let files = || {
        let mut all: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
        all.sort();
        all
    };
    let count = files().len();
    assert!(count >= 4, "{count} expressions");
    assert_eq!(first, derived(&network, &machine, 3, Some(&cache)), "the same from the folder");
    assert_eq!((files().len(), told.borrow().len()), (count, 0));
    // Another machine, another file; and a broken one is as good as none.
    derived(&network, &other, 3, Some(&cache));
    assert!(files().len() > count);
    for (at, file) in files().iter().enumerate() {
        let text = std::fs::read_to_string(file).unwrap();
        let broken = match at % 3 {
            0 => String::new(),
            1 => text.replace("cost ", "cost x"),
            _ => text.replace("end\n", "split 1\nrotate 1 0 0 0\nend\n"),
        };
        std::fs::write(file, broken).unwrap();
    }
    assert_eq!(first, derived(&network, &machine, 3, Some(&cache)));
    assert!(told.borrow().iter().all(|line| line.contains("searched for again")), "{told:?}");
    assert_eq!(told.borrow().len(), count);
    told.borrow_mut().clear();
    assert_eq!(first, derived(&network, &machine, 3, Some(&cache)), "written anew");
    assert!(told.borrow().is_empty());
    std::fs::remove_dir_all(&folder).unwrap();
}
