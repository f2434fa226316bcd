//! Low-rank adapters: `y = W x + scale * B (A x)`, forward and back.
//!
//! In: an adapter, inputs, gradients of outputs. Out: what the adapter adds; its own gradients and that of
//! its input. Knows nothing of `W`. Hu et al., "LoRA", 2021.

use crate::real::Real;
use crate::vector::{axpy, dot, row, row_mut};
use core::ops::Range;
use ripple_kernel::ModelConfig;
use ripple_kernel::adapter::{AdapterShape, Target};

/// Where adapters lie: see [`AdapterShape`].
#[derive(Clone, Copy)]
pub(crate) struct Places {
    shape: AdapterShape,
    config: ModelConfig,
}

impl Places {
    pub fn new(shape: AdapterShape, config: ModelConfig) -> Self {
        Self { shape, config }
    }

    /// Numbers of all layers.
    pub fn numbers(&self) -> usize {
        self.shape.numbers(&self.config)
    }

    /// Numbers of a layer.
    pub fn layer(&self, layer: usize) -> Range<usize> {
        let numbers = self.shape.layer_numbers(&self.config);
        layer * numbers..(layer + 1) * numbers
    }

    /// Those of a target's `A` and `B` in a layer's, both empty without an adapter.
    pub fn target(&self, target: Target) -> (Range<usize>, Range<usize>) {
        self.shape.places(&self.config, target)
    }

    /// Numbers of a matrix's input.
    pub fn inputs(&self, target: Target) -> usize {
        AdapterShape::sides(&self.config, target).0
    }

    /// The adapter of a target, from the numbers of all layers.
    pub fn adapter<'a, R: Real>(
        &self,
        numbers: &'a [R],
        layer: usize,
        target: Target,
    ) -> Adapter<'a, R> {
        let numbers = numbers.get(self.layer(layer)).unwrap_or(&[]);
        let (a, b) = self.target(target);
        let rank = if a.is_empty() { 0 } else { self.shape.rank as usize };
        Adapter {
            a: numbers.get(a).unwrap_or(&[]),
            b: numbers.get(b).unwrap_or(&[]),
            rank,
            inputs: self.inputs(target),
            scale: R::of(self.shape.alpha) / R::wide(f64::from(self.shape.rank.max(1))),
        }
    }
}

impl Places {
    /// The gradients of a target's adapter, from those of its layer.
    pub fn slopes<'a, R>(&self, layer: &'a mut [R], target: Target) -> AdapterSlopes<'a, R> {
        let (a, b) = self.target(target);
        let rest = layer.get_mut(a.start..b.end).unwrap_or_default();
        let (a, b) = rest.split_at_mut_checked(a.len()).unwrap_or_default();
        AdapterSlopes { a, b }
    }
}

/// One adapter; of rank 0 there is none, and it adds nothing.
#[derive(Clone, Copy)]
pub(crate) struct Adapter<'a, R> {
    /// `(rank, inputs)`.
    a: &'a [R],
    /// `(outputs, rank)`.
    b: &'a [R],
    pub rank: usize,
    inputs: usize,
    scale: R,
}

/// The gradients of `A` and `B`, added to.
pub(crate) struct AdapterSlopes<'a, R> {
    pub a: &'a mut [R],
    pub b: &'a mut [R],
}

impl<R: Real> Adapter<'_, R> {
    /// `inner = A x` for each of the inputs `x`, `(tokens, inputs)`. `inner`: `(tokens, rank)`.
    pub fn inner(&self, inner: &mut [R], x: &[R]) {
        if self.rank == 0 {
            return;
        }
        let inputs = self.inputs.max(1);
        for (inner, x) in inner.chunks_exact_mut(self.rank).zip(x.chunks_exact(inputs)) {
            for (inner, a) in inner.iter_mut().zip(self.a.chunks_exact(inputs)) {
                *inner = dot(a, x);
            }
        }
    }

    /// What is added to output `j` of a token: `scale * B_j inner`.
    #[inline]
    pub fn output(&self, j: usize, inner: &[R], token: usize) -> R {
        if self.rank == 0 {
            return R::ZERO;
        }
        self.scale * dot(row(self.b, j, self.rank), row(inner, token, self.rank))
    }

    /// `dt = scale * B^T dy`, `dB += scale * dy inner^T`, `dA += dt x^T`, `dx += A^T dt` of a token.
    ///
    /// `x`, `dx`: `(inputs,)`. `dy`: `(outputs,)`. `inner`: `(rank,)`, `A x`. `dt`: `(rank,)` scratch.
    pub fn backward(
        &self,
        x: &[R],
        inner: &[R],
        dy: &[R],
        dt: &mut [R],
        slopes: &mut AdapterSlopes<'_, R>,
        dx: &mut [R],
    ) {
        let rank = self.rank;
        if rank == 0 {
            return;
        }
        dt.iter_mut().for_each(|dt| *dt = R::ZERO);
        let rows = self.b.chunks_exact(rank).zip(slopes.b.chunks_exact_mut(rank));
        for ((b, db), dy) in rows.zip(dy) {
            axpy(dt, self.scale * *dy, b);
            axpy(db, self.scale * *dy, inner);
        }
        for (k, dt) in dt.iter().enumerate() {
            axpy(row_mut(slopes.a, k, self.inputs), *dt, x);
            axpy(dx, *dt, row(self.a, k, self.inputs));
        }
    }

    /// Multiply-accumulates of [`inner`](Self::inner) and [`output`](Self::output) of a token.
    pub fn work(&self) -> u64 {
        (self.a.len() + self.b.len()) as u64
    }

    /// Of [`inner`](Self::inner) and [`backward`](Self::backward).
    pub fn work_back(&self) -> u64 {
        (3 * self.a.len() + 2 * self.b.len()) as u64
    }
}
