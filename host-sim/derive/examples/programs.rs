//! Writes every plan of a few cases as a program: `programs FOLDER CORE`, a core of the model's table.
//!
//! A line for each on standard output: case, plan, its file, the CRC-32 of the output that the exact
//! interpreter gives, modelled instructions, bytes of RAM, commands, bytes read, and the counts of its work.
//! Inputs and weights are those of [`integers`]: firmware makes the same inputs.

use ripple_derive::derive::{Derivation, Part, Program};
use ripple_derive::emit::{Numbers, emit};
use ripple_derive::interpret::interpret;
use ripple_derive::library::{Operator, matches};
use ripple_derive::machine::{Core, Cost, Machine};
use ripple_derive::network::Network;
use ripple_derive::plan::{OnMachine, plan};
use ripple_derive::search::state::State;
use ripple_derive::search::walk::{Found, Settings, search};
use ripple_derive::textbook::{Conv, Expression, conv, conv_transpose, window_scores, window_sum};
use ripple_kernel::image::Crc32;
use std::error::Error;
use std::path::Path;

/// Derivations of a case that are written beside the plans of the expression as it is given.
const DERIVED: usize = 24;

/// Integers from -127 to 127 without structure: number `i` of tensor `seed`.
fn integers(count: i64, seed: u32) -> Vec<i64> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            i64::from(((state >> 24) as i8).max(-127))
        })
        .collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, core] = arguments.as_slice() else { return Err("programs FOLDER CORE".into()) };
    let core = Core::ALL.into_iter().find(|known| known.name == core).ok_or("no such core")?;
    let machine = Machine {
        name: core.name.to_owned(),
        core,
        megahertz: 64.0,
        command_ns: 400_000.0,
        bytes_per_second: 20e6,
        ram: 3 << 20,
        staging: 16 << 10,
    };
    let conv3 = Conv::same((7, 7), 64, 32, 3);
    let tconv = Conv::up(4, [32, 16], 3, 3, 0);
    for (name, of, depth) in [
        ("conv3x3", conv(conv3), 4),
        ("conv-transpose", conv_transpose(tconv), 4),
        ("scores", window_scores(2, 64, 8, 32, 4), 4),
        ("weighed", window_sum(2, 64, 8, 32, 4), 4),
    ] {
        write_all(Path::new(folder), name, &of, &machine, depth)?;
    }
    Ok(())
}

fn write_all(
    folder: &Path,
    name: &str,
    of: &Expression,
    machine: &Machine,
    depth: u8,
) -> Result<(), Box<dyn Error>> {
    let operators = Operator::standard();
    let state = State::new(of.scope.clone()).canonical();
    let given = matches(&state.focus, &of.tensors, &operators).into_iter();
    let given =
        given.map(|bound| Found { steps: Vec::new(), state: state.clone(), bound, cost: 0.0 });
    let judge = OnMachine { machine, tensors: &of.tensors, least_work: 1.0 };
    let settings = Settings { bound: false, ..Settings::of_depth(depth) };
    let outcome = search(&of.scope, &of.tensors, &operators, &judge, settings, &mut |_| {});
    let derived = outcome.found.into_iter().filter(|found| !found.steps.is_empty()).take(DERIVED);

    let mut network = Network { tensors: of.tensors.clone(), definitions: Vec::new() };
    network.define("O", of.scope.clone());
    let values: Vec<Vec<i64>> =
        of.tensors.iter().enumerate().map(|(id, t)| integers(t.len(), id as u32)).collect();
    let shapes: Vec<Vec<i64>> = of.tensors.iter().map(|t| t.shape.clone()).collect();
    let expected = interpret(&of.scope, &shapes, &values)?;
    let mut crc = Crc32::new();
    expected.iter().for_each(|&x| crc.update(&(x as i32).to_le_bytes()));
    let crc = crc.finish();
    let real = values.iter().map(|v| v.iter().map(|&x| x as f64).collect()).collect();
    let numbers = Numbers::of(&network, real, &[], false)?;
    for (number, found) in given.chain(derived).enumerate() {
        let Some(plan) = plan(&found.state, &found.bound, &of.tensors, machine) else { continue };
        let kind = if found.steps.is_empty() { "as given" } else { "derived" };
        let what = format!("{kind}: {}", found.bound.call).replace(',', ";");
        let derivation = Derivation {
            tensors: of.tensors.clone(),
            scope: of.scope.clone(),
            given: plan.clone(),
            found,
            plan: plan.clone(),
            states: 0,
        };
        let program = Program {
            network: network.clone(),
            parts: vec![Part::Derived(Box::new(derivation))],
            rules: Vec::new(),
            given: Cost::default(),
            fixed: Cost::default(),
            apart: plan.cost,
            cost: plan.cost,
        };
        let emitted = emit(&program, &numbers, machine)?;
        let file = format!("{name}-{number}.plan");
        std::fs::write(folder.join(&file), &emitted.image)?;
        let work: Vec<String> = emitted.work.0.iter().map(|count| format!("{count:.0}")).collect();
        println!(
            "{name},{what},{file},{crc:08x},{:.0},{},{},{},{}",
            emitted.instructions,
            emitted.ram,
            emitted.commands,
            emitted.bytes,
            work.join(",")
        );
    }
    Ok(())
}
