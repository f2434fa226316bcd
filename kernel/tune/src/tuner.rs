//! The tuner: opens an image, then moves adapters along the gradients of texts.
//!
//! In: a device with an image on it, lent memory, tokens. Out: losses, and adapters. The image itself never
//! changes.

use crate::adapter::Places;
use crate::attend::Layer;
use crate::check::check;
use crate::embed::embed;
use crate::error::{TuneError, TuneOpenError};
use crate::loss::loss;
use crate::model::{Frozen, load_floats};
use crate::optimise::{Powers, Rate, follow};
use crate::options::{Gradients, TuneOptions};
use crate::plan::{TuneMemory, TunePlan};
use crate::real::Real;
use crate::shape::Shape;
use crate::space::Space;
use crate::vector::{copy, front_mut, row, row_mut};
use ripple_hal::{BLOCK_BYTES, BlockDevice};
use ripple_kernel::adapter::{AdapterFile, Target};
use ripple_kernel::decode::open_image;
use ripple_kernel::image::{Header, Image, SectionKind};
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::text::sample::Pcg32;
use ripple_kernel::{Probe, Stage};

/// A model whose adapters are trained.
pub struct Tuner<'m, D, P = (), R = f32> {
    frozen: Frozen<'m>,
    reader: Reader<'m, D, P>,
    space: Space<'m, R>,
    plan: TunePlan,
    /// Texts whose gradients have been added up.
    texts: u32,
    /// Steps that the optimiser has made.
    steps: u32,
    powers: Powers<R>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The mean loss of the text's tokens, before the step.
    pub loss: f32,
    /// The length of the gradient, before it was clipped; of the last layer's where layers follow theirs one
    /// by one.
    pub length: f32,
}

impl<D: BlockDevice, P: Probe> Tuner<'_, D, P, f32> {
    /// The adapters as a file has them: its header, and the numbers that follow.
    pub fn file(&self) -> AdapterFile<'_> {
        let shape = self.frozen.options.adapter();
        AdapterFile { shape, steps: self.steps, numbers: self.adapters() }
    }

    /// The same, with the header of their image and the device: what saves them on it
    /// ([`AdapterSlots::save`](crate::AdapterSlots::save)).
    pub fn file_and_device(&mut self) -> (AdapterFile<'_>, &Header, &mut D) {
        let Self { frozen, reader, space, steps, .. } = self;
        let numbers = row(space.adapters, 0, frozen.places.numbers());
        let file = AdapterFile { shape: frozen.options.adapter(), steps: *steps, numbers };
        (file, &frozen.image.header, reader.device_mut())
    }
}

impl<'m, D: BlockDevice, P: Probe, R: Real> Tuner<'m, D, P, R> {
    /// Opens the image that starts at block 0 of `device`. `mapped`: as for
    /// [`Decoder::open`](ripple_kernel::Decoder::open); its checksums are verified.
    ///
    /// All adapters are 0 at first, which is no beginning: [`begin`](Self::begin), or
    /// [`set_adapters`](Self::set_adapters).
    ///
    /// # Errors
    /// See [`TuneOpenError`].
    pub fn open(
        mut device: D,
        mapped: &'m [u8],
        memory: TuneMemory<'m>,
        options: &TuneOptions,
        probe: P,
    ) -> Result<Self, TuneOpenError<D::Error>> {
        let TuneMemory { arena, staging } = memory;
        let image = open_image(&mut device, mapped, staging)?;
        image.verify_mapped()?;
        let geometry = image.header.geometry;
        check(&geometry.config, options)?;
        let plan = TunePlan::for_model::<R>(&geometry, options);
        let bytes = |words: usize, size: usize| (words as u64).saturating_mul(size as u64);
        if arena.len() < plan.arena() {
            let (needed, given) = (plan.bytes(), bytes(arena.len(), 8));
            return Err(TuneOpenError::Arena { needed, given });
        }
        if staging.len() < plan.staging {
            let needed = bytes(plan.staging, BLOCK_BYTES);
            return Err(TuneOpenError::Staging {
                needed,
                given: bytes(staging.len(), BLOCK_BYTES),
            });
        }
        let shape = Shape::of(&geometry, options);
        let options = TuneOptions { tokens: shape.tokens as u32, ..*options };
        let space = Space::carve(front_mut(arena, plan.arena()), &plan, &geometry, &options);
        let staging = front_mut(staging, plan.staging);
        let mut reader = Reader::new(device, staging, options.collapse_gap, probe);
        let table = image.table(SectionKind::FinalVectors, 0);
        load_floats(&mut reader, Stage::Open, &table, space.vectors.last)?;
        let places = Places::new(options.adapter(), geometry.config);
        let frozen = Frozen { image, shape, options, places };
        Ok(Self { frozen, reader, space, plan, texts: 0, steps: 0, powers: Powers::ONE })
    }

