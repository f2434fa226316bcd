//! Operators of ONNX that are windows, normalisations or re-layouts: the numbers that their definitions say.

mod common;

use common::Random;
use prost::Message;
use ripple_derive::network::Network;
use ripple_derive::onnx::{
    Attribute, Dimension, Graph, Model, Node, Shape, Tensor, TensorType, Type, Value, read,
    read_file,
};

fn integers(name: &str, ints: &[i64]) -> Attribute {
    Attribute { name: name.to_owned(), ints: ints.to_vec(), ..Attribute::default() }
}

fn integer(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i, ..Attribute::default() }
}

fn text(name: &str, s: &str) -> Attribute {
    Attribute { name: name.to_owned(), s: s.as_bytes().to_vec(), ..Attribute::default() }
}

/// A file of nodes in a row, each reading `x` or the one before, and weights.
fn file(shape: &[i64], weights: &[(&str, &[i64])], nodes: Vec<Node>) -> Vec<u8> {
    let dim = shape.iter().map(|&dim_value| Dimension { dim_value, ..Dimension::default() });
    let tensor = TensorType { elem_type: 1, shape: Some(Shape { dim: dim.collect() }) };
    let input = Value { name: "x".to_owned(), r#type: Some(Type { tensor: Some(tensor) }) };
    let weight = |(name, dims): &(&str, &[i64])| Tensor {
        name: (*name).to_owned(),
        data_type: 1,
        dims: dims.to_vec(),
        ..Tensor::default()
    };
    let last = nodes.last().unwrap().output[0].clone();
    let graph = Graph {
        node: nodes,
        initializer: weights.iter().map(weight).collect(),
        input: vec![input],
        output: vec![Value { name: last, ..Value::default() }],
        ..Graph::default()
    };
    Model { ir_version: 8, graph: Some(graph), ..Model::default() }.encode_to_vec()
}

fn node(op: &str, input: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    Node {
        op_type: op.to_owned(),
        name: format!("the {op}"),
        input: input.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..Node::default()
    }
}

fn run(network: &Network, given: &[(&str, Vec<i64>)]) -> Vec<i64> {
    let of = |name: &str| given.iter().find(|(known, _)| *known == name).map(|(_, n)| n.clone());
    let all = network.tensors.iter().map(|tensor| of(&tensor.name).unwrap_or_default()).collect();
    network.interpret(all).unwrap().swap_remove(network.definitions.last().unwrap().tensor as usize)
}

fn random(seed: u64, count: i64) -> Vec<i64> {
    let mut random = Random(seed);
    (0..count).map(|_| random.within(-9, 10)).collect()
}

/// What a function of channel, row and column gives, channels last.
fn image([c, h, w]: [i64; 3], of: impl Fn(i64, i64, i64) -> i64) -> Vec<i64> {
    let mut out = Vec::new();
    for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
        out.extend((0..c).map(|channel| of(channel, y, x)));
    }
    out
}

const C: i64 = 8;
const H: i64 = 7;
const W: i64 = 6;

/// Numbers of an image of `C`, `H`, `W`, channels last, 0 outside.
fn at(x: &[i64], c: i64, y: i64, column: i64) -> i64 {
    let inside = (0..H).contains(&y) && (0..W).contains(&column);
    if inside { x[((y * W + column) * C + c) as usize] } else { 0 }
}

