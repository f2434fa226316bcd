//! The tuner: an image, its adapters, and all that their training needs.
//!
//! In: a device with an image on it, lent memory. Out: adapters. The image itself never changes. Steps are
//! made in a file of their own.

use crate::adapter::Places;
use crate::check::check;
use crate::error::{TuneError, TuneOpenError};
use crate::model::{Frozen, load_floats};
use crate::optimise::Powers;
use crate::options::TuneOptions;
use crate::plan::{TuneMemory, TunePlan};
use crate::real::Real;
use crate::shape::{Shape, guide_numbers};
use crate::space::Space;
use crate::spill::Spill;
use crate::vector::{copy, front_mut, row};
use ripple_hal::{BLOCK_BYTES, BlockDevice, BlockIdx, WriteDevice};
use ripple_kernel::adapter::{AdapterFile, Target};
use ripple_kernel::decode::open_image;
use ripple_kernel::image::{Header, Image, SectionKind};
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::text::sample::Pcg32;
use ripple_kernel::{Probe, Stage};

/// A model whose adapters are trained.
pub struct Tuner<'m, D: BlockDevice, P = (), R = f32> {
    pub(crate) frozen: Frozen<'m>,
    pub(crate) reader: Reader<'m, D, P>,
    pub(crate) space: Space<'m, R>,
    pub(crate) plan: TunePlan,
    /// Texts whose gradients have been added up.
    pub(crate) texts: u32,
    /// Steps that the optimiser has made.
    pub(crate) steps: u32,
    pub(crate) powers: Powers<R>,
    /// Of the adapters' beginning, and of what is drawn in each step.
    pub(crate) seed: u64,
    /// Where the tape waits, once that is known.
    pub(crate) spill: Option<Spill<D>>,
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

impl<D: WriteDevice, P: Probe, R: Real> Tuner<'_, D, P, R> {
    /// Lets the tape wait in the blocks from `start` on, [`TunePlan::spill_blocks`] of them, which are not the
    /// image's: for [`Arms::spill`](crate::Arms::spill).
    ///
    /// # Errors
    /// When the device fails or has not as many; then the tape has no place.
    pub fn spill_to(&mut self, start: BlockIdx) -> Result<(), TuneError<D::Error>> {
        let needed = self.plan.spill_blocks().0;
        let count = self.reader.device_mut().block_count();
        let at = BlockIdx(0);
        let count = count.map_err(|source| TuneError::from(FetchError::Device { at, source }))?;
        let given = count.0.saturating_sub(start.0);
        if start.0 < self.frozen.image.header.blocks.0 || given < needed {
            return Err(TuneError::NoRoom { needed, given });
        }
        self.spill = Some(Spill::new(start, self.plan.layer_blocks()));
        Ok(())
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
        let shape = Shape::of(&geometry, &options.settled());
        let options = TuneOptions { tokens: shape.tokens as u32, ..options.settled() };
        let space = Space::carve(front_mut(arena, plan.arena()), &plan, &geometry, &options);
        let staging = front_mut(staging, plan.staging);
        let mut reader = Reader::new(device, staging, options.collapse_gap, probe);
        let table = image.table(SectionKind::FinalVectors, 0);
        load_floats(&mut reader, Stage::Open, &table, space.vectors.last)?;
        let places = Places::new(options.adapter(), geometry.config);
        let frozen = Frozen { image, shape, options, places };
        Ok(Self {
            frozen,
            reader,
            space,
            plan,
            texts: 0,
            steps: 0,
            powers: Powers::ONE,
            seed: 0,
            spill: None,
        })
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
        self.seed = seed;
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

    /// Numbers that blocks of tokens are judged by, of all layers: see [`Choice`](crate::Choice) and
    /// [`Keep`](crate::Keep). All 0 at first.
    pub fn guide(&self) -> &[R] {
        row(self.space.guide, 0, self.guide_numbers())
    }

    /// Sets all of them; `false`, and nothing changed, where `numbers` are not as many.
    pub fn set_guide(&mut self, numbers: &[R]) -> bool {
        let same = numbers.len() == self.guide_numbers();
        if same {
            copy(self.space.guide, numbers);
        }
        same
    }

    fn guide_numbers(&self) -> usize {
        let Frozen { shape, options, .. } = &self.frozen;
        options.arms.elimination.map_or(0, |e| shape.layers * guide_numbers(shape, &e))
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
}
