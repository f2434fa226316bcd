//! Scenarios of adapters on a card: power fails while they are saved, bits flip on their way, bits flip on the card.
//!
//! In: what goes wrong, a seed. Out: how it ended. Whatever is loaded are adapters that were saved, whole; those
//! whose saving ended without an error are loaded, and after one that ended with an error they or those before. Bits
//! that flip while they lie there cost at most the slot that they are in.

use super::card::Card;
use super::draw::Random;
use super::scenario::{End, Outcome};
use super::subject::Subject;
use ripple_hal::{Block, BlockCount, BlockIdx, Faults, Faulty, Retry};
use ripple_kernel::adapter::{AdapterFile, AdapterShape, Targets};
use ripple_tune::{AdapterSlots, LoadError, SaveError};

const SHAPE: AdapterShape = AdapterShape { rank: 2, alpha: 4.0, targets: Targets::QV };
/// Where the slots begin.
const FIRST: BlockIdx = BlockIdx(3);
/// Saves of a scenario.
const SAVES: u32 = 6;
/// Reads of one save that have to go wrong until those that were saved last are written over, and until a save ends
/// well of which nothing is found: each look at both slots, and the look when it is over.
const TWO_LOOKS: u64 = 2;
const UNNOTICED: u64 = 5;
/// What is saved once all is over.
const AFTERWARDS: u32 = SAVES + 1;

/// A card with room for two adapters, which has what is said of it.
struct Adapters<'s> {
    subject: &'s Subject,
    card: Card,
    slots: AdapterSlots,
    /// Those that are loaded where nothing goes wrong; 0 for none.
    last: u32,
}

type Device = Retry<Faulty<Card>>;

impl<'s> Adapters<'s> {
    fn new(subject: &'s Subject, seed: u64) -> Self {
        let numbers = SHAPE.numbers(&subject.header.geometry.config);
        let end = FIRST.0 + AdapterSlots::blocks_for(numbers).0;
        let card = Card::new(vec![Block([0xC5; 512]); end as usize], None, seed | 1, u64::MAX);
        let slots = AdapterSlots::between(FIRST, BlockCount(end));
        Self { subject, card, slots, last: 0 }
    }

    /// Numbers that are all alike, so that a mixture of two is none.
    fn numbers(&self, which: u32) -> Vec<f32> {
        vec![which as f32 + 0.5; SHAPE.numbers(&self.subject.header.geometry.config)]
    }

    /// Saves adapters; `false` where that ended in an error.
    fn save(&self, which: u32, device: &mut Device) -> Result<bool, String> {
        let numbers = self.numbers(which);
        let file = AdapterFile { shape: SHAPE, steps: which, numbers: &numbers };
        let mut scratch = [Block::ZERO; 2];
        match self.slots.save(device, &self.subject.header, &file, &mut scratch) {
            Ok(_) => Ok(true),
            Err(SaveError::Device { .. } | SaveError::Unlike { .. } | SaveError::Unread { .. }) => {
                Ok(false)
            }
            Err(error) => Err(format!("{error:?}")),
        }
    }

