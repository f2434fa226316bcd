//! Weights multiplied into weights and bundled by the iterator that they share: the same numbers.

mod common;

use common::Random;
use ripple_derive::expr::{Kind, Tensor};
use ripple_derive::interpret::Modular;
use ripple_derive::network::Network;
use ripple_derive::notation::parse;
use ripple_derive::rules::bundle::bundle;
use ripple_derive::rules::weights::{absorb, combine, push};

fn result(network: &Network, seed: u64) -> Vec<Modular> {
    let mut random = Random(seed);
    let given = |(id, tensor): (usize, &Tensor)| match network.definition_of(id as u32) {
        Some(_) => Vec::new(),
        None => random.numbers::<Modular>(std::slice::from_ref(tensor), 1000).remove(0),
    };
    let given = network.tensors.iter().enumerate().map(given).collect();
    let last = network.definitions.last().unwrap().tensor as usize;
    network.interpret(given).unwrap().swap_remove(last)
}

fn at(network: &Network, name: &str) -> usize {
    let is =
        |d: &ripple_derive::network::Definition| network.tensors[d.tensor as usize].name == name;
    network.definitions.iter().position(is).unwrap()
}

/// A feed-forward network: gated, or with a bias.
fn neurons(random: &mut Random, gated: bool) -> String {
    let [p, c, n, o] = [0; 4].map(|_| random.within(1, 6));
    // Rows of a bundle have one length.
    let o = if random.chance(80) { c } else { o };
    let first = if gated {
        format!("f[p: {p}, n: {n}] = relu(g[p, n]) * u[p, n]\n")
    } else {
        format!("f[p: {p}, n: {n}] = relu(g[p, n]) + u[p, n]\n")
    };
    format!(
        "input X[{p}, {c}]\nweight G[{n}, {c}]\nweight U[{n}, {c}]\nweight D[{o}, {n}]\n\
         g[p: {p}, n: {n}] = sum c: {c} . X[p, c] * G[n, c]\n\
         u[p: {p}, n: {n}] = sum c: {c} . X[p, c] * U[n, c]\n{first}\
         O[p: {p}, i: {o}] = sum n: {n} . f[p, n] * D[i, n]\n"
    )
}

