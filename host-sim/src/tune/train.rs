//! The training of adapters of an image, step by step, on a simulated card.
//!
//! In: an image, tokens, options. Out: losses as they come, the adapters, what a step read and computed. The
//! same image, texts and options give the same adapters.

use crate::cost::Preset;
use crate::machine::adapter::Saved;
use crate::machine::meter::Meter;
use crate::machine::{Core, ImageBytes, Mapped, SimCard, VirtualClock, WithSpare, damaged, header};
use crate::process::interrupt;
use anyhow::{Result, anyhow, ensure};
use ripple_hal::Block;
use ripple_kernel::text::sample::Pcg32;
use ripple_kernel::{Probe, Stage, StepError};
use ripple_tune::{Schedule, TuneError, TuneMemory, TuneOptions, TunePlan, TuneRegion, Tuner};
use serde::Serialize;

/// What is trained, and on what.
pub struct Training<'a> {
    /// The image, which stays as it is.
    pub image: &'a ImageBytes,
    /// The card.
    pub preset: &'static Preset,
    /// The core.
    pub core: Core,
    /// What of the image is mapped.
    pub mapped: Mapped,
    /// The adapters, and how they are trained.
    pub options: TuneOptions,
    /// How far each step goes.
    pub schedule: Schedule,
    /// Steps to make.
    pub steps: u32,
    /// Texts whose gradients are added up before each.
    pub texts: u32,
    /// Of the adapters' beginning and the order of the windows.
    pub seed: u64,
    /// Take the windows one after the other, as boards do.
    pub in_order: bool,
    /// Go on from these.
    pub start: Option<Saved>,
    /// What blocks of tokens are judged by, where an arm asks for it; else empty.
    pub guide: Vec<f32>,
    /// Look at the held-out windows after as many steps, and before the first and after the last.
    pub every: u32,
}

/// A look at the windows that nothing is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeldOut {
    /// Steps before it.
    pub step: u32,
    /// Mean loss of a token, in nats.
    pub loss: f64,
    /// `e^loss`.
    pub perplexity: f64,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Made {
    /// Counted from 1.
    pub step: u32,
    /// Mean loss of its texts' tokens, before it.
    pub loss: f64,
    /// Length of the gradient, before it was clipped.
    pub length: f64,
}

/// What happened.
pub enum Event {
    /// A step was made.
    Made(Made),
    /// The held-out windows were looked at.
    HeldOut(HeldOut),
}

/// Bytes of a region of memory.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Its name.
    pub region: &'static str,
    /// As planned, which is as used: a test of the kernel holds the two to each other.
    pub bytes: u64,
}

/// What a step takes, on average; times are simulated.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PerStep {
    /// Read commands.
    pub reads: f64,
    /// Bytes read.
    pub bytes: f64,
    /// Multiply-accumulates.
    pub multiply_accumulates: f64,
    /// Seconds that the card was busy.
    pub card_seconds: f64,
    /// Seconds in all.
    pub seconds: f64,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Tokens of a text, its last label not counted.
    pub tokens: u32,
    /// Every step.
    pub steps: Vec<Made>,
    /// Every look at the held-out windows.
    pub held_out: Vec<HeldOut>,
    /// Memory by region.
    pub memory: Vec<Memory>,
    /// All of it.
    pub memory_bytes: u64,
    /// What a step takes.
    pub per_step: PerStep,
    /// Whether it was stopped before its last step.
    pub interrupted: bool,
    /// The adapters behind the last step.
    #[serde(skip)]
    pub adapters: Option<Saved>,
}

/// Cuts `tokens` into windows of `count` tokens and a label each; none where there is not one.
pub fn windows(tokens: &[u32], count: u32) -> Vec<&[u32]> {
    let count = count as usize;
    (0..tokens.len().saturating_sub(1) / count.max(1))
        .map(|i| &tokens[i * count..=(i + 1) * count])
        .collect()
}

