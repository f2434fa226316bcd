//! A pass: a chunk of tokens through all layers, each weight read once for all of them.
//!
//! In: tokens. Out: logits of the last position, or the likeliest token after each. One token is a
//! chunk of one: there is no other loop.

use super::Decoder;
use crate::config::Position;
use crate::decode::error::StepError;
use crate::image::SectionKind;
use crate::image::row::Row;
use crate::layer::gemv::{Output, gemv};
use crate::layer::{self, normalise, nth, nth_mut};
use crate::math::rope;
use crate::read::fetch::FetchError;
use crate::read::probe::{Probe, Stage};
use core::ops::Range;
use ripple_hal::BlockDevice;

impl<D: BlockDevice, P: Probe> Decoder<'_, D, P> {
    /// Feeds `token` at the current position and returns the logits of the next one, `(vocab,)`.
    ///
    /// # Errors
    /// See [`StepError`]. The position is then unchanged and the step can be repeated.
    pub fn step(&mut self, token: u32) -> Result<&mut [f32], StepError<D::Error>> {
        self.run(&[token])?;
        self.logits()
    }

    /// Feeds `tokens`, [`Options::batch`](crate::Options::batch) of them a pass, and returns the
    /// logits after the last, `(vocab,)`: the same to the last bit as those of as many steps.
    ///
    /// # Errors
    /// As [`step`](Self::step). A token that is unknown, or one too many for the context, is found
    /// before any is fed. When the device fails, the passes before the failed one hold: the rest of
    /// the prompt, `tokens[position now - position before..]`, can be fed when it works again.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<&mut [f32], StepError<D::Error>> {
        let batch = self.batch().max(1) as usize;
        let whole = tokens.len().saturating_sub(1) / batch * batch;
        let (whole, last) = tokens.split_at_checked(whole).unwrap_or((&[], tokens));
        self.check(tokens)?;
        self.feed(whole)?;
        self.run(last)?;
        self.logits()
    }

    /// Feeds `tokens`, as [`prefill`](Self::prefill), without computing logits.
    ///
    /// # Errors
    /// As [`prefill`](Self::prefill).
    pub fn feed(&mut self, tokens: &[u32]) -> Result<(), StepError<D::Error>> {
        self.check(tokens)?;
        for chunk in tokens.chunks(self.batch().max(1) as usize) {
            self.run(chunk)?;
            self.commit();
        }
        Ok(())
    }

    /// Feeds `token` without computing logits.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn advance(&mut self, token: u32) -> Result<(), StepError<D::Error>> {
        self.feed(&[token])
    }

    /// Feeds a chunk in one pass and returns, for each of its tokens, the likeliest token after it:
    /// what a draft is verified with. [`rewind`](Self::rewind) to where the draft was wrong.
    ///
    /// # Errors
    /// As [`begin`](Self::begin). The position is then unchanged.
    pub fn verify(&mut self, tokens: &[u32]) -> Result<&[u32], StepError<D::Error>> {
        self.run(tokens)?;
        self.likeliest()
    }

    /// Begins a pass that the caller wants to interrupt between layers: then call
    /// [`forward_layer`](Self::forward_layer) until it gives `false`, then [`logits`](Self::logits),
    /// [`likeliest`](Self::likeliest) or [`commit`](Self::commit).
    ///
    /// `tokens`: 1 to [`batch`](Self::batch).
    ///
    /// # Errors
    /// As [`step`](Self::step), and [`StepError::Chunk`]. A pass that was begun before and not
    /// finished is forgotten.
    pub fn begin(&mut self, tokens: &[u32]) -> Result<(), StepError<D::Error>> {
        self.next_layer = None;
        let most = self.batch();
        let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        if count == 0 || count > most {
            return Err(StepError::Chunk { tokens: count, most });
        }
        self.check(tokens)?;
        self.count = count;
        self.probe.enter(Stage::Embedding, 0);
        self.embed(tokens)?;
        self.next_layer = Some(0);
        Ok(())
    }

    /// Runs one layer of the pass that has begun; `false` when there was none left.
    ///
    /// # Errors
    /// As [`step`](Self::step). The pass must then be begun again.
    pub fn forward_layer(&mut self) -> Result<bool, StepError<D::Error>> {
        let Some(layer) = self.next_layer.take() else { return Ok(false) };
        if layer >= self.image.header.geometry.config.layers {
            self.next_layer = Some(layer);
            return Ok(false);
        }
        let (mut io, mut pass) = self.parts();
        layer::forward(&mut io, &mut pass, layer)?;
        self.next_layer = Some(layer + 1);
        Ok(true)
    }

    /// The logits after the last token of the pass whose layers have all run, `(vocab,)`; ends it.
    ///
    /// # Errors
    /// As [`step`](Self::step), after which they can be asked for again; and
    /// [`StepError::Unfinished`].
    pub fn logits(&mut self) -> Result<&mut [f32], StepError<D::Error>> {
        self.finished()?;
        let last = self.count.saturating_sub(1) as usize;
        self.head(last..last + 1, Keep::Logits)?;
        self.commit();
        Ok(self.state.logits)
    }

    /// The likeliest token after each token of the pass whose layers have all run; ends it.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn likeliest(&mut self) -> Result<&[u32], StepError<D::Error>> {
        self.finished()?;
        let count = self.count as usize;
        self.head(0..count, Keep::Likeliest)?;
        self.commit();
        Ok(self.state.likeliest.get(..count).unwrap_or(&[]))
    }

    /// Ends a pass whose layers have all run, without logits. Does nothing in any other state.
    pub fn commit(&mut self) {
        if self.next_layer.take() == Some(self.image.header.geometry.config.layers) {
            self.position += self.count;
            self.peak_position = self.peak_position.max(self.position);
        }
    }

    /// Most tokens of a chunk.
    pub fn batch(&self) -> u32 {
        self.options.batch_of(&self.image.header.geometry.config)
    }

    /// The embedding and all layers.
    fn run(&mut self, tokens: &[u32]) -> Result<(), StepError<D::Error>> {
        self.begin(tokens)?;
        while self.forward_layer()? {}
        Ok(())
    }

    /// Refuses tokens that there are not, and more than there is room for.
    fn check(&self, tokens: &[u32]) -> Result<(), StepError<D::Error>> {
        let vocab = self.image.header.geometry.config.vocab;
        if let Some(&token) = tokens.iter().find(|&&token| token >= vocab) {
            return Err(StepError::UnknownToken { token, vocab });
        }
        if tokens.len() > self.room() as usize {
            return Err(StepError::ContextFull { context: self.kv.context() });
        }
        Ok(())
    }

    fn finished(&self) -> Result<(), StepError<D::Error>> {
        let layers = self.image.header.geometry.config.layers;
        let run = self.next_layer.unwrap_or(0);
        if run < layers { Err(StepError::Unfinished { run, layers }) } else { Ok(()) }
    }

    /// Fills the residual stream with the embeddings of `tokens` at the positions that come next.
    fn embed(&mut self, tokens: &[u32]) -> Result<(), FetchError<D::Error>> {
        let (mut io, pass) = self.parts();
        let (image, position, state) = (pass.image, pass.position, pass.state);
        let geometry = &image.header.geometry;
        let dim = geometry.config.dim as usize;
        let embedding = image.table(SectionKind::Embedding, 0);
        for (i, &token) in tokens.iter().enumerate() {
            let (before, x) = state.x.split_at_mut_checked(i * dim).unwrap_or_default();
            if let Some(same) = tokens.iter().take(i).position(|before| *before == token) {
                x.iter_mut().zip(nth(before, same, dim)).for_each(|(x, same)| *x = *same);
                continue;
            }
            io.for_each(Stage::Embedding, &embedding, token..token + 1, &mut |_, _, row| {
                Row::of(&row, 0).for_each(x, |x, w| *x = w);
            })?;
        }
        let index = image.table(SectionKind::PageIndex, 0);
        // Pages are of one token: a chunk reads the union of what its tokens need from the layers.
        if let (&[token], true) = (tokens, index.count > 0) {
            let pages = &mut *state.pages;
            io.for_each(Stage::Embedding, &index, token..token + 1, &mut |_, _, record| {
                for (page, word) in pages.iter_mut().zip(record.words(0)) {
                    *page = u32::from_le_bytes(*word);
                }
            })?;
        }
        let positions = position..position + tokens.len() as u32;
        match geometry.config.position() {
            Position::Rope => {
                let half = geometry.frequencies() as usize;
                let at = state.final_vectors.len().saturating_sub(half);
                let frequencies = state.final_vectors.get(at..).unwrap_or(&[]);
                for (i, position) in positions.enumerate() {
                    let (cos, sin) = (nth_mut(state.cos, i, half), nth_mut(state.sin, i, half));
                    rope::angles(cos, sin, frequencies, position);
                }
                Ok(())
            }
            Position::Learned => {
                let x = &mut *state.x;
                let table = image.table(SectionKind::Positions, 0);
                io.for_each(Stage::Embedding, &table, positions, &mut |_, at, row| {
                    let x = x.get_mut((at - position) as usize * dim..).unwrap_or_default();
                    Row::of(&row, 0).for_each(x, |x, w| *x += w);
                })
            }
        }
    }

    /// Multiplies the head with the residual at each of `positions`, for the logits of the first or
    /// the likeliest token of each.
    fn head(&mut self, positions: Range<usize>, keep: Keep) -> Result<(), FetchError<D::Error>> {
        self.probe.enter(Stage::Head, 0);
        let (mut io, pass) = self.parts();
        let (image, state) = (pass.image, pass.state);
        let geometry = &image.header.geometry;
        let config = &geometry.config;
        let dim = config.dim as usize;
        let (x, vectors) = (&*state.x, &*state.final_vectors);
        let inputs = state.inputs.fill(positions.len(), dim, &mut |i, out, _| {
            normalise(out, nth(x, positions.start + i, dim), vectors, 0, geometry);
        });
        let out = match keep {
            Keep::Logits => Output::Write(state.logits),
            Keep::Likeliest => {
                state.likeliest.iter_mut().for_each(|token| *token = 0);
                state.best.iter_mut().for_each(|best| *best = f32::NEG_INFINITY);
                Output::Largest(state.likeliest, state.best)
            }
        };
        let kind = if config.tied_head { SectionKind::Embedding } else { SectionKind::Head };
        gemv(&mut io, Stage::Head, &image.table(kind, 0), inputs, out)
    }
}

/// What is wanted of the head.
enum Keep {
    Logits,
    Likeliest,
}
