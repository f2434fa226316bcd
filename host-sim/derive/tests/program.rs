//! Rules between expressions give networks with the same result.

mod common;

use common::Random;
use ripple_derive::expr::{Access, Expr, Kind, Scope, Target, Tensor};
use ripple_derive::index::{Index, Range};
use ripple_derive::interpret::Modular;
use ripple_derive::network::Network;
use ripple_derive::notation::parse;
use ripple_derive::rules::program::{fuse, merge, split};

/// The result, and every other tensor that both define, are the same.
fn assert_same(a: &Network, b: &Network, seed: u64) {
    let numbers = |network: &Network| {
        let mut random = Random(seed);
        let given = |(id, tensor): (usize, &Tensor)| match network.definition_of(id as u32) {
            Some(_) => Vec::new(),
            None => random.numbers::<Modular>(std::slice::from_ref(tensor), 1000).remove(0),
        };
        let given = network.tensors.iter().enumerate().map(given).collect();
        network.interpret(given).unwrap()
    };
    let (x, y) = (numbers(a), numbers(b));
    for definition in &a.definitions {
        let id = definition.tensor as usize;
        if b.definition_of(definition.tensor).is_some() {
            assert_eq!(x[id], y[id], "seed {seed}, {}", a.tensors[id].name);
        }
    }
}

#[test]
fn products_with_one_operand_are_merged() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let [k, m, n] = [0; 3].map(|_| random.within(1, 6));
        let (other, positions) = (random.within(1, 6), random.within(1, 4));
        let text = format!(
            "input X[{positions}, {k}]\nweight Q[{m}, {k}]\nweight R[{n}, {k}]\nweight S[{other}, {k}]\n\
             A[p: {positions}, i: {m}] = sum c: {k} . X[p, c] * Q[i, c]\n\
             B[p: {positions}, i: {n}] = sum c: {k} . X[p, c] * R[i, c]\n\
             C[p: {positions}, i: {other}] = sum c: {k} . X[p, c] * S[i, c]\n\
             O[p: {positions}, i: {m}] = A[p, i] * A[p, 0] + B[p, 0] * C[p, 0]"
        );
        let network = parse(&text).unwrap();
        let once = merge(&network, 0, 1).unwrap();
        assert_same(&network, &once, seed);
        // The merged product with the third; what is read from it does not hold any more sums.
        let at = |network: &Network, name: &str| {
            network.definitions.iter().position(|d| network.tensors[d.tensor as usize].name == name)
        };
        let both = at(&once, "A_B").unwrap();
        let twice = merge(&once, both, at(&once, "C").unwrap()).unwrap();
        assert_same(&network, &twice, seed);
        let products = |network: &Network| {
            network.definitions.iter().filter(|d| !d.scope.sums.is_empty()).count()
        };
        assert_eq!((products(&network), products(&once), products(&twice)), (3, 2, 1));
    }
}

#[test]
fn products_of_different_operands_are_not_merged() {
    let network = parse(
        "input X[4]\ninput Y[4]\nweight Q[3, 4]\nweight R[5, 4]\n\
         A[i: 3] = sum c: 4 . X[c] * Q[i, c]\nB[i: 5] = sum c: 4 . Y[c] * R[i, c]\n\
         O[i: 3] = A[i] + B[i]",
    )
    .unwrap();
    assert_eq!(merge(&network, 0, 1), None);
    assert_eq!(merge(&network, 1, 0), None, "in their order");
}

/// A definition of an arbitrary expression, and another that reads it inside.
fn chain(random: &mut Random) -> Network {
    let (tensors, scope) = random.expression();
    let mut network = Network { tensors, definitions: Vec::new() };
    let loops: Vec<Range> = scope.loops.iter().map(|r| Range::to(r.len())).collect();
    let starts: Vec<Index> = (0..scope.iterators())
        .map(|v| Index::var(v).offset(scope.loops.get(v).map_or(0, |range| range.lo)))
        .collect();
    let ranges = [loops.as_slice(), &scope.sums].concat();
    let body = scope.body.indexed(&|index| index.substituted(&starts, &ranges));
    let first = network.define("T", Scope { loops: loops.clone(), sums: scope.sums, body });
    // Backwards, and twice.
    let back = |r: &Range, d: usize| Index::var(d).times(-1).offset(r.hi - 1);
    let access = |index: Vec<Index>| Expr::Access(Access { target: Target::Tensor(first), index });
    let body = Expr::sum(vec![
        access(loops.iter().enumerate().map(|(d, r)| back(r, d)).collect()),
        Expr::product(vec![
            access((0..loops.len()).map(Index::var).collect()),
            access(loops.iter().map(|_| Index::constant(0)).collect()),
        ]),
    ]);
    network.define("O", Scope { loops, sums: Vec::new(), body });
    network
}

#[test]
fn what_adds_nothing_up_is_fused_into_its_readers() {
    let mut fused = 0;
    for seed in 0..2000 {
        let network = chain(&mut Random(seed));
        let Some(after) = fuse(&network, 0) else {
            assert!(!network.definitions[0].scope.sums.is_empty(), "seed {seed}");
            continue;
        };
        fused += 1;
        assert_eq!(after.definitions.len(), 1);
        assert_same(&network, &after, seed);
        assert_eq!(fuse(&network, 1), None, "the result stays");
    }
    assert!(fused > 200, "{fused}");
}

#[test]
fn what_is_read_outside_is_not_fused() {
    let network = parse("input A[4]\nT[i: 4] pad 1 = A[3 - i]\nO[i: 4] = T[i + 1]").unwrap();
    assert_eq!(fuse(&network, 0), None);
}

#[test]
fn sums_of_sums_are_split() {
    let mut held = 0;
    for seed in 0..3000 {
        let network = chain(&mut Random(seed));
        if let Some(after) = split(&network, 0) {
            held += 1;
            assert!(after.definitions.len() > network.definitions.len());
            assert_same(&network, &after, seed);
        }
    }
    assert!(held > 100, "{held}");
}

#[test]
fn what_depends_on_weights_alone_is_one() {
    let network =
        parse("input X[4]\nweight W[4]\nV[i: 4] = W[i] * W[3 - i]\nO[i: 4] = X[i] * V[i]");
    let kinds: Vec<Kind> = network.unwrap().tensors.iter().map(|tensor| tensor.kind).collect();
    assert_eq!(kinds, [Kind::Input, Kind::Weight, Kind::Weight, Kind::Input]);
}