#[test]
fn what_a_neuron_needs_is_one_record() {
    let mut held = 0;
    for seed in 0..400 {
        let mut random = Random(seed);
        let gated = random.chance(50);
        let network = parse(&neurons(&mut random, gated)).unwrap();
        let last = network.definitions.len() - 1;
        let shape = |name: &str| {
            network.tensors.iter().find(|t| t.name == name).map(|t| t.shape.clone()).unwrap()
        };
        let found = bundle(&network, last, 2);
        if shape("D")[0] != shape("G")[1] {
            assert!(found.is_none(), "rows of two lengths, seed {seed}");
            continue;
        }
        let (after, bundle) = found.unwrap();
        held += 1;
        assert_eq!(bundle.rows, ["G", "U", "D"]);
        assert_eq!((bundle.records, bundle.row), (shape("G")[0], shape("G")[1]));
        let names: Vec<&str> =
            bundle.intermediates.iter().map(|&t| after.tensors[t as usize].name.as_str()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(result(&network, seed), result(&after, seed), "seed {seed}");
        // Nothing but the bundle is read while it runs.
        let read = |name: &str| {
            let id = after.tensors.iter().position(|t| t.name == name).unwrap() as u32;
            after
                .readers(id)
                .iter()
                .filter(|&&at| {
                    after.tensors[after.definitions[at].tensor as usize].kind == Kind::Input
                })
                .count()
        };
        assert_eq!(["G", "U", "D"].map(read), [0, 0, 0]);
    }
    assert!(held > 300, "{held}");
}

#[test]
fn what_others_read_or_what_is_read_out_of_place_is_not_bundled() {
    let chain = "input X[2, 3]\nweight G[4, 3]\nweight D[3, 4]\n\
        f[p: 2, n: 4] = sum c: 3 . X[p, c] * G[n, c]\n";
    let refused = |rest: &str, name: &str| {
        let network = parse(&format!("{chain}{rest}")).unwrap();
        assert!(bundle(&network, at(&network, name), 2).is_none(), "{rest}");
    };
    let sum = "O[p: 2, i: 3] = sum n: 4 . f[p, n] * D[i, n]\n";
    // The intermediate is read again, a weight is, another value of the iterator is.
    refused(&format!("{sum}R[p: 2, i: 3] = O[p, i] + f[p, i]\n"), "O");
    refused(&format!("{sum}R[p: 2, i: 3] = O[p, i] + G[p, i]\n"), "O");
    refused("O[p: 2, i: 3] = sum n: 4 . f[p, 3 - n] * D[i, n]\n", "O");
    let network = parse(&format!("{chain}{sum}")).unwrap();
    assert!(bundle(&network, 1, 1).is_none(), "a loop is not summed over");
    assert!(bundle(&network, 1, 3).is_none(), "there is no such iterator");
    let (_, found) = bundle(&network, 1, 2).unwrap();
    assert_eq!(found.rows, ["G", "D"]);
}

#[test]
fn scales_of_channels_are_multiplied_into_the_weights() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let [h, c, f] = [0; 3].map(|_| random.within(1, 5));
        // Convolution, scale and shift of each channel.
        let text = format!(
            "input A[{h}, {h}, {c}] pad 1, 1, 0\nweight K[3, 3, {f}, {c}]\nweight s[{f}]\nweight t[{f}]\n\
             T[h: {h}, w: {h}, f: {f}] = sum c: {c}, r: 3, s: 3 . A[h + r - 1, w + s - 1, c] * K[r, s, f, c]\n\
             O[h: {h}, w: {h}, f: {f}] = relu(T[h, w, f] * s[f] + t[f])\n"
        );
        let network = parse(&text).unwrap();
        let moved = absorb(&network, 1).unwrap();
        assert_eq!(result(&network, seed), result(&moved, seed), "seed {seed}");
        let folded = combine(&moved, 0).unwrap();
        assert_eq!(result(&network, seed), result(&folded, seed), "seed {seed}");
        let weight = &folded.tensors[folded.definitions[0].tensor as usize];
        assert_eq!((weight.kind, weight.shape.as_slice()), (Kind::Weight, &[3, 3, f, c][..]));
        let factors = folded.definitions[1].scope.body.factors().unwrap().len();
        assert_eq!(factors, 2, "again a product of two");
        assert!(combine(&folded, 1).is_none() && absorb(&folded, 2).is_none());
    }
}

#[test]
fn a_factor_that_is_computed_later_is_computed_before_its_product() {
    let text = "input X[4]\nweight W[3, 4]\nweight y[3]\nT[i: 3] = sum c: 4 . X[c] * W[i, c]\n\
        s[i: 3] = y[i] * y[i]\nO[i: 3] = T[i] * s[i]\n";
    let network = parse(text).unwrap();
    let moved = absorb(&network, 2).unwrap();
    assert_eq!(result(&network, 1), result(&moved, 1));
    let folded = combine(&moved, at(&moved, "T")).unwrap();
    assert_eq!(result(&network, 1), result(&folded, 1));
}