#[test]
fn windows_are_averaged_and_their_largest_is_taken() {
    let x = random(1, C * H * W);
    for (kernel, stride, pad) in [([2, 2], [2, 2], 0), ([3, 2], [1, 2], 0), ([3, 3], [2, 2], 1)] {
        let settings = |more: Vec<Attribute>| {
            let own = [
                integers("kernel_shape", &kernel),
                integers("strides", &stride),
                integers("pads", &[pad; 4]),
            ];
            [own.to_vec(), more].concat()
        };
        let out = |n: i64, d: usize| (n + 2 * pad - kernel[d]) / stride[d] + 1;
        let taps = move |y: i64, x: i64| {
            (0..kernel[0]).flat_map(move |r| {
                (0..kernel[1]).map(move |s| (y * stride[0] + r - pad, x * stride[1] + s - pad))
            })
        };
        let shape = [C, out(H, 0), out(W, 1)];
        // After a Relu padding is never the largest.
        let nodes =
            vec![node("Relu", &["x"], "r", vec![]), node("MaxPool", &["r"], "y", settings(vec![]))];
        let network = read(&file(&[1, C, H, W], &[], nodes)).unwrap();
        let largest = image(shape, |c, y, column| {
            taps(y, column).map(|(y, column)| at(&x, c, y, column).max(0)).max().unwrap()
        });
        assert_eq!(run(&network, &[("x", x.clone())]), largest, "{kernel:?}");

        let counted = settings(vec![integer("count_include_pad", 1)]);
        let nodes = vec![node("AveragePool", &["x"], "y", counted)];
        let network = read(&file(&[1, C, H, W], &[], nodes)).unwrap();
        let sum = image(shape, |c, y, column| {
            3 * taps(y, column).map(|(y, column)| at(&x, c, y, column)).sum::<i64>()
        });
        // The share of one is a number of its own: any will do.
        let given = [("x", x.clone()), ("y_share", vec![3])];
        assert_eq!(run(&network, &given), sum, "{kernel:?}");
    }
    let nodes = vec![node("GlobalAveragePool", &["x"], "y", vec![])];
    let found = read_file(&file(&[1, C, H, W], &[], nodes)).unwrap();
    assert_eq!(found.filled.len(), 1);
    assert!((found.filled[0].1 - 1.0 / 42.0).abs() < 1e-9);
    let sum = image([C, 1, 1], |c, _, _| {
        (0..H)
            .flat_map(|y| (0..W).map(move |x| (y, x)))
            .map(|(y, column)| at(&x, c, y, column))
            .sum()
    });
    assert_eq!(run(&found.network, &[("x", x), ("y_share", vec![1])]), sum);
}

#[test]
fn normalisations_and_slopes_are_of_channels() {
    let x = random(1, C * H * W);
    let weights: [(&str, &[i64]); 5] =
        [("s", &[C]), ("b", &[C]), ("m", &[C]), ("v", &[C]), ("slope", &[C, 1, 1])];
    let (s, b, m, slope) = (random(2, C), random(3, C), random(4, C), random(5, C));
    let given = [
        ("x", x.clone()),
        ("s", s.clone()),
        ("b", b.clone()),
        ("m", m.clone()),
        // Above 0, where the exact interpreter's root is 1.
        ("v", vec![1; C as usize]),
        ("y_epsilon", vec![0]),
        ("slope", slope.clone()),
        ("y_alpha", vec![7]),
    ];
    let of = |nodes| {
        let network = read(&file(&[1, C, H, W], &weights, nodes)).unwrap();
        run(&network, &given)
    };
    let normalised = image([C, H, W], |c, y, column| {
        (at(&x, c, y, column) - m[c as usize]) * s[c as usize] + b[c as usize]
    });
    let norm = node("BatchNormalization", &["x", "s", "b", "m", "v"], "y", vec![]);
    assert_eq!(of(vec![norm]), normalised);
    let leaky = |slope: &dyn Fn(i64) -> i64| {
        image([C, H, W], |c, y, column| {
            let x = at(&x, c, y, column);
            if x < 0 { slope(c) * x } else { x }
        })
    };
    assert_eq!(
        of(vec![node("PRelu", &["x", "slope"], "y", vec![])]),
        leaky(&|c| slope[c as usize])
    );
    assert_eq!(of(vec![node("LeakyRelu", &["x"], "y", vec![])]), leaky(&|_| 7));
    assert_eq!(
        of(vec![node("Sub", &["x", "slope"], "y", vec![])]),
        image([C, H, W], |c, y, column| { at(&x, c, y, column) - slope[c as usize] })
    );
}

