//! Textbook expressions, by shape: what the operators of networks compute, as their definitions say it.
//!
//! In: extents, strides, dilations. Out: tensors and a scope. Nothing here is known to the rules.

use crate::expr::{Access, Expr, Kind, Scope, Target, Tensor};
use crate::index::{Index, Range};

/// Tensors and what is computed of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// What the scope reads.
    pub tensors: Vec<Tensor>,
    /// What is computed.
    pub scope: Scope,
}

/// A convolution; rows of channels lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Height and width of the input.
    pub input: (i64, i64),
    /// Channels of the input.
    pub channels: i64,
    /// Channels of the output.
    pub filters: i64,
    /// Height and width of the kernel.
    pub kernel: (i64, i64),
    /// Steps in the input.
    pub stride: i64,
    /// Steps of the kernel in the input.
    pub dilation: i64,
    /// Zeroes before and after, in both directions.
    pub padding: (i64, i64),
}

impl Conv {
    /// A square kernel of odd height `k`, every pixel, as many out as in.
    pub const fn same(input: (i64, i64), channels: i64, filters: i64, k: i64) -> Self {
        let padding = ((k - 1) / 2, (k - 1) / 2);
        Self { input, channels, filters, kernel: (k, k), stride: 1, dilation: 1, padding }
    }

    /// A transposed one: a square kernel of height `k`, an input of `n` rows and columns.
    pub const fn up(n: i64, [channels, filters]: [i64; 2], k: i64, stride: i64, p: i64) -> Self {
        let (input, kernel) = ((n, n), (k, k));
        Self { input, channels, filters, kernel, stride, dilation: 1, padding: (p, p) }
    }
}

fn access(tensor: u32, index: Vec<Index>) -> Expr {
    Expr::Access(Access { target: Target::Tensor(tensor), index })
}

fn ranges(extents: &[i64]) -> Vec<Range> {
    extents.iter().copied().map(Range::to).collect()
}

/// `O[h,w,f] = sum over c,r,s . A[h*stride + r*dilation - p, w*stride + s*dilation - q, c] K[r,s,f,c]`.
pub fn conv(shape: Conv) -> Expression {
    let Conv { input, channels, filters, kernel, stride, dilation, padding: (p, q) } = shape;
    let out = |n: i64, k: i64, p: i64| (n + 2 * p - dilation * (k - 1) - 1) / stride + 1;
    let output = (out(input.0, kernel.0, p), out(input.1, kernel.1, q));
    let v = Index::var;
    let at = |x: usize, k: usize, p: i64| v(x).times(stride).plus(&v(k).times(dilation)).offset(-p);
    Expression {
        tensors: vec![
            Tensor::new("A", Kind::Input, &[input.0, input.1, channels]).padded(&[p, q, 0]),
            Tensor::new("K", Kind::Weight, &[kernel.0, kernel.1, filters, channels]),
        ],
        scope: Scope {
            loops: ranges(&[output.0, output.1, filters]),
            sums: ranges(&[channels, kernel.0, kernel.1]),
            body: Expr::product(vec![
                access(0, vec![at(0, 4, p), at(1, 5, q), v(3)]),
                access(1, vec![v(4), v(5), v(2), v(3)]),
            ]),
        },
    }
}

/// A transposed convolution of a square kernel: the input with `stride - 1` zeroes between its numbers, as
/// quotient and remainder say it, under the kernel turned around.
///
/// `O[h,w,f] = sum over c,r,s . Z[h + r - p, w + s - p, c] K[k-1-r, k-1-s, f, c]`, where `Z[y,..]` is
/// `A[y / stride, ..]` if `y % stride` is 0, and 0 else; `p = kernel - 1 - padding`.
pub fn conv_transpose(shape: Conv) -> Expression {
    let Conv { input, channels, filters, kernel: (k, _), stride, padding: (pad, _), .. } = shape;
    let out = |n: i64| (n - 1) * stride + k - 2 * pad;
    let p = k - 1 - pad;
    let v = Index::var;
    let loops = ranges(&[out(input.0), out(input.1), filters]);
    let sums = ranges(&[channels, k, k]);
    let all = [loops.as_slice(), &sums].concat();
    let at = |x: usize, r: usize| {
        let y = v(x).plus(&v(r)).offset(-p);
        [y.divided(stride, &all), y.modulo(stride, &all)]
    };
    let ([h, hz], [w, wz]) = (at(0, 4), at(1, 5));
    let mut input = Tensor::new("A", Kind::Input, &[input.0, 1, input.1, 1, channels]);
    let beyond = (p + stride - 1) / stride + 1;
    input.padding =
        vec![(beyond, beyond), (0, stride - 1), (beyond, beyond), (0, stride - 1), (0, 0)];
    let turned = |r: usize| v(r).times(-1).offset(k - 1);
    Expression {
        tensors: vec![input, Tensor::new("K", Kind::Weight, &[k, k, filters, channels])],
        scope: Scope {
            loops,
            sums,
            body: Expr::product(vec![
                access(0, vec![h, hz, w, wz, v(3)]),
                access(1, vec![turned(4), turned(5), v(2), v(3)]),
            ]),
        },
    }
}

/// `O[b,m,w] = sum over k . Q[b,m,k] K[b, m + dilation * (w - half), k]`: scores of a window of `2 half + 1`
/// positions, `dilation` apart.
pub fn window_scores(
    heads: i64,
    positions: i64,
    half: i64,
    depth: i64,
    dilation: i64,
) -> Expression {
    let v = Index::var;
    let place = v(1).plus(&v(2).times(dilation)).offset(-dilation * half);
    let reach = dilation * half;
    Expression {
        tensors: vec![
            Tensor::new("Q", Kind::Input, &[heads, positions, depth]),
            Tensor::new("K", Kind::Input, &[heads, positions, depth]).padded(&[0, reach, 0]),
        ],
        scope: Scope {
            loops: ranges(&[heads, positions, 2 * half + 1]),
            sums: ranges(&[depth]),
            body: Expr::product(vec![
                access(0, vec![v(0), v(1), v(3)]),
                access(1, vec![v(0), place, v(3)]),
            ]),
        },
    }
}

/// `O[b,m,k] = sum over w . S[b,m,w] V[b, m + dilation * (w - half), k]`: what such a window's scores weigh.
pub fn window_sum(heads: i64, positions: i64, half: i64, depth: i64, dilation: i64) -> Expression {
    let v = Index::var;
    let reach = dilation * half;
    let place = v(1).plus(&v(3).times(dilation)).offset(-reach);
    Expression {
        tensors: vec![
            Tensor::new("S", Kind::Input, &[heads, positions, 2 * half + 1]),
            Tensor::new("V", Kind::Input, &[heads, positions, depth]).padded(&[0, reach, 0]),
        ],
        scope: Scope {
            loops: ranges(&[heads, positions, depth]),
            sums: ranges(&[2 * half + 1]),
            body: Expr::product(vec![
                access(0, vec![v(0), v(1), v(3)]),
                access(1, vec![v(0), place, v(2)]),
            ]),
        },
    }
}
