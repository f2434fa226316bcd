//! A pass: a chunk of tokens through all layers, each weight read once for all of them.
//!
//! In: tokens, and the positions where they stand. Out: logits of the last position, or the likeliest
//! token after each. One token is a chunk of one: there is no other loop.

use super::Decoder;
use crate::config::Position;
use crate::decode::error::StepError;
use crate::image::SectionKind;
use crate::image::row::Row;
use crate::layer::gemv::{Output, gemv};
use crate::layer::{self, normalised};
use crate::math::{rope, softmax::capped};
use crate::read::fetch::FetchError;
use crate::read::probe::{Probe, Stage};
use crate::slices::{Rows, RowsMut, copy, front, rest, rest_mut, split_mut};
use core::ops::Range;
use ripple_hal::{BlockDevice, Coming};

/// A pass under way, from [`Decoder::begin`]: it borrows the decoder until it ends.
///
/// [`logits`](Self::logits), [`likeliest`](Self::likeliest) and [`commit`](Self::commit) end it. Each of
/// them first runs the layers that are left, so that no pass can end unfinished. A caller who has
/// something else to do between layers calls [`layer`](Self::layer) until it gives `false`. A pass that
/// is dropped leaves the position as it was.
#[must_use = "a pass that is dropped has fed nothing"]
pub struct Pass<'d, 'm, D: BlockDevice, P = ()> {
    decoder: &'d mut Decoder<'m, D, P>,
    /// Positions.
    count: usize,
    /// One past the last of them.
    end: u32,
    /// The layer that comes next; none before the embedding, and none after an error, which may have
    /// come in the middle of a sum.
    next: Option<u32>,
}

impl<'m, D: BlockDevice, P: Probe> Decoder<'m, D, P> {
    /// Feeds `token` at the current position and returns the logits of the next one, `(vocab,)`.
    ///
    /// # Errors
    /// See [`StepError`]. The position is then unchanged and the step can be repeated.
    pub fn step(&mut self, token: u32) -> Result<&mut [f32], StepError<D::Error>> {
        self.begin(&[token])?.logits()
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
        self.begin(last)?.logits()
    }