#[test]
fn channels_become_pixels_and_tensors_stand_behind_each_other() {
    let x = random(1, C * H * W);
    let of = |nodes| run(&read(&file(&[1, C, H, W], &[], nodes)).unwrap(), &[("x", x.clone())]);
    let settings = |mode: &str| vec![integer("blocksize", 2), text("mode", mode)];
    let shape = [C / 4, 2 * H, 2 * W];
    assert_eq!(
        of(vec![node("DepthToSpace", &["x"], "y", settings("CRD"))]),
        image(shape, |c, y, column| {
            at(&x, 4 * c + 2 * (y % 2) + column % 2, y / 2, column / 2)
        })
    );
    assert_eq!(
        of(vec![node("DepthToSpace", &["x"], "y", settings("DCR"))]),
        image(shape, |c, y, column| {
            at(&x, (2 * (y % 2) + column % 2) * (C / 4) + c, y / 2, column / 2)
        })
    );
    let nodes = |axis| {
        vec![
            node("Relu", &["x"], "r", vec![]),
            node("Concat", &["x", "r"], "y", vec![integer("axis", axis)]),
        ]
    };
    assert_eq!(
        of(nodes(1)),
        image([2 * C, H, W], |c, y, column| {
            if c < C { at(&x, c, y, column) } else { at(&x, c - C, y, column).max(0) }
        })
    );
    assert_eq!(
        of(nodes(-2)),
        image([C, 2 * H, W], |c, y, column| {
            if y < H { at(&x, c, y, column) } else { at(&x, c, y - H, column).max(0) }
        })
    );
    // Rows and columns change places; channels stay.
    let turned = node("Transpose", &["x"], "y", vec![integers("perm", &[0, 1, 3, 2])]);
    assert_eq!(of(vec![turned]), image([C, W, H], |c, y, column| at(&x, c, column, y)));
}

#[test]
fn a_softmax_is_exponentials_by_their_sum() {
    let nodes = vec![node("Softmax", &["x"], "y", vec![integer("axis", -1)])];
    let network = read(&file(&[3, 4], &[], nodes)).unwrap();
    // In the exact interpreter exp(x) is max(x, 1), and the sum's reciprocal is 1.
    let x = random(1, 12);
    let expected: Vec<i64> = x.iter().map(|&x| x.max(1)).collect();
    assert_eq!(run(&network, &[("x", x)]), expected);
    assert_eq!(network.definitions.len(), 3);
    assert_eq!(network.definitions[1].scope.sums.len(), 1);
}

#[test]
fn what_would_be_other_numbers_is_refused() {
    let refused = |shape: &[i64], node: Node| {
        read(&file(shape, &[("s", &[C])], vec![node])).unwrap_err().to_string()
    };
    let image = [1, C, H, W];
    let window = |more: Attribute| vec![integers("kernel_shape", &[2, 2]), more];
    let all = [
        (
            refused(&image, node("MaxPool", &["x"], "y", window(integers("pads", &[1; 4])))),
            "node the MaxPool (MaxPool): expected pads of 0, or what a Relu gives, found [1, 1, 1, 1]",
        ),
        (
            refused(&image, node("AveragePool", &["x"], "y", window(integers("pads", &[1; 4])))),
            "node the AveragePool (AveragePool): expected pads of 0, or pads that count, found [1, 1, 1, 1]",
        ),
        (
            refused(&image, node("MaxPool", &["x"], "y", window(integer("ceil_mode", 1)))),
            "node the MaxPool (MaxPool): expected ceil_mode of 0, found 1",
        ),
        (
            refused(&image, node("Softmax", &["x"], "y", vec![integer("axis", 1)])),
            "node the Softmax (Softmax): expected the last dimension, and no image, found (1, [1, 8, 7, 6])",
        ),
        (
            refused(&image, node("BatchNormalization", &["x", "s"], "y", vec![])),
            "node the BatchNormalization (BatchNormalization): expected another number of operands, found 2",
        ),
        (
            refused(&image, node("Transpose", &["x"], "y", vec![integers("perm", &[0, 0, 1, 2])])),
            "node the Transpose (Transpose): expected each dimension once, found [0, 0, 1, 2]",
        ),
        (
            refused(&image, node("Concat", &["x", "s"], "y", vec![integer("axis", 1)])),
            "node the Concat (Concat): expected the same shape but for the axis, found [[1, 8, 7, 6], [8]]",
        ),
    ];
    for (found, expected) in all {
        assert_eq!(found, expected);
    }
}
