//! Programs that run: every plan that is found gives the numbers of the naive interpreter, all of them, and
//! reads, bytes and memory are what was planned.

use ripple_derive::derive::{Derivation, Part, Program, derive};
use ripple_derive::emit::{Emitted, Numbers, emit};
use ripple_derive::interpret::interpret;
use ripple_derive::library::{Operator, matches};
use ripple_derive::machine::{Core, Cost, Machine};
use ripple_derive::network::Network;
use ripple_derive::plan::{OnMachine, plan};
use ripple_derive::search::state::State;
use ripple_derive::search::walk::{Found, Settings, search};
use ripple_derive::textbook::{Conv, Expression, conv, conv_transpose, window_scores, window_sum};
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, Slice};
use ripple_program::{Form, Program as Runs, RunError};
use zerocopy::IntoBytes;

/// Counts what it is asked for.
struct Counting<'a> {
    inner: Slice<'a>,
    commands: i64,
    bytes: i64,
}

impl BlockDevice for Counting<'_> {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        self.inner.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        self.commands += 1;
        self.bytes += dst.len() as i64 * 512;
        self.inner.read(start, dst)
    }
}

fn machine(ram: i64) -> Machine {
    Machine {
        name: "a board".to_owned(),
        core: Core::M4,
        megahertz: 64.0,
        command_ns: 400_000.0,
        bytes_per_second: 20e6,
        ram,
        staging: 4 << 10,
    }
}

/// Integers from -127 to 127 without structure.
fn integers(count: i64, seed: u64) -> Vec<i64> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % 255) as i64 - 127
        })
        .collect()
}

/// Runs a program: its output as integers, commands and bytes.
fn run(emitted: &Emitted, inputs: &[Vec<i64>]) -> (Vec<i64>, i64, i64) {
    let program = Runs::open(&emitted.image).unwrap();
    assert_eq!(program.ram() as i64, emitted.ram);
    // What is there before is nobody's business.
    let mut arena = vec![0x5A5A_5A5Au32; program.arena];
    let mut staging = vec![Block::ZERO; program.staging];
    for (place, values) in inputs.iter().enumerate() {
        let port = program.input(place).unwrap();
        assert_eq!((port.form, port.numbers), (Form::Small, values.len()));
        let bytes = arena.as_mut_bytes();
        for (byte, &x) in bytes[port.at..].iter_mut().zip(values) {
            *byte = x as i8 as u8;
        }
    }
    let mut device = Counting { inner: Slice::new(&emitted.image), commands: 0, bytes: 0 };
    let ran = program.run(&mut device, &mut arena, &mut staging).unwrap();
    assert_eq!(ran.staging.0 as usize, program.staging, "staging that is used");
    let short = program.run(&mut device, &mut arena[1..], &mut staging);
    assert!(program.arena == 0 || matches!(short, Err(RunError::Lent { .. })));
    let port = program.output(0).unwrap();
    let words = &arena[port.at / 4..][..port.numbers];
    assert_eq!(port.form, Form::Whole);
    (words.iter().map(|&word| i64::from(word as i32)).collect(), device.commands, device.bytes)
}

/// Runs one derivation of an expression and compares every number.
fn gives_the_numbers(what: &str, of: &Expression, found: Found, machine: &Machine) -> Emitted {
    let mut network = Network { tensors: of.tensors.clone(), definitions: Vec::new() };
    network.define("O", of.scope.clone());
    let given: Vec<Vec<i64>> =
        of.tensors.iter().enumerate().map(|(i, t)| integers(t.len(), i as u64 + 7)).collect();
    let numbers = given.iter().map(|g| g.iter().map(|&x| x as f64).collect()).collect();
    let inputs: Vec<Vec<i64>> = network.inputs().map(|id| given[id].clone()).collect();
    let shapes: Vec<Vec<i64>> = of.tensors.iter().map(|t| t.shape.clone()).collect();
    let expected = interpret(&of.scope, &shapes, &given).unwrap();
    let numbers = Numbers::of(&network, numbers, &[], false).unwrap();
    let plan = plan(&found.state, &found.bound, &of.tensors, machine).unwrap();
    let derivation = Derivation {
        tensors: of.tensors.clone(),
        scope: of.scope.clone(),
        given: plan.clone(),
        found,
        plan: plan.clone(),
        states: 0,
    };
    let program = Program {
        network,
        parts: vec![Part::Derived(Box::new(derivation))],
        rules: Vec::new(),
        given: Cost::default(),
        cost: plan.cost,
    };
    let emitted = emit(&program, &numbers, machine).unwrap_or_else(|e| panic!("{what}: {e}"));
    let (output, commands, bytes) = run(&emitted, &inputs);
    assert!(output == expected, "{what}: another result");
    assert_eq!((commands, bytes), (emitted.commands, emitted.bytes), "{what}");
    emitted
}

