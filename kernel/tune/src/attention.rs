//! Attention over the tokens that are kept, at their original positions, and the way back.
//!
//! In: queries, keys and values. Out: the mixed values; or the gradients of all three, in their place.

use crate::real::Real;
use crate::shape::Shape;
use crate::vector::{axpy, dot, front_mut, row, row_mut};

/// What attention of a layer works on, of the tokens that are kept.
pub(crate) struct Heads<'a, R> {
    /// `(tokens, heads * head_dim)`.
    pub query: &'a mut [R],
    /// `(tokens, kv_heads * head_dim)`.
    pub key: &'a mut [R],
    /// As many.
    pub value: &'a mut [R],
    /// `(tokens, heads * head_dim)`.
    pub output: &'a mut [R],
    /// `(tokens, heads)`: logarithms of the sums of exponentials.
    pub log_sums: &'a mut [R],
    /// Tokens.
    pub count: usize,
}

/// Rotates each head of `x` by the angles of a position; back if `inverse`.
///
/// `angles`: `(head_dim,)` scratch. `frequencies`: `(head_dim / 2,)`, or none.
pub(crate) fn rotate<R: Real>(
    x: &mut [R],
    angles: &mut [R],
    frequencies: &[f32],
    position: usize,
    inverse: bool,
) {
    let half = frequencies.len();
    if half == 0 {
        return;
    }
    let (cos, sin) = angles.split_at_mut_checked(half).unwrap_or_default();
    for ((cos, sin), f) in cos.iter_mut().zip(sin.iter_mut()).zip(frequencies) {
        let (s, c) = (R::count(position) * R::of(*f)).sin_cos();
        (*cos, *sin) = (c, if inverse { -s } else { s });
    }
    for head in x.chunks_exact_mut(2 * half) {
        let (first, second) = head.split_at_mut_checked(half).unwrap_or_default();
        let pairs = first.iter_mut().zip(second);
        for ((a, b), (c, s)) in pairs.zip(cos.iter().zip(sin.iter())) {
            (*a, *b) = (*a * *c - *b * *s, *b * *c + *a * *s);
        }
    }
}

impl<R: Real> Heads<'_, R> {
    /// `o_i = sum_j p_ij v_j` with `p = softmax(q_i k_j / sqrt(head_dim))` over `j <= i`, and
    /// `log_sum_i = ln sum_j exp(q_i k_j / sqrt(head_dim))`.
    ///
    /// `scores`: `(tokens,)` scratch. Returns the multiply-accumulates.
    pub fn forward(&mut self, shape: &Shape, scores: &mut [R]) -> u64 {
        let Shape { heads, head_dim, query, kv, .. } = *shape;
        let group = heads.checked_div(shape.kv_heads).unwrap_or(1).max(1);
        let factor = R::ONE / R::count(head_dim).sqrt();
        for i in 0..self.count {
            for h in 0..heads {
                let g = h / group;
                let q = row(row(self.query, i, query), h, head_dim);
                let scores = front_mut(scores, i + 1);
                let mut most = R::LOWEST;
                for (j, score) in scores.iter_mut().enumerate() {
                    *score = factor * dot(q, row(row(self.key, j, kv), g, head_dim));
                    if *score > most {
                        most = *score;
                    }
                }
                let mut sum = R::ZERO;
                for score in scores.iter_mut() {
                    *score = (*score - most).exp();
                    sum += *score;
                }
                let out = row_mut(row_mut(self.output, i, query), h, head_dim);
                out.iter_mut().for_each(|out| *out = R::ZERO);
                for (j, score) in scores.iter().enumerate() {
                    axpy(out, *score / sum, row(row(self.value, j, kv), g, head_dim));
                }
                if let Some(place) = self.log_sums.get_mut(i * heads + h) {
                    *place = most + sum.ln();
                }
            }
        }
        2 * pairs(self.count) * query as u64
    }

    /// Puts the gradients of queries, keys and values in their place.
    ///
    /// `P = exp(q k / sqrt(head_dim) - log_sum)`, `D = do . o`, `dv += P do`,
    /// `dS = P (do . v - D) / sqrt(head_dim)`, `dq = dS k`, `dk += dS q`.
    ///
    /// `slopes`: `(tokens, heads * head_dim)`, of the output. `scratch`: `(2, tokens, head_dim)`. `vector`:
    /// `(head_dim,)`. Returns the multiply-accumulates.
    pub fn backward(
        &mut self,
        shape: &Shape,
        slopes: &[R],
        scratch: &mut [R],
        vector: &mut [R],
    ) -> u64 {
        let Shape { heads, head_dim, query, kv, .. } = *shape;
        let group = heads.checked_div(shape.kv_heads).unwrap_or(1).max(1);
        let factor = R::ONE / R::count(head_dim).sqrt();
        let (dk, rest) = scratch.split_at_mut_checked(self.count * head_dim).unwrap_or_default();
        let dv = front_mut(rest, self.count * head_dim);
        let dq = front_mut(vector, head_dim);
        for g in 0..shape.kv_heads {
            dk.iter_mut().chain(dv.iter_mut()).for_each(|slope| *slope = R::ZERO);
            for h in g * group..(g + 1) * group {
                for i in 0..self.count {
                    let q = row_mut(row_mut(self.query, i, query), h, head_dim);
                    let dy = row(row(slopes, i, query), h, head_dim);
                    let along = dot(row(row(self.output, i, query), h, head_dim), dy);
                    let log_sum = self.log_sums.get(i * heads + h).copied().unwrap_or(R::ZERO);
                    dq.iter_mut().for_each(|slope| *slope = R::ZERO);
                    for j in 0..=i {
                        let k = row(row(self.key, j, kv), g, head_dim);
                        let v = row(row(self.value, j, kv), g, head_dim);
                        let p = (factor * dot(q, k) - log_sum).exp();
                        axpy(row_mut(dv, j, head_dim), p, dy);
                        let ds = p * (dot(dy, v) - along) * factor;
                        axpy(dq, ds, k);
                        axpy(row_mut(dk, j, head_dim), ds, q);
                    }
                    q.iter_mut().zip(dq.iter()).for_each(|(q, dq)| *q = *dq);
                }
            }
            for j in 0..self.count {
                let k = row_mut(row_mut(self.key, j, kv), g, head_dim);
                k.iter_mut().zip(row(dk, j, head_dim)).for_each(|(k, dk)| *k = *dk);
                let v = row_mut(row_mut(self.value, j, kv), g, head_dim);
                v.iter_mut().zip(row(dv, j, head_dim)).for_each(|(v, dv)| *v = *dv);
            }
        }
        5 * pairs(self.count) * query as u64
    }
}

/// Pairs of a token and one that it sees.
fn pairs(count: usize) -> u64 {
    let count = count as u64;
    count * (count + 1) / 2
}