impl Training<'_> {
    /// Makes the steps on `windows` and looks at `held_out`; `each` hears of both as they happen. After Ctrl-C
    /// it stops behind the step under way.
    ///
    /// # Errors
    /// When the image cannot be read or the tuner cannot be opened.
    pub fn run(
        &self,
        windows: &[&[u32]],
        held_out: &[&[u32]],
        each: &mut dyn FnMut(&Event) -> Result<()>,
    ) -> Result<Outcome> {
        ensure!(!windows.is_empty(), "no text to train on");
        let head = header(self.image)?;
        let plan = TunePlan::for_model::<f32>(&head.geometry, &self.options);
        let (mut arena, mut staging) = (vec![0; plan.arena()], vec![Block::ZERO; plan.staging]);
        let memory = TuneMemory { arena: &mut arena, staging: &mut staging };
        let clock = VirtualClock::new();
        let card = self.card(&plan, &clock);
        let meter = Meter::new(clock.clone(), self.core).watching(card.total());
        let mapped = self.mapped.of(&head, self.image);
        let mut tuner = Tuner::open(card, mapped, memory, &self.options, meter)
            .map_err(|error| anyhow!("{error}"))?;
        self.begin(&mut tuner)?;
        let failed = |error| match error {
            TuneError::Read(StepError::Corrupt { table, slot }) => damaged(&head, table, slot),
            error => anyhow!("{error}"),
        };
        let mut order = Order::new(windows.len(), self.seed, self.in_order);
        let (mut made, mut looks) = (Vec::new(), Vec::new());
        let mut spent = PerStep::default();
        let mut interrupted = false;
        for step in 0..=self.steps {
            let last = step == self.steps;
            if !held_out.is_empty() && (last || step.is_multiple_of(self.every.max(1))) {
                let mut loss = 0.0;
                for window in held_out {
                    loss += f64::from(tuner.evaluate(window).map_err(failed)?);
                }
                let loss = loss / held_out.len() as f64;
                let look = HeldOut { step, loss, perplexity: loss.exp() };
                looks.push(look);
                each(&Event::HeldOut(look))?;
            }
            if last || interrupt::requested() {
                interrupted = !last;
                break;
            }
            tuner.probe_mut().reset();
            tuner.device_mut().take_stats();
            let begun = clock.now_seconds();
            let rate = self.schedule.at(step);
            let mut loss = 0.0;
            let mut length = 0.0;
            for text in 0..self.texts.max(1) {
                let window = windows[order.next()];
                if self.texts > 1 {
                    loss += f64::from(tuner.accumulate(window).map_err(failed)?);
                    if text + 1 == self.texts {
                        length = f64::from(tuner.update(rate));
                    }
                } else {
                    let step = tuner.step(window, rate).map_err(failed)?;
                    (loss, length) = (f64::from(step.loss), f64::from(step.length));
                }
            }
            let stats = tuner.device_mut().take_stats();
            spent.reads += stats.reads as f64;
            spent.bytes += stats.bytes() as f64;
            spent.card_seconds += stats.busy_ns() as f64 / 1e9;
            spent.seconds += clock.now_seconds() - begun;
            let probe = tuner.probe_mut();
            let work = Stage::ALL.map(|stage| probe.stage(stage).multiply_accumulates);
            spent.multiply_accumulates += work.iter().sum::<u64>() as f64;
            let step = Made { step: step + 1, loss: loss / f64::from(self.texts.max(1)), length };
            made.push(step);
            each(&Event::Made(step))?;
        }
        let count = made.len().max(1) as f64;
        let PerStep { reads, bytes, multiply_accumulates, card_seconds, seconds } = spent;
        let per_step = PerStep {
            reads: reads / count,
            bytes: bytes / count,
            multiply_accumulates: multiply_accumulates / count,
            card_seconds: card_seconds / count,
            seconds: seconds / count,
        };
        let file = tuner.file();
        let saved = Saved { shape: file.shape, steps: file.steps, numbers: file.numbers.to_vec() };
        Ok(Outcome {
            tokens: tuner.options().tokens,
            steps: made,
            held_out: looks,
            memory: memory_of(&plan),
            memory_bytes: plan.lent_bytes(),
            per_step,
            interrupted,
            adapters: Some(saved),
        })
    }
}

