//! Scales, offsets and orders of weights, computed into the weights at import.
//!
//! In: weights as a checkpoint has them, and what its family does to them in every step. Out: weights that
//! give the same without it. Knows nothing of files.

use super::rope::Rope;
use crate::model::{Linear, Matrix, NormWeights, Weights};
use ripple_kernel::config::ModelConfig;

/// What a family does to its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fold {
    /// Embeddings are multiplied with this.
    pub embed: f32,
    /// What attention and the FFN give is.
    pub residual: f32,
    /// Scores are, beyond `1 / sqrt(head_dim)`.
    pub score: f32,
    /// Logits are.
    pub logits: f32,
    /// This is added to the weights of norms.
    pub norm: f32,
}

impl Fold {
    /// Nothing.
    pub const NONE: Self = Self { embed: 1.0, residual: 1.0, score: 1.0, logits: 1.0, norm: 0.0 };

    /// Computes all of it into `weights`.
    pub fn apply(&self, config: &ModelConfig, rope: &Rope, weights: &mut Weights) {
        self.offset(weights);
        let mut logits = self.logits;
        if self.embed != 1.0 {
            scale(weights.embed.values_mut(), self.embed);
            // The table of a tied head is the same.
            if weights.head.is_none() {
                logits /= self.embed;
            }
        }
        scale(&mut weights.final_norm.weight, logits);
        scale(weights.final_norm.bias.as_deref_mut().unwrap_or_default(), logits);
        let head_dim = config.head_dim as usize;
        for layer in &mut weights.layers {
            for linear in [&mut layer.output, &mut layer.down] {
                scale_linear(linear, self.residual);
            }
            let gain = rope.gain();
            let heads = [
                (&mut layer.query, &mut layer.extra.query_norm, gain * self.score),
                (&mut layer.key, &mut layer.extra.key_norm, gain),
            ];
            for (linear, norm, factor) in heads {
                match norm {
                    Some(norm) => scale(norm, factor),
                    None => scale_linear(linear, factor),
                }
                if rope.turned != 0 && (rope.turned as usize) < head_dim {
                    let turned = rope.turned as usize;
                    let cols = linear.weight.cols;
                    turn_first(linear.weight.values_mut(), head_dim, turned, cols);
                    for values in [linear.bias.as_mut(), norm.as_mut()].into_iter().flatten() {
                        turn_first(values, head_dim, turned, 1);
                    }
                }
            }
        }
    }

    fn offset(&self, weights: &mut Weights) {
        let add = |norm: &mut NormWeights| norm.weight.iter_mut().for_each(|w| *w += self.norm);
        if self.norm == 0.0 {
            return;
        }
        add(&mut weights.final_norm);
        for layer in &mut weights.layers {
            let extra = &mut layer.extra;
            [&mut layer.attention_norm, &mut layer.ffn_norm].into_iter().for_each(add);
            let behind = [&mut extra.attention_out_norm, &mut extra.ffn_out_norm];
            behind.into_iter().flatten().for_each(add);
            let heads = [&mut extra.query_norm, &mut extra.key_norm];
            heads.into_iter().flatten().flatten().for_each(|w| *w += self.norm);
        }
    }
}

fn scale(values: &mut [f32], factor: f32) {
    if factor != 1.0 {
        values.iter_mut().for_each(|value| *value *= factor);
    }
}

fn scale_linear(linear: &mut Linear, factor: f32) {
    if factor != 1.0 {
        scale(linear.weight.values_mut(), factor);
    }
    scale(linear.bias.as_deref_mut().unwrap_or_default(), factor);
}

/// Reorders the rows of heads of which only the first `turned` numbers are turned, pairs half of that
/// apart, so that pairs are half a head apart and the turned ones come first.
fn turn_first(values: &mut [f32], head_dim: usize, turned: usize, cols: usize) {
    let half = turned / 2;
    let rest = (head_dim - turned) / 2;
    let rows = (0..half).chain(turned..turned + rest);
    let rows = rows.chain(half..turned).chain(turned + rest..head_dim);
    let order: Vec<usize> = rows.collect();
    for head in values.chunks_exact_mut(head_dim * cols) {
        let old = head.to_vec();
        for (out, row) in head.chunks_exact_mut(cols).zip(&order) {
            out.copy_from_slice(&old[row * cols..(row + 1) * cols]);
        }
    }
}

/// `A B^T`: rows of `a` times rows of `b`, which are as long.
pub(super) fn product(a: &Matrix, b: &Matrix) -> Matrix {
    use rayon::prelude::*;
    let mut data = vec![0.0; a.rows * b.rows];
    let (left, right) = (a.values(), b.values());
    data.par_chunks_mut(b.rows.max(1)).zip(left.par_chunks(a.cols.max(1))).for_each(|(out, a)| {
        for (out, b) in out.iter_mut().zip(right.chunks_exact(b.cols)) {
            // In double precision: what is computed here stands for two products that followed each other.
            *out = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32;
        }
    });
    Matrix::new(a.rows, b.rows, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turned_rows_come_first_and_pairs_are_half_a_head_apart() {
        // A head of eight rows of one number, of which four are turned: (0, 2) and (1, 3).
        let mut rows: Vec<f32> = (0..8).map(|i| i as f32).collect();
        turn_first(&mut rows, 8, 4, 1);
        assert_eq!(rows, [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    }

    #[test]
    fn a_product_is_of_rows_with_rows() {
        let a = Matrix::new(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = Matrix::new(1, 3, vec![1.0, 0.0, 2.0]);
        assert_eq!(*product(&a, &b).values(), [7.0, 16.0]);
    }
}
