//! Whole networks: never dearer than as they are given, the same numbers, and refused where they do not fit.

mod common;

use common::Random;
use ripple_derive::derive::{DeriveError, Part, Program, derive};
use ripple_derive::expr::Tensor;
use ripple_derive::interpret::Modular;
use ripple_derive::library::Operator;
use ripple_derive::machine::{Core, Machine};
use ripple_derive::network::Network;
use ripple_derive::notation::{declaration, parse};
use ripple_derive::search::walk::Settings;

fn board(ram: i64) -> Machine {
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

fn derived(network: &Network, ram: i64, depth: u8) -> Result<Program, DeriveError> {
    let operators = Operator::standard();
    derive(network, &board(ram), &operators, Settings::of_depth(depth), &mut |_, _, _, _| {})
}

fn result(network: &Network, seed: u64) -> Vec<Modular> {
    let mut random = Random(seed);
    let mut numbers =
        |tensor: &Tensor| random.numbers::<Modular>(std::slice::from_ref(tensor), 1000).remove(0);
    let given = network.tensors.iter().enumerate().map(|(id, tensor)| {
        if network.definition_of(id as u32).is_some() { Vec::new() } else { numbers(tensor) }
    });
    let given = given.collect();
    network
        .interpret(given)
        .unwrap()
        .swap_remove(network.definitions.last().unwrap().tensor as usize)
}

const ATTENTION: &str = "
input  X[6, 16]
weight Q[16, 16]
weight K[16, 16]
weight V[16, 16]
q[p: 6, i: 16] = sum c: 16 . X[p, c] * Q[i, c]
k[p: 6, i: 16] = sum c: 16 . X[p, c] * K[i, c]
v[p: 6, i: 16] = sum c: 16 . X[p, c] * V[i, c]
S[p: 6, o: 6] = sum i: 16 . q[p, i] * k[o, i]
R[p: 6, o: 6] = relu(S[p, o])
O[p: 6, i: 16] = sum o: 6 . R[p, o] * v[o, i]
";

#[test]
fn projections_of_one_input_are_merged() {
    let network = parse(ATTENTION).unwrap();
    let program = derived(&network, 64 << 10, 2).unwrap();
    let merged = program.rules.iter().filter(|rule| rule.starts_with("expression merging")).count();
    assert_eq!(merged, 2, "{:?}", program.rules);
    // One stream in the place of three.
    let streamed = |part: &&Part| matches!(part, Part::Derived(d) if d.plan.cost.commands > 0);
    assert_eq!(program.parts.iter().filter(streamed).count(), 1);
    assert_eq!((program.given.commands, program.cost.commands), (3, 1));
    assert!(program.cost.nanoseconds < program.given.nanoseconds);
    assert_eq!(result(&network, 5), result(&program.carried_out().0, 5));
}

/// A decoder layer of one head, without norms and positions.
const LAYER: &str = "
input  X[4, 32]
weight Q[32, 32]
weight K[32, 32]
weight V[32, 32]
weight A[32, 32]
weight G[80, 32]
weight U[80, 32]
weight D[32, 80]
q[p: 4, i: 32] = sum c: 32 . X[p, c] * Q[i, c]
k[p: 4, i: 32] = sum c: 32 . X[p, c] * K[i, c]
v[p: 4, i: 32] = sum c: 32 . X[p, c] * V[i, c]
s[p: 4, o: 4] = sum i: 32 . q[p, i] * k[o, i]
h[p: 4, i: 32] = sum o: 4 . s[p, o] * v[o, i]
a[p: 4, i: 32] = sum c: 32 . h[p, c] * A[i, c]
y[p: 4, i: 32] = X[p, i] + a[p, i]
g[p: 4, n: 80] = sum c: 32 . y[p, c] * G[n, c]
u[p: 4, n: 80] = sum c: 32 . y[p, c] * U[n, c]
f[p: 4, n: 80] = relu(g[p, n]) * u[p, n]
d[p: 4, i: 32] = sum n: 80 . f[p, n] * D[i, n]
O[p: 4, i: 32] = y[p, i] + d[p, i]
";

#[test]
fn a_decoder_layer_streams_four_matrices_in_the_place_of_seven() {
    let network = parse(LAYER).unwrap();
    // A half of staging holds the largest of them: where a matrix takes several commands as it is, merging it
    // with another one saves none.
    let machine = Machine { staging: 16 << 10, ..board(64 << 10) };
    let operators = Operator::standard();
    let program =
        derive(&network, &machine, &operators, Settings::of_depth(1), &mut |_, _, _, _| {})
            .unwrap();
    let streams = |part: &&Part| matches!(part, Part::Derived(d) if d.plan.cost.commands > 0);
    assert_eq!(program.parts.iter().filter(streams).count(), 4, "{:?}", program.rules);
    assert!(program.cost.commands < program.given.commands);
    assert!(program.cost.nanoseconds < program.given.nanoseconds);
    let merged: Vec<&str> =
        program.rules.iter().filter_map(|rule| rule.strip_prefix("expression merging: ")).collect();
    assert_eq!(merged, ["q and k", "q_k and v", "g and u"]);
    assert_eq!(result(&network, 4), result(&program.carried_out().0, 4));
}

const CONVOLUTIONS: &str = "
input  A[6, 6, 4] pad 1, 1, 0
weight K[3, 3, 8, 4]
weight L[3, 3, 4, 8]
T[h: 6, w: 6, f: 8] = sum c: 4, r: 3, s: 3 . A[h + r - 1, w + s - 1, c] * K[r, s, f, c]
U[h: 6, w: 6, f: 8] pad 1, 1, 0 = relu(T[h, w, f])
V[h: 6, w: 6, f: 4] = sum c: 8, r: 3, s: 3 . U[h + r - 1, w + s - 1, c] * L[r, s, f, c]
O[h: 6, w: 6, f: 4] = V[h, w, f] + A[h, w, f]
";

#[test]
fn a_derived_network_has_the_same_numbers_and_is_never_dearer() {
    let network = parse(CONVOLUTIONS).unwrap();
    for depth in 0..=4 {
        let program = derived(&network, 64 << 10, depth).unwrap();
        assert!(program.cost.nanoseconds <= program.given.nanoseconds, "depth {depth}");
        let (carried_out, done) = program.carried_out();
        assert_eq!(result(&network, 9), result(&carried_out, 9), "depth {depth}");
        // What is written is read again, and means the same.
        let again = parse(&program.text()).unwrap_or_else(|e| panic!("{e}\n{}", program.text()));
        assert_eq!(result(&network, 9), result(&again, 9), "depth {depth}");
        assert_eq!(done.len(), carried_out.definitions.len());
    }
}

#[test]
fn every_stage_of_a_derivation_is_readable_and_has_the_same_numbers() {
    let text = "
input  A[4, 4, 3] pad 1, 1, 0
weight K[3, 3, 2, 3]
T[h: 4, w: 4, f: 2] = sum c: 3, r: 3, s: 3 . A[h + r - 1, w + s - 1, c] * K[r, s, f, c]
";
    let network = parse(text).unwrap();
    // With so little RAM only what takes results row by row fits.
    let program = derived(&network, 64 << 10, 4).unwrap();
    let Part::Derived(derivation) = &program.parts[0] else { panic!("{:?}", program.parts) };
    let stages = derivation.stages("T", &board(64 << 10), &Operator::standard());
    assert_eq!(stages.len(), 1 + derivation.found.steps.len());
    let last = stages.last().unwrap().cost.unwrap();
    assert!((last.nanoseconds - program.cost.nanoseconds).abs() < 1.0);
    for stage in &stages {
        let given: Vec<String> =
            derivation.tensors.iter().map(|t| declaration(&padded(t))).collect();
        let whole = format!("{}\n{}", given.join("\n"), stage.text);
        let again = parse(&whole).unwrap_or_else(|e| panic!("{e}\n{whole}"));
        assert_eq!(result(&network, 3), result(&again, 3), "{whole}");
    }
}

/// Readable anywhere: padding as a whole is checked where it is declared.
fn padded(tensor: &Tensor) -> Tensor {
    let many = vec![(100, 100); tensor.shape.len()];
    Tensor { padding: many, ..tensor.clone() }
}

#[test]
fn what_does_not_fit_is_refused_with_what_it_needs() {
    let network = parse(CONVOLUTIONS).unwrap();
    let most = derived(&network, 64 << 10, 4).unwrap().cost.ram;
    assert!(derived(&network, most, 4).is_ok());
    let error = derived(&network, 4500, 4).unwrap_err();
    let DeriveError::Ram { name, needed, given, .. } = &error else { panic!("{error}") };
    assert!(["T", "V"].contains(&name.as_str()) && needed > given, "{error}");
    assert!(
        error.to_string().contains("bytes of RAM with all that is alive, and a board has 4500")
    );
}