impl Training<'_> {
    /// The card, with room for what an arm keeps there.
    fn card(&self, plan: &TunePlan, clock: &VirtualClock) -> Card {
        let contents = WithSpare::new(self.image.clone(), plan.spill_blocks());
        SimCard::new(contents, self.preset.timing(), clock.clone())
    }

    /// The adapters as they begin, and what a step is guided by.
    ///
    /// # Errors
    /// When those to go on from, or the guide, are not as many numbers as there must be.
    pub fn begin<P: Probe>(&self, tuner: &mut Tuner<'_, Card, P>) -> Result<()> {
        tuner.begin(self.seed);
        if let Some(saved) = &self.start {
            ensure!(
                tuner.set_adapters(&saved.numbers),
                "the adapter to go on from has {} numbers, expected {}",
                saved.numbers.len(),
                tuner.numbers()
            );
            tuner.count_from(saved.steps);
        }
        let (found, expected) = (self.guide.len(), tuner.guide().len());
        ensure!(
            expected == 0 || tuner.set_guide(&self.guide),
            "the guide to blocks of tokens has {found} numbers, expected {expected}"
        );
        if tuner.options().arms.spill {
            let start = tuner.device_mut().image().spare_at();
            tuner.spill_to(start).map_err(|error| anyhow!("{error}"))?;
        }
        Ok(())
    }

    /// Numbers of a vector of the model.
    ///
    /// # Errors
    /// When the image's header cannot be read.
    pub fn dim(&self) -> Result<usize> {
        Ok(header(self.image)?.geometry.config.dim as usize)
    }
}

/// The card of a training.
pub type Card = SimCard<WithSpare<ImageBytes>>;

/// Hands a tuner with `options` over the image of a training to `run`.
///
/// # Errors
/// When it cannot be opened, or `run` fails.
pub fn open(
    training: &Training<'_>,
    options: &TuneOptions,
    run: &mut dyn FnMut(&mut Tuner<'_, Card>) -> Result<()>,
) -> Result<()> {
    let head = header(training.image)?;
    let plan = TunePlan::for_model::<f32>(&head.geometry, options);
    let (mut arena, mut staging) = (vec![0; plan.arena()], vec![Block::ZERO; plan.staging]);
    let memory = TuneMemory { arena: &mut arena, staging: &mut staging };
    let card = training.card(&plan, &VirtualClock::new());
    let mapped = training.mapped.of(&head, training.image);
    let tuner = Tuner::open(card, mapped, memory, options, ());
    run(&mut tuner.map_err(|error| anyhow!("{error}"))?)
}

/// Memory by region; what arrives from the card is the last.
pub fn memory_of(plan: &TunePlan) -> Vec<Memory> {
    let regions = TuneRegion::ALL.into_iter();
    let regions =
        regions.map(|region| Memory { region: region.name(), bytes: plan.region_bytes(region) });
    let staging = plan.lent_bytes() - plan.bytes();
    let staging = Memory { region: "staging", bytes: staging };
    regions.chain([staging]).filter(|memory| memory.bytes > 0).collect()
}

/// All windows, in an order that is new each time round.
struct Order {
    places: Vec<usize>,
    at: usize,
    random: Pcg32,
    in_order: bool,
}

impl Order {
    fn new(count: usize, seed: u64, in_order: bool) -> Self {
        let places = (0..count).collect();
        Self { places, at: count, random: Pcg32::new(seed, 1), in_order }
    }

    fn next(&mut self) -> usize {
        if self.at == self.places.len() {
            self.at = 0;
            let mixed = if self.in_order { 0 } else { self.places.len() };
            for i in (1..mixed).rev() {
                let other = (u64::from(self.random.next_u32()) * (i as u64 + 1)) >> 32;
                self.places.swap(i, other as usize);
            }
        }
        self.at += 1;
        self.places[self.at - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, windows};

    #[test]
    fn windows_share_a_label_and_a_short_rest_is_left_out() {
        let tokens: Vec<u32> = (0..10).collect();
        assert_eq!(windows(&tokens, 4), [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]);
        assert!(windows(&tokens[..4], 4).is_empty() && windows(&[], 4).is_empty());
    }

    #[test]
    fn every_window_comes_once_each_time_round() {
        let mut order = Order::new(7, 3, false);
        let mut rounds: Vec<Vec<usize>> =
            (0..3).map(|_| (0..7).map(|_| order.next()).collect()).collect();
        assert!(rounds[0] != rounds[1]);
        for round in &mut rounds {
            round.sort_unstable();
            assert!(round.iter().copied().eq(0..7));
        }
        let mut order = Order::new(3, 3, true);
        assert_eq!([(); 6].map(|()| order.next()), [0, 1, 2, 0, 1, 2]);
    }
}
