//! ONNX files: every operator has the numbers that its definition says, and what is not supported is refused
//! with its node.

mod common;

use common::Random;
use prost::Message;
use ripple_derive::derive::derive;
use ripple_derive::expr::Kind;
use ripple_derive::library::Operator;
use ripple_derive::machine::{Core, Machine};
use ripple_derive::network::Network;
use ripple_derive::onnx::{
    Attribute, Dimension, Graph, Model, Node, Shape, Tensor, TensorType, Type, Value, read,
};
use ripple_derive::search::walk::Settings;

fn value(name: &str, shape: &[i64]) -> Value {
    let dim = shape.iter().map(|&dim_value| Dimension { dim_value, ..Dimension::default() });
    let shape = Some(Shape { dim: dim.collect() });
    let tensor = Some(TensorType { elem_type: 1, shape });
    Value { name: name.to_owned(), r#type: Some(Type { tensor }) }
}

fn weight(name: &str, dims: &[i64]) -> Tensor {
    Tensor { name: name.to_owned(), data_type: 1, dims: dims.to_vec(), ..Tensor::default() }
}

fn numbers(name: &str, ints: &[i64]) -> Attribute {
    Attribute { name: name.to_owned(), ints: ints.to_vec(), ..Attribute::default() }
}

fn number(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i, ..Attribute::default() }
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

fn file(input: Value, initializer: Vec<Tensor>, node: Vec<Node>) -> Vec<u8> {
    let last = node.last().unwrap().output[0].clone();
    let output = vec![Value { name: last, ..Value::default() }];
    let graph = Graph { input: vec![input], initializer, node, output, ..Graph::default() };
    Model { ir_version: 8, graph: Some(graph), ..Model::default() }.encode_to_vec()
}

/// The result of a network, from the numbers of each tensor by name.
fn run(network: &Network, given: &[(&str, &[i64])]) -> Vec<i64> {
    let of = |name: &str| given.iter().find(|(known, _)| *known == name).map(|(_, n)| n.to_vec());
    let all = network.tensors.iter().map(|tensor| of(&tensor.name).unwrap_or_default()).collect();
    network.interpret(all).unwrap().swap_remove(network.definitions.last().unwrap().tensor as usize)
}

fn random(seed: u64, count: i64) -> Vec<i64> {
    let mut random = Random(seed);
    (0..count).map(|_| random.within(-9, 10)).collect()
}

/// From channels first, as files have it, to channels last, as networks have it.
fn channels_last(image: &[i64], [c, h, w]: [i64; 3]) -> Vec<i64> {
    let mut out = Vec::new();
    for y in 0..h {
        for x in 0..w {
            out.extend((0..c).map(|channel| image[((channel * h + y) * w + x) as usize]));
        }
    }
    out
}

#[test]
fn a_convolution_is_that_of_the_standard() {
    // Channels, filters, groups, kernel, strides, dilations, pads.
    let cases = [
        (3, 4, 1, [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        (4, 6, 2, [3, 2], [2, 1], [1, 2], [0, 1, 2, 0]),
        (4, 4, 4, [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        (2, 2, 1, [1, 1], [2, 2], [1, 1], [0, 0, 0, 0]),
    ];
    let (h, w) = (7, 6);
    for (c, f, group, kernel, strides, dilations, pads) in cases {
        let per = c / group;
        let attributes = vec![
            number("group", group),
            numbers("strides", &strides),
            numbers("dilations", &dilations),
            numbers("pads", &pads),
        ];
        let initializer = vec![weight("k", &[f, per, kernel[0], kernel[1]]), weight("b", &[f])];
        let conv = node("Conv", &["x", "k", "b"], "y", attributes);
        let network = read(&file(value("x", &[1, c, h, w]), initializer, vec![conv])).unwrap();
        let (x, k, b) =
            (random(1, c * h * w), random(2, f * per * kernel[0] * kernel[1]), random(3, f));
        let found = run(&network, &[("x", &channels_last(&x, [c, h, w])), ("k", &k), ("b", &b)]);

        let out = |n: i64, d: usize| {
            (n + pads[d] + pads[d + 2] - dilations[d] * (kernel[d] - 1) - 1) / strides[d] + 1
        };
        let (rows, columns) = (out(h, 0), out(w, 1));
        let mut expected = vec![0; (f * rows * columns) as usize];
        for ((o, y), x_out) in (0..f)
            .flat_map(|o| (0..rows).map(move |y| (o, y)))
            .flat_map(|oy| (0..columns).map(move |x| (oy, x)))
        {
            let mut sum = b[o as usize];
            for i in 0..per {
                for r in 0..kernel[0] {
                    for s in 0..kernel[1] {
                        let at_y = y * strides[0] + r * dilations[0] - pads[0];
                        let at_x = x_out * strides[1] + s * dilations[1] - pads[1];
                        if (0..h).contains(&at_y) && (0..w).contains(&at_x) {
                            let channel = o / (f / group) * per + i;
                            let from = ((channel * h + at_y) * w + at_x) as usize;
                            let tap = (((o * per + i) * kernel[0] + r) * kernel[1] + s) as usize;
                            sum += x[from] * k[tap];
                        }
                    }
                }
            }
            expected[((o * rows + y) * columns + x_out) as usize] = sum;
        }
        assert_eq!(
            found,
            channels_last(&expected, [f, rows, columns]),
            "{c} {f} {group} {kernel:?}"
        );
    }
}

#[test]
fn a_transposed_convolution_scatters() {
    let cases = [
        ([4, 4], [2, 2], [1, 1, 1, 1]),
        ([3, 3], [3, 3], [0, 0, 0, 0]),
        ([3, 2], [2, 1], [0, 1, 1, 0]),
    ];
    let (c, f, h, w) = (3, 2, 3, 4);
    for (kernel, strides, pads) in cases {
        let attributes = vec![numbers("strides", &strides), numbers("pads", &pads)];
        let initializer = vec![weight("k", &[c, f, kernel[0], kernel[1]])];
        let conv = node("ConvTranspose", &["x", "k"], "y", attributes);
        let network = read(&file(value("x", &[1, c, h, w]), initializer, vec![conv])).unwrap();
        let (x, k) = (random(1, c * h * w), random(2, c * f * kernel[0] * kernel[1]));
        let found = run(&network, &[("x", &channels_last(&x, [c, h, w])), ("k", &k)]);
        let out = |n: i64, d: usize| (n - 1) * strides[d] + kernel[d] - pads[d] - pads[d + 2];
        let (rows, columns) = (out(h, 0), out(w, 1));
        let mut expected = vec![0; (f * rows * columns) as usize];
        for i in 0..c {
            for (y, x_in) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
                for (o, r, s) in (0..f)
                    .flat_map(|o| (0..kernel[0]).map(move |r| (o, r)))
                    .flat_map(|(o, r)| (0..kernel[1]).map(move |s| (o, r, s)))
                {
                    let (to_y, to_x) =
                        (y * strides[0] + r - pads[0], x_in * strides[1] + s - pads[1]);
                    if (0..rows).contains(&to_y) && (0..columns).contains(&to_x) {
                        let tap = (((i * f + o) * kernel[0] + r) * kernel[1] + s) as usize;
                        expected[((o * rows + to_y) * columns + to_x) as usize] +=
                            x[((i * h + y) * w + x_in) as usize] * k[tap];
                    }
                }
            }
        }
        assert_eq!(found, channels_last(&expected, [f, rows, columns]), "{kernel:?} {strides:?}");
    }
}

/// A convolution, ReLU, what is added, flattened and classified.
fn classifier() -> Vec<u8> {
    let initializer = vec![
        weight("k", &[4, 2, 3, 3]),
        weight("scale", &[4, 1, 1]),
        weight("w", &[5, 4 * 6 * 6]),
        weight("b", &[5]),
    ];
    let nodes = vec![
        node("Conv", &["x", "k"], "a", vec![numbers("pads", &[1, 1, 1, 1])]),
        node("Mul", &["a", "scale"], "m", vec![]),
        node("Relu", &["m"], "r", vec![]),
        node("Flatten", &["r"], "v", vec![number("axis", 1)]),
        node("Gemm", &["v", "w", "b"], "y", vec![number("transB", 1)]),
    ];
    file(value("x", &[1, 2, 6, 6]), initializer, nodes)
}

#[test]
fn a_classifier_is_flattened_in_the_order_of_the_file() {
    let network = read(&classifier()).unwrap();
    let (x, k, scale) = (random(1, 72), random(2, 72), random(3, 4));
    let (w, b) = (random(4, 5 * 144), random(5, 5));
    let given: [(&str, &[i64]); 5] =
        [("x", &channels_last(&x, [2, 6, 6])), ("k", &k), ("scale", &scale), ("w", &w), ("b", &b)];
    let found = run(&network, &given);
    let mut hidden = vec![0; 144];
    for (o, y, x_out) in (0..4i64)
        .flat_map(|o| (0..6i64).map(move |y| (o, y)))
        .flat_map(|(o, y)| (0..6i64).map(move |x| (o, y, x)))
    {
        let mut sum = 0;
        for (i, r, s) in (0..2i64)
            .flat_map(|i| (0..3i64).map(move |r| (i, r)))
            .flat_map(|(i, r)| (0..3i64).map(move |s| (i, r, s)))
        {
            let (at_y, at_x) = (y + r - 1, x_out + s - 1);
            if (0..6).contains(&at_y) && (0..6).contains(&at_x) {
                sum += x[((i * 6 + at_y) * 6 + at_x) as usize]
                    * k[(((o * 2 + i) * 3 + r) * 3 + s) as usize];
            }
        }
        hidden[((o * 6 + y) * 6 + x_out) as usize] = (sum * scale[o as usize]).max(0);
    }
    let class = |c: usize| b[c] + hidden.iter().zip(&w[c * 144..]).map(|(x, w)| x * w).sum::<i64>();
    assert_eq!(found, (0..5).map(class).collect::<Vec<_>>());
}

#[test]
fn a_file_is_derived_and_never_dearer() {
    let network = read(&classifier()).unwrap();
    let machine = Machine {
        name: "a board".to_owned(),
        core: Core::M4,
        megahertz: 64.0,
        command_ns: 400_000.0,
        bytes_per_second: 20e6,
        ram: 64 << 10,
        staging: 4 << 10,
    };
    let operators = Operator::standard();
    let settings = Settings::of_depth(4);
    let program = derive(&network, &machine, &operators, settings, &mut |_, _, _, _| {}).unwrap();
    assert!(program.cost.nanoseconds <= program.given.nanoseconds);
    let (carried_out, _) = program.carried_out();
    let mut random = Random(8);
    let given: Vec<Vec<i64>> = (0..network.tensors.len())
        .map(|id| match network.definition_of(id as u32) {
            Some(_) => Vec::new(),
            None => random.numbers::<i64>(&network.tensors[id..=id], 9).remove(0),
        })
        .collect();
    let result = |network: &Network| {
        let mut given = given.clone();
        given.resize(network.tensors.len(), Vec::new());
        let last = network.definitions.last().unwrap().tensor as usize;
        network.interpret(given).unwrap().swap_remove(last)
    };
    assert_eq!(result(&network), result(&carried_out));
    assert!(network.tensors.iter().any(|tensor| tensor.kind == Kind::Weight));
}

#[test]
fn what_is_not_supported_is_refused_with_its_node() {
    let refused = |node: Node| {
        let initializer = vec![weight("k", &[4, 2, 3, 3])];
        read(&file(value("x", &[1, 2, 6, 6]), initializer, vec![node])).unwrap_err().to_string()
    };
    let expected = "node the Einsum: operator Einsum is not supported; there are Add, AveragePool, \
        BatchNormalization, Concat, Constant, Conv, ConvTranspose, DepthToSpace, Exp, Flatten, Gemm, \
        GlobalAveragePool, Identity, LeakyRelu, MatMul, MaxPool, Mul, PRelu, Relu, Reshape, Sigmoid, Softmax, \
        Sub, Tanh, Transpose";
    assert_eq!(refused(node("Einsum", &["x"], "y", vec![])), expected);
    let same = Attribute {
        name: "auto_pad".to_owned(),
        s: b"SAME_UPPER".to_vec(),
        ..Attribute::default()
    };
    assert_eq!(
        refused(node("Conv", &["x", "k"], "y", vec![same])),
        "node the Conv (Conv): expected pads as numbers, found \"SAME_UPPER\""
    );
    assert_eq!(
        refused(node("Conv", &["x", "k"], "y", vec![number("group", 2)])),
        "node the Conv (Conv): expected channels and filters in `group` equal parts, found ([1, 2, 6, 6], [4, \
         2, 3, 3], 2)"
    );
    assert_eq!(
        refused(node("Relu", &["z"], "y", vec![])),
        "node the Relu (Relu): expected an operand that is computed before, found \"z\""
    );
    let mut open = value("x", &[1, 2, 0, 6]);
    if let Some(shape) =
        open.r#type.as_mut().and_then(|t| t.tensor.as_mut()).and_then(|t| t.shape.as_mut())
    {
        shape.dim[2].dim_param = "height".to_owned();
    }
    let relu = node("Relu", &["x"], "y", vec![]);
    assert_eq!(
        read(&file(open, vec![], vec![relu])).unwrap_err().to_string(),
        "input x: dimension 2 is height, expected a number; export with fixed shapes"
    );
    assert!(read(b"no protobuf at all").unwrap_err().to_string().starts_with("not an ONNX file: "));
}

#[test]
fn a_damaged_file_is_an_error_or_another_network_but_no_panic() {
    let whole = classifier();
    for cut in 0..whole.len() {
        let _ = read(&whole[..cut]);
    }
    let mut random = Random(1);
    for _ in 0..4000 {
        let mut damaged = whole.clone();
        let at = random.within(0, damaged.len() as i64) as usize;
        damaged[at] ^= 1 << random.within(0, 8);
        let _ = read(&damaged);
    }
}
