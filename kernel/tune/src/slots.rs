//! Adapters on a card, so that power that fails while they are written leaves the old ones or the new.
//!
//! In: a device, where there is room on it, adapters. Out: the adapters that were saved last. Knows nothing
//! of how they were trained.
//!
//! The room is two slots of equal size. A slot is a block that heads it, then the adapters as their file has
//! them ([`ripple_kernel::adapter::file`]), padded with zeroes:
//!
//! ```text
//! magic 8 | version | sequence | words of the file | CRC of the file | zeroes 20 | CRC of what stands before
//! ```
//!
//! They are saved into the slot that does not hold those saved last: the file first, then, once it can be read
//! back, the block at its head. What is saved last is the whole slot with the higher sequence.

use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, WriteDevice};
use ripple_kernel::adapter::file::HEADER_WORDS;
use ripple_kernel::adapter::{AdapterError, AdapterFile};
use ripple_kernel::image::{Crc32, Header};
use zerocopy::IntoBytes;

const MAGIC: [u8; 8] = *b"RIPPSLOT";
const VERSION: u32 = 1;
/// Words of a head; the rest of its block is zeroes.
const HEAD_WORDS: usize = 12;
/// Words of a block.
const BLOCK_WORDS: usize = ripple_hal::BLOCK_BYTES / 4;

/// Room for adapters on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterSlots {
    first: BlockIdx,
    /// Blocks of a slot, its head among them.
    size: BlockCount,
}

/// Why adapters could not be saved. Those that were saved before are still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError<E> {
    /// There is too little room.
    #[error("the card is full: adapters need {} blocks, there is room for {}; make it with more room", needed.0, given.0)]
    Full {
        /// Blocks that two slots need.
        needed: BlockCount,
        /// Blocks there are.
        given: BlockCount,
    },
    /// The device failed.
    #[error("block {}: {source}", at.0)]
    Device {
        /// First block of the read or write.
        at: BlockIdx,
        /// Its error.
        source: E,
    },
    /// What was saved last is not read twice alike; nothing was written.
    #[error("the adapters saved at block {} are not read twice alike: save again", at.0)]
    Unread {
        /// First block of the slots.
        at: BlockIdx,
    },
    /// What is read is not what was written.
    #[error("the adapters written at block {} are not read back as they were written: use another card", at.0)]
    Unlike {
        /// First block of the slot.
        at: BlockIdx,
    },
}

/// Why adapters could not be loaded.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The device failed.
    #[error("block {}: {source}", at.0)]
    Device {
        /// First block of the read.
        at: BlockIdx,
        /// Its error.
        source: E,
    },
    /// They are longer than what was lent for them.
    #[error("the saved adapters need {needed} words, were given {given}")]
    Room {
        /// Words that they take.
        needed: u32,
        /// Words that were lent.
        given: u32,
    },
    /// They are not adapters of this image.
    #[error("{0}")]
    Adapter(AdapterError),
}

impl<E: DeviceError> SaveError<E> {
    /// The same with the kind of the device's error.
    pub fn kinds(self) -> SaveError<ErrorKind> {
        match self {
            Self::Full { needed, given } => SaveError::Full { needed, given },
            Self::Device { at, source } => SaveError::Device { at, source: source.kind() },
            Self::Unread { at } => SaveError::Unread { at },
            Self::Unlike { at } => SaveError::Unlike { at },
        }
    }
}

impl<E: DeviceError> LoadError<E> {
    /// The same with the kind of the device's error.
    pub fn kinds(self) -> LoadError<ErrorKind> {
        match self {
            Self::Device { at, source } => LoadError::Device { at, source: source.kind() },
            Self::Room { needed, given } => LoadError::Room { needed, given },
            Self::Adapter(error) => LoadError::Adapter(error),
        }
    }
}

/// What stands at the head of a slot.
#[derive(Clone, Copy)]
struct Head {
    sequence: u32,
    words: u32,
    crc: u32,
}

/// A slot that is whole.
struct Saved {
    slot: u32,
    head: Head,
}

impl Saved {
    /// Where it is, and how many were saved before it.
    fn place(&self) -> (u32, u32) {
        (self.slot, self.head.sequence)
    }
}

/// A device that failed.
struct Failed<E> {
    at: BlockIdx,
    source: E,
}

impl<E> From<Failed<E>> for SaveError<E> {
    fn from(Failed { at, source }: Failed<E>) -> Self {
        Self::Device { at, source }
    }
}

