//! Networks in ONNX: shapes and operators become expressions.
//!
//! In: the bytes of a file. Out: a network whose weights have names and shapes; their numbers are not looked
//! at, since no plan depends on them. What is not understood is refused, with its node. Images are rows of
//! pixels, each with its channels together, whatever the order in the file.

mod compound;
mod convolution;
mod message;
mod node;
mod numbers;
mod operators;

pub use message::{
    Attribute, Dimension, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type, Value,
};

pub use numbers::{Given, given};

use crate::check::ExprError;
use crate::expr::{Kind, Tensor as Declared};
use crate::index::Index;
use crate::network::Network;
use prost::Message;
use rustc_hash::FxHashMap;

/// Why a file is no network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OnnxError {
    /// It is not such a file.
    #[error("not an ONNX file: {0}")]
    Format(String),
    /// The file has no graph, or none with an operator.
    #[error("the file has no graph with a node")]
    Empty,
    /// A shape has a dimension that is not known.
    #[error(
        "input {name}: dimension {dimension} is {found}, expected a number; export with fixed shapes"
    )]
    Dynamic {
        /// The input.
        name: String,
        /// Which dimension.
        dimension: usize,
        /// What is there.
        found: String,
    },
    /// A tensor that no board could ever hold.
    #[error("tensor {name}: expected fewer than 2^40 numbers, found shape {shape:?}")]
    Large {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
    },
    /// An operator that is not known.
    #[error(
        "node {node}: operator {operator} is not supported; there are {}", operators::NAMES.join(", ")
    )]
    Operator {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
    },
    /// A setting or an operand of a node.
    #[error("node {node} ({operator}): expected {expected}, found {found}")]
    Node {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// What is supported.
        expected: String,
        /// What is there.
        found: String,
    },
    /// What is computed means nothing.
    #[error("node {node} ({operator}): {error}")]
    Meaning {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// Why.
        error: ExprError,
    },
}

/// A tensor of the file: its shape there, and where it is in the network.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    /// Shape in the file.
    shape: Vec<i64>,
    /// Its place among the network's tensors.
    id: u32,
    /// Whether it is one of images in the network: rows, columns, channels, behind the image if several.
    image: bool,
    /// Its numbers, where they are a shape.
    integers: Option<Vec<i64>>,
}

impl Known {
    /// Where the number at `place`, an index for each dimension of the file, is in the network.
    fn index(&self, place: &[Index]) -> Vec<Index> {
        match place {
            [n, c, h, w] if self.image => {
                let pixel = [h, w, c].map(Index::clone);
                // One image has no dimension for it.
                let which = if self.shape[0] == 1 { None } else { Some(n.clone()) };
                which.into_iter().chain(pixel).collect()
            }
            all => all.to_vec(),
        }
    }
}

/// A file as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// The network.
    pub network: Network,
    /// Weights that no tensor of the file is, each of one number, by their place in the network.
    pub filled: Vec<(u32, f64)>,
}

/// Reads a file.
///
/// # Errors
/// Names the node, what is supported and what was found.
pub fn read(bytes: &[u8]) -> Result<Network, OnnxError> {
    Ok(read_file(bytes)?.network)
}

/// The same, with the numbers that are settings of nodes: an epsilon, a slope, the share of one in a mean.
///
/// # Errors
/// As [`read`].
pub fn read_file(bytes: &[u8]) -> Result<File, OnnxError> {
    let model = Model::decode(bytes).map_err(|error| OnnxError::Format(error.to_string()))?;
    let graph = model.graph.filter(|graph| !graph.node.is_empty()).ok_or(OnnxError::Empty)?;
    let mut reader =
        Reader { network: Network::default(), known: FxHashMap::default(), filled: Vec::new() };
    for tensor in &graph.initializer {
        reader.weight(tensor)?;
    }
    for value in &graph.input {
        if !reader.known.contains_key(&value.name) {
            reader.input(value)?;
        }
    }
    for node in &graph.node {
        reader.node(node)?;
    }
    let wanted = graph.output.first().map(|value| value.name.as_str());
    let filled = std::mem::take(&mut reader.filled);
    Ok(File { network: reader.finish(wanted)?, filled })
}

/// Numbers of a tensor: so many, and products of them with strides, are far from what 64 bits hold.
const MOST_NUMBERS: i64 = 1 << 40;

