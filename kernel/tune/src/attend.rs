//! Attention of a layer with its matrices and adapters, forward and back.
//!
//! In: normalised inputs, or the gradient of the residual stream. Out: what attention adds to the stream; the
//! gradient of its inputs, and those of the adapters.

use crate::adapter::Adapter;
use crate::arms::{AttentionTape, InputTape};
use crate::attention::{Heads, rotate};
use crate::model::{Frozen, count, each_row};
use crate::options::Gradients;
use crate::real::Real;
use crate::space::{Kept, Space, reals};
use crate::vector::{axpy, dot, front, front_mut, row, row_mut};
use core::ops::Range;
use ripple_hal::BlockDevice;
use ripple_kernel::adapter::Target;
use ripple_kernel::image::SectionKind;
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::{Probe, Stage};

/// Which of the inner products of adapters are whose.
pub(crate) fn inner_of<R>(inner: &mut [R], target: Target, tokens: usize, rank: usize) -> &mut [R] {
    row_mut(inner, target as usize, tokens * rank)
}

/// A layer of a step.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'f, 'm> {
    pub frozen: &'f Frozen<'m>,
    pub layer: usize,
    /// Tokens of the text.
    pub tokens: usize,
    /// Steps before this one, for what is chosen at random.
    pub step: u32,
}

impl Layer<'_, '_> {
    /// Where the residual stream behind attention is in its tape.
    pub fn middle(&self) -> usize {
        match self.frozen.options.arms.attention {
            AttentionTape::Kept { .. } => self.place(),
            AttentionTape::Nothing => 0,
        }
    }

    /// Where this layer is in the tape.
    pub fn place(&self) -> usize {
        self.frozen.shape.place(self.layer)
    }

    /// The gradients of this layer.
    pub fn slopes(&self) -> Range<usize> {
        match self.frozen.options.gradients {
            Gradients::Whole => self.frozen.places.layer(self.layer),
            Gradients::Layer | Gradients::Sampled { .. } => self.frozen.places.layer(0),
        }
    }

