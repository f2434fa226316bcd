//! Which blocks of tokens attention keeps: LeMo's token elimination.
//!
//! In: scores of blocks, or queries and keys. Out: the tokens that are kept, ascending. Wang et al., arXiv
//! 2501.09767, 4.2, in its blocked form.

use crate::options::{Choice, Elimination};
use crate::real::Real;
use crate::shape::Shape;
use crate::vector::{dot, front_mut, row};
use ripple_kernel::text::sample::Pcg32;

/// Writes the tokens that are kept of `count` to `kept`, ascending, with zeroes behind them.
///
/// `scores`: `(blocks,)`; they are used up.
pub(crate) fn keep<R: Real>(e: &Elimination, scores: &mut [R], kept: &mut [u16], count: usize) {
    let block = (e.block as usize).max(1);
    let blocks = count.div_ceil(block);
    let scores = front_mut(scores, blocks);
    kept.iter_mut().for_each(|token| *token = 0);
    // A block is marked by a score that none has.
    let mut mark = |i: usize| {
        if let Some(score) = scores.get_mut(i) {
            *score = R::LOWEST;
        }
    };
    mark(0);
    mark(blocks.saturating_sub(1));
    for _ in 2..e.blocks_kept(blocks) {
        let mut best = None;
        for (i, score) in scores.iter().enumerate() {
            let better = best.is_none_or(|(_, most)| *score > most);
            if *score > R::LOWEST && better {
                best = Some((i, *score));
            }
        }
        let Some((i, _)) = best else { break };
        if let Some(score) = scores.get_mut(i) {
            *score = R::LOWEST;
        }
    }
    let mut places = kept.iter_mut();
    for token in 0..count {
        let marked = scores.get(token / block).is_some_and(|score| *score <= R::LOWEST);
        if marked && let Some(place) = places.next() {
            *place = token as u16;
        }
    }
}

/// Scores that need no look at the tokens.
pub(crate) fn score_by_place<R: Real>(e: &Elimination, scores: &mut [R], layer: usize, step: u32) {
    match e.choice {
        Choice::Random(seed) => {
            let mut random = Pcg32::new(u64::from(seed) << 32 | u64::from(step), layer as u64);
            scores.iter_mut().for_each(|score| *score = R::wide(f64::from(random.next_u32())));
        }
        Choice::Recency | Choice::Oracle { .. } => {
            scores.iter_mut().enumerate().for_each(|(i, score)| *score = R::count(i));
        }
    }
}

/// `score_n = sum_m max over i in m, j in n, i != j of mean over heads of max(q_i k_j, 0) / sqrt(head_dim)`.
///
/// `query`: `(tokens, heads * head_dim)`. `key`: `(tokens, kv_heads * head_dim)`. Returns the
/// multiply-accumulates.
pub(crate) fn score<R: Real>(
    e: &Elimination,
    shape: &Shape,
    causal: bool,
    query: &[R],
    key: &[R],
    count: usize,
    scores: &mut [R],
) -> u64 {
    let block = (e.block as usize).max(1);
    let group = shape.heads.checked_div(shape.kv_heads).unwrap_or(1).max(1);
    let factor = R::ONE / (R::count(shape.heads) * R::count(shape.head_dim).sqrt());
    let mut work = 0;
    for (n, score) in scores.iter_mut().enumerate().take(count.div_ceil(block)) {
        *score = R::ZERO;
        for m in 0..count.div_ceil(block) {
            let mut most = R::ZERO;
            for i in m * block..count.min((m + 1) * block) {
                for j in n * block..count.min((n + 1) * block) {
                    if i == j || causal && j > i {
                        continue;
                    }
                    let mut sum = R::ZERO;
                    for h in 0..shape.heads {
                        let q = row(row(query, i, shape.query), h, shape.head_dim);
                        let z = dot(q, row(row(key, j, shape.kv), h / group, shape.head_dim));
                        if z > R::ZERO {
                            sum += z;
                        }
                    }
                    work += shape.query as u64;
                    if sum > most {
                        most = sum;
                    }
                }
            }
            *score += most * factor;
        }
    }
    work
}
