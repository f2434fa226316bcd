//! One layer, forward and back: attention over the tokens that are kept, with its adapters, then the FFN.
//!
//! In: the residual stream, or its gradient. Out: the same, one layer further; the adapters' gradients.

use crate::attend::{Into, Layer, inner_of};
use crate::attention::rotate;
use crate::ffn;
use crate::model::{count, each_row, load_floats};
use crate::options::{AttentionTape, Choice, InputTape};
use crate::real::Real;
use crate::select;
use crate::shape::kept_tokens;
use crate::space::{Space, kept_row, reals};
use crate::vector::{copy, dot, front, front_mut, row, row_mut};
use ripple_hal::BlockDevice;
use ripple_kernel::adapter::Target;
use ripple_kernel::image::SectionKind;
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::{Probe, Stage};

impl Layer<'_, '_> {
    /// Moves `space.stream` on by this layer, and keeps what the way back needs. `keep`: whether there is one.
    pub fn forward<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
        keep: bool,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, tokens, .. } = *self;
        let dim = frozen.shape.dim;
        let arms = &frozen.options.arms;
        self.load(reader, space)?;
        let stream = front_mut(space.stream, tokens * dim);
        if keep && let InputTape::Kept(_) = arms.input {
            space.layer_inputs.keep(layer, stream);
        }
        // Without a way back all tokens attend: what is trained is looked at as it will run.
        if keep {
            self.choose(reader, space)?;
        }
        let kept = self.kept(space.kept, keep);
        let norm = frozen.norm(space.vectors.layer, 0);
        for i in 0..kept.count() {
            let x = row(space.stream, kept.at(i), dim);
            norm.apply(row_mut(space.inputs, i, dim), x);
        }
        self.attend(reader, space, kept.count(), keep)?;
        self.output(reader, space, keep, Into::Stream)?;
        if keep && let AttentionTape::Kept { .. } = arms.attention {
            let kept = self.kept(space.kept, keep).count();
            space.attention.keep(layer, kept);
            space.middle.keep(layer, front(space.stream, tokens * dim));
        }
        let norm = frozen.norm(space.vectors.layer, 1);
        let stream = space.stream.chunks_exact(dim.max(1)).take(tokens);
        for (out, x) in space.inputs.chunks_exact_mut(dim.max(1)).zip(stream) {
            norm.apply(out, x);
        }
        reader.probe().enter(Stage::Ffn, layer as u32);
        ffn::forward(frozen, reader, space, layer, tokens)
    }

    /// Moves `space.stream`, the gradient of this layer's output, back to that of its input, and adds the
    /// gradients of its adapters.
    pub fn backward<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, tokens, .. } = *self;
        let dim = frozen.shape.dim;
        self.load(reader, space)?;
        let count = self.kept(space.kept, true).count();
        match frozen.options.arms.attention {
            AttentionTape::Kept { .. } => space.attention.restore(layer, count),
            AttentionTape::Nothing => self.again(reader, space)?,
        }

        let norm = frozen.norm(space.vectors.layer, 1);
        let middle = self.middle();
        let one = front_mut(space.vectors.one, dim);
        let inputs = space.inputs.chunks_exact_mut(dim.max(1)).take(tokens);
        for (token, input) in inputs.enumerate() {
            space.middle.restore(middle, token, one);
            norm.apply(input, one);
        }
        space.slopes.iter_mut().for_each(|slope| *slope = R::ZERO);
        reader.probe().enter(Stage::Ffn, layer as u32);
        ffn::backward(frozen, reader, space, layer, tokens)?;
        let norm = frozen.norm(space.vectors.layer, 1);
        let one = front_mut(space.vectors.one, dim);
        let rows = space.stream.chunks_exact_mut(dim.max(1));
        let rows = rows.zip(space.slopes.chunks_exact_mut(dim.max(1))).take(tokens);
        for (token, (dx, dn)) in rows.enumerate() {
            space.middle.restore(middle, token, one);
            norm.backward(dx, one, dn);
        }

        reader.probe().enter(Stage::Attention, layer as u32);
        self.output_backward(reader, space)?;
        self.attend_backward(reader, space)
    }

    fn load<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
    ) -> Result<(), FetchError<D::Error>> {
        reader.probe().enter(Stage::Attention, self.layer as u32);
        let vectors = self.frozen.image.table(SectionKind::LayerVectors, self.layer as u32);
        load_floats(reader, Stage::Attention, &vectors, space.vectors.layer)
    }

    /// Chooses the tokens that attention keeps in this layer, where it leaves some out.
    fn choose<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, tokens, step } = *self;
        let (shape, dim) = (&frozen.shape, frozen.shape.dim);
        let most = shape.tokens;
        let Some(e) = frozen.options.arms.elimination else { return Ok(()) };
        if kept_tokens(&frozen.options.arms, layer, most) == most {
            return Ok(());
        }
        let scores = front_mut(space.vectors.scores, tokens.div_ceil(e.block.max(1) as usize));
        match e.choice {
            Choice::Oracle { once: true, .. } if layer > e.first as usize => {
                let (before, here) =
                    space.kept.split_at_mut_checked(layer * most).unwrap_or_default();
                copy(here, row(before, layer - 1, most));
                return Ok(());
            }
            Choice::Oracle { causal, .. } => {
                let norm = frozen.norm(space.vectors.layer, 0);
                let stream = space.stream.chunks_exact(dim.max(1)).take(tokens);
                for (out, x) in space.inputs.chunks_exact_mut(dim.max(1)).zip(stream) {
                    norm.apply(out, x);
                }
                let inputs = &*space.inputs;
                let (query, kv) = (shape.query, shape.kv);
                let queries = front_mut(space.slopes, tokens * query);
                let keys = front_mut(reals::<R>(space.scratch), tokens * kv);
                for target in [Target::Query, Target::Key] {
                    let inner = inner_of(space.vectors.inner, target, most, shape.rank);
                    self.adapter(space.adapters, target).inner(inner, front(inputs, tokens * dim));
                }
                let inner = &*space.vectors.inner;
                let of = |target| row(inner, target as usize, most * shape.rank);
                let (q, k) = (Target::Query, Target::Key);
                let (aq, ak) = (self.adapter(space.adapters, q), self.adapter(space.adapters, k));
                let (iq, ik) = (of(q), of(k));
                let table = frozen.image.table(SectionKind::Qkv, layer as u32);
                let range = 0..(query + kv) as u32;
                let numbers = &mut *space.rows.numbers;
                let work = (tokens * dim) as u64;
                each_row(
                    reader,
                    Stage::Attention,
                    &table,
                    range,
                    numbers,
                    work,
                    &mut |j, w, b| {
                        for token in 0..tokens {
                            let y = dot(w, row(inputs, token, dim)) + R::of(b);
                            let (place, y) = match j.checked_sub(query) {
                                None => (
                                    queries.get_mut(token * query + j),
                                    y + aq.output(j, iq, token),
                                ),
                                Some(j) => {
                                    (keys.get_mut(token * kv + j), y + ak.output(j, ik, token))
                                }
                            };
                            if let Some(place) = place {
                                *place = y;
                            }
                        }
                    },
                )?;
                let frequencies = frozen.frequencies(space.vectors.last);
                let angles = &mut *space.vectors.angles;
                for token in 0..tokens {
                    rotate(row_mut(queries, token, query), angles, frequencies, token, false);
                    rotate(row_mut(keys, token, kv), angles, frequencies, token, false);
                }
                let work = select::score(&e, shape, causal, queries, keys, tokens, scores);
                count(reader.probe(), Stage::Attention, work);
            }
            Choice::Recency | Choice::Random(_) => {
                select::score_by_place(&e, scores, layer, step);
            }
        }
        select::keep(&e, scores, kept_row(space.kept, layer, most), tokens);
        Ok(())
    }

    /// Computes attention once more, from the layer's input, and the residual stream behind it.
    fn again<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, tokens, .. } = *self;
        let dim = frozen.shape.dim;
        let kept = self.kept(space.kept, true);
        let norm = frozen.norm(space.vectors.layer, 0);
        let one = front_mut(space.vectors.one, dim);
        for i in 0..kept.count() {
            space.layer_inputs.restore(layer, kept.at(i), one);
            norm.apply(row_mut(space.inputs, i, dim), one);
        }
        self.attend(reader, space, kept.count(), true)?;
        let middle = space.middle.in_place::<R>(self.middle());
        for (token, x) in middle.chunks_exact_mut(dim.max(1)).enumerate().take(tokens) {
            space.layer_inputs.restore(layer, token, x);
        }
        self.output(reader, space, true, Into::Middle)
    }
}
