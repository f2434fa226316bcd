//! Networks: several expressions, each of which may read what those before it define.
//!
//! In: tensors and definitions. Out: their numbers, and which definition reads which. Knows nothing of how
//! they are written down or computed.

use crate::expr::{Kind, Scope, Target, Tensor};
use crate::interpret::{Number, Overflow, interpret};

/// A definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The tensor that it defines, by its place.
    pub tensor: u32,
    /// What it is.
    pub scope: Scope,
}

/// Tensors, and how those that are no inputs and weights are computed, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// Inputs, weights and what is defined. What depends on weights alone is a weight.
    pub tensors: Vec<Tensor>,
    /// The definitions; the last one is the result.
    pub definitions: Vec<Definition>,
}

impl Network {
    /// The numbers of every tensor. `given`: those of inputs and weights; what is defined may be empty.
    ///
    /// # Errors
    /// Where a number does not fit.
    pub fn interpret<N: Number>(&self, mut given: Vec<Vec<N>>) -> Result<Vec<Vec<N>>, Overflow> {
        let shapes: Vec<Vec<i64>> = self.tensors.iter().map(|t| t.shape.clone()).collect();
        for definition in &self.definitions {
            given[definition.tensor as usize] = interpret(&definition.scope, &shapes, &given)?;
        }
        Ok(given)
    }

    /// Places of the definitions that read tensor `id`.
    pub fn readers(&self, id: u32) -> Vec<usize> {
        let reads = |definition: &Definition| {
            let mut found = false;
            definition.scope.body.accesses(&mut |access| found |= access.reads(id));
            found
        };
        (0..self.definitions.len()).filter(|&at| reads(&self.definitions[at])).collect()
    }

    /// The definition of tensor `id`, by its place; `None` for inputs and weights.
    pub fn definition_of(&self, id: u32) -> Option<usize> {
        self.definitions.iter().position(|definition| definition.tensor == id)
    }

    /// Places of the tensors that come with every run, and are read.
    pub fn inputs(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.tensors.len()).filter(|&id| {
            let given = self.tensors[id].kind == Kind::Input;
            given && self.definition_of(id as u32).is_none() && !self.readers(id as u32).is_empty()
        })
    }

    /// Pads every tensor as far as it is read outside.
    pub fn pad(&mut self) {
        for Definition { scope, .. } in &self.definitions {
            let ranges = scope.ranges();
            let tensors = &mut self.tensors;
            scope.body.accesses(&mut |access| {
                let Target::Tensor(id) = access.target else { return };
                let tensor = &mut tensors[id as usize];
                for (d, index) in access.index.iter().enumerate() {
                    let (span, (before, after)) = (index.span(&ranges), tensor.padding[d]);
                    let beyond = span.hi - tensor.shape[d];
                    tensor.padding[d] = (before.max(-span.lo), after.max(beyond));
                }
            });
        }
    }

    /// Adds a tensor that is not defined.
    pub fn declare(&mut self, tensor: Tensor) -> u32 {
        self.tensors.push(tensor);
        self.tensors.len() as u32 - 1
    }

    /// Adds a definition, whose dimensions begin at 0.
    pub fn define(&mut self, name: impl Into<String>, scope: Scope) -> u32 {
        let kind = if scope.is_weight(&self.tensors) { Kind::Weight } else { Kind::Input };
        let shape: Vec<i64> = scope.loops.iter().map(|range| range.len()).collect();
        let tensor = self.declare(Tensor::new(name, kind, &shape));
        self.definitions.push(Definition { tensor, scope });
        tensor
    }
}