    /// The tokens that attention works on: all, unless `some` may be left out.
    pub fn kept<'a>(&self, kept: &'a [u16], some: bool) -> Kept<'a> {
        let kept = if some { kept } else { &[] };
        let most = self.frozen.shape.tokens;
        Kept::of(kept, &self.frozen.options, self.layer, most, self.tokens)
    }

    /// The adapter of a matrix.
    pub fn adapter<'a, R: Real>(&self, adapters: &'a [R], target: Target) -> Adapter<'a, R> {
        self.frozen.places.adapter(adapters, self.layer, target)
    }

    /// The normalised residual stream of all tokens, by norm number `which`, in `space.inputs`.
    pub fn norm_all<R: Real>(&self, space: &mut Space<'_, R>, which: usize) {
        let dim = self.frozen.shape.dim.max(1);
        let norm = self.frozen.norm(space.vectors.layer, which);
        let stream = space.stream.chunks_exact(dim).take(self.tokens);
        for (out, x) in space.inputs.chunks_exact_mut(dim).zip(stream) {
            norm.apply(out, x);
        }
    }

    /// Queries, keys, values and outputs of `count` tokens, from `space.inputs`.
    pub fn attend<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
        tokens: usize,
        some: bool,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, .. } = *self;
        let shape = &frozen.shape;
        let (dim, query, kv, rank) = (shape.dim, shape.query, shape.kv, shape.rank);
        let inputs = &*space.inputs;
        let kept = self.kept(space.kept, some);
        let mut adapter_work = 0;
        let targets = [Target::Query, Target::Key, Target::Value];
        let adapters = targets.map(|target| {
            let adapter = self.adapter(space.adapters, target);
            let inner = inner_of(space.vectors.inner, target, shape.tokens, rank);
            adapter.inner(inner, front(inputs, tokens * dim));
            adapter_work += adapter.work() * tokens as u64;
            adapter
        });
        let inner = &*space.vectors.inner;
        let inner = targets.map(|target| row(inner, target as usize, shape.tokens * rank));
        let mut heads = space.attention.heads(layer, tokens, !some);
        let table = frozen.image.table(SectionKind::Qkv, layer as u32);
        let (range, work) = (0..table.count, (tokens * dim) as u64);
        let numbers = &mut *space.rows.numbers;
        each_row(reader, Stage::Attention, &table, range, numbers, work, &mut |j, w, b| {
            let (out, j, columns, which) = part(&mut heads, j, query, kv);
            let (Some(adapter), Some(inner)) = (adapters.get(which), inner.get(which)) else {
                return;
            };
            for token in 0..tokens {
                let y = dot(w, row(inputs, token, dim)) + R::of(b);
                if let Some(place) = out.get_mut(token * columns + j) {
                    *place = y + adapter.output(j, inner, token);
                }
            }
        })?;
        let frequencies = frozen.frequencies(space.vectors.last);
        let angles = &mut *space.vectors.angles;
        for i in 0..tokens {
            let position = kept.at(i);
            rotate(row_mut(heads.query, i, query), angles, frequencies, position, false);
            rotate(row_mut(heads.key, i, kv), angles, frequencies, position, false);
        }
        let work = heads.forward(shape, space.vectors.scores) + adapter_work;
        count(reader.probe(), Stage::Attention, work);
        Ok(())
    }

    /// Adds what attention gives, times the output matrix.
    pub fn output<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
        some: bool,
        into: Into,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, .. } = *self;
        let shape = &frozen.shape;
        let (dim, query) = (shape.dim, shape.query);
        let kept = self.kept(space.kept, some);
        let tokens = kept.count();
        let heads = space.attention.heads(layer, tokens, !some);
        let adapter = self.adapter(space.adapters, Target::Output);
        let inner = inner_of(space.vectors.inner, Target::Output, shape.tokens, shape.rank);
        adapter.inner(inner, heads.output);
        let out = match into {
            Into::Stream => &mut *space.stream,
            Into::Middle => space.middle.in_place(self.middle()),
        };
        let table = frozen.image.table(SectionKind::Output, layer as u32);
        let (range, work) = (0..table.count, (tokens * query) as u64);
        let numbers = &mut *space.rows.numbers;
        each_row(reader, Stage::Attention, &table, range, numbers, work, &mut |j, w, b| {
            for i in 0..tokens {
                let y = dot(w, row(heads.output, i, query)) + R::of(b);
                if let Some(place) = out.get_mut(kept.at(i) * dim + j) {
                    *place += y + adapter.output(j, inner, i);
                }
            }
        })?;
        count(reader.probe(), Stage::Attention, adapter.work() * tokens as u64);
        Ok(())
    }

    /// The gradient of what attention gives, in `space.inputs`, from that of the residual stream; where a
    /// layer's input is recovered, that too, in the place of what is behind attention.
    pub fn output_backward<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, .. } = *self;
        let shape = &frozen.shape;
        let (dim, query, rank) = (shape.dim, shape.query, shape.rank);
        let kept = self.kept(space.kept, true);
        let tokens = kept.count();
        let heads = space.attention.heads(layer, tokens, false);
        let adapter = self.adapter(space.adapters, Target::Output);
        let inner = inner_of(space.vectors.inner, Target::Output, shape.tokens, rank);
        adapter.inner(inner, heads.output);
        let recover = frozen.options.arms.input == InputTape::Recovered;
        let middle = if recover { space.middle.in_place::<R>(self.middle()) } else { &mut [] };
        let stream = &*space.stream;
        let slopes = front_mut(space.inputs, tokens * query);
        slopes.iter_mut().for_each(|slope| *slope = R::ZERO);
        let table = frozen.image.table(SectionKind::Output, layer as u32);
        let (range, mut work) = (0..table.count, (tokens * query) as u64);
        work *= 1 + u64::from(recover);
        let numbers = &mut *space.rows.numbers;
        each_row(reader, Stage::Attention, &table, range, numbers, work, &mut |j, w, b| {
            for i in 0..tokens {
                let dy = stream.get(kept.at(i) * dim + j).copied().unwrap_or(R::ZERO);
                axpy(row_mut(slopes, i, query), dy, w);
                if let Some(place) = middle.get_mut(kept.at(i) * dim + j) {
                    let y = dot(w, row(heads.output, i, query)) + R::of(b);
                    *place = *place - (y + adapter.output(j, inner, i));
                }
            }
        })?;
        let gradients = space.gradients.get_mut(self.slopes()).unwrap_or_default();
        let mut own = frozen.places.slopes(gradients, Target::Output);
        for i in 0..tokens {
            let (x, inner) = (row(heads.output, i, query), row(inner, i, adapter.rank));
            let dy = row(stream, kept.at(i), dim);
            let dt = &mut *space.vectors.dt;
            adapter.backward(x, inner, dy, dt, &mut own, row_mut(slopes, i, query));
        }
        let more = adapter.work_back() * tokens as u64;
        count(reader.probe(), Stage::Attention, more);
        Ok(())
    }

    /// The gradient of the layer's input, from `space.inputs`, that of what attention gives.
    pub fn attend_backward<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, .. } = *self;
        let shape = &frozen.shape;
        let (dim, query, kv, rank) = (shape.dim, shape.query, shape.kv, shape.rank);
        let kept = self.kept(space.kept, true);
        let tokens = kept.count();
        let mut heads = space.attention.heads(layer, tokens, false);
        let scratch = reals::<R>(space.scratch);
        let work = heads.backward(shape, space.inputs, scratch, space.vectors.one);
        count(reader.probe(), Stage::Attention, work);
        let frequencies = frozen.frequencies(space.vectors.last);
        let angles = &mut *space.vectors.angles;
        for i in 0..tokens {
            let position = kept.at(i);
            rotate(row_mut(heads.query, i, query), angles, frequencies, position, true);
            rotate(row_mut(heads.key, i, kv), angles, frequencies, position, true);
        }

        let norm = frozen.norm(space.vectors.layer, 0);
        let recovered = frozen.options.arms.input == InputTape::Recovered;
        let (middle, place) = (self.middle(), self.place());
        let one = front_mut(space.vectors.one, dim);
        for i in 0..tokens {
            match recovered {
                true => space.middle.restore(middle, kept.at(i), one),
                false => space.layer_inputs.restore(place, kept.at(i), one),
            }
            norm.apply(row_mut(space.inputs, i, dim), one);
        }
        let inputs = front(space.inputs, tokens * dim);
        let slopes = front_mut(space.slopes, tokens * dim);
        slopes.iter_mut().for_each(|slope| *slope = R::ZERO);
        // Nobody asks for the gradient of the embedding.
        if layer > 0 {
            let table = frozen.image.table(SectionKind::Qkv, layer as u32);
            let (range, work) = (0..table.count, (tokens * dim) as u64);
            let numbers = &mut *space.rows.numbers;
            each_row(reader, Stage::Attention, &table, range, numbers, work, &mut |j, w, _| {
                let (dy, j, columns, _) = part(&mut heads, j, query, kv);
                for i in 0..tokens {
                    let dy = dy.get(i * columns + j).copied().unwrap_or(R::ZERO);
                    axpy(row_mut(slopes, i, dim), dy, w);
                }
            })?;
        }
        let gradients = space.gradients.get_mut(self.slopes()).unwrap_or_default();
        let mut more = 0;
        for (target, dy, columns) in [
            (Target::Query, &*heads.query, query),
            (Target::Key, &*heads.key, kv),
            (Target::Value, &*heads.value, kv),
        ] {
            let adapter = self.adapter(space.adapters, target);
            let inner = inner_of(space.vectors.inner, target, shape.tokens, rank);
            adapter.inner(inner, inputs);
            let mut own = frozen.places.slopes(gradients, target);
            for i in 0..tokens {
                let (x, inner) = (row(inputs, i, dim), row(inner, i, adapter.rank));
                let dt = &mut *space.vectors.dt;
                let dx = row_mut(slopes, i, dim);
                adapter.backward(x, inner, row(dy, i, columns), dt, &mut own, dx);
            }
            more += adapter.work_back() * tokens as u64;
        }
        count(reader.probe(), Stage::Attention, more);
        if layer > 0 {
            for i in 0..tokens {
                match recovered {
                    true => space.middle.restore(middle, kept.at(i), one),
                    false => space.layer_inputs.restore(place, kept.at(i), one),
                }
                let dx = row_mut(space.stream, kept.at(i), dim);
                norm.backward(dx, one, row_mut(slopes, i, dim));
            }
        }
        Ok(())
    }
}
/// Where the output of attention is added.
#[derive(Clone, Copy)]
pub(crate) enum Into {
    Stream,
    Middle,
}

/// Where row `j` of the matrix of queries, keys and values goes: the vectors, the number in each of them,
/// their length, and which of the three they are.
fn part<'a, R>(
    heads: &'a mut Heads<'_, R>,
    j: usize,
    query: usize,
    kv: usize,
) -> (&'a mut [R], usize, usize, usize) {
    if j < query {
        (heads.query, j, query, 0)
    } else if j < query + kv {
        (heads.key, j - query, kv, 1)
    } else {
        (heads.value, j - query - kv, kv, 2)
    }
}