/// All plans of an expression: as it is given with every operator, and what the search keeps.
fn plans(of: &Expression, machine: &Machine, depth: u8) -> Vec<(String, Found)> {
    let operators = Operator::standard();
    let state = State::new(of.scope.clone()).canonical();
    let mut all = Vec::new();
    for bound in matches(&state.focus, &of.tensors, &operators) {
        if plan(&state, &bound, &of.tensors, machine).is_some() {
            let name = format!("given: {}", bound.call);
            all.push((name, Found { steps: Vec::new(), state: state.clone(), bound, cost: 0.0 }));
        }
    }
    let judge = OnMachine { machine, tensors: &of.tensors, least_work: 1.0 };
    let settings = Settings { bound: false, ..Settings::of_depth(depth) };
    let outcome = search(&of.scope, &of.tensors, &operators, &judge, settings, &mut |_| {});
    all.extend(
        outcome.found.into_iter().map(|found| (format!("derived: {}", found.bound.call), found)),
    );
    all
}

fn every_plan(name: &str, of: &Expression, depth: u8) {
    let machine = machine(4 << 20);
    let all = plans(of, &machine, depth);
    assert!(all.len() > 1, "{name}: {}", all.len());
    for (what, found) in all {
        let cost = plan(&found.state, &found.bound, &of.tensors, &machine).unwrap().cost;
        let emitted = gives_the_numbers(&format!("{name}, {what}"), of, found, &machine);
        println!(
            "{name:<16} {what:<70} RAM {:>7} planned {:>7}, {:>3} commands, planned {:>3}, {:>7} bytes",
            emitted.ram, cost.ram, emitted.commands, cost.commands, emitted.bytes
        );
    }
}

const CONV: Conv = Conv {
    input: (5, 6),
    channels: 5,
    filters: 3,
    kernel: (3, 3),
    stride: 1,
    dilation: 1,
    padding: (1, 1),
};

#[test]
fn every_plan_of_a_convolution_gives_its_numbers() {
    every_plan("conv3x3", &conv(CONV), 4);
}

#[test]
fn every_plan_of_one_with_strides_gives_its_numbers() {
    every_plan("stride 2", &conv(Conv { stride: 2, ..CONV }), 3);
    every_plan("dilation 2", &conv(Conv { dilation: 2, padding: (2, 2), ..CONV }), 3);
}

#[test]
fn every_plan_of_a_transposed_convolution_gives_its_numbers() {
    let shape = Conv { input: (2, 3), kernel: (4, 4), stride: 2, ..CONV };
    every_plan("conv-transpose", &conv_transpose(shape), 3);
}

#[test]
fn every_plan_of_a_window_gives_its_numbers() {
    every_plan("scores", &window_scores(2, 12, 2, 8, 4), 3);
    every_plan("weighed", &window_sum(2, 12, 2, 8, 4), 3);
    every_plan("odd depth", &window_scores(2, 9, 1, 5, 1), 2);
}

#[test]
fn a_network_is_derived_and_runs() {
    let text = "input A[5, 6, 4] pad 1, 1, 0\nweight K[3, 3, 8, 4]\nweight B[8]\n\
        T[h: 5, w: 6, f: 8] = sum c: 4, r: 3, s: 3 . A[h + r - 1, w + s - 1, c] * K[r, s, f, c]\n\
        O[h: 5, w: 6, f: 8] = relu(T[h, w, f] + B[f])\n";
    let network = ripple_derive::notation::parse(text).unwrap();
    let machine = machine(64 << 10);
    let settings = Settings::of_depth(4);
    let program =
        derive(&network, &machine, &Operator::standard(), settings, &mut |_, _, _, _| {}).unwrap();
    let given: Vec<Vec<i64>> = program
        .network
        .tensors
        .iter()
        .enumerate()
        .map(|(i, t)| integers(t.len(), i as u64))
        .collect();
    let inputs = vec![given[0].clone()];
    let last = program.network.definitions.last().unwrap().tensor as usize;
    let expected = program.network.interpret(given.clone()).unwrap().swap_remove(last);
    let numbers = given.iter().map(|g| g.iter().map(|&x| x as f64).collect()).collect();
    let numbers = Numbers::of(&program.network, numbers, &[], false).unwrap();
    let emitted = emit(&program, &numbers, &machine).unwrap();
    let (output, commands, bytes) = run(&emitted, &inputs);
    assert!(output == expected);
    assert_eq!((commands, bytes), (emitted.commands, emitted.bytes));
    // The product is stored once, with its bias and what follows: nothing but the call is a step.
    assert_eq!(emitted.steps.len(), 1, "{:?}", emitted.steps);
}
