//! Which tokens attention of a layer keeps: its blocks get scores, and the best are kept.
//!
//! In: the residual stream in front of the layer. Out: the tokens that are kept; or the scores, for who
//! looks for a cheaper way to them.

use crate::arms::{Choice, Elimination, Keep};
use crate::attend::{Layer, inner_of};
use crate::attention::rotate;
use crate::model::{count, each_row};
use crate::real::Real;
use crate::select::{self, Sight};
use crate::shape::{guide_numbers, leaves_out};
use crate::space::{Space, kept_row, reals};
use crate::vector::{copy, dot, front, front_mut, row, row_mut};
use ripple_hal::BlockDevice;
use ripple_kernel::adapter::Target;
use ripple_kernel::image::SectionKind;
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::{Probe, Stage};

/// What there is to see of a layer: its blocks' scores, and what they could be guessed from.
pub struct Look<'a, R> {
    /// The layer.
    pub layer: usize,
    /// `(blocks,)`: those that the choice goes by; see [`Choice`].
    pub scores: &'a [R],
    /// `(tokens, dim)`: the normalised inputs.
    pub inputs: &'a [R],
    /// `(tokens, kv_dim)`: the keys.
    pub keys: &'a [R],
}

impl Layer<'_, '_> {
    /// Chooses the tokens that attention keeps in this layer, where it leaves some out.
    pub fn choose<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, tokens, step } = *self;
        let shape = &frozen.shape;
        let most = shape.tokens;
        let Some(e) = frozen.options.arms.elimination else { return Ok(()) };
        if e.choice == Choice::Before {
            let next = Self { layer: layer + 1, ..*self };
            if leaves_out(&frozen.options.arms, next.layer, most) {
                self.score(reader, space, &e)?;
                next.keep_best(space, &e);
            }
            return Ok(());
        }
        if !leaves_out(&frozen.options.arms, layer, most) {
            return Ok(());
        }
        match e.choice {
            Choice::Oracle { once: true, .. } if layer > e.first as usize => {
                let (before, here) =
                    space.kept.split_at_mut_checked(layer * most).unwrap_or_default();
                copy(here, row(before, layer - 1, most));
                return Ok(());
            }
            Choice::Oracle { .. } | Choice::Ahead | Choice::KeyLength | Choice::Before => {
                self.score(reader, space, &e)?;
            }
            Choice::Predicted { rank } => {
                self.norm_all(space, 0);
                let (_, guide) = self.guide(space.guide, &e);
                let inputs = front(space.inputs, tokens * shape.dim);
                let scores = front_mut(space.vectors.scores, blocks(&e, tokens));
                let work = select::predict(&e, shape, rank as usize, guide, inputs, scores);
                count(reader.probe(), Stage::Attention, work);
            }
            Choice::Recency | Choice::Random(_) => {
                let scores = front_mut(space.vectors.scores, blocks(&e, tokens));
                select::score_by_place(&e, scores, layer, step);
            }
        }
        self.keep_best(space, &e);
        Ok(())
    }

    /// Keeps the best blocks of this layer, by `space.vectors.scores`.
    fn keep_best<R: Real>(&self, space: &mut Space<'_, R>, e: &Elimination) {
        let Self { frozen, layer, tokens, .. } = *self;
        let (threshold, _) = self.guide(space.guide, e);
        let scores = front_mut(space.vectors.scores, blocks(e, tokens));
        let kept = kept_row(space.kept, layer, frozen.shape.tokens);
        select::keep(e, threshold, scores, kept, tokens);
    }

    /// Shows what there is to see of this layer.
    pub fn look<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
        e: &Elimination,
        see: &mut dyn FnMut(&Look<'_, R>),
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, tokens, .. } = *self;
        self.load(reader, space)?;
        self.score(reader, space, e)?;
        see(&Look {
            layer,
            scores: front(space.vectors.scores, blocks(e, tokens)),
            inputs: front(space.inputs, tokens * frozen.shape.dim),
            keys: front(reals(space.scratch), tokens * frozen.shape.kv),
        });
        Ok(())
    }

    /// The threshold of this layer, if it has one, and what is behind it in its guide.
    fn guide<'a, R: Real>(&self, guide: &'a [R], e: &Elimination) -> (Option<R>, &'a [R]) {
        let numbers = row(guide, self.layer, guide_numbers(&self.frozen.shape, e));
        match (e.keep, numbers.split_first()) {
            (Keep::Threshold, Some((threshold, rest))) => (Some(*threshold), rest),
            (Keep::Threshold | Keep::Share, _) => (None, numbers),
        }
    }

    /// Scores all blocks, in `space.vectors.scores`, by the queries and keys of this layer, or by its keys
    /// alone: keys are in `space.scratch` then.
    fn score<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
        e: &Elimination,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, layer, tokens, .. } = *self;
        let shape = &frozen.shape;
        let (dim, query, kv, most) = (shape.dim, shape.query, shape.kv, shape.tokens);
        self.norm_all(space, 0);
        let inputs = &*space.inputs;
        let queries = front_mut(space.slopes, tokens * query);
        let keys = front_mut(reals::<R>(space.scratch), tokens * kv);
        let [of_query, of_key] = [Target::Query, Target::Key].map(|target| {
            let adapter = self.adapter(space.adapters, target);
            let inner = inner_of(space.vectors.inner, target, most, shape.rank);
            adapter.inner(inner, front(inputs, tokens * dim));
            adapter
        });
        let inner = &*space.vectors.inner;
        let inner = |target| row(inner, target as usize, most * shape.rank);
        let table = frozen.image.table(SectionKind::Qkv, layer as u32);
        let of_keys = e.choice == Choice::KeyLength;
        let start = if of_keys { query } else { 0 };
        let (range, work) = (start as u32..(query + kv) as u32, (tokens * dim) as u64);
        let numbers = &mut *space.rows.numbers;
        each_row(reader, Stage::Attention, &table, range, numbers, work, &mut |j, w, b| {
            let (out, j, columns, adapter, inner) = match j.checked_sub(query) {
                None => (&mut *queries, j, query, &of_query, inner(Target::Query)),
                Some(j) => (&mut *keys, j, kv, &of_key, inner(Target::Key)),
            };
            for token in 0..tokens {
                let y = dot(w, row(inputs, token, dim)) + R::of(b);
                if let Some(place) = out.get_mut(token * columns + j) {
                    *place = y + adapter.output(j, inner, token);
                }
            }
        })?;
        let scores = front_mut(space.vectors.scores, blocks(e, tokens));
        if of_keys {
            // However they are rotated, they are as long.
            let work = select::lengths(e, kv, keys, scores);
            count(reader.probe(), Stage::Attention, work);
            return Ok(());
        }
        let frequencies = frozen.frequencies(space.vectors.last);
        let angles = &mut *space.vectors.angles;
        for token in 0..tokens {
            rotate(row_mut(queries, token, query), angles, frequencies, token, false);
            rotate(row_mut(keys, token, kv), angles, frequencies, token, false);
        }
        let sight = match e.choice {
            Choice::Oracle { causal: true, .. } | Choice::Before => Sight::Back,
            Choice::Ahead => Sight::Ahead,
            _ => Sight::All,
        };
        let work = select::score(e, shape, sight, queries, keys, tokens, scores);
        count(reader.probe(), Stage::Attention, work);
        Ok(())
    }
}

/// Blocks of a text.
fn blocks(e: &Elimination, tokens: usize) -> usize {
    tokens.div_ceil(e.block.max(1) as usize)
}
