//! A card that is damaged, worn, pulled and swapped.
//!
//! In: what lies on it, what goes wrong. Out: [`Card`], a handle to one simulated card. Knows nothing of
//! models.

use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, OutOfRange, WriteDevice,
};
use ripple_host_sim::cost::{Tail, Timing};
use ripple_host_sim::machine::{Contents, SimCard, Stats, VirtualClock};
use std::cell::RefCell;
use std::rc::Rc;

/// What a block that is stuck gives.
#[derive(Clone, Copy, Debug)]
pub enum Stuck {
    /// An error, always.
    Error,
    /// The same byte all over.
    Byte(u8),
}

/// What goes wrong with reads, besides what `Faulty` does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wear {
    /// In 1/65536 of the reads, only a part of what was asked for arrives; and whether the read says so.
    pub short: Option<(u16, bool)>,
    /// Blocks that are stuck: the first, how many, and how.
    pub stuck: Option<(u32, u32, Stuck)>,
    /// At which read the card is pulled, and how many reads fail until another is in its place.
    pub swapped: Option<(u64, u64)>,
}

/// The blocks of a card, which scenarios change under the decoder.
#[derive(Clone)]
struct Medium(Rc<RefCell<Vec<Block>>>);

impl Contents for Medium {
    fn blocks(&self) -> BlockCount {
        BlockCount(self.0.borrow().len() as u32)
    }

    fn copy(&self, start: BlockIdx, dst: &mut [Block]) {
        dst.copy_from_slice(&self.0.borrow()[start.0 as usize..][..dst.len()]);
    }
}

struct State {
    card: SimCard<Medium>,
    medium: Medium,
    /// The blocks of the card that takes its place.
    other: Vec<Block>,
    wear: Wear,
    random: u64,
    reads: u64,
    most: u64,
    faults: u64,
    /// What was delivered, where someone wants to know: the first block, and the blocks.
    delivered: Option<Vec<(BlockIdx, Vec<Block>)>>,
}

/// A handle to a card; clones are the same card.
#[derive(Clone)]
pub struct Card(Rc<RefCell<State>>);

impl Card {
    /// A card that holds `blocks`, whose reads now and then take longer by `tail`. Reads after the first
    /// `most` fail: a caller that needs so many does not end by itself.
    pub fn new(blocks: Vec<Block>, tail: Option<Tail>, seed: u64, most: u64) -> Self {
        let timing = Timing { tail, ..Timing::affine(100_000, 20_000_000) };
        let medium = Medium(Rc::new(RefCell::new(blocks)));
        let card = SimCard::new(medium.clone(), timing, VirtualClock::new()).with_seed(seed);
        let (wear, other, delivered) = (Wear::default(), Vec::new(), None);
        let (reads, faults, random) = (0, 0, seed);
        let state = State { card, medium, other, wear, random, reads, most, faults, delivered };
        Self(Rc::new(RefCell::new(state)))
    }

    /// What goes wrong from now on.
    pub fn set_wear(&self, wear: Wear) {
        self.0.borrow_mut().wear = wear;
    }

    /// What is on the card that is there after [`Wear::swapped`].
    pub fn set_other(&self, other: Vec<Block>) {
        self.0.borrow_mut().other = other;
    }

    /// Nothing goes wrong any more, and the card begins with `image`; what was written behind it is as it was.
    pub fn heal(&self, image: &[Block]) {
        let mut state = self.0.borrow_mut();
        state.put_back();
        state.wear = Wear::default();
        state.medium.0.borrow_mut()[..image.len()].copy_from_slice(image);
    }

    /// Flips a bit of a block.
    pub fn flip(&self, block: BlockIdx, bit: usize) {
        let state = self.0.borrow();
        state.medium.0.borrow_mut()[block.0 as usize].0[bit / 8] ^= 1 << (bit % 8);
    }

    /// Remembers what is delivered from now on.
    pub fn listen(&self) {
        self.0.borrow_mut().delivered = Some(Vec::new());
    }

    /// What was delivered since.
    pub fn delivered(&self) -> Vec<(BlockIdx, Vec<Block>)> {
        self.0.borrow_mut().delivered.take().unwrap_or_default()
    }

    /// Reads that went wrong, or took longer.
    pub fn faults(&self) -> u64 {
        let state = self.0.borrow();
        state.faults + state.card.stats().tails
    }

    /// Reads so far.
    pub fn reads(&self) -> u64 {
        self.0.borrow().reads
    }

    /// Whether more was read than may be.
    pub fn is_exhausted(&self) -> bool {
        let state = self.0.borrow();
        state.reads > state.most
    }

    /// What the reads cost, and what has passed on the card's clock, in picoseconds.
    pub fn time(&self) -> (Stats, u64) {
        let state = self.0.borrow();
        (state.card.stats(), state.card.clock().now_ps())
    }
}

impl State {
    /// The first card takes its place again, if it was swapped.
    fn put_back(&mut self) {
        if let Some((at, absent)) = self.wear.swapped.take()
            && self.reads > at + absent
        {
            std::mem::swap(&mut *self.medium.0.borrow_mut(), &mut self.other);
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn read<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, ErrorKind> {
        let number = self.reads;
        self.reads += 1;
        if number >= self.most {
            return Err(ErrorKind::Other);
        }
        if let Some((at, absent)) = self.wear.swapped {
            if number == at + absent {
                std::mem::swap(&mut *self.medium.0.borrow_mut(), &mut self.other);
            }
            self.faults += u64::from(number >= at);
            if (at..at + absent).contains(&number) {
                return Err(ErrorKind::NoCard);
            }
        }
        let (end, random) = (start.0 + dst.len() as u32, self.random());
        let mut stuck =
            self.wear.stuck.filter(|(first, count, _)| start.0 < first + count && *first < end);
        self.faults += u64::from(stuck.is_some());
        if let Some((_, _, Stuck::Error)) = stuck.take_if(|(_, _, how)| matches!(how, Stuck::Error))
        {
            return Err(ErrorKind::Other);
        }
        let short = self.wear.short.filter(|(often, _)| (random as u16) < *often);
        // What does not arrive is what was there before.
        let arrives = short.map_or(dst.len(), |_| (random >> 20) as usize % dst.len().max(1));
        let before = dst[arrives..].to_vec();
        let result = self.card.read_while(start, dst, work).map_err(|error| error.kind())?;
        dst[arrives..].copy_from_slice(&before);
        if let Some((_, says)) = short {
            self.faults += 1;
            if says {
                return Err(ErrorKind::Timeout);
            }
        }
        if let Some((first, count, Stuck::Byte(byte))) = stuck {
            for (block, at) in dst.iter_mut().zip(start.0..) {
                if (first..first + count).contains(&at) {
                    *block = Block([byte; 512]);
                }
            }
        }
        if let Some(delivered) = &mut self.delivered {
            delivered.push((start, dst.to_vec()));
        }
        Ok(result)
    }
}

impl BlockDevice for Card {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        Ok(self.0.borrow().medium.blocks())
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        self.read_while(start, dst, || ())
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, ErrorKind> {
        self.0.borrow_mut().read(start, dst, work)
    }
}

impl WriteDevice for Card {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), ErrorKind> {
        let state = self.0.borrow();
        let mut blocks = state.medium.0.borrow_mut();
        let count = BlockCount(blocks.len() as u32);
        OutOfRange::check(start, src, count).map_err(|error| error.kind())?;
        blocks[start.0 as usize..][..src.len()].copy_from_slice(src);
        Ok(())
    }
}
