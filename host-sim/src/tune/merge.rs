//! Adapters as part of the matrices they stand beside.
//!
//! In: a model, adapters of its shape. Out: the model with `W + alpha / rank * B A` for `W`.

use crate::machine::adapter::Saved;
use crate::model::Model;
use ripple_kernel::adapter::Target;

/// Adds `saved`, adapters of a model of this shape, to the matrices of attention.
///
/// # Panics
/// When there are not as many numbers as the shape says.
pub fn merge(model: &mut Model, saved: &Saved) {
    let config = model.config;
    let (shape, numbers) = (&saved.shape, &saved.numbers);
    let of_layer = shape.layer_numbers(&config);
    let (rank, scale) = (shape.rank as usize, f64::from(shape.alpha) / f64::from(shape.rank));
    for (layer, numbers) in model.layers.iter_mut().zip(numbers.chunks_exact(of_layer)) {
        for target in Target::ALL.into_iter().filter(|target| shape.targets.has(*target)) {
            let matrix = match target {
                Target::Query => &mut layer.query.weight,
                Target::Key => &mut layer.key.weight,
                Target::Value => &mut layer.value.weight,
                Target::Output => &mut layer.output.weight,
            };
            let (a, b) = shape.places(&config, target);
            let (a, b) = (&numbers[a], &numbers[b]);
            let cols = matrix.cols;
            for (row, b) in matrix.values_mut().chunks_exact_mut(cols).zip(b.chunks_exact(rank)) {
                for (j, w) in row.iter_mut().enumerate() {
                    let inner = b.iter().zip(a.iter().skip(j).step_by(cols));
                    let sum: f64 = inner.map(|(b, a)| f64::from(*b) * f64::from(*a)).sum();
                    *w = (f64::from(*w) + scale * sum) as f32;
                }
            }
        }
    }
}
