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
        fixed: Cost::default(),
        apart: plan.cost,
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

const CONV: Conv = Conv::same((5, 6), 5, 3, 3);

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
    // The product is stored once, with its bias and what follows: behind the call there is no step.
    let kinds: Vec<bool> = emitted.steps.iter().map(|step| step.table().is_some()).collect();
    assert!(matches!(kinds.as_slice(), [true] | [false, true]), "{:?}", emitted.steps);
}

const LAYERS: &str = "
input A[5, 6, 4] pad 1, 1, 0
weight K[3, 3, 8, 4]
weight L[3, 3, 8, 8]
weight M[40, 5, 6, 8]
weight N[1100, 40]
weight P[3, 1100]
T[h: 5, w: 6, f: 8] = sum c: 4, r: 3, s: 3 . A[h + r - 1, w + s - 1, c] * K[r, s, f, c]
R[h: 5, w: 6, f: 8] pad 1, 1, 0 = relu(T[h, w, f])
S[h: 5, w: 6, f: 8] = sum c: 8, r: 3, s: 3 . R[h + r - 1, w + s - 1, c] * L[r, s, f, c]
V[f: 40] = sum h: 5, w: 6, c: 8 . S[h, w, c] * M[f, h, w, c]
Y[f: 1100] = sum k: 40 . V[k] * N[f, k]
O[g: 3] = sum f: 1100 . Y[f] * P[g, f]
";

#[test]
fn rows_of_all_steps_are_one_stream() {
    let network = ripple_derive::notation::parse(LAYERS).unwrap();
    // Zeroes and ones, so that what the last sums stand for is within 32 bits and not 0.
    let positive = |x: i64| x.abs() % 2;
    let tensors = network.tensors.iter().enumerate();
    let given: Vec<Vec<i64>> = tensors
        .map(|(i, t)| integers(t.len(), i as u64).into_iter().map(positive).collect())
        .collect();
    let mut outputs = Vec::new();
    for staging in [4 << 10, 6 << 10, 16 << 10, 256 << 10] {
        let machine = Machine { staging, ..machine(1 << 20) };
        let settings = Settings::of_depth(1);
        let quiet = &mut |_: &str, _: usize, _: usize, _: u64| {};
        let program = derive(&network, &machine, &Operator::standard(), settings, quiet).unwrap();
        let numbers = given.iter().map(|g| g.iter().map(|&x| x as f64).collect()).collect();
        let sets = [vec![given[0].iter().map(|&x| x as f64).collect()]];
        let numbers = Numbers::of(&program.network, numbers, &sets, false).unwrap();
        let emitted = emit(&program, &numbers, &machine).unwrap();
        let (output, commands, bytes) = run(&emitted, &[given[0].clone()]);
        let planned = (emitted.commands, emitted.bytes);
        assert_eq!((commands, bytes), planned, "staging {staging}");
        assert_eq!((program.cost.commands, program.cost.bytes), planned, "staging {staging}");
        // Each on its own would be a command at least for each table.
        assert!(program.apart.commands >= 5 && commands < program.apart.commands);
        assert!(program.cost.nanoseconds < program.apart.nanoseconds, "staging {staging}");
        assert_eq!(commands == 1, staging == 256 << 10, "{commands} commands");
        outputs.push(output);

        // A row of the last table is told from those of the others in the same read.
        let mut image = emitted.image.clone();
        let last = image.len() - 512;
        image[last] ^= 1;
        let opened = Runs::open(&image).unwrap();
        let (mut arena, mut blocks) = (vec![0; opened.arena], vec![Block::ZERO; opened.staging]);
        let error = opened.run(Slice::new(&image), &mut arena, &mut blocks).unwrap_err();
        let step = opened.steps() - 1;
        assert!(matches!(error, RunError::Corrupt { step: s, row: 2 } if s == step), "{error:?}");
    }
    assert!(outputs[0].iter().any(|&x| x != 0));
    assert!(outputs.iter().all(|output| *output == outputs[0]));
}

/// A program of every kind of step, with its inputs.
fn programs() -> Vec<Emitted> {
    let machine = machine(4 << 20);
    let window = (window_scores(2, 12, 2, 8, 4), window_sum(2, 12, 2, 8, 4));
    let cases = [conv(CONV), window.0, window.1];
    let mut all = Vec::new();
    for of in &cases {
        let mut seen = Vec::new();
        for (what, found) in plans(of, &machine, 2) {
            if !seen.contains(&found.bound.operator) {
                seen.push(found.bound.operator.clone());
                all.push(gives_the_numbers(&what, of, found, &machine));
            }
        }
    }
    all
}

/// Opens and runs whatever it is; whether it opened.
fn runs(image: &[u8]) -> bool {
    let Ok(program) = Runs::open(image) else { return false };
    if program.arena > 1 << 20 || program.staging > 1 << 10 {
        return true;
    }
    let mut arena = vec![0u32; program.arena];
    let mut staging = vec![Block::ZERO; program.staging];
    let _ = program.run(Slice::new(image), &mut arena, &mut staging);
    true
}

#[test]
fn a_damaged_front_does_not_open_and_a_damaged_row_is_named() {
    for emitted in programs() {
        let (image, front) = (emitted.image.clone(), emitted.front as usize);
        for bit in (0..front * 8).step_by(13) {
            let mut image = image.clone();
            image[bit / 8] ^= 1 << (bit % 8);
            // Two bytes of the start are not looked at.
            assert!(Runs::open(&image).is_err() || (10..12).contains(&(bit / 8)), "bit {bit}");
        }
        assert!((0..front).step_by(5).all(|length| Runs::open(&image[..length]).is_err()));
        let first = front.div_ceil(512) * 512;
        let Some(byte) = (first..image.len()).find(|&byte| image[byte] != 0) else { continue };
        let mut image = image.clone();
        image[byte + 4] ^= 4;
        let program = Runs::open(&image).unwrap();
        let mut arena = vec![0u32; program.arena];
        let mut staging = vec![Block::ZERO; program.staging];
        let error = program.run(Slice::new(&image), &mut arena, &mut staging).unwrap_err();
        assert!(matches!(error, RunError::Corrupt { row: 0, .. }), "{error:?}");
    }
}

#[test]
fn no_words_make_it_panic() {
    let (mut opened, mut seed) = (0, 1u64);
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed >> 33
    };
    for emitted in programs() {
        let front = emitted.front as usize;
        for _ in 0..1500 {
            let mut image = emitted.image.clone();
            for _ in 0..=next() % 3 {
                let word = 20 + 4 * (next() as usize % ((front - 20) / 4));
                let value = match next() % 4 {
                    0 => (next() % 300) as i32,
                    1 => -1,
                    2 => i32::MAX - (next() % 3) as i32,
                    _ => (next() % 40) as i32 - 8,
                };
                image[word..word + 4].copy_from_slice(&value.to_le_bytes());
            }
            let mut crc = ripple_kernel::image::Crc32::new();
            crc.update(&image[20..front]);
            image[16..20].copy_from_slice(&crc.finish().to_le_bytes());
            opened += u32::from(runs(&image));
        }
    }
    // Most of what is changed is noticed; what is not runs to an end.
    assert!(opened > 100, "{opened}");
}
