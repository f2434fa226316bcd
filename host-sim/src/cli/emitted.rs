//! A derived network with its numbers, as a program: what `ripple derive -o` writes under a name in `.plan`.
//!
//! In: a derived network, its file, and what its tensors range over or where random weights begin. Out: the
//! program's image. Knows nothing of how the network was derived.

use super::npy;
use crate::process::failure::bad_input;
use anyhow::{Context, Result, bail};
use ripple_derive::derive::Program;
use ripple_derive::emit::{Emitted, Numbers, Shape, emit};
use ripple_derive::machine::Machine;
use ripple_derive::network::Network;
use ripple_derive::onnx;
use std::path::{Path, PathBuf};

/// Where the numbers of a network's weights come from.
pub struct Weights<'a> {
    /// The file of the network: an ONNX file has its own.
    pub network: &'a Path,
    /// Inputs that an ONNX file's network is computed with, to see what its tensors range over.
    pub calibrate: &'a [PathBuf],
    /// Where the random numbers of a text's weights begin.
    pub random: Option<u32>,
}

impl Weights<'_> {
    /// The program with its numbers.
    pub fn program(&self, program: &Program, machine: &Machine) -> Result<Emitted> {
        let network = &program.network;
        let named =
            |error: anyhow::Error| bad_input(error).context(self.network.display().to_string());
        let numbers = if is(self.network, "onnx") {
            self.of_onnx(network)
        } else {
            let seed = self.random.context(
                "a text has no weights; --random SEED takes random ones, an ONNX file has its own",
            );
            seed.and_then(|seed| {
                let random = |id: usize| {
                    let mut state = seed ^ (id as u32).wrapping_mul(0x9E37_79B9);
                    let next = |_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        f64::from(((state >> 24) as i8).max(-127))
                    };
                    (0..network.tensors[id].len()).map(next).collect::<Vec<f64>>()
                };
                let weights = (0..network.tensors.len()).map(random).collect();
                let inputs: Vec<Vec<f64>> = network.inputs().map(random).collect();
                Ok(Numbers::of(network, weights, &[inputs], false)?)
            })
        };
        Ok(emit(program, &numbers.map_err(named)?, machine)?)
    }

    /// The numbers of an ONNX file's weights, and what its tensors range over.
    fn of_onnx(&self, network: &Network) -> Result<Numbers> {
        let mut given = onnx::given(&std::fs::read(self.network)?)?;
        let ids: Vec<usize> = network.inputs().collect();
        let &[id] = ids.as_slice() else {
            bail!("expected a network of one input for a .plan, found {}", ids.len());
        };
        let name = &network.tensors[id].name;
        let found = given.inputs.iter().find(|(known, _)| known == name);
        let shape = found.context("the input is none of the file's")?.1.clone();
        let extents: Vec<usize> = shape.iter().map(|&extent| extent.max(0) as usize).collect();
        let numbers: usize = extents.iter().product();
        if self.calibrate.is_empty() {
            bail!(
                "a .plan of real numbers needs inputs to look at: --calibrate X.npy, of shape {shape:?}"
            );
        }
        let mut sets = Vec::new();
        for path in self.calibrate {
            let array =
                npy::read(&std::fs::read(path)?).with_context(|| path.display().to_string())?;
            if numbers == 0
                || !array.numbers.len().is_multiple_of(numbers)
                || !array.shape.ends_with(&extents[1..])
            {
                bail!(
                    "{}: expected an array of {shape:?}, or of several, found {:?}",
                    path.display(),
                    array.shape
                );
            }
            let image = extents.len() == 4;
            let set = |part: &[f64]| match image {
                true => npy::images(&extents, part, false),
                false => part.to_vec(),
            };
            sets.extend(array.numbers.chunks(numbers).map(|part| vec![set(part)]));
        }
        let named = |tensor: &ripple_derive::expr::Tensor| given.weights.remove(&tensor.name);
        let weights = network.tensors.iter().map(named).map(Option::unwrap_or_default).collect();
        let mut numbers = Numbers::of(network, weights, &sets, true)?;
        numbers.shapes.insert(id, Shape::of(&shape, shape.len() == 4));
        let last = network.definitions.last().context("no result")?.tensor as usize;
        let result = &network.tensors[last].shape;
        if given.output == 4 {
            // In the file channels come before rows, behind how many images there are.
            let file = match *result.as_slice() {
                [h, w, c] => vec![1, c, h, w],
                [n, h, w, c] => vec![n, c, h, w],
                _ => result.clone(),
            };
            numbers.shapes.insert(last, Shape::of(&file, file.len() == 4));
        }
        Ok(numbers)
    }
}

/// Whether a file is called so.
pub fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|own| own == extension)
}
