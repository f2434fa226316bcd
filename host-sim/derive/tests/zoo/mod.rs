//! Seven small networks, as files that a program would export: made here, so that nothing is fetched.
//!
//! | network | input | what it has |
//! |---|---|---|
//! | InfoGAN | 16 numbers | a matrix, transposed convolutions 4x4 stride 2 (32, 16, 1 filters), to 32 x 32 |
//! | DCGAN | 32 numbers | transposed convolutions 4x4 (64, 32, 16, 3 filters), to 32 x 32 |
//! | FSRCNN | 16 x 16, 1 channel | 5x5, 1x1, four of 3x3, 1x1, a transposed 9x9 stride 3, to 48 x 48 |
//! | GCN | 16 x 16, 16 channels | 7x1 and 1x7 both ways round, added, and a residual block |
//! | ResNet-18 | 32 x 32, 3 channels | its 18 layers with 8, 16, 32 and 64 channels |
//! | CSRNet | 24 x 24, 3 channels | 3x3, pooling, 3x3 of dilation 2, 1x1 |
//! | LongFormer | 64 positions of 32 | two heads, a window of 17 with dilation 4, softmax, one layer's attention |

use prost::Message;
use ripple_derive::network::Network;
use ripple_derive::notation::parse;
use ripple_derive::onnx::{
    Attribute, Dimension, Graph, Model, Node, Shape, Tensor, TensorType, Type, Value, read,
};

/// A file that grows.
#[derive(Default)]
struct File {
    weights: Vec<Tensor>,
    nodes: Vec<Node>,
}

fn integers(name: &str, ints: &[i64]) -> Attribute {
    Attribute { name: name.to_owned(), ints: ints.to_vec(), ..Attribute::default() }
}

impl File {
    fn weight(&mut self, dims: &[i64]) -> String {
        let name = format!("w{}", self.weights.len());
        let tensor =
            Tensor { name: name.clone(), data_type: 1, dims: dims.to_vec(), ..Tensor::default() };
        self.weights.push(tensor);
        name
    }

    fn node(&mut self, op: &str, input: &[&str], attribute: Vec<Attribute>) -> String {
        let name = format!("{}{}", op.to_lowercase(), self.nodes.len());
        self.nodes.push(Node {
            op_type: op.to_owned(),
            name: name.clone(),
            input: input.iter().map(|&name| name.to_owned()).collect(),
            output: vec![name.clone()],
            attribute,
            ..Node::default()
        });
        name
    }

    /// A convolution of `kernel`, which keeps height and width but for the stride.
    fn conv(
        &mut self,
        x: &str,
        channels: [i64; 2],
        kernel: [i64; 2],
        stride: i64,
        dilation: i64,
    ) -> String {
        let [c, f] = channels;
        let k = self.weight(&[f, c, kernel[0], kernel[1]]);
        let [p, q] = kernel.map(|k| dilation * (k - 1) / 2);
        let attributes = vec![
            integers("pads", &[p, q, p, q]),
            integers("strides", &[stride; 2]),
            integers("dilations", &[dilation; 2]),
        ];
        self.node("Conv", &[x, &k], attributes)
    }

    fn up(&mut self, x: &str, [c, f]: [i64; 2], kernel: i64, stride: i64, pad: i64) -> String {
        let k = self.weight(&[c, f, kernel, kernel]);
        let attributes = vec![integers("pads", &[pad; 4]), integers("strides", &[stride; 2])];
        self.node("ConvTranspose", &[x, &k], attributes)
    }

    fn norm(&mut self, x: &str, channels: i64) -> String {
        let own: Vec<String> = (0..4).map(|_| self.weight(&[channels])).collect();
        self.node("BatchNormalization", &[x, &own[0], &own[1], &own[2], &own[3]], vec![])
    }

    fn relu(&mut self, x: &str) -> String {
        self.node("Relu", &[x], vec![])
    }

