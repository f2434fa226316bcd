//! One layer, forward and back: attention over the tokens that are kept, with its adapters, then the FFN.
//!
//! In: the residual stream, or its gradient. Out: the same, one layer further; the adapters' gradients.

use crate::arms::{AttentionTape, InputTape};
use crate::attend::{Into, Layer};
use crate::ffn;
use crate::model::load_floats;
use crate::real::Real;
use crate::space::Space;
use crate::vector::{front, front_mut, row, row_mut};
use ripple_hal::BlockDevice;
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
            space.layer_inputs.keep(self.place(), stream);
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
            space.middle.keep(self.place(), front(space.stream, tokens * dim));
        }
        self.norm_all(space, 1);
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

    /// Reads the norms and biases of the layer.
    pub fn load<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
    ) -> Result<(), FetchError<D::Error>> {
        reader.probe().enter(Stage::Attention, self.layer as u32);
        let vectors = self.frozen.image.table(SectionKind::LayerVectors, self.layer as u32);
        load_floats(reader, Stage::Attention, &vectors, space.vectors.layer)
    }

    /// Computes attention once more, from the layer's input, and the residual stream behind it.
    fn again<D: BlockDevice, P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, tokens, .. } = *self;
        let dim = frozen.shape.dim;
        let kept = self.kept(space.kept, true);
        let norm = frozen.norm(space.vectors.layer, 0);
        let one = front_mut(space.vectors.one, dim);
        for i in 0..kept.count() {
            space.layer_inputs.restore(self.place(), kept.at(i), one);
            norm.apply(row_mut(space.inputs, i, dim), one);
        }
        self.attend(reader, space, kept.count(), true)?;
        let middle = space.middle.in_place::<R>(self.middle());
        for (token, x) in middle.chunks_exact_mut(dim.max(1)).enumerate().take(tokens) {
            space.layer_inputs.restore(self.place(), token, x);
        }
        self.output(reader, space, true, Into::Middle)
    }
}
