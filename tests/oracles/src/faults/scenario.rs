//! One scenario: what goes wrong is drawn from its seed, and the text is decoded as a careful caller does.
//!
//! In: subjects, a kind, a seed. Out: an [`Outcome`], or what must not happen, in words.

use super::adapters;
use super::card::Card;
use super::draw::Random;
use super::subject::{Subject, bits, tokens};
use ripple_app::{Identity, Recovery, Then};
use ripple_hal::{Block, Faults, Faulty, Retry};
use ripple_host_sim::cost::Tail;
use ripple_kernel::image::{Header, Image, SectionKind};
use ripple_kernel::{Decoder, OpenError, SpillError, StepError};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What can go wrong.
pub const KINDS: [&str; 15] = [
    "read errors",
    "time-outs",
    "short transfers",
    "bits flipped on the way",
    "bits flipped in records on the card",
    "bits flipped in headers, tokenizers and pages",
    "bits flipped in keys and values on the card",
    "stuck blocks",
    "latencies of 1 to 100 ms",
    "another card",
    "power cut while an image is replaced",
    "power cut while keys and values are written",
    "power cut while adapters are written",
    "bits flipped on adapters' way, and time-outs",
    "bits flipped in adapters on the card",
];

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All logits right, and no error.
    Right,
    /// All logits right, after errors that passed when the call was repeated.
    Recovered,
    /// A typed error that stayed; after the fault was mended all logits were right.
    Refused,
    /// A logit was wrong because a damaged record passed its check, which has 16 bits.
    Passed16Bits,
}

/// How it ended, and how many faults there were.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How.
    pub end: End,
    /// How many.
    pub faults: u64,
}

/// How often a call is repeated at once.
const REPEATS: u32 = 4;

/// A wrong logit, or something else that must not be.
enum Fault {
    Wrong,
    Other(String),
}

/// Runs scenario `seed` of a kind.
///
/// # Errors
/// A wrong token, a panic, a time-out of the scenario, an error that is no typed one of a card, or a decoder
/// that does not go on after the fault was mended.
pub fn run(subjects: &[Subject], kind: usize, seed: u64) -> Result<Outcome, String> {
    let once = |listen| {
        let scenario = || match adapters::Wrong::of(kind) {
            Some(wrong) => adapters::run(&subjects[seed as usize % subjects.len()], wrong, seed)
                .map_err(|what| (Fault::Other(what), false)),
            None => Scenario::new(subjects, kind, seed).run(listen),
        };
        catch_unwind(AssertUnwindSafe(scenario))
            .unwrap_or_else(|_| Err((Fault::Other("a panic".to_owned()), false)))
    };
    let said = |what: String| format!("{}, seed {seed}: {what}", KINDS[kind]);
    match once(false) {
        Ok(outcome) => Ok(outcome),
        Err((Fault::Other(what), _)) => Err(said(what)),
        // Once more, for what was delivered.
        Err((Fault::Wrong, _)) => match once(true) {
            Err((Fault::Wrong, true)) => Ok(Outcome { end: End::Passed16Bits, faults: 1 }),
            _ => Err(said("wrong logits".to_owned())),
        },
    }
}

type Device = Retry<Faulty<Card>>;

/// One scenario, under way.
pub(super) struct Scenario<'s> {
    pub(super) subject: &'s Subject,
    pub(super) card: Card,
    pub(super) random: Random,
    /// Which image the card holds by its header.
    pub(super) which: usize,
    pub(super) faults: Faults,
    pub(super) attempts: u32,
    /// A bit of a key or a value that changes at this position.
    pub(super) flip: Option<u32>,
    pub(super) tail: Option<Tail>,
    pub(super) cut: Option<u64>,
    pub(super) counted: u64,
    pub(super) errors: u32,
    pub(super) mended: bool,
    /// Whether the text is decoded once more, by a decoder that is opened anew.
    pub(super) reboots: bool,
}

