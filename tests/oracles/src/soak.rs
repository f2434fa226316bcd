//! Long runs: texts of random models with random samplers, caches, gaps, cards and faults, each step compared with
//! a decoder that reads everything from memory.
//!
//! In: a seed, and how many steps. Out: what was done, or the first bit that differed. Knows nothing of who watches.

use crate::arbitrary::{image_as, options, pages, predictors, quants, shapes};
use crate::faults::Random;
use crate::tiny::CONTEXT;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, Faults, Faulty, FaultyError, Retry, Slice,
};
use ripple_host_sim::cost::Preset;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::machine::{SimCard, VirtualClock};
use ripple_host_sim::predictor::Format;
use ripple_kernel::config::Position;
use ripple_kernel::image::Header;
use ripple_kernel::text::sample::{Sampler, SamplerOptions};
use ripple_kernel::{Decoder, KvKind, MemoryPlan, OpenError, Options, StepError};
use std::cell::RefCell;
use std::ops::AddAssign;
use std::rc::Rc;
use std::sync::Arc;

/// Steps of one text, at most: several times the context.
const TEXT: u64 = 200;
/// Repetitions of a call after which its card is sound until it has ended: one of hundreds of reads, each of which
/// may fail, ends by chance alone too rarely.
const PATIENCE: u32 = 100;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Texts, each of a model of its own.
    pub texts: u64,
    /// Tokens that were fed and whose logits were compared, to the bit.
    pub steps: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// Calls that ended in an error and were repeated.
    pub repeated: u64,
    /// Calls that ended once their card was sound, having failed a hundred times.
    pub calmed: u64,
    /// Times that a window slid on, or a text went back.
    pub moved: u64,
    /// Reads of the simulated cards.
    pub reads: u64,
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.texts += other.texts;
        self.steps += other.steps;
        self.faults += other.faults;
        self.repeated += other.repeated;
        self.calmed += other.calmed;
        self.moved += other.moved;
        self.reads += other.reads;
    }
}

/// Runs text `seed`, of at most `most` steps.
///
/// # Errors
/// The step whose logits differ, or an error that repeating does not end, in words.
pub fn text(seed: u64, most: u64) -> Result<Done, String> {
    let mut random = Random::new(seed);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let shape = draw(&mut runner, &shapes());
    let predictor = draw(&mut runner, &predictors(shape));
    let format = Format::new(&predictor, draw(&mut runner, &quants()));
    let pages = pages(shape, &[1, 17, 300], random.below(3));
    let image: Arc<[u8]> = image_as(format, shape, &[random.below(60) as u32], pages).into();
    let header = Header::parse(&image).map_err(|error| error.to_string())?;
    let config = &header.geometry.config;
    let kv = if random.below(2) == 0 { KvKind::F16 } else { KvKind::Q8 };
    let plain = Options { context: CONTEXT, kv, ..Options::DEFAULT };
    let batch = 1 + random.below(6) as u32;
    let tuned = Options { kv, batch, ..draw(&mut runner, &options()) };

    // One decoder has all in memory; the other reads from a card that fails.
    let memory = |options| HostMemory::new(&MemoryPlan::for_model(&header.geometry, options));
    let (mut right_memory, mut memory) = (memory(&plain), memory(&tuned));
    let lent = right_memory.lend();
    let mut right = Decoder::open(Slice::new(&image), &image, lent, &plain, ())
        .map_err(|error| error.to_string())?;
    let mapped = match random.below(3) {
        0 => &[],
        _ => &image[..random.below(image.len() as u64) as usize],
    };
    let often = if random.below(4) == 0 { 0 } else { 1 + random.below(2000) as u16 };
    let card = Card::new(&image, &mut random, often);
    let attempts = 1 + random.below(3) as u32;
    let mut done = Done { texts: 1, ..Done::default() };
    let mut decoder = loop {
        let device = Retry::new(card.clone(), attempts);
        match Decoder::open(device, mapped, memory.lend(), &tuned, ()) {
            Ok(decoder) => break decoder,
            Err(OpenError::Device { .. } | OpenError::Corrupt { .. } | OpenError::Image(_))
                if done.repeated <= u64::from(PATIENCE) =>
            {
                done.repeated += 1;
                card.calm(done.repeated > u64::from(PATIENCE));
            }
            Err(error) => return Err(format!("text {seed}: {error:?}")),
        }
    };

    let mut recent = [0; 16];
    let sampler = sampler(&mut random);
    let mut sampler = Sampler::new(sampler, &mut recent).map_err(|error| error.to_string())?;
    let mut next = random.below(u64::from(config.vocab)) as u32;
    while done.steps < most.min(TEXT) {
        if decoder.room() <= batch {
            let keep = random.below(u64::from(decoder.position() / 2)) as u32;
            if config.position == Position::Rope && random.below(2) == 0 {
                let evicted = 1 + random.below(u64::from(decoder.position() - keep)) as u32;
                let slid = (decoder.slide(keep, evicted), right.slide(keep, evicted));
                if let (Err(error), _) | (_, Err(error)) = slid {
                    return Err(error.to_string());
                }
            } else {
                decoder.rewind(keep);
                right.rewind(keep);
            }
            done.moved += 1;
        }
        // A prompt's piece at times, whose first tokens are anything.
        let count = 1 + random.below(4) * random.below(2) * random.below(u64::from(batch));
        let count = count.min(u64::from(decoder.room()));
        let vocab = u64::from(config.vocab);
        let mut tokens: Vec<u32> = (1..count).map(|_| random.below(vocab) as u32).collect();
        tokens.push(next);
        let expected = right.prefill(&tokens).map_err(|error| error.to_string())?;
        let end = decoder.position() + tokens.len() as u32;
        let mut failed = 0;
        let logits = loop {
            // What was fed before an error stays fed.
            let left = tokens.len() - (end - decoder.position()) as usize;
            match decoder.prefill(&tokens[left..]) {
                Ok(logits) => break logits.to_vec(),
                Err(StepError::Device { .. } | StepError::Corrupt { .. }) if failed <= PATIENCE => {
                    failed += 1;
                    card.calm(failed > PATIENCE);
                }
                Err(error) => return Err(format!("text {seed}: {error:?}, {failed} times before")),
            }
        };
        done.repeated += u64::from(failed);
        done.calmed += u64::from(failed > PATIENCE);
        card.calm(false);
        done.steps += tokens.len() as u64;
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        if logits.len() != expected.len() || !logits.iter().zip(&*expected).all(same) {
            return Err(format!("text {seed}: other logits after {} steps", done.steps));
        }
        tokens.iter().for_each(|token| sampler.accept(*token));
        next = sampler.sample(expected);
    }
    (done.faults, done.reads) = card.counts();
    Ok(done)
}

