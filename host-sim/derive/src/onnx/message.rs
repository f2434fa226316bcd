//! The parts of ONNX's messages that are read: `onnx.proto3`, with its numbers of fields.

use prost::Message;

/// A file.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    /// Version of the format.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// What is computed.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    /// Versions of the sets of operators.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
}

/// A set of operators and its version.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSet {
    /// Its name; none for ONNX's own.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Its version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// Nodes in the order in which they are computed.
#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    /// The nodes.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    /// What it is called.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Tensors whose numbers are in the file.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    /// What comes with every run; initializers may be among them.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<Value>,
    /// The results.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<Value>,
}

/// An operator with its operands.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    /// Names of operands; empty where one is left out.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of results.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Its own name, which may be empty.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The operator.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// What else it is told.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
    /// The set that it is of; none for ONNX's own.
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// A setting of a node.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    /// What it is called.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A number.
    #[prost(float, tag = "2")]
    pub f: f32,
    /// An integer.
    #[prost(int64, tag = "3")]
    pub i: i64,
    /// A text.
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    /// A tensor.
    #[prost(message, optional, tag = "5")]
    pub t: Option<Tensor>,
    /// Integers.
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
}

/// A tensor whose numbers are in the file. Only those of shapes are looked at.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// Its shape.
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    /// The type of its numbers: 1 for 32-bit floats, 7 for 64-bit integers.
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Its numbers, if they are 64-bit integers.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// What it is called.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Its numbers in little-endian order, if they are not in a field of their type.
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

/// A tensor by name and shape.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// What it is called.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<Type>,
}

/// The type of a value; only tensors are read.
#[derive(Clone, PartialEq, Message)]
pub struct Type {
    /// A tensor's.
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorType>,
}

/// The type of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// Type of its numbers.
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    /// Its shape.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

/// A shape.
#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    /// Its dimensions.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// A dimension: a number, or a name for one that is not known.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// The extent; 0 where there is none.
    #[prost(int64, tag = "1")]
    pub dim_value: i64,
    /// The name.
    #[prost(string, tag = "2")]
    pub dim_param: String,
}