/// Factors of factors, computed before or behind the sum that they scale: a definition reads only what is before it.
#[test]
fn factors_are_computed_before_what_reads_them_wherever_they_were() {
    let (mut behind, mut folds) = (0, 0);
    for seed in 0..300 {
        let mut random = Random(seed);
        let chain = random.within(1, 4);
        let mut lines: Vec<String> = (1..=chain)
            .map(|n| match random.within(0, 3) {
                0 => format!("s{n}[i: 3] = s{}[i] * y[i]", n - 1),
                1 => format!("s{n}[i: 3] = square(s{}[i]) + y[2 - i]", n - 1),
                _ => format!("s{n}[i: 3] = sum j: 3 . s{}[j] * M[i, j]", n - 1),
            })
            .collect();
        let place = random.within(0, chain + 1) as usize;
        behind += u32::from(place < lines.len());
        lines.insert(place, "T[i: 3] = sum c: 4 . X[c] * W[i, c]".to_owned());
        let text = format!(
            "input X[4]\nweight W[3, 4]\nweight y[3]\nweight M[3, 3]\nweight s0[3]\n{}\n\
             O[i: 3] = T[i] * s{chain}[i]\n",
            lines.join("\n")
        );
        let network = parse(&text).unwrap();
        let ordered = |network: &Network| {
            network.definitions.iter().enumerate().all(|(at, definition)| {
                network.readers(definition.tensor).iter().all(|&reader| reader > at)
            })
        };
        let last = network.definitions.len() - 1;
        let moved = absorb(&network, last).unwrap_or_else(|| panic!("{text}"));
        assert!(ordered(&moved), "{text}");
        assert_eq!(result(&network, seed), result(&moved, seed), "{text}");
        let Some(folded) = combine(&moved, at(&moved, "T")) else { continue };
        folds += 1;
        assert!(ordered(&folded), "{text}");
        assert_eq!(result(&network, seed), result(&folded, seed), "{text}");
    }
    assert!(behind > 100 && folds > 250, "{behind} behind, {folds} folds");
}

#[test]
fn a_norms_weight_and_a_heads_scale_are_multiplied_into_the_projections() {
    let network = parse(
        "input X[4, 6]\nweight y[6]\nweight Q[8, 6]\nweight K[8, 6]\nweight scale[1]\n\
         q[p: 4, i: 8] = sum c: 6 . X[p, c] * y[c] * Q[i, c]\n\
         k[p: 4, i: 8] = sum c: 6 . X[p, c] * y[c] * K[i, c]\n\
         O[p: 4, o: 4] = sum i: 8 . q[p, i] * k[o, i] * scale[0]\n",
    )
    .unwrap();
    let pushed = push(&network, 2).unwrap();
    assert_eq!(result(&network, 1), result(&pushed, 1));
    let first = combine(&pushed, at(&pushed, "q")).unwrap();
    let both = combine(&first, at(&first, "k")).unwrap();
    assert_eq!(result(&network, 1), result(&both, 1));
    let products = both.definitions.iter().filter(|d| !d.scope.sums.is_empty());
    for definition in products {
        assert_eq!(definition.scope.body.factors().unwrap().len(), 2);
    }
}

#[test]
fn what_is_read_elsewhere_too_keeps_its_factors() {
    let text = |last: &str| {
        format!(
            "input X[4]\nweight W[3, 4]\nweight s[3]\nT[i: 3] = sum c: 4 . X[c] * W[i, c]\n\
             U[i: 3] = T[i] * s[i]\n{last}\n"
        )
    };
    assert!(absorb(&parse(&text("O[i: 3] = U[i] + U[0]")).unwrap(), 1).is_some());
    assert!(absorb(&parse(&text("O[i: 3] = U[i] + T[i]")).unwrap(), 1).is_none());
    let twice = "input X[4]\nweight W[3, 4]\nweight s[3]\nT[i: 3] = sum c: 4 . X[c] * W[i, c]\n\
        O[i: 3] = T[i] * s[i] + T[i]\n";
    assert!(absorb(&parse(twice).unwrap(), 1).is_none(), "the other term would be scaled too");
    let turned = "input X[4]\nweight W[3, 4]\nweight s[3]\nT[i: 3] = sum c: 4 . X[c] * W[i, c]\n\
        O[i: 3] = T[2 - i] * s[i]\n";
    assert!(absorb(&parse(turned).unwrap(), 1).is_none(), "not in place");
}