/// A value of a strategy.
fn draw<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> S::Value {
    strategy.new_tree(runner).expect("nothing is filtered away").current()
}

/// A sampler, greedy one in four times.
fn sampler(random: &mut Random) -> SamplerOptions {
    let mut share = |from: f32| from + (1.0 - from) * random.below(1000) as f32 / 1000.0;
    let (top_p, min_p, heat, penalty) = (share(0.05), share(0.0) / 4.0, share(0.0), share(0.5));
    SamplerOptions {
        temperature: if random.below(4) == 0 { 0.0 } else { 2.0 * heat },
        top_k: random.below(50) as u32,
        top_p,
        min_p,
        repetition_penalty: 2.0 * penalty,
        seed: random.number(),
    }
}

/// A simulated card.
type Simulated = SimCard<Arc<[u8]>>;

/// Two cards with the same image, one of which fails, and how often they were read.
struct State {
    failing: Faulty<Simulated>,
    sound: Simulated,
    calm: bool,
    reads: u64,
}

/// A handle to them.
#[derive(Clone)]
struct Card(Rc<RefCell<State>>);

impl Card {
    fn new(image: &Arc<[u8]>, random: &mut Random, often: u16) -> Self {
        let preset = &Preset::ALL[random.below(Preset::ALL.len() as u64) as usize];
        let gap = (random.below(2) == 0).then(|| BlockCount(random.below(9) as u32));
        let simulated = || {
            let mut card = SimCard::new(Arc::clone(image), preset.timing(), VirtualClock::new());
            if gap.is_some() {
                card.stay_open(gap).expect("a simulated card");
            }
            card
        };
        let faults = Faults {
            seed: random.number(),
            timeout: often,
            corrupted: often,
            no_card: often / 4,
            other: often / 4,
            // One bit: noticed by every check there is.
            silent: often,
            ..Faults::default()
        };
        let failing = Faulty::new(simulated(), faults);
        Self(Rc::new(RefCell::new(State { failing, sound: simulated(), calm: false, reads: 0 })))
    }

    /// Whether nothing fails from now on.
    fn calm(&self, calm: bool) {
        self.0.borrow_mut().calm = calm;
    }

    /// Faults and reads so far.
    fn counts(&self) -> (u64, u64) {
        let state = self.0.borrow();
        (state.failing.injected(), state.reads)
    }
}

impl BlockDevice for Card {
    type Error = <Faulty<Simulated> as BlockDevice>::Error;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        self.0.borrow_mut().failing.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        self.read_while(start, dst, || ())
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        let state = &mut *self.0.borrow_mut();
        state.reads += 1;
        if state.calm {
            return state.sound.read_while(start, dst, work).map_err(FaultyError::Device);
        }
        state.failing.read_while(start, dst, work)
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        let state = self.0.borrow();
        if state.calm { state.sound.goes_on() } else { state.failing.goes_on() }
    }
}