    /// Feeds `tokens`, as [`prefill`](Self::prefill), without computing logits.
    ///
    /// # Errors
    /// As [`prefill`](Self::prefill).
    pub fn feed(&mut self, tokens: &[u32]) -> Result<(), StepError<D::Error>> {
        self.check(tokens)?;
        for chunk in tokens.chunks(self.batch().max(1) as usize) {
            self.begin(chunk)?.commit()?;
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
        self.begin(tokens)?.likeliest()
    }

    /// Begins a pass of `tokens`, 1 to [`batch`](Self::batch), at the positions that come next. Reads
    /// nothing yet.
    ///
    /// # Errors
    /// [`StepError::Chunk`], [`StepError::UnknownToken`], [`StepError::ContextFull`].
    pub fn begin(&mut self, tokens: &[u32]) -> Result<Pass<'_, 'm, D, P>, StepError<D::Error>> {
        let next = self.position;
        let mut pass = self.pass(tokens.len())?;
        pass.decoder.check(tokens)?;
        pass.end = next + tokens.len() as u32;
        let state = &mut pass.decoder.state;
        let places = state.tokens.iter_mut().zip(state.places.positions().iter_mut());
        for (place, new) in places.zip(tokens.iter().zip(next..)) {
            (*place.0, *place.1) = (*new.0, new.1);
        }
        Ok(pass)
    }

    /// Begins a pass of tokens at any positions: `(token, position)`, 1 to [`batch`](Self::batch) of
    /// them, the positions ascending. Each is one that is in memory, to be computed anew, or the next
    /// one; none is left out at the end.
    ///
    /// A position attends to all positions up to itself, those of the pass as it computes them, the
    /// others as they were kept. Positions after it keep what they were computed from.
    ///
    /// What was kept at a position is replaced layer by layer: where such a pass is dropped or fails,
    /// run it again, or [`rewind`](Self::rewind) to its first position.
    ///
    /// # Errors
    /// As [`begin`](Self::begin), and [`StepError::Position`].
    pub fn begin_at(
        &mut self,
        tokens: &[(u32, u32)],
    ) -> Result<Pass<'_, 'm, D, P>, StepError<D::Error>> {
        let (end, mut least) = (self.end(), self.kv.spilled());
        let mut pass = self.pass(tokens.len())?;
        let Decoder { state, position: next, image, kv, .. } = &mut *pass.decoder;
        let vocab = image.header.geometry.config.vocab;
        let places = state.tokens.iter_mut().zip(state.places.positions().iter_mut());
        for (place, &(token, position)) in places.zip(tokens) {
            if token >= vocab {
                return Err(StepError::UnknownToken { token, vocab });
            }
            if position < least || position > least.max(*next) {
                return Err(StepError::Position { position, least });
            }
            if position >= end {
                return Err(StepError::ContextFull { context: kv.context() });
            }
            (*place.0, *place.1) = (token, position);
            least = position + 1;
        }
        pass.end = least;
        Ok(pass)
    }

    /// Most tokens of a chunk.
    pub fn batch(&self) -> u32 {
        self.options.batch_of(&self.image.header.geometry.config)
    }

    /// A pass of `count` tokens, which must still be written to the state.
    fn pass(&mut self, count: usize) -> Result<Pass<'_, 'm, D, P>, StepError<D::Error>> {
        let most = self.batch();
        if count == 0 || count > most as usize {
            let tokens = u32::try_from(count).unwrap_or(u32::MAX);
            return Err(StepError::Chunk { tokens, most });
        }
        Ok(Pass { decoder: self, count, end: 0, next: None })
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
}

impl<'d, 'm, D: BlockDevice, P: Probe> Pass<'d, 'm, D, P> {
    /// Runs the next layer; `false` when there was none left.
    ///
    /// # Errors
    /// When the device fails or a record is damaged. Call it again: the pass begins anew.
    pub fn layer(&mut self) -> Result<bool, StepError<D::Error>> {
        Ok(self.next_layer()?)
    }

    /// The logits after the last token, `(vocab,)`.
    ///
    /// # Errors
    /// As [`layer`](Self::layer). The position is then unchanged.
    pub fn logits(mut self) -> Result<&'d mut [f32], StepError<D::Error>> {
        let last = self.count.saturating_sub(1);
        self.head(last..last + 1, Keep::Logits)?;
        Ok(self.finish().state.logits)
    }

    /// The likeliest token after each token.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn likeliest(mut self) -> Result<&'d [u32], StepError<D::Error>> {
        let count = self.count;
        self.head(0..count, Keep::Likeliest)?;
        Ok(front(self.finish().state.tokens, count))
    }