/// A network that grows.
struct Reader {
    network: Network,
    known: FxHashMap<String, Known>,
    filled: Vec<(u32, f64)>,
}

/// A name as the notation has them.
fn plain(name: &str) -> String {
    let letter = |c: char| if c.is_alphanumeric() { c } else { '_' };
    let mut plain: String = name.chars().map(letter).collect();
    if plain.is_empty() || plain.starts_with(|c: char| c.is_numeric()) {
        plain.insert(0, '_');
    }
    plain
}

impl Reader {
    fn declare(&mut self, name: &str, kind: Kind, shape: &[i64]) -> Result<u32, OnnxError> {
        let all = shape.iter().try_fold(1i64, |all, &extent| all.checked_mul(extent));
        if all.is_none_or(|all| all >= MOST_NUMBERS) {
            return Err(OnnxError::Large { name: name.to_owned(), shape: shape.to_vec() });
        }
        let name = self.free(name);
        Ok(self.network.declare(Declared::new(name, kind, shape)))
    }

    /// `name` as the notation has it, and unlike all others.
    fn free(&self, name: &str) -> String {
        let mut name = plain(name);
        while self.network.tensors.iter().any(|tensor| tensor.name == name) {
            name.push('_');
        }
        name
    }

    fn weight(&mut self, tensor: &Tensor) -> Result<(), OnnxError> {
        let whole: Option<Vec<i64>> = match tensor.data_type {
            7 if !tensor.raw_data.is_empty() => Some(
                tensor.raw_data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            ),
            7 => Some(tensor.int64_data.clone()),
            _ => None,
        };
        let extents = tensor.dims.iter().enumerate().find(|(_, extent)| **extent <= 0);
        if let Some((dimension, found)) = extents.filter(|_| whole.is_none()) {
            let (name, found) = (tensor.name.clone(), found.to_string());
            return Err(OnnxError::Dynamic { name, dimension, found });
        }
        let shape = tensor.dims.clone();
        // A number alone is a row of one.
        let declared = if shape.is_empty() { vec![1] } else { shape.clone() };
        let id = self.declare(&tensor.name, Kind::Weight, &declared)?;
        let known = Known { shape: declared, id, image: false, integers: whole };
        self.known.insert(tensor.name.clone(), known);
        Ok(())
    }

    fn input(&mut self, value: &Value) -> Result<(), OnnxError> {
        let tensor = value.r#type.as_ref().and_then(|kind| kind.tensor.as_ref());
        let dims =
            tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| shape.dim.as_slice());
        let dims = dims.unwrap_or_default();
        let mut shape = Vec::with_capacity(dims.len());
        for (dimension, extent) in dims.iter().enumerate() {
            if extent.dim_value <= 0 {
                let named = !extent.dim_param.is_empty();
                let found = if named { extent.dim_param.clone() } else { "nothing".to_owned() };
                return Err(OnnxError::Dynamic { name: value.name.clone(), dimension, found });
            }
            shape.push(extent.dim_value);
        }
        if shape.is_empty() {
            let (name, found) = (value.name.clone(), "no shape".to_owned());
            return Err(OnnxError::Dynamic { name, dimension: 0, found });
        }
        let image = shape.len() == 4;
        let inside = match *shape.as_slice() {
            [1, c, h, w] => vec![h, w, c],
            [n, c, h, w] => vec![n, h, w, c],
            _ => shape.clone(),
        };
        let id = self.declare(&value.name, Kind::Input, &inside)?;
        self.known.insert(value.name.clone(), Known { shape, id, image, integers: None });
        Ok(())
    }

    /// The network without what the result does not need, padded as it is read.
    fn finish(mut self, wanted: Option<&str>) -> Result<Network, OnnxError> {
        let last = wanted.and_then(|name| self.known.get(name)).map(|known| known.id);
        let at = last.and_then(|id| self.network.definition_of(id)).ok_or(OnnxError::Empty)?;
        self.network.definitions.truncate(at + 1);
        while let Some(unused) = self.network.definitions.iter().position(|definition| {
            Some(definition.tensor) != last && self.network.readers(definition.tensor).is_empty()
        }) {
            self.network.definitions.remove(unused);
        }
        self.network.pad();
        Ok(self.network)
    }
}