    /// Fills the adapters as they begin: `A` evenly between `-1 / sqrt(inputs)` and as much, `B` with zeroes, so
    /// that nothing changes before the first step. The same `seed` gives the same numbers everywhere.
    pub fn begin(&mut self, seed: u64) {
        let Self { frozen, space, .. } = self;
        space.adapters.iter_mut().for_each(|x| *x = R::ZERO);
        let mut random = Pcg32::new(seed, 0);
        for layer in 0..frozen.shape.layers {
            let numbers = space.adapters.get_mut(frozen.places.layer(layer)).unwrap_or_default();
            for target in Target::ALL {
                let (a, _) = frozen.places.target(target);
                let bound = 1.0 / libm::sqrt(frozen.places.inputs(target) as f64);
                for x in numbers.get_mut(a).unwrap_or_default() {
                    // Halves of 2^-32: exact in either type of number.
                    let even = f64::from(random.next_u32() >> 8) / f64::from(1u32 << 23) - 1.0;
                    *x = R::of((even * bound) as f32);
                }
            }
        }
        self.forget();
    }

    /// Forgets what the optimiser has kept, and gradients that have been added up.
    pub fn forget(&mut self) {
        let Space { moments, gradients, .. } = &mut self.space;
        moments.iter_mut().chain(gradients.iter_mut()).for_each(|x| *x = R::ZERO);
        (self.texts, self.steps, self.powers) = (0, 0, Powers::ONE);
    }

    /// All numbers of the adapters: layer by layer, query, key, value, output, `A` before `B`.
    pub fn adapters(&self) -> &[R] {
        row(self.space.adapters, 0, self.numbers())
    }

    /// Sets all of them; `false`, and nothing changed, where `numbers` are not as many.
    pub fn set_adapters(&mut self, numbers: &[R]) -> bool {
        let same = numbers.len() == self.numbers();
        if same {
            copy(self.space.adapters, numbers);
        }
        same
    }

    /// Numbers of all adapters.
    pub fn numbers(&self) -> usize {
        self.frozen.places.numbers()
    }

    /// The gradients that have been added up, in the order of [`adapters`](Self::adapters); of one layer
    /// where no more are held.
    pub fn gradients(&self) -> &[R] {
        self.space.gradients
    }

    /// What the image holds.
    pub fn header(&self) -> &Header {
        &self.frozen.image.header
    }

    /// The image.
    pub fn image(&self) -> &Image<'m> {
        &self.frozen.image
    }

    /// What is trained, and how; with as many tokens as the model has positions for.
    pub fn options(&self) -> &TuneOptions {
        &self.frozen.options
    }

    /// Memory by region.
    pub fn plan(&self) -> &TunePlan {
        &self.plan
    }

    /// The observer.
    pub fn probe_mut(&mut self) -> &mut P {
        self.reader.probe()
    }

    /// The device, between steps.
    pub fn device_mut(&mut self) -> &mut D {
        self.reader.device_mut()
    }

    /// Steps that were made.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Goes on from so many steps, as far as they are counted in a file; what the optimiser kept of them is not
    /// in one.
    pub fn count_from(&mut self, steps: u32) {
        self.steps = steps;
    }

    /// The mean loss of `text`: of each token after the first, from those before it. No adapter changes, and
    /// no token is left out of attention.
    ///
    /// # Errors
    /// See [`TuneError`].
    pub fn evaluate(&mut self, text: &[u32]) -> Result<f32, TuneError<D::Error>> {
        let (tokens, labels) = self.check_text(text)?;
        self.forward(tokens, false)?;
        Ok(loss(&self.frozen, &mut self.reader, &mut self.space, labels, false)?.narrow())
    }

    /// Adds the gradients of the mean loss of `text` to those that have been added up, and returns the loss.
    ///
    /// # Errors
    /// See [`TuneError`]. After an error of the device, no gradients are added up any more: begin with the
    /// first of the texts again. Adapters are unchanged.
    pub fn accumulate(&mut self, text: &[u32]) -> Result<R, TuneError<D::Error>> {
        if self.frozen.options.gradients == Gradients::Layer {
            return Err(TuneError::Texts { texts: 2 });
        }
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
            Gradients::Layer => {
                let (tokens, labels) = self.check_text(text)?;
                self.powers = self.powers.next(self.frozen.options.optimiser);
                let (loss, length) = self.pass(tokens, labels, Some(rate))?;
                self.steps += 1;
                Ok(Step { loss: loss.narrow(), length: length.narrow() })
            }
        }
    }

    /// Forward, the loss, and back; each layer follows its gradients at once, if a rate is given.
    fn pass(
        &mut self,
        tokens: &[u32],
        labels: &[u32],
        rate: Option<Rate>,
    ) -> Result<(R, R), FetchError<D::Error>> {
        self.forward(tokens, true)?;
        let Self { frozen, reader, space, powers, steps, .. } = self;
        let loss = loss(frozen, reader, space, labels, true)?;
        let mut length = R::ZERO;
        for layer in (0..frozen.shape.layers).rev() {
            let this = Layer { frozen, layer, tokens: tokens.len(), step: *steps };
            if rate.is_some() {
                space.gradients.iter_mut().for_each(|g| *g = R::ZERO);
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
        let Self { frozen, reader, space, steps, .. } = self;
        embed(frozen, reader, space, tokens)?;
        for layer in 0..frozen.shape.layers {
            let this = Layer { frozen, layer, tokens: tokens.len(), step: *steps };
            this.forward(reader, space, keep)?;
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
