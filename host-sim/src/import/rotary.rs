//! The order of the rows of query and key projections.
//!
//! Rotary positions turn pairs of numbers. Files of llama2.c and llama.cpp have the two of a pair next
//! to each other; Hugging Face checkpoints, and this project, have them half a head apart.

use super::in_file::Reordered;
use crate::model::Values;
use std::sync::Arc;

/// Reorders the rows of heads from neighbours to halves: rows `2i` and `2i + 1` of a head become rows
/// `i` and `i + head_dim / 2`. `values`: (heads * head_dim, cols).
pub(super) fn halves_of_neighbours(values: &[f32], head_dim: usize, cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * cols) {
        let rows = || head.chunks_exact(cols);
        out.extend(rows().step_by(2).chain(rows().skip(1).step_by(2)).flatten());
    }
    out
}

/// The same of numbers that may be stored elsewhere, and stay there.
pub(super) fn turned_rows(values: Values, head_dim: usize, cols: usize) -> Values {
    match values {
        Values::Held(values) => halves_of_neighbours(&values, head_dim, cols).into(),
        Values::Stored(_, count) => {
            let half = head_dim / 2;
            let row = move |row: usize| {
                let (head, at) = (row / head_dim * head_dim, row % head_dim);
                head + if at < half { 2 * at } else { 2 * (at - half) + 1 }
            };
            Values::Stored(Arc::new(Reordered { of: values, cols, row: Box::new(row) }), count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::halves_of_neighbours;

    #[test]
    fn the_first_of_every_pair_comes_first() {
        // Two heads of four rows of two numbers.
        let values: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let found = halves_of_neighbours(&values, 4, 2);
        let rows: Vec<f32> = found.iter().step_by(2).map(|x| x / 2.0).collect();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }
}