impl<'s> Scenario<'s> {
    fn new(subjects: &'s [Subject], kind: usize, seed: u64) -> Self {
        let mut random = Random(seed ^ (kind as u64) << 56);
        let spills = |subject: &&Subject| subject.options.spill > 0;
        let subject = match kind {
            6 | 11 => subjects.iter().find(spills).expect("a subject that spills"),
            _ => &subjects[random.below(subjects.len() as u64) as usize],
        };
        let mut tail = None;
        if kind == 8 {
            let probability = random.below(50) as f64 / 100.0;
            tail = Some(Tail { probability, extra_ns: 1_000_000 * (1 + random.below(100)) });
        }
        let card = Card::new(subject.card(0), tail, random.number() | 1, 200 * subject.reads);
        let (faults, attempts) = (Faults::default(), 1 + 2 * (random.below(2) as u32));
        let mut new = Self {
            subject,
            card,
            random,
            which: 0,
            faults,
            attempts,
            flip: None,
            tail,
            cut: None,
            counted: 0,
            errors: 0,
            mended: false,
            reboots: kind == 11,
        };
        new.draw(kind);
        new
    }

    fn device(&mut self) -> Device {
        let faults = Faults {
            seed: self.faults.seed ^ u64::from(self.errors),
            cut: self.cut,
            ..self.faults
        };
        Retry::new(Faulty::new(self.card.clone(), faults), self.attempts)
    }

    /// Puts the fault right.
    fn mend(&mut self) {
        self.card.heal(&self.subject.images[self.which]);
        (self.faults, self.cut, self.mended) = (Faults::default(), None, true);
    }

    fn run(mut self, listen: bool) -> Result<Outcome, (Fault, bool)> {
        if listen {
            self.card.listen();
        }
        let mut result = self.decode();
        if result.is_ok() && self.reboots {
            // Power is back: nothing was written but behind the image.
            result = self.decode();
        }
        let passed = listen && self.passed();
        let other = |what: &str| Err((Fault::Other(what.to_owned()), false));
        if let Some(tail) = self.tail {
            let (stats, passed) = self.card.time();
            if passed < stats.tails * tail.extra_ns * 1000 {
                return other("latencies that took no time");
            }
        }
        let faults = self.counted + self.card.faults();
        match result {
            Err(fault) => Err((fault, passed)),
            Ok(()) if self.card.is_exhausted() => other("reads without end"),
            Ok(()) => {
                let end = match (self.mended, self.errors) {
                    (true, _) => End::Refused,
                    (false, 0) => End::Right,
                    (false, _) => End::Recovered,
                };
                Ok(Outcome { end, faults })
            }
        }
    }

    /// Notes an error of an open, a step or a spill; mends where repeating does not help.
    fn failed(
        &mut self,
        transient: bool,
        row: u32,
        what: &dyn std::fmt::Debug,
    ) -> Result<(), Fault> {
        self.errors += 1;
        if self.card.is_exhausted() {
            return Err(Fault::Other("reads without end".to_owned()));
        }
        if transient && row < REPEATS {
            return Ok(());
        }
        if self.mended && row > 2 * REPEATS {
            return Err(Fault::Other(format!("{what:?} after the fault was mended")));
        }
        self.mend();
        Ok(())
    }

    /// Looks, after an error, whether the card is still the one that was opened, as boards do; one that is not is
    /// taken out again before anything of it is computed with.
    fn look(&mut self, decoder: &mut Decoder<'_, Device, ()>, identity: &mut Identity<'_>) {
        let mut recovery = Recovery::default();
        for _ in 0..2 * REPEATS {
            match recovery.look(decoder.device_mut(), identity).then {
                Then::Repeat => return,
                Then::Wait => {}
                Then::GiveUp => return self.mend(),
            }
        }
    }

