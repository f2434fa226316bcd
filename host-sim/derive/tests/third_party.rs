//! Models that others wrote, with the results that they expect: those of the Python package `onnx`
//! (Apache-2.0). Whatever is read must give them; all else must be refused by name.
//!
//! ```sh
//! pip install onnx==1.23.2
//! ONNX_DATA=.../site-packages/onnx/backend/test/data cargo test -p ripple-derive --test third_party -- --ignored
//! ```

use prost::Message;
use ripple_derive::expr::Function;
use ripple_derive::interpret::Number;
use ripple_derive::onnx::{File, Model, OnnxError, read_file};
use std::fs;
use std::path::Path;

/// Real numbers: what the models are computed in.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Real(f64);

impl Number for Real {
    fn of(value: i64) -> Self {
        Self(value as f64)
    }

    fn plus(self, other: Self) -> Option<Self> {
        Some(Self(self.0 + other.0))
    }

    fn times(self, other: Self) -> Option<Self> {
        Some(Self(self.0 * other.0))
    }

    fn apply(self, function: Function) -> Option<Self> {
        Some(Self(match function {
            Function::Relu => self.0.max(0.0),
            Function::Tanh => self.0.tanh(),
            Function::Square => self.0 * self.0,
            Function::Sigmoid => 1.0 / (1.0 + (-self.0).exp()),
            Function::Exp => self.0.exp(),
            Function::Reciprocal => 1.0 / self.0,
            Function::InverseRoot => 1.0 / self.0.sqrt(),
        }))
    }
}

/// A tensor with its numbers.
#[derive(Clone, PartialEq, Message)]
struct Numbers {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

impl Numbers {
    fn values(&self) -> Option<Vec<Real>> {
        let raw = self.raw_data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let all: Vec<f32> =
            if self.raw_data.is_empty() { self.float_data.clone() } else { raw.collect() };
        (self.data_type == 1).then(|| all.iter().map(|&x| Real(x.into())).collect())
    }

    /// Rows of pixels, each with its channels, if they are images.
    fn as_network(&self) -> Option<Vec<Real>> {
        let values = self.values()?;
        let [n, c, h, w] = *self.dims.as_slice() else { return Some(values) };
        let rows = (0..n).flat_map(|m| (0..h).map(move |y| (m, y)));
        let pixels = rows.flat_map(|(m, y)| (0..w).map(move |x| (m, y, x)));
        let places = pixels
            .flat_map(|(m, y, x)| (0..c).map(move |i| (((m * c + i) * h + y) * w + x) as usize));
        Some(places.map(|place| values[place]).collect())
    }
}

fn file(path: &Path) -> Option<Numbers> {
    Numbers::decode(fs::read(path).ok()?.as_slice()).ok()
}

/// Whether a model gave what it should; `None` where its data are none that can be compared.
fn gives_what_is_expected(folder: &Path) -> Result<Option<bool>, OnnxError> {
    let bytes = fs::read(folder.join("model.onnx")).unwrap();
    let File { network, filled } = read_file(&bytes)?;
    let graph = Model::decode(bytes.as_slice()).unwrap().graph.unwrap();
    let data = folder.join("test_data_set_0");
    let plain = |name: &str| {
        let name: String =
            name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
        if name.starts_with(|c: char| c.is_numeric()) { format!("_{name}") } else { name }
    };
    let mut given = vec![Vec::new(); network.tensors.len()];
    let mut files = 0;
    for value in &graph.input {
        let Some(at) = network.tensors.iter().position(|t| t.name == plain(&value.name)) else {
            continue;
        };
        let own = graph.initializer.iter().find(|tensor| tensor.name == value.name);
        let numbers = match own {
            Some(tensor) => Numbers::decode(tensor.encode_to_vec().as_slice()).ok(),
            None => {
                files += 1;
                file(&data.join(format!("input_{}.pb", files - 1)))
            }
        };
        let weight = own.is_some();
        let values = numbers.and_then(|n| if weight { n.values() } else { n.as_network() });
        let Some(values) = values else { return Ok(None) };
        given[at] = values;
    }
    for tensor in &graph.initializer {
        let at = network.tensors.iter().position(|t| t.name == plain(&tensor.name)).unwrap();
        let numbers = Numbers::decode(tensor.encode_to_vec().as_slice()).unwrap();
        if let Some(values) = numbers.values() {
            given[at] = values;
        }
    }
    for (id, value) in filled {
        given[id as usize] = vec![Real(value)];
    }
    if network.tensors.iter().enumerate().any(|(id, tensor)| {
        let needed =
            network.definition_of(id as u32).is_none() && !network.readers(id as u32).is_empty();
        needed && given[id].len() as i64 != tensor.len()
    }) {
        return Ok(None);
    }
    let last = network.definitions.last().unwrap().tensor as usize;
    let found = network.interpret(given).unwrap().swap_remove(last);
    let Some(expected) = file(&data.join("output_0.pb")).and_then(|n| n.as_network()) else {
        return Ok(None);
    };
    let near = |(a, b): (&Real, &Real)| (a.0 - b.0).abs() <= 1e-4 * b.0.abs().max(1.0);
    Ok(Some(found.len() == expected.len() && found.iter().zip(&expected).all(near)))
}

#[test]
#[ignore = "needs files from elsewhere"]
fn third_party_models_give_what_they_should_or_are_refused() {
    let root = std::env::var("ONNX_DATA").expect("ONNX_DATA: the folder of the models");
    let (mut right, mut wrong, mut refused, mut other) = (Vec::new(), Vec::new(), 0, Vec::new());
    for set in ["simple", "pytorch-converted", "pytorch-operator"] {
        let mut folders: Vec<_> =
            fs::read_dir(Path::new(&root).join(set)).unwrap().map(|e| e.unwrap().path()).collect();
        folders.sort();
        for folder in folders.iter().filter(|folder| folder.join("model.onnx").exists()) {
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            match gives_what_is_expected(folder) {
                Ok(Some(true)) => right.push(name),
                Ok(Some(false)) => wrong.push(name),
                Ok(None) => other.push(name),
                Err(error) => {
                    refused += 1;
                    println!("{name}: {error}");
                }
            }
        }
    }
    println!("right: {right:?}\nnot compared: {other:?}\nrefused: {refused}");
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(right.len() >= 15, "{right:?}");
}