    /// Ends the pass without logits.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn commit(mut self) -> Result<(), StepError<D::Error>> {
        self.layers()?;
        self.finish();
        Ok(())
    }

    /// All layers that are left.
    fn layers(&mut self) -> Result<(), FetchError<D::Error>> {
        while self.next_layer()? {}
        Ok(())
    }

    /// See [`layer`](Self::layer).
    fn next_layer(&mut self) -> Result<bool, FetchError<D::Error>> {
        let layer = match self.next.take() {
            Some(layer) => layer,
            None => {
                self.embed()?;
                0
            }
        };
        let left = layer < self.decoder.image.header.geometry.config.layers;
        if left {
            let (mut io, mut chunk) = self.decoder.parts(self.count);
            layer::forward(&mut io, &mut chunk, layer)?;
        }
        self.next = Some(layer + u32::from(left));
        Ok(left)
    }

    /// The decoder, behind the last position.
    fn finish(self) -> &'d mut Decoder<'m, D, P> {
        let decoder = self.decoder;
        decoder.position = decoder.position.max(self.end);
        decoder.peak_position = decoder.peak_position.max(self.end);
        decoder
    }

    /// Fills the residual stream with the embeddings of the tokens at their positions.
    fn embed(&mut self) -> Result<(), FetchError<D::Error>> {
        self.decoder.probe.enter(Stage::Embedding, 0);
        let (mut io, chunk) = self.decoder.parts(self.count);
        let (image, state) = (chunk.image, chunk.state);
        let geometry = &image.header.geometry;
        let dim = geometry.config.dim as usize;
        let embedding = image.table(SectionKind::Embedding, 0);
        let tokens = front(state.tokens, chunk.count);
        if D::LOOKS_AHEAD {
            for &token in tokens {
                io.will_read_records(&embedding, token..token + 1, Coming::Next);
            }
        }
        let mut records = io.records();
        for (i, &token) in tokens.iter().enumerate() {
            let (before, x) = split_mut(state.x, i * dim);
            if let Some(same) = tokens.iter().take(i).position(|before| *before == token) {
                copy(x, Rows { cells: before, columns: dim }.at(same));
                continue;
            }
            records.for_each(
                Stage::Embedding,
                &embedding,
                token..token + 1,
                &mut |_, _, row| {
                    Row::of(&row, 0).for_each(x, |x, w| *x = w);
                },
            )?;
        }
        let index = image.table(SectionKind::PageIndex, 0);
        // Pages are of one token: a chunk reads the union of what its tokens need from the layers.
        if let (&[token], true) = (tokens, index.count > 0) {
            let pages = &mut *state.pages;
            records.for_each(Stage::Embedding, &index, token..token + 1, &mut |_, _, record| {
                for (page, word) in pages.iter_mut().zip(record.words(0)) {
                    *page = u32::from_le_bytes(*word);
                }
            })?;
        }
        let positions = front(state.places.positions(), chunk.count);
        match geometry.config.position() {
            Position::Rope => {
                let half = geometry.frequencies() as usize;
                let at = state.final_vectors.len().saturating_sub(half);
                let frequencies = rest(state.final_vectors, at);
                let mut cos = RowsMut { cells: &mut *state.cos, columns: half };
                let mut sin = RowsMut { cells: &mut *state.sin, columns: half };
                for (i, &position) in positions.iter().enumerate() {
                    rope::angles(cos.at(i), sin.at(i), frequencies, position);
                }
            }
            Position::Learned => {
                let table = image.table(SectionKind::Positions, 0);
                let mut done = 0;
                // Positions that follow each other are one read.
                while let Some(&first) = positions.get(done) {
                    let rest = positions.iter().skip(done).zip(first..);
                    let run = rest.take_while(|(position, next)| *position == next).count();
                    let x = rest_mut(state.x, done * dim);
                    let range = first..first + run as u32;
                    records.for_each(Stage::Embedding, &table, range, &mut |_, at, row| {
                        let x = rest_mut(x, (at - first) as usize * dim);
                        Row::of(&row, 0).for_each(x, |x, w| *x += w);
                    })?;
                    done += run;
                }
            }
        }
        Ok(())
    }

    /// Runs what is left of the layers, then multiplies the head with the residual at each of
    /// `positions`, for the logits of the first or the likeliest token of each.
    fn head(&mut self, positions: Range<usize>, keep: Keep) -> Result<(), FetchError<D::Error>> {
        self.layers()?;
        self.decoder.probe.enter(Stage::Head, 0);
        let (mut io, chunk) = self.decoder.parts(self.count);
        let (image, state) = (chunk.image, chunk.state);
        let geometry = &image.header.geometry;
        let config = &geometry.config;
        let dim = config.dim as usize;
        let (x, count) = (rest(state.x, positions.start * dim), positions.len());
        let vectors = &*state.final_vectors;
        let kind = || if config.tied_head { SectionKind::Embedding } else { SectionKind::Head };
        let inputs =
            normalised(&mut state.inputs, x, count, vectors, (0, kind()), geometry, &mut []);
        let cap = config.variant().logit_cap;
        let out = match keep {
            Keep::Logits => Output::Write(&mut *state.logits),
            Keep::Likeliest => {
                state.tokens.iter_mut().for_each(|token| *token = 0);
                let best = state.places.best();
                best.iter_mut().for_each(|best| *best = f32::NEG_INFINITY);
                Output::Largest(state.tokens, best, cap)
            }
        };
        gemv(&mut io.records(), Stage::Head, &image.table(kind(), 0), inputs, out)?;
        if cap != 0.0 && keep == Keep::Logits {
            state.logits.iter_mut().for_each(|logit| *logit = capped(*logit, cap));
        }
        Ok(())
    }
}

/// What is wanted of the head.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Logits,
    Likeliest,
}