    fn decode(&mut self) -> Result<(), Fault> {
        let subject = self.subject;
        let mut memory = subject.memory();
        let mut row = 0;
        let mut first = [Block::ZERO];
        let (mut decoder, mut identity) = loop {
            let mut device = self.device();
            let identity = match Identity::of(&mut device, &mut first) {
                Ok(identity) => identity,
                Err(error) => {
                    row += 1;
                    self.failed(true, row, &error)?;
                    continue;
                }
            };
            match Decoder::open(device, &[], memory.lend(), &subject.options, ()) {
                Ok(decoder) => break (decoder, identity),
                Err(error @ (OpenError::Memory(_) | OpenError::MappedDiffers { .. })) => {
                    return Err(Fault::Other(format!("{error:?}")));
                }
                Err(error) => {
                    row += 1;
                    let transient = !matches!(error, OpenError::Image(_));
                    self.failed(transient, row, &error)?;
                }
            }
        };
        // A card that came in time is one that was opened.
        let number = decoder.header().number;
        let is_open = |image: &Vec<Block>| {
            Header::parse(Block::bytes(image)).is_ok_and(|header| header.number == number)
        };
        self.which = subject.images.iter().position(is_open).unwrap_or(self.which);
        let (mut row, mut mended) = (0, self.mended);
        let tokens: Vec<u32> = tokens().collect();
        while let Some(&token) = tokens.get(decoder.position() as usize) {
            if self.mended && !mended {
                mended = true;
                let device = self.device();
                let old = std::mem::replace(decoder.device_mut(), device);
                self.counted += old.into_inner().injected();
            }
            if self.flip == Some(decoder.position()) && decoder.spilled() > 0 {
                self.flip_behind_the_image(decoder.spilled());
            }
            if decoder.room() == 0 {
                match decoder.spill() {
                    Ok(()) => row = 0,
                    Err(error @ SpillError::Device { .. }) => {
                        row += 1;
                        self.look(&mut decoder, &mut identity);
                        self.failed(self.cut.is_none(), row, &error)?;
                    }
                    Err(error) => return Err(Fault::Other(format!("{error:?}"))),
                }
                continue;
            }
            let at = decoder.position() as usize;
            match decoder.step(token) {
                Ok(logits) if bits(logits) == subject.logits[self.which][at] => row = 0,
                Ok(_) => return Err(Fault::Wrong),
                Err(error @ (StepError::Device { .. } | StepError::Corrupt { .. })) => {
                    row += 1;
                    self.look(&mut decoder, &mut identity);
                    self.failed(error.is_transient(), row, &error)?;
                    // Keys and values that are lost are computed again.
                    if self.mended && row > REPEATS && decoder.spilled() > 0 {
                        decoder.rewind(0);
                        row = 0;
                    }
                }
                Err(error) => return Err(Fault::Other(format!("{error:?}"))),
            }
        }
        if !mended {
            let device = Retry::new(Faulty::new(self.card.clone(), Faults::default()), 1);
            let old = std::mem::replace(decoder.device_mut(), device);
            self.counted += old.into_inner().injected();
        }
        Ok(())
    }

    /// Whether a record arrived that is none of the image and passes its check of 16 bits.
    fn passed(&self) -> bool {
        let image = &self.subject.images[self.which];
        let Ok(header) = Header::parse(Block::bytes(image)) else { return false };
        let view = Image::new(header, Block::bytes(image));
        let delivered = self.card.delivered();
        SectionKind::ALL.into_iter().any(|kind| {
            (0..header.parts(kind)).any(|layer| {
                let table = view.table(kind, layer);
                let (layout, stride) = (table.layout, table.layout.stride() as usize);
                layout.check_bytes() == 2
                    && (0..table.count).any(|slot| {
                        let at = table.start.0 as usize * 512 + slot as usize * stride;
                        let good = &Block::bytes(image)[at..at + stride];
                        delivered.iter().any(|(start, blocks)| {
                            let from = at.checked_sub(start.0 as usize * 512);
                            let bytes =
                                from.and_then(|from| Block::bytes(blocks).get(from..from + stride));
                            bytes.is_some_and(|bytes| {
                                bytes != good
                                    && layout
                                        .view(bytes)
                                        .is_some_and(|r| r.is(table.identity(slot)))
                            })
                        })
                    })
            })
        })
    }
}
