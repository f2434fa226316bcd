//! Steps: forward, the loss, back, and the adapters moved.
//!
//! In: a tuner, tokens. Out: losses; its adapters changed.

use crate::attend::Layer;
use crate::embed::embed;
use crate::error::TuneError;
use crate::guide::Look;
use crate::loss::{logits, loss};
use crate::optimise::{Rate, follow};
use crate::options::Gradients;
use crate::random::along;
use crate::real::Real;
use crate::shape::is_scored;
use crate::space::Space;
use crate::tuner::Tuner;
use crate::vector::{front_mut, row_mut};
use ripple_hal::BlockDevice;
use ripple_kernel::Probe;
use ripple_kernel::read::reader::FetchError;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The mean loss of the text's tokens, before the step.
    pub loss: f32,
    /// The length of the gradient, before it was clipped; of the last layer's where layers follow theirs one
    /// by one.
    pub length: f32,
}

impl<D: BlockDevice, P: Probe, R: Real> Tuner<'_, D, P, R> {
    /// The mean loss of `text`: of each token after the first, from those before it. No adapter changes, and
    /// no token is left out of attention.
    ///
    /// # Errors
    /// See [`TuneError`].
    pub fn evaluate(&mut self, text: &[u32]) -> Result<f32, TuneError<D::Error>> {
        Ok(self.look_ahead(text, false)?.narrow())
    }

    /// The same with the tokens left out of attention that a step leaves out.
    ///
    /// # Errors
    /// See [`TuneError`].
    pub fn evaluate_kept(&mut self, text: &[u32]) -> Result<f32, TuneError<D::Error>> {
        self.check_room()?;
        Ok(self.look_ahead(text, true)?.narrow())
    }

    /// Shows `see` what there is to see of each layer, as the model runs: where a step's choice goes by queries
    /// and keys.
    ///
    /// # Errors
    /// See [`TuneError`].
    pub fn look(
        &mut self,
        text: &[u32],
        see: &mut dyn FnMut(&Look<'_, R>),
    ) -> Result<(), TuneError<D::Error>> {
        let (tokens, _) = self.check_text(text)?;
        let arms = &self.frozen.options.arms;
        let (Some(e), true) = (arms.elimination, is_scored(arms)) else {
            return Err(TuneError::NoScores);
        };
        let Self { frozen, reader, space, steps, .. } = self;
        embed(frozen, reader, space, tokens)?;
        for layer in 0..frozen.shape.layers {
            let this = Layer { frozen, layer, tokens: tokens.len(), step: *steps };
            this.look(reader, space, &e, see)?;
            this.forward(reader, space, false)?;
        }
        Ok(())
    }

    /// Shows `see` the logits behind each token of `text` but the last: the number of a token of the
    /// vocabulary, and its logits, `(tokens,)`. No token is left out of attention.
    ///
    /// # Errors
    /// See [`TuneError`].
    pub fn logits(
        &mut self,
        text: &[u32],
        see: &mut dyn FnMut(usize, &[R]),
    ) -> Result<(), TuneError<D::Error>> {
        let (tokens, _) = self.check_text(text)?;
        self.forward(tokens, false)?;
        Ok(logits(&self.frozen, &mut self.reader, &mut self.space, tokens.len(), see)?)
    }

    fn look_ahead(&mut self, text: &[u32], keep: bool) -> Result<R, TuneError<D::Error>> {
        let (tokens, labels) = self.check_text(text)?;
        self.forward(tokens, keep)?;
        Ok(loss(&self.frozen, &mut self.reader, &mut self.space, labels, false)?)
    }

    /// A tape that waits on the card has a place there.
    fn check_room(&self) -> Result<(), TuneError<D::Error>> {
        match self.frozen.options.arms.spill && self.spill.is_none() {
            true => Err(TuneError::NoRoom { needed: self.plan.spill_blocks().0, given: 0 }),
            false => Ok(()),
        }
    }

    /// Adds the gradients of the mean loss of `text` to those that have been added up, and returns the loss.
    ///
    /// # Errors
    /// See [`TuneError`]. After an error of the device, no gradients are added up any more: begin with the
    /// first of the texts again. Adapters are unchanged.
    pub fn accumulate(&mut self, text: &[u32]) -> Result<R, TuneError<D::Error>> {
        if self.frozen.options.gradients != Gradients::Whole {
            return Err(TuneError::Texts { texts: 2 });
        }
        self.check_room()?;
        let (tokens, labels) = self.check_text(text)?;
        let result = self.pass(tokens, labels, None);
        match result {
            Ok(_) => self.texts += 1,
            Err(_) => {
                self.texts = 0;
                self.space.gradients.iter_mut().for_each(|g| *g = R::ZERO);
            }
        }
        Ok(result?.0)
    }

    /// Moves the adapters along the mean of the gradients that have been added up, forgets those, and returns
    /// their length. Does nothing where there are none.
    pub fn update(&mut self, rate: Rate) -> f32 {
        if self.texts == 0 {
            return 0.0;
        }
        self.powers = self.powers.next(self.frozen.options.optimiser);
        self.steps += 1;
        let Space { adapters, moments, gradients, .. } = &mut self.space;
        let optimiser = self.frozen.options.optimiser;
        let length = follow(optimiser, rate, self.texts, self.powers, adapters, gradients, moments);
        gradients.iter_mut().for_each(|g| *g = R::ZERO);
        self.texts = 0;
        length.narrow()
    }

    /// One text, one step.
    ///
    /// # Errors
    /// See [`TuneError`]. After an error of the device adapters are unchanged; those of the last layers may
    /// have been moved where [`Gradients::Layer`] are held, and the step can be repeated all the same.
    pub fn step(&mut self, text: &[u32], rate: Rate) -> Result<Step, TuneError<D::Error>> {
        match self.frozen.options.gradients {
            Gradients::Whole => {
                let loss = self.accumulate(text)?.narrow();
                Ok(Step { loss, length: self.update(rate) })
            }
            Gradients::Sampled { eps } => self.sampled(text, rate, eps),
            Gradients::Layer => {
                self.check_room()?;
                let (tokens, labels) = self.check_text(text)?;
                self.powers = self.powers.next(self.frozen.options.optimiser);
                let (loss, length) = self.pass(tokens, labels, Some(rate))?;
                self.steps += 1;
                Ok(Step { loss: loss.narrow(), length: length.narrow() })
            }
        }
    }

    /// `g = (L(w + eps s) - L(w - eps s)) / (2 eps)`, then `w -= rate g s`, with signs `s` of this step.
    fn sampled(&mut self, text: &[u32], rate: Rate, eps: f32) -> Result<Step, TuneError<D::Error>> {
        let numbers = self.numbers();
        let (seed, step, eps) = (self.seed, self.steps, R::of(eps));
        let move_by = |this: &mut Self, by: R| {
            along(front_mut(this.space.adapters, numbers), by, seed, step);
        };
        move_by(self, eps);
        let above = self.look_ahead(text, false);
        move_by(self, -(eps + eps));
        let losses = above.and_then(|above| Ok((above, self.look_ahead(text, false)?)));
        let (above, below) = match losses {
            Ok(losses) => losses,
            Err(error) => {
                move_by(self, eps);
                return Err(error);
            }
        };
        let two = R::wide(2.0);
        let slope = (above - below) / (two * eps);
        let size = if slope < R::ZERO { -slope } else { slope };
        let length = size * R::count(numbers).sqrt();
        let clip = R::of(rate.clip);
        let share = if clip > R::ZERO && length > clip { clip / length } else { R::ONE };
        move_by(self, eps - R::of(rate.rate) * share * slope);
        self.steps += 1;
        Ok(Step { loss: ((above + below) / two).narrow(), length: length.narrow() })
    }

    /// Forward, the loss, and back; each layer follows its gradients at once, if a rate is given.
    fn pass(
        &mut self,
        tokens: &[u32],
        labels: &[u32],
        rate: Option<Rate>,
    ) -> Result<(R, R), FetchError<D::Error>> {
        self.forward(tokens, true)?;
        let Self { frozen, reader, space, powers, steps, spill, .. } = self;
        let loss = loss(frozen, reader, space, labels, true)?;
        let mut length = R::ZERO;
        for layer in (0..frozen.shape.layers).rev() {
            let this = Layer { frozen, layer, tokens: tokens.len(), step: *steps };
            if rate.is_some() {
                space.gradients.iter_mut().for_each(|g| *g = R::ZERO);
            }
            if let Some(spill) = spill
                && layer + 1 < frozen.shape.layers
            {
                spill.get(reader, space, layer)?;
            }
            this.backward(reader, space)?;
            if let Some(rate) = rate {
                let range = frozen.places.layer(layer);
                let count = frozen.options.optimiser.moments() as usize * range.len();
                let moments = match count {
                    0 => &mut [],
                    _ => row_mut(space.moments, layer, count),
                };
                let numbers = space.adapters.get_mut(range).unwrap_or_default();
                let optimiser = frozen.options.optimiser;
                length = follow(optimiser, rate, 1, *powers, numbers, space.gradients, moments);
            }
        }
        Ok((loss, length))
    }

    /// The residual stream behind the last layer.
    fn forward(&mut self, tokens: &[u32], keep: bool) -> Result<(), FetchError<D::Error>> {
        let Self { frozen, reader, space, steps, spill, .. } = self;
        embed(frozen, reader, space, tokens)?;
        for layer in 0..frozen.shape.layers {
            let this = Layer { frozen, layer, tokens: tokens.len(), step: *steps };
            this.forward(reader, space, keep)?;
            // That of the last layer is wanted next.
            if let Some(spill) = spill
                && keep
                && layer + 1 < frozen.shape.layers
            {
                spill.put(reader, space, layer)?;
            }
        }
        Ok(())
    }

    /// The tokens and the labels of a text.
    #[allow(clippy::type_complexity, reason = "two slices or an error")]
    fn check_text<'t>(
        &self,
        text: &'t [u32],
    ) -> Result<(&'t [u32], &'t [u32]), TuneError<D::Error>> {
        let shape = &self.frozen.shape;
        let tokens = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let most = shape.tokens as u32 + 1;
        let length = TuneError::Length { tokens, least: 2, most };
        let (Some((_, labels)), Some((_, inputs))) = (text.split_first(), text.split_last()) else {
            return Err(length);
        };
        if labels.is_empty() || tokens > most {
            return Err(length);
        }
        let vocab = shape.vocab as u32;
        match text.iter().find(|&&token| token >= vocab) {
            Some(&token) => Err(TuneError::UnknownToken { token, vocab }),
            None => Ok((inputs, labels)),
        }
    }
}
