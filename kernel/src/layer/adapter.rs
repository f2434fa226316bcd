//! Adapters of attention, beside its matrices, in floats.
//!
//! In: the inputs of a matrix before they are packed. Out: what the adapter adds to the products.

use crate::adapter::{Adapter, AdapterShape, Target};
use crate::config::ModelConfig;
use crate::image::Geometry;
use crate::layer::normalise;
use crate::math::dot_f32;
use crate::memory::RunState;
use crate::slices::{Rows, RowsMut, part, part_mut, split_mut};

impl Adapter<'_> {
    /// `A` and `B` of a target in `layer`, and what the product is multiplied with.
    fn of(&self, config: &ModelConfig, layer: u32, target: Target) -> (&[f32], &[f32], f32) {
        let numbers = self.shape.layer_numbers(config);
        let layer = part(self.numbers, layer as usize * numbers, numbers);
        let (a, b) = self.shape.places(config, target);
        let of = |range: core::ops::Range<usize>| part(layer, range.start, range.len());
        (of(a), of(b), self.shape.alpha / self.shape.rank.max(1) as f32)
    }

    fn rank(&self) -> usize {
        (self.shape.rank as usize).max(1)
    }

    /// `inner = A x` for position `i`.
    fn look(&mut self, config: &ModelConfig, layer: u32, target: Target, i: usize, x: &[f32]) {
        let (rank, inputs) = (self.rank(), AdapterShape::sides(config, target).0);
        let inner = core::mem::take(&mut self.inner);
        let (a, _, _) = self.of(config, layer, target);
        let rows = part_mut(inner, i * rank, rank).iter_mut();
        for (y, a) in rows.zip(a.chunks_exact(inputs.max(1))) {
            *y = dot_f32(a, x);
        }
        self.inner = inner;
    }

    /// `out += scale * B inner` for position `i`.
    fn add(&self, config: &ModelConfig, layer: u32, target: Target, i: usize, out: &mut [f32]) {
        let rank = self.rank();
        let (_, b, scale) = self.of(config, layer, target);
        let inner = part(self.inner, i * rank, rank);
        for (out, b) in out.iter_mut().zip(b.chunks_exact(rank)) {
            *out += scale * dot_f32(b, inner);
        }
    }

    /// Adds to the queries, keys and values of `count` positions. Returns the multiply-accumulates.
    pub(crate) fn add_to_qkv(
        &mut self,
        state: &mut RunState<'_>,
        geometry: &Geometry,
        layer: u32,
        count: usize,
    ) -> u32 {
        let config = &geometry.config;
        let (dim, query, kv) =
            (config.dim as usize, config.query_dim() as usize, config.kv_dim() as usize);
        let x = Rows { cells: &*state.x, columns: dim };
        let mut qkv = RowsMut { cells: state.products.qkv(), columns: query + 2 * kv };
        let mut work = 0;
        for i in 0..count {
            let (input, _) = state.inputs.vector(i, dim);
            normalise(input, x.at(i), state.layer_vectors, 0, geometry);
            let (queries, rest) = split_mut(qkv.at(i), query);
            let (keys, values) = split_mut(rest, kv);
            for (target, out) in
                [(Target::Query, queries), (Target::Key, keys), (Target::Value, values)]
            {
                if self.shape.targets.has(target) {
                    self.look(config, layer, target, i, input);
                    self.add(config, layer, target, i, out);
                    work += (input.len() + out.len()) * self.rank();
                }
            }
        }
        work as u32
    }

    /// Looks at what attention gives at position `i`, before it is packed.
    pub(crate) fn look_at_output(&mut self, config: &ModelConfig, layer: u32, i: usize, x: &[f32]) {
        if self.shape.targets.has(Target::Output) {
            self.look(config, layer, Target::Output, i, x);
        }
    }

    /// Adds to the residual stream at the `count` positions that were looked at. Returns the
    /// multiply-accumulates.
    pub(crate) fn add_to_stream(
        &self,
        x: &mut [f32],
        config: &ModelConfig,
        layer: u32,
        count: usize,
    ) -> u32 {
        if !self.shape.targets.has(Target::Output) {
            return 0;
        }
        let dim = config.dim as usize;
        let mut x = RowsMut { cells: x, columns: dim };
        for i in 0..count {
            self.add(config, layer, Target::Output, i, x.at(i));
        }
        ((config.query_dim() as usize + dim) * self.rank() * count) as u32
    }
}
