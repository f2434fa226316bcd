//! The notation: what is written is read again, and what is not understood is refused by name.

mod common;

use common::Random;
use ripple_derive::expr::{Scope, Tensor};
use ripple_derive::interpret::Modular;
use ripple_derive::network::Network;
use ripple_derive::notation::{parse, print, print_network};
use ripple_derive::textbook::{Conv, conv};

const TEXT: &str = "
# A convolution, and what becomes of its result.
input  A[7, 7, 16] pad 1, 1, 0
weight K[3, 3, 8, 16]
T[h: 7, w: 7, f: 8] = sum c: 16, r: 3, s: 3 . A[h + r - 1, w + s - 1, c] * K[r, s, f, c]
O[h: 7, w: 7, f: 8] = relu(T[h, w, f])
";

#[test]
fn a_convolution_is_that_of_the_textbook() {
    let network = parse(TEXT).unwrap();
    let shape = Conv {
        input: (7, 7),
        channels: 16,
        filters: 8,
        kernel: (3, 3),
        stride: 1,
        dilation: 1,
        padding: (1, 1),
    };
    let textbook = conv(shape);
    assert_eq!(network.definitions[0].scope, textbook.scope);
    assert_eq!(network.tensors[..2], textbook.tensors);
    assert_eq!(network.definitions.len(), 2);
}

/// A network whose result is `scope`.
fn network_of(tensors: &[Tensor], scope: Scope) -> Network {
    let mut network = Network { tensors: tensors.to_vec(), definitions: Vec::new() };
    network.define("O", scope);
    network
}

#[test]
fn what_is_printed_is_read_again() {
    for seed in 0..1000 {
        let mut random = Random(seed);
        let (mut tensors, scope) = random.expression();
        // These read anywhere.
        tensors.iter_mut().for_each(|t| t.padding = vec![(1000, 1000); t.shape.len()]);
        let network = network_of(&tensors, scope);
        let text = print_network(&network);
        let again = parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        let numbers = |network: &Network| {
            let mut random = Random(seed);
            let given = random.numbers::<Modular>(&tensors, 1000);
            let all =
                given.into_iter().chain(network.tensors[tensors.len()..].iter().map(|_| vec![]));
            network.interpret(all.collect()).unwrap().pop().unwrap()
        };
        assert_eq!(numbers(&network), numbers(&again), "seed {seed}:\n{text}");
    }
}

#[test]
fn wrong_texts_are_refused_with_place_and_reason() {
    let refused = |text: &str| parse(text).unwrap_err().to_string();
    let input = "input A[4, 4]\n";
    let cases = [
        ("", "nothing is defined; expected a line such as `O[i: 4] = A[i]`"),
        (
            "input A[4, 0]",
            "line 1, column 12: expected an extent above 0 and below 2^31, found `0]`",
        ),
        (
            "O[i: 4] = B[i]",
            "line 1, column 11: expected a tensor that is declared or defined above, found `B[i]`",
        ),
        ("O[i: 4] = A[i]", "line 2: A has 2 dimensions, but 1 indices"),
        (
            "O[i: 4] = A[i, i + 1]",
            "line 2: A: dimension 1 reads Range { lo: 1, hi: 5 }, outside of Range { lo: 0, hi: 4 }; declare \
             more padding, or shorten a range",
        ),
        ("O[i: 4] = A[i, j]", "line 2, column 16: expected an iterator of this line, found `j]`"),
        (
            "O[i: 4] = A[i, i * i]",
            "line 2, column 21: expected a number: indices are linear, but for `/` and `%`, found `]`",
        ),
        (
            "O[i: 4, i: 4] = A[i, i]",
            "line 2: \"i\" is the name of something else already; take another",
        ),
        ("A[i: 4] = 1", "line 2: \"A\" is the name of something else already; take another"),
        ("O[i: 4..4] = 1", "line 2: iterator 0 runs over Range { lo: 4, hi: 4 }, which is empty"),
        (
            "O[i: 4] = A[i, i / 0]",
            "line 2, column 20: expected a number above 0 and below 2^31, found `0]`",
        ),
        (
            "O[i: 4] = A[i, 0] extra",
            "line 2, column 19: expected the end of the line, found `extra`",
        ),
    ];
    for (text, expected) in cases {
        let whole =
            if expected.starts_with("line 2") { format!("{input}{text}") } else { text.to_owned() };
        assert_eq!(refused(&whole), expected, "{whole}");
    }
}

#[test]
fn quotients_and_remainders_round_down() {
    let network = parse("input A[3]\nO[i: -4..4] = A[i / 3 + 2] * (i % 3 + 0)");
    assert!(network.is_err(), "an index is no number of the body");
    let network = parse("input A[9]\nO[i: -4..5] = A[3 * (i / 3 + 2) + i % 3 - 2]").unwrap();
    let out = network.interpret::<i64>(vec![(0..9).collect(), vec![]]).unwrap().pop().unwrap();
    assert_eq!(out, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_state_prints_as_definitions() {
    let network = parse(TEXT).unwrap();
    let text = print(&network.definitions[0].scope, &network.tensors, "T");
    assert_eq!(
        text,
        "T[a: 7, b: 7, c: 8] = sum d: 16, e: 3, f: 3 . A[a + e - 1, b + f - 1, d] * K[e, f, c, d]"
    );
}
