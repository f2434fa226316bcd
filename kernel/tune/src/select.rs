//! Which blocks of tokens attention keeps: LeMo's token elimination.
//!
//! In: scores of blocks, or queries and keys. Out: the tokens that are kept, ascending. Wang et al., arXiv
//! 2501.09767, 4.2, in its blocked form.

use crate::arms::{Choice, Elimination};
use crate::real::Real;
use crate::shape::Shape;
use crate::vector::{copy, dot, front_mut, row};
use core::ops::Range;
use ripple_kernel::text::sample::Pcg32;

/// Writes the tokens that are kept of `count` to `kept`, ascending, with zeroes behind them.
///
/// `scores`: `(blocks,)`; they are used up. With a `threshold` only blocks are kept that reach it.
pub(crate) fn keep<R: Real>(
    e: &Elimination,
    threshold: Option<R>,
    scores: &mut [R],
    kept: &mut [u16],
    count: usize,
) {
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
            let worth = threshold.is_none_or(|threshold| *score >= threshold);
            let better = match best {
                None => true,
                // The earliest: what comes later must not matter.
                Some(_) if e.choice == Choice::Ahead => false,
                Some((_, most)) => *score > most,
            };
            if *score > R::LOWEST && worth && better {
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
        let marked = scores
            .get(token.checked_div(block).unwrap_or(0))
            .is_some_and(|score| *score <= R::LOWEST);
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
        _ => scores.iter_mut().enumerate().for_each(|(i, score)| *score = R::count(i)),
    }
}

/// `table_n + v . max(max over i in n of U x_i + b, 0)`; returns the multiply-accumulates.
///
/// `guide`: the table, a number for each block of the longest text, `b`, `v`, and `U`, `(rank, dim)`.
/// `inputs`: `(tokens, dim)`.
pub(crate) fn predict<R: Real>(
    e: &Elimination,
    shape: &Shape,
    rank: usize,
    guide: &[R],
    inputs: &[R],
    scores: &mut [R],
) -> u64 {
    let (block, dim) = ((e.block as usize).max(1), shape.dim);
    let (table, rest) = guide.split_at_checked(shape.tokens.div_ceil(block)).unwrap_or((&[], &[]));
    copy(scores, table);
    let (bias, rest) = rest.split_at_checked(rank).unwrap_or((&[], &[]));
    let (factors, rows) = rest.split_at_checked(rank).unwrap_or((&[], &[]));
    let each = bias.iter().zip(factors).zip(rows.chunks_exact(dim.max(1)));
    for ((bias, factor), u) in each {
        for (score, inputs) in scores.iter_mut().zip(inputs.chunks((block * dim).max(1))) {
            let most = inputs.chunks_exact(dim.max(1)).map(|x| dot(u, x));
            let most = most.fold(R::LOWEST, |most, z| if z > most { z } else { most }) + *bias;
            if most > R::ZERO {
                *score += *factor * most;
            }
        }
    }
    (rank * inputs.len()) as u64
}

/// Whose queries count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// All.
    All,
    /// Those that look back.
    Back,
    /// Of the block itself, and its first alone.
    Ahead,
}

/// [`Choice::KeyLength`]: the largest square of the length of a key in the block. Returns the
/// multiply-accumulates.
///
/// `key`: `(tokens, kv_heads * head_dim)`.
pub(crate) fn lengths<R: Real>(e: &Elimination, kv: usize, key: &[R], scores: &mut [R]) -> u64 {
    let block = (e.block as usize).max(1);
    for (score, keys) in scores.iter_mut().zip(key.chunks((block * kv).max(1))) {
        let squares =
            keys.chunks_exact(kv.max(1)).map(|k| k.iter().fold(R::ZERO, |sum, x| sum + *x * *x));
        *score = squares.fold(R::ZERO, |most, x| if x > most { x } else { most });
    }
    key.len() as u64
}

/// [`Choice::Oracle`]: `score_n = sum_m max over i in m, j in n, i != j of mean over heads of max(q_i k_j, 0) /
/// sqrt(head_dim)`; [`Choice::Ahead`]: `score_n = mean over m < n of max over j in m` of the same with the
/// first `i` in `n`.
///
/// `query`: `(tokens, heads * head_dim)`. `key`: `(tokens, kv_heads * head_dim)`. Returns the
/// multiply-accumulates.
pub(crate) fn score<R: Real>(
    e: &Elimination,
    shape: &Shape,
    sight: Sight,
    query: &[R],
    key: &[R],
    count: usize,
    scores: &mut [R],
) -> u64 {
    let block = (e.block as usize).max(1);
    let group = shape.heads.checked_div(shape.kv_heads).unwrap_or(1).max(1);
    let factor = R::ONE / (R::count(shape.heads) * R::count(shape.head_dim).sqrt());
    let mut pairs = 0u64;
    let mut most = |queries: Range<usize>, keys: Range<usize>| {
        let mut most = R::ZERO;
        for i in queries {
            for j in keys.clone() {
                if i == j || sight != Sight::All && j > i {
                    continue;
                }
                let mut sum = R::ZERO;
                for h in 0..shape.heads {
                    let q = row(row(query, i, shape.query), h, shape.head_dim);
                    let z = dot(
                        q,
                        row(
                            row(key, j, shape.kv),
                            h.checked_div(group).unwrap_or(0),
                            shape.head_dim,
                        ),
                    );
                    if z > R::ZERO {
                        sum += z;
                    }
                }
                pairs += 1;
                if sum > most {
                    most = sum;
                }
            }
        }
        most * factor
    };
    let of = |n: usize| n * block..count.min((n + 1) * block);
    for (n, score) in scores.iter_mut().enumerate().take(count.div_ceil(block)) {
        *score = R::ZERO;
        if sight == Sight::Ahead {
            for m in 0..n {
                *score += most(n * block..n * block + 1, of(m));
            }
            *score = *score / R::count(n.max(1));
        } else {
            for m in 0..count.div_ceil(block) {
                *score += most(of(m), of(n));
            }
        }
    }
    pairs * shape.query as u64
}
