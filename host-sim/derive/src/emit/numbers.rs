//! The numbers of a network: its weights, and what its tensors range over.
//!
//! In: weights, and inputs to look at. Out: weights in 8 bits, and what the integer 1 of each tensor stands
//! for. Integer networks keep their numbers: only what is between layers is shifted. Real ones have a scale
//! for each tensor, and one for each channel of a weight.

use super::write::Shape;
use crate::expr::{Function, Kind};
use crate::interpret::{Number, interpret};
use crate::network::Network;
use rustc_hash::FxHashMap;

/// Why numbers do not fit their network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NumbersError {
    /// There are none.
    #[error("weight {0} has no numbers")]
    Missing(String),
    /// Too few or too many.
    #[error("{name} of {shape:?} has {found} numbers, expected {expected}")]
    Count {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
        /// Numbers that it should have.
        expected: i64,
        /// That are there.
        found: usize,
    },
    /// An integer beyond 8 bits, or a number that is none.
    #[error("{name}: expected {expected}, found {found}")]
    Value {
        /// The tensor.
        name: String,
        /// What there may be.
        expected: &'static str,
        /// What there is.
        found: f64,
    },
    /// The numbers of an input cannot be computed with.
    #[error("a number of the network is too large to be looked at")]
    Overflow,
}

/// Real numbers.
impl Number for f64 {
    fn of(value: i64) -> Self {
        value as Self
    }

    fn plus(self, other: Self) -> Option<Self> {
        Some(self + other)
    }

    fn times(self, other: Self) -> Option<Self> {
        Some(self * other)
    }

    fn apply(self, function: Function) -> Option<Self> {
        Some(match function.name() {
            "relu" => self.max(0.0),
            "tanh" => self.tanh(),
            "square" => self * self,
            "sigmoid" => 1.0 / (1.0 + (-self).exp()),
            "exp" => self.exp(),
            "reciprocal" => 1.0 / self,
            "rsqrt" => 1.0 / self.sqrt(),
            _ => return None,
        })
    }
}

/// Weights and ranges of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// Whether it is a network of real numbers.
    pub real: bool,
    /// Numbers of every weight, those that are defined among them.
    pub weights: Vec<Vec<f64>>,
    /// The largest magnitude of every tensor that is no weight.
    pub most: Vec<f64>,
    /// Inputs and outputs that are otherwise in their file than in the network.
    pub shapes: FxHashMap<usize, Shape>,
}

/// The largest magnitude of 8 bits.
pub const MOST: f64 = 127.0;

impl Numbers {
    /// `given`: numbers of each weight of `network` by its place, nothing for others. `inputs`: sets of inputs
    /// to look at, each with the numbers of all inputs in their order.
    ///
    /// # Errors
    /// Names the tensor, what was expected and what was found.
    pub fn of(
        network: &Network,
        given: Vec<Vec<f64>>,
        inputs: &[Vec<Vec<f64>>],
        real: bool,
    ) -> Result<Self, NumbersError> {
        let mut weights = given;
        weights.resize(network.tensors.len(), Vec::new());
        let shapes: Vec<Vec<i64>> = network.tensors.iter().map(|t| t.shape.clone()).collect();
        let count = |name: &str, shape: &[i64], found: usize| {
            let expected: i64 = shape.iter().product();
            let (name, shape) = (name.to_owned(), shape.to_vec());
            match expected == found as i64 {
                true => Ok(()),
                false => Err(NumbersError::Count { name, shape, expected, found }),
            }
        };
        for (id, tensor) in network.tensors.iter().enumerate() {
            let defined = network.definition_of(id as u32).is_some();
            if tensor.kind != Kind::Weight || defined || network.readers(id as u32).is_empty() {
                continue;
            }
            if weights[id].is_empty() {
                return Err(NumbersError::Missing(tensor.name.clone()));
            }
            count(&tensor.name, &tensor.shape, weights[id].len())?;
            let whole = |x: f64| x.fract() == 0.0 && x.abs() <= MOST;
            let wrong = |x: &&f64| !x.is_finite() || !real && !whole(**x);
            if let Some(&found) = weights[id].iter().find(wrong) {
                let expected = if real { "a number" } else { "an integer from -127 to 127" };
                return Err(NumbersError::Value { name: tensor.name.clone(), expected, found });
            }
        }
        for definition in &network.definitions {
            let id = definition.tensor as usize;
            if network.tensors[id].kind == Kind::Weight {
                let values = interpret(&definition.scope, &shapes, &weights);
                weights[id] = values.map_err(|_| NumbersError::Overflow)?;
            }
        }
        let mut most = vec![0.0; network.tensors.len()];
        let ids: Vec<usize> = network.inputs().collect();
        for set in inputs {
            let mut all = weights.clone();
            for (&id, values) in ids.iter().zip(set) {
                count(&network.tensors[id].name, &shapes[id], values.len())?;
                all[id].clone_from(values);
            }
            let all = network.interpret(all).map_err(|_| NumbersError::Overflow)?;
            for (most, values) in most.iter_mut().zip(&all) {
                *most = values.iter().fold(*most, |most: f64, x| most.max(x.abs()));
            }
        }
        Ok(Self { real, weights, most, shapes: FxHashMap::default() })
    }

    /// What the integer 1 of tensor `id` stands for, as a power of two, in an integer network: inputs are as
    /// they are.
    pub fn shift(&self, id: usize, input: bool) -> i32 {
        if input || self.most[id] <= MOST {
            return 0;
        }
        (self.most[id] / MOST).log2().ceil() as i32
    }

    /// The same in a network of real numbers.
    pub fn scale(&self, id: usize) -> f32 {
        if self.most[id] > 0.0 { (self.most[id] / MOST) as f32 } else { 1.0 }
    }

    /// Weight `id` in 8 bits, and what a 1 stands for: in each slice of dimension `along`, if there is one.
    pub fn small(&self, id: usize, shape: &[i64], along: Option<usize>) -> (Vec<i64>, Vec<f32>) {
        let values = &self.weights[id];
        if !self.real {
            return (values.iter().map(|&x| x as i64).collect(), vec![1.0]);
        }
        let step: i64 = along.map_or(1, |d| shape[d + 1..].iter().product());
        let slices = along.map_or(1, |d| shape[d]) as usize;
        let slice = |place: usize| place / step.max(1) as usize % slices;
        let mut most = vec![0f64; slices];
        for (place, x) in values.iter().enumerate() {
            most[slice(place)] = most[slice(place)].max(x.abs());
        }
        let scale = |most: &f64| if *most > 0.0 { (most / MOST) as f32 } else { 1.0 };
        let scales: Vec<f32> = most.iter().map(scale).collect();
        let small = values.iter().enumerate().map(|(place, x)| {
            (x / f64::from(scales[slice(place)])).round().clamp(-MOST, MOST) as i64
        });
        (small.collect(), scales)
    }
}