impl<E> From<Failed<E>> for LoadError<E> {
    fn from(Failed { at, source }: Failed<E>) -> Self {
        Self::Device { at, source }
    }
}

impl AdapterSlots {
    /// Slots in the blocks from `first` to `end`, one of which is its end.
    pub const fn between(first: BlockIdx, end: BlockCount) -> Self {
        Self { first, size: BlockCount(end.0.saturating_sub(first.0) / 2) }
    }

    /// Blocks that two slots of adapters with so many numbers take.
    pub const fn blocks_for(numbers: usize) -> BlockCount {
        let words = numbers.saturating_add(HEADER_WORDS);
        let blocks = 2 * (1 + words.div_ceil(BLOCK_WORDS) as u64);
        BlockCount(if blocks > u32::MAX as u64 { u32::MAX } else { blocks as u32 })
    }

    /// Saves `file`, adapters of the image with this `header`, beside those that are there, which are forgotten
    /// once it is whole. Returns how often adapters have been saved. `scratch`: any contents; the longer, the
    /// fewer commands.
    ///
    /// # Errors
    /// See [`SaveError`]. After each of them what was saved before is loaded, unless both looks at it were wrong
    /// alike. A save of which five reads were wrong may end well and not be found.
    pub fn save<D: WriteDevice, const N: usize>(
        &self,
        device: &mut D,
        header: &Header,
        file: &AdapterFile<'_>,
        scratch: &mut [Block; N],
    ) -> Result<u32, SaveError<D::Error>> {
        const { assert!(N > 0, "a block of scratch at least") };
        let needed = Self::blocks_for(file.numbers.len());
        if needed.0 / 2 > self.size.0 {
            let given = BlockCount(self.size.0.saturating_mul(2));
            return Err(SaveError::Full { needed, given });
        }
        // A bit that flips on its way must not give what was saved last for the slot that is free.
        let last = self.last(device, scratch)?;
        let again = self.last(device, scratch)?;
        if last.as_ref().map(Saved::place) != again.as_ref().map(Saved::place) {
            return Err(SaveError::Unread { at: self.head(0) });
        }
        let (slot, sequence) = match last {
            Some(Saved { slot, head }) => (1 - slot, head.sequence.wrapping_add(1)),
            None => (0, 1),
        };
        let start = file.header(header);
        let words = || start.iter().copied().chain(file.numbers.iter().map(|x| x.to_bits()));
        let mut crc = Crc32::new();
        words().for_each(|word| crc.update(&word.to_le_bytes()));
        let count = u32::try_from(words().count()).unwrap_or(u32::MAX);
        let head = Head { sequence, words: count, crc: crc.finish() };

        let (mut left, mut at) = (words(), self.head(slot) + BlockCount(1));
        let mut blocks = (needed.0 / 2).saturating_sub(1) as usize;
        while blocks > 0 {
            let piece = scratch.get_mut(..blocks.min(N)).unwrap_or_default();
            let (places, _) = Block::bytes_mut(piece).as_chunks_mut();
            places.iter_mut().for_each(|place| *place = left.next().unwrap_or(0).to_le_bytes());
            device.write(at, piece).map_err(|source| Failed { at, source })?;
            at = at + BlockCount(piece.len() as u32);
            blocks -= piece.len();
        }
        let at = self.head(slot);
        if !self.is_whole(device, slot, head, scratch)? {
            return Err(SaveError::Unlike { at });
        }
        let block = [head.emit()];
        device.write(at, &block).map_err(|source| Failed { at, source })?;
        match self.last(device, scratch)? {
            Some(last) if last.slot == slot && last.head.sequence == sequence => Ok(sequence),
            _ => Err(SaveError::Unlike { at }),
        }
    }

