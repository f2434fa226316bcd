//! The numbers of a file's weights, and the shapes of what goes in and comes out, as the file has them.
//!
//! In: the bytes of a file. Out: numbers by the names that the network gives weights. Knows nothing of what is
//! computed.

use super::{OnnxError, Value, plain};
use prost::Message;
use rustc_hash::FxHashMap;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "5")]
    t: Option<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(int64, repeated, tag = "7")]
    int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
    #[prost(double, repeated, tag = "10")]
    double_data: Vec<f64>,
}

/// What a file has beside what it computes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// Numbers of each weight. Those of other types than floats and 64-bit integers are not here.
    pub weights: FxHashMap<String, Vec<f64>>,
    /// Inputs that are no weights, by the network's names, with their shapes in the file.
    pub inputs: Vec<(String, Vec<i64>)>,
    /// Dimensions of the first output, where the file says how many.
    pub output: usize,
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    let raw = &tensor.raw_data;
    Some(match tensor.data_type {
        1 if raw.is_empty() => tensor.float_data.iter().map(|&x| x.into()).collect(),
        1 => raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
        7 if raw.is_empty() => tensor.int64_data.iter().map(|&x| x as f64).collect(),
        7 => raw.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
        11 if raw.is_empty() => tensor.double_data.clone(),
        11 => raw.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        _ => return None,
    })
}

/// Dimensions that a value has in the file, those that are no numbers as 0.
fn shape(value: &Value) -> Vec<i64> {
    let tensor = value.r#type.as_ref().and_then(|kind| kind.tensor.as_ref());
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
    shape.map_or_else(Vec::new, |shape| shape.dim.iter().map(|dim| dim.dim_value).collect())
}

/// Reads what [`read`](super::read) leaves.
///
/// # Errors
/// When it is no such file.
pub fn given(bytes: &[u8]) -> Result<Given, OnnxError> {
    let model = Model::decode(bytes).map_err(|error| OnnxError::Format(error.to_string()))?;
    let graph = model.graph.ok_or(OnnxError::Empty)?;
    let mut given = Given::default();
    let constants = graph.node.iter().filter(|node| node.op_type == "Constant");
    let constants = constants.filter_map(|node| {
        let value = node.attribute.iter().find(|attribute| attribute.name == "value")?;
        Some((node.output.first()?, value.t.as_ref()?))
    });
    let known = graph.initializer.iter().map(|tensor| (&tensor.name, tensor));
    for (name, tensor) in known.chain(constants) {
        if let Some(numbers) = numbers(tensor) {
            given.weights.insert(plain(name), numbers);
        }
    }
    let initial = |value: &&Value| graph.initializer.iter().all(|t| t.name != value.name);
    let inputs = graph.input.iter().filter(initial);
    given.inputs = inputs.map(|value| (plain(&value.name), shape(value))).collect();
    given.output = graph.output.first().map_or(0, |value| shape(value).len());
    Ok(given)
}
