//! Attention over whole windows.
//!
//! In: the queries, keys and values of windows. Out: what every token attends to. Knows nothing of weights.

use super::lanes::{self, Rows, SUMS};
use super::product::pick;
use crate::model::reference::{capped, softmax};
use crate::process::interrupt;
use rayon::prelude::*;
use ripple_kernel::config::ModelConfig;

/// Tokens that a core takes at once: their scores with all tokens of a window are held.
const TOKENS: usize = 16;

/// `out_t = concat_h(softmax(q_th . K^T / sqrt(head_dim)) . V)`, `K` and `V` of the tokens of one window up to
/// `t`: `query` and `out` are (tokens, heads * head_dim), `keys` and `values` (tokens, kv_heads * head_dim).
pub(super) fn attend(
    config: &ModelConfig,
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    out: &mut [f32],
) {
    let (query_dim, kv_dim) = (config.query_dim() as usize, config.kv_dim() as usize);
    let head_dim = config.head_dim as usize;
    let queries_per_key = (config.heads / config.kv_heads) as usize;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let chunks = query.par_chunks(TOKENS * query_dim).zip(out.par_chunks_mut(TOKENS * query_dim));
    chunks.enumerate().for_each(|(chunk, (query, out))| {
        let (first, tokens) = (chunk * TOKENS, query.len() / query_dim);
        let past = first + tokens;
        let mut scores = vec![0.0; tokens * past];
        let mut picked = Vec::with_capacity(past);
        out.fill(0.0);
        for head in 0..config.heads as usize {
            if interrupt::requested() {
                return;
            }
            let (of, at) = (head * head_dim, head / queries_per_key * head_dim);
            let keys = Rows { values: &keys[at..], count: past, stride: kv_dim, cols: head_dim };
            let queries =
                Rows { values: &query[of..], count: tokens, stride: query_dim, cols: head_dim };
            lanes::dots(keys, queries, &mut scores, past);
            for (t, scores) in scores.chunks_exact_mut(past).enumerate() {
                let (before, behind) = scores.split_at_mut(first + t + 1);
                for score in before.iter_mut() {
                    *score = capped(*score * scale, config.variant.attention_cap);
                }
                softmax(before);
                behind.fill(0.0);
            }
            let fours = scores.chunks(SUMS * past).zip(out.chunks_mut(SUMS * query_dim));
            for (scores, out) in fours {
                pick(scores, past, &mut picked);
                let mut spare: [_; SUMS] = std::array::from_fn(|_| Vec::new());
                let mut heads =
                    out.chunks_exact_mut(query_dim).map(|out| &mut out[of..of + head_dim]);
                let sums = spare.each_mut().map(|spare| {
                    heads.next().unwrap_or_else(|| {
                        spare.resize(head_dim, 0.0);
                        &mut spare[..]
                    })
                });
                lanes::weighted(&picked, &values[at..], kv_dim, sums);
            }
        }
    });
}
