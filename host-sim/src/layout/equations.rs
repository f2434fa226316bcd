//! A decoder layer as its equations: what one position computes.
//!
//! In: a model's configuration. Out: a network in the notation of `ripple derive`. A normalisation's mean is one
//! number that all weights meet, and rotations are of the result: both are left out. Biases go with the rows.

use ripple_kernel::{Ffn, ModelConfig};
use std::fmt::Write as _;

/// Positions that attention looks back to: as many as it takes to tell them from one.
const POSITIONS: u32 = 2;

/// The equations of a layer, one tensor a line.
pub fn layer(config: &ModelConfig) -> String {
    let ModelConfig { dim, heads, kv_heads, head_dim, neurons, .. } = *config;
    let (query, kv) = (config.query_dim(), config.kv_dim());
    let group = heads / kv_heads.max(1);
    let mut out = String::new();
    // What is declared, in the order of a layer.
    let _ = write!(
        out,
        "input  x[{dim}]\n\
         input  keys[{POSITIONS}, {kv_heads}, {head_dim}]\n\
         input  values[{POSITIONS}, {kv_heads}, {head_dim}]\n\
         weight attention_norm[{dim}]\n\
         weight Q[{query}, {dim}]\n\
         weight K[{kv}, {dim}]\n\
         weight V[{kv}, {dim}]\n\
         weight scale[1]\n\
         weight A[{dim}, {query}]\n\
         weight ffn_norm[{dim}]\n\
         weight U[{neurons}, {dim}]\n\
         weight D[{dim}, {neurons}]\n\
         a[c: {dim}] = x[c] * attention_norm[c]\n\
         q[i: {query}] = sum c: {dim} . a[c] * Q[i, c]\n\
         k[i: {kv}] = sum c: {dim} . a[c] * K[i, c]\n\
         v[i: {kv}] = sum c: {dim} . a[c] * V[i, c]\n\
         s[h: {heads}, t: {POSITIONS}] = sum d: {head_dim} . \
           q[{head_dim} * h + d] * keys[t, h / {group}, d] * scale[0]\n\
         e[h: {heads}, t: {POSITIONS}] = exp(s[h, t])\n\
         z[h: {heads}] = sum t: {POSITIONS} . e[h, t]\n\
         w[h: {heads}, t: {POSITIONS}] = e[h, t] * reciprocal(z[h])\n\
         o[h: {heads}, d: {head_dim}] = sum t: {POSITIONS} . w[h, t] * values[t, h / {group}, d]\n\
         y[c: {dim}] = sum i: {query} . o[i / {head_dim}, i % {head_dim}] * A[c, i]\n\
         b[c: {dim}] = x[c] + y[c]\n\
         m[c: {dim}] = b[c] * ffn_norm[c]\n"
    );
    let up = format!("u[n: {neurons}] = sum c: {dim} . m[c] * U[n, c]\n");
    let (first, active) = match config.ffn {
        Ffn::Gated => (
            format!(
                "weight G[{neurons}, {dim}]\ng[n: {neurons}] = sum c: {dim} . m[c] * G[n, c]\n{up}"
            ),
            "relu(g[n]) * u[n]",
        ),
        _ => (up, "relu(u[n])"),
    };
    let _ = write!(
        out,
        "{first}f[n: {neurons}] = {active}\n\
         d[c: {dim}] = sum n: {neurons} . f[n] * D[c, n]\n\
         O[c: {dim}] = b[c] + d[c]\n"
    );
    out
}