    fn norm_relu(&mut self, x: &str, channels: i64) -> String {
        let x = self.norm(x, channels);
        self.relu(&x)
    }

    fn slope(&mut self, x: &str, channels: i64) -> String {
        let slope = self.weight(&[channels, 1, 1]);
        self.node("PRelu", &[x, &slope], vec![])
    }

    fn bytes(self, input: &[i64]) -> Vec<u8> {
        let dim = input.iter().map(|&dim_value| Dimension { dim_value, ..Dimension::default() });
        let tensor = TensorType { elem_type: 1, shape: Some(Shape { dim: dim.collect() }) };
        let input = Value { name: "x".to_owned(), r#type: Some(Type { tensor: Some(tensor) }) };
        let output = Value { name: self.nodes.last().unwrap().name.clone(), ..Value::default() };
        let graph = Graph {
            node: self.nodes,
            initializer: self.weights,
            input: vec![input],
            output: vec![output],
            ..Graph::default()
        };
        Model { ir_version: 8, graph: Some(graph), ..Model::default() }.encode_to_vec()
    }
}

fn infogan() -> Vec<u8> {
    let mut file = File::default();
    let (w, b) = (file.weight(&[16, 64 * 16]), file.weight(&[64 * 16]));
    let x = file.node("Gemm", &["x", &w, &b], vec![]);
    let shape = Tensor {
        name: "image".to_owned(),
        data_type: 7,
        dims: vec![4],
        int64_data: vec![1, 64, 4, 4],
        ..Tensor::default()
    };
    file.weights.push(shape);
    let x = file.node("Reshape", &[&x, "image"], vec![]);
    let x = file.relu(&x);
    let x = file.up(&x, [64, 32], 4, 2, 1);
    let x = file.norm_relu(&x, 32);
    let x = file.up(&x, [32, 16], 4, 2, 1);
    let x = file.norm_relu(&x, 16);
    let x = file.up(&x, [16, 1], 4, 2, 1);
    file.node("Sigmoid", &[&x], vec![]);
    file.bytes(&[1, 16])
}

fn dcgan() -> Vec<u8> {
    let mut file = File::default();
    let x = file.up("x", [32, 64], 4, 1, 0);
    let x = file.norm_relu(&x, 64);
    let x = file.up(&x, [64, 32], 4, 2, 1);
    let x = file.norm_relu(&x, 32);
    let x = file.up(&x, [32, 16], 4, 2, 1);
    let x = file.norm_relu(&x, 16);
    let x = file.up(&x, [16, 3], 4, 2, 1);
    file.node("Tanh", &[&x], vec![]);
    file.bytes(&[1, 32, 1, 1])
}

fn fsrcnn() -> Vec<u8> {
    let mut file = File::default();
    let x = file.conv("x", [1, 32], [5, 5], 1, 1);
    let x = file.slope(&x, 32);
    let x = file.conv(&x, [32, 8], [1, 1], 1, 1);
    let mut x = file.slope(&x, 8);
    for _ in 0..4 {
        x = file.conv(&x, [8, 8], [3, 3], 1, 1);
        x = file.slope(&x, 8);
    }
    let x = file.conv(&x, [8, 32], [1, 1], 1, 1);
    let x = file.slope(&x, 32);
    file.up(&x, [32, 1], 9, 3, 3);
    file.bytes(&[1, 1, 16, 16])
}

fn gcn() -> Vec<u8> {
    let mut file = File::default();
    let a = file.conv("x", [16, 8], [7, 1], 1, 1);
    let a = file.conv(&a, [8, 8], [1, 7], 1, 1);
    let b = file.conv("x", [16, 8], [1, 7], 1, 1);
    let b = file.conv(&b, [8, 8], [7, 1], 1, 1);
    let x = file.node("Add", &[&a, &b], vec![]);
    let y = file.conv(&x, [8, 8], [3, 3], 1, 1);
    let y = file.relu(&y);
    let y = file.conv(&y, [8, 8], [3, 3], 1, 1);
    file.node("Add", &[&x, &y], vec![]);
    file.bytes(&[1, 16, 16, 16])
}

fn resnet() -> Vec<u8> {
    let mut file = File::default();
    let x = file.conv("x", [3, 8], [3, 3], 1, 1);
    let mut x = file.norm_relu(&x, 8);
    let mut channels = 8;
    for width in [8, 16, 32, 64] {
        for block in 0..2 {
            let stride = if block == 0 && width > 8 { 2 } else { 1 };
            let y = file.conv(&x, [channels, width], [3, 3], stride, 1);
            let y = file.norm_relu(&y, width);
            let y = file.conv(&y, [width, width], [3, 3], 1, 1);
            let y = file.norm(&y, width);
            if stride > 1 {
                let short = file.conv(&x, [channels, width], [1, 1], stride, 1);
                x = file.norm(&short, width);
            }
            let sum = file.node("Add", &[&x, &y], vec![]);
            x = file.relu(&sum);
            channels = width;
        }
    }
    let x = file.node("GlobalAveragePool", &[&x], vec![]);
    let x = file.node("Flatten", &[&x], vec![]);
    let (w, b) = (file.weight(&[64, 10]), file.weight(&[10]));
    file.node("Gemm", &[&x, &w, &b], vec![]);
    file.bytes(&[1, 3, 32, 32])
}

fn csrnet() -> Vec<u8> {
    let mut file = File::default();
    let x = file.conv("x", [3, 16], [3, 3], 1, 1);
    let x = file.relu(&x);
    let pool = vec![integers("kernel_shape", &[2, 2]), integers("strides", &[2, 2])];
    let x = file.node("MaxPool", &[&x], pool);
    let mut x = file.conv(&x, [16, 32], [3, 3], 1, 1);
    for channels in [[32, 32], [32, 32], [32, 16]] {
        let y = file.relu(&x);
        x = file.conv(&y, channels, [3, 3], 1, 2);
    }
    let x = file.relu(&x);
    file.conv(&x, [16, 1], [1, 1], 1, 1);
    file.bytes(&[1, 3, 24, 24])
}

const LONGFORMER: &str = "
input  X[64, 32]
weight Q[2, 16, 32]
weight K[2, 16, 32]
weight V[2, 16, 32]
weight A[32, 2, 16]
q[b: 2, m: 64, k: 16] = sum c: 32 . X[m, c] * Q[b, k, c]
k[b: 2, m: 64, k: 16] pad 0, 32, 0 = sum c: 32 . X[m, c] * K[b, k, c]
v[b: 2, m: 64, k: 16] pad 0, 32, 0 = sum c: 32 . X[m, c] * V[b, k, c]
S[b: 2, m: 64, w: 17] = sum k: 16 . q[b, m, k] * k[b, m + 4 * w - 32, k]
E[b: 2, m: 64, w: 17] = exp(S[b, m, w])
N[b: 2, m: 64] = sum w: 17 . E[b, m, w]
P[b: 2, m: 64, w: 17] = E[b, m, w] * reciprocal(N[b, m])
H[b: 2, m: 64, k: 16] = sum w: 17 . P[b, m, w] * v[b, m + 4 * w - 32, k]
O[m: 64, i: 32] = sum b: 2, k: 16 . H[b, m, k] * A[i, b, k]
";

/// Each with its name, and how many rules a search may use: transposed convolutions need more.
pub fn all() -> Vec<(&'static str, Network, u8)> {
    let file = |bytes: Vec<u8>| read(&bytes).unwrap_or_else(|error| panic!("{error}"));
    vec![
        ("InfoGAN", file(infogan()), 5),
        ("DCGAN", file(dcgan()), 5),
        ("FSRCNN", file(fsrcnn()), 5),
        ("GCN", file(gcn()), 4),
        ("ResNet-18", file(resnet()), 3),
        ("CSRNet", file(csrnet()), 4),
        ("LongFormer", parse(LONGFORMER).unwrap(), 4),
    ]
}