    /// The adapters that were saved last into `words`, and how often they have been saved; nothing where there
    /// are none. They are adapters of the image with this `header`.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load<'a, D: BlockDevice, const N: usize>(
        &self,
        device: &mut D,
        header: &Header,
        words: &'a mut [u32],
        scratch: &mut [Block; N],
    ) -> Result<Option<(u32, AdapterFile<'a>)>, LoadError<D::Error>> {
        const { assert!(N > 0, "a block of scratch at least") };
        let Some(Saved { slot, head }) = self.last(device, scratch)? else { return Ok(None) };
        let given = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let Some(words) = words.get_mut(..head.words as usize) else {
            return Err(LoadError::Room { needed: head.words, given });
        };
        let mut places = words.iter_mut();
        self.each_word(device, slot, head, scratch, |word| {
            if let Some(place) = places.next() {
                *place = word;
            }
        })?;
        let file = AdapterFile::parse(words, header).map_err(LoadError::Adapter)?;
        Ok(Some((head.sequence, file)))
    }

    /// The whole slot with the higher sequence.
    fn last<D: BlockDevice>(
        &self,
        device: &mut D,
        scratch: &mut [Block],
    ) -> Result<Option<Saved>, Failed<D::Error>> {
        let mut last: Option<Saved> = None;
        for slot in [0, 1] {
            let Some(head) = self.read_head(device, slot, scratch)? else { continue };
            let newer = last.as_ref().is_none_or(|last| {
                (head.sequence.wrapping_sub(last.head.sequence) as i32).is_positive()
            });
            if newer && self.is_whole(device, slot, head, scratch)? {
                last = Some(Saved { slot, head });
            }
        }
        Ok(last)
    }

    /// What stands at the head of a slot, if it is one.
    fn read_head<D: BlockDevice>(
        &self,
        device: &mut D,
        slot: u32,
        scratch: &mut [Block],
    ) -> Result<Option<Head>, Failed<D::Error>> {
        let at = self.head(slot);
        let Some(block) = scratch.get_mut(..1).filter(|_| self.size.0 > 0) else {
            return Ok(None);
        };
        device.read(at, block).map_err(|source| Failed { at, source })?;
        let most = (self.size.0 - 1).saturating_mul(BLOCK_WORDS as u32);
        Ok(block.first().and_then(Head::parse).filter(|head| head.words <= most))
    }

    /// Whether the file of a slot is the one that its head means.
    fn is_whole<D: BlockDevice>(
        &self,
        device: &mut D,
        slot: u32,
        head: Head,
        scratch: &mut [Block],
    ) -> Result<bool, Failed<D::Error>> {
        let mut crc = Crc32::new();
        self.each_word(device, slot, head, scratch, |word| crc.update(&word.to_le_bytes()))?;
        Ok(crc.finish() == head.crc)
    }

    /// Reads the file of a slot.
    fn each_word<D: BlockDevice>(
        &self,
        device: &mut D,
        slot: u32,
        head: Head,
        scratch: &mut [Block],
        mut each: impl FnMut(u32),
    ) -> Result<(), Failed<D::Error>> {
        let mut at = self.head(slot) + BlockCount(1);
        let mut left = head.words as usize;
        while left > 0 && !scratch.is_empty() {
            let blocks = left.div_ceil(BLOCK_WORDS).min(scratch.len());
            let piece = scratch.get_mut(..blocks).unwrap_or_default();
            device.read(at, piece).map_err(|source| Failed { at, source })?;
            let (words, _) = Block::bytes(piece).as_chunks();
            words.iter().take(left).for_each(|word| each(u32::from_le_bytes(*word)));
            left = left.saturating_sub(words.len());
            at = at + BlockCount(piece.len() as u32);
        }
        Ok(())
    }

    /// The first block of a slot.
    fn head(&self, slot: u32) -> BlockIdx {
        self.first + BlockCount(self.size.0.saturating_mul(slot))
    }
}

impl Head {
    /// What a block says, if it is the head of a slot.
    fn parse(block: &Block) -> Option<Self> {
        let (words, _) = block.0.as_chunks();
        let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
        let found: [u32; HEAD_WORDS] = core::array::from_fn(|_| words.next().unwrap_or(0));
        let [_, _, _, sequence, count, crc, ..] = found;
        let head = Self { sequence, words: count, crc };
        (head.words() == found).then_some(head)
    }

    /// The block that says so.
    fn emit(&self) -> Block {
        let mut block = Block::ZERO;
        let (places, _) = block.0.as_chunks_mut();
        places.iter_mut().zip(self.words()).for_each(|(place, word)| *place = word.to_le_bytes());
        block
    }

    fn words(&self) -> [u32; HEAD_WORDS] {
        let [m0, m1, m2, m3, m4, m5, m6, m7] = MAGIC;
        let mut words = [
            u32::from_le_bytes([m0, m1, m2, m3]),
            u32::from_le_bytes([m4, m5, m6, m7]),
            VERSION,
            self.sequence,
            self.words,
            self.crc,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        if let Some((check, body)) = words.split_last_mut() {
            let mut crc = Crc32::new();
            crc.update(body.as_bytes());
            *check = crc.finish();
        }
        words
    }
}