    /// Which adapters are loaded: 0 for none; nothing where that ended in an error.
    fn load(&self, device: &mut Device) -> Result<Option<u32>, String> {
        let mut words = vec![0; 128 * self.blocks() as usize];
        let mut scratch = [Block::ZERO; 3];
        let found = self.slots.load(device, &self.subject.header, &mut words, &mut scratch);
        match found {
            Ok(None) => Ok(Some(0)),
            Ok(Some((_, file))) => {
                if file.numbers != self.numbers(file.steps) || file.shape != SHAPE {
                    return Err("adapters that were never saved".to_owned());
                }
                Ok(Some(file.steps))
            }
            Err(LoadError::Device { .. } | LoadError::Adapter(_)) => Ok(None),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    fn device(&self, faults: Faults, attempts: u32) -> Device {
        Retry::new(Faulty::new(self.card.clone(), faults), attempts)
    }

    /// Blocks of both slots.
    fn blocks(&self) -> u64 {
        AdapterSlots::blocks_for(SHAPE.numbers(&self.subject.header.geometry.config)).0.into()
    }
}

/// What goes wrong with adapters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Power fails while they are saved.
    Cut,
    /// Bits flip on the way, and reads and writes are not answered.
    OnTheWay,
    /// Bits flip on the card.
    OnTheCard,
}

impl Wrong {
    /// What kind `kind` of the scenarios is, if it is one of adapters.
    pub fn of(kind: usize) -> Option<Self> {
        [Self::Cut, Self::OnTheWay, Self::OnTheCard].get(kind.checked_sub(12)?).copied()
    }
}

/// Runs a scenario.
pub(super) fn run(subject: &Subject, wrong: Wrong, seed: u64) -> Result<Outcome, String> {
    let mut random = Random::new(seed ^ 0xADA9_7E25);
    let mut all = Adapters::new(subject, random.number());
    let outcome = match wrong {
        Wrong::OnTheCard => all.damaged(&mut random)?,
        _ => all.interrupted(wrong, &mut random)?,
    };
    // Whatever happened, they can be saved and loaded again.
    let mut device = all.device(Faults::default(), 1);
    if !all.save(AFTERWARDS, &mut device)? || all.load(&mut device)? != Some(AFTERWARDS) {
        return Err("adapters cannot be saved any more".to_owned());
    }
    Ok(outcome)
}

impl Adapters<'_> {
    /// Saves some while power fails, or while bits flip on the way.
    fn interrupted(&mut self, wrong: Wrong, random: &mut Random) -> Result<Outcome, String> {
        let (mut faults, mut errors) = (0, 0);
        for which in 1..=SAVES {
            let mut drawn = Faults { seed: random.number(), ..Faults::default() };
            match wrong {
                Wrong::Cut => drawn.cut = Some(random.below(self.blocks() / 2 + 3)),
                _ => {
                    (drawn.timeout, drawn.silent) =
                        (random.below(4000) as u16, random.below(4000) as u16)
                }
            }
            let mut device = self.device(drawn, 1 + random.below(2) as u32);
            let last = self.last;
            let saved = self.save(which, &mut device)?;
            let before = device.into_inner().injected();
            faults += before + u64::from(wrong == Wrong::Cut && !saved);
            errors += u64::from(!saved);

            // Power is back, and nothing flips any more.
            let found = self.load(&mut self.device(Faults::default(), 1))?;
            let right = match found {
                _ if saved => found == Some(which) || before >= UNNOTICED,
                // The older one of the two slots is written, unless both looks at which that is were wrong.
                Some(it) => it == last || it == which || before >= TWO_LOOKS && it < which,
                None => false,
            };
            if !right {
                return Err(format!(
                    "{found:?} were loaded after {which} were saved: {saved}; {last} before, {before} faults"
                ));
            }
            self.last = found.unwrap_or(last);

            if wrong == Wrong::OnTheWay {
                // Under faults those are loaded, or those before, or none, or an error says so; never others.
                let drawn = Faults { seed: random.number(), ..drawn };
                let mut device = self.device(drawn, 1);
                let found = self.load(&mut device)?;
                let flips = device.into_inner().injected();
                faults += flips;
                errors += u64::from(found.is_none());
                if found.is_some_and(|it| if flips == 0 { it != self.last } else { it > which }) {
                    return Err(format!("{found:?} were loaded, {} saved last", self.last));
                }
            }
        }
        let end = if errors == 0 { End::Right } else { End::Recovered };
        Ok(Outcome { end, faults })
    }

    /// Flips one to three bits of the card once some were saved: what is in a slot without one is loaded.
    fn damaged(&mut self, random: &mut Random) -> Result<Outcome, String> {
        let last = 1 + random.below(SAVES.into()) as u32;
        for which in 1..=last {
            if !self.save(which, &mut self.device(Faults::default(), 1))? {
                return Err("a sound card that cannot be written".to_owned());
            }
        }
        // The first is in the first slot, and each goes into the other one.
        let of = |which: u32| u64::from(which + 1) % 2;
        let (mut hit, faults) = ([false; 2], 1 + random.below(3));
        for _ in 0..faults {
            let block = random.below(self.blocks());
            hit[(block / (self.blocks() / 2)) as usize] = true;
            self.card.flip(BlockIdx(FIRST.0 + block as u32), random.below(4096) as usize);
        }
        let found = self.load(&mut self.device(Faults::default(), 1))?;
        let whole = |which: u32| which > 0 && !hit[of(which) as usize];
        let right = match found {
            _ if whole(last) => found == Some(last),
            _ if whole(last - 1) => found.is_some_and(|it| it == last || it == last - 1),
            // What flipped may be behind the last number.
            _ => found.is_none_or(|it| it <= last),
        };
        if !right {
            return Err(format!("{found:?} were loaded of {last}, bits flipped in {hit:?}"));
        }
        let end = if found == Some(last) { End::Right } else { End::Refused };
        Ok(Outcome { end, faults })
    }
}
