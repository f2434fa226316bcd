//! A device whose blocks are those that were signed.
//!
//! In: a device that may give anything, and a public key. Out: the blocks of the image, each compared with its
//! digest after it has arrived, or an error. Knows nothing of what the blocks hold.

use crate::error::{Lent, OpenError, SignedError};
use crate::shape::{DIGEST_BYTES, DIGESTS, Shape};
use crate::statement::{NoStatement, Statement};
use core::num::NonZeroU32;
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, OutOfRange};

/// What a frame holds that holds nothing: no image has as many groups.
const NOTHING: u32 = u32::MAX;

/// Memory that a [`Signed`] works in.
pub struct Room<'m> {
    /// [`Shape::tops`] blocks.
    pub tops: &'m mut [Block],
    /// A group of leaves each: a multiple of [`Shape::group`] blocks. The more, the less is read twice.
    pub frames: &'m mut [Block],
    /// A word for each frame.
    pub held: &'m mut [u32],
}

/// The image on a device, of which only what was signed is read.
///
/// It is not a [`WriteDevice`](ripple_hal::WriteDevice): what firmware writes to a card is not signed.
pub struct Signed<'m, D> {
    device: D,
    shape: Shape,
    /// Blocks with what was signed of them.
    blocks: BlockCount,
    counter: u64,
    tops: &'m [Block],
    frames: &'m mut [Block],
    held: &'m mut [u32],
    /// Frames that are used.
    slots: NonZeroU32,
    /// Blocks of the image of a frame.
    span: NonZeroU32,
}

impl<'m, D: BlockDevice> Signed<'m, D> {
    /// Opens the signed image at the start of `device`, of `blocks` blocks with what was signed of it: as many
    /// as its header says, which need not be trusted.
    ///
    /// `key`: a public key of Ed25519. `least`: the least [`counter`](Self::counter) that is taken, as the
    /// firmware has kept it from the last image.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing of the image has been read then.
    pub fn open(
        mut device: D,
        blocks: BlockCount,
        key: &[u8; 32],
        least: u64,
        room: Room<'m>,
    ) -> Result<Self, OpenError<D::Error>> {
        let Room { tops, frames, held } = room;
        let at = BlockIdx(blocks.0.saturating_sub(1));
        let given = frames.len() as u32;
        let short = |lent, needed, given| Err(OpenError::Room { lent, needed, given });
        let Some(first) = frames.first_mut() else { return short(Lent::Frames, 1, given) };
        let device_error = |at| move |source| OpenError::Device { at, source };
        device.read(at, core::slice::from_mut(first)).map_err(device_error(at))?;
        let Statement { shape, counter, root } =
            Statement::parse(&first.0, key).map_err(|no| match no {
                NoStatement::Unsigned => OpenError::Unsigned { at },
                NoStatement::Version(found) => OpenError::Version { found },
                NoStatement::Signature => OpenError::Signature,
            })?;
        if counter < least {
            return Err(OpenError::Older { found: counter, least });
        }
        let signed = shape.blocks().unwrap_or(BlockCount(u32::MAX));
        let Some(span) = shape.span().filter(|_| signed == blocks) else {
            return Err(OpenError::Length { signed, found: blocks });
        };

        let group = shape.group.0.max(1);
        let Some(slots) = NonZeroU32::new((given / group).min(held.len() as u32)) else {
            let frames = (Lent::Frames, group, given);
            let (lent, needed, given) = if given < group { frames } else { (Lent::Held, 1, 0) };
            return short(lent, needed, given);
        };
        let (needed, given) = (shape.tops().0, tops.len() as u32);
        let Some(tops) = tops.get_mut(..needed as usize) else {
            return short(Lent::Tops, needed, given);
        };
        let at = BlockIdx(0) + shape.image + shape.leaves();
        device.read(at, tops).map_err(device_error(at))?;
        if *blake3::hash(Block::bytes(tops)).as_bytes() != root {
            return Err(OpenError::Tops { at });
        }
        held.fill(NOTHING);
        Ok(Self { device, shape, blocks, counter, tops, frames, held, slots, span })
    }

    /// The number of the image in the order of updates: what firmware keeps, as the least it takes next time.
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// The sizes that were signed.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// The device below, back.
    pub fn into_inner(self) -> D {
        self.device
    }

    /// Compares the front of the image where it is mapped, in flash say, with what was signed, and gives the
    /// whole blocks of it: those that were compared.
    ///
    /// # Errors
    /// As [`read`](BlockDevice::read).
    pub fn mapped<'f>(&mut self, front: &'f [u8]) -> Result<&'f [u8], SignedError<D::Error>> {
        let (blocks, _) = front.as_chunks::<BLOCK_BYTES>();
        let most = self.shape.image.0 as usize;
        let blocks = blocks.get(..most).unwrap_or(blocks);
        for (block, at) in blocks.iter().zip(0..) {
            self.check(BlockIdx(at), block)?;
        }
        Ok(blocks.as_flattened())
    }

    /// Compares a block with the digest that was signed.
    fn check(
        &mut self,
        at: BlockIdx,
        bytes: &[u8; BLOCK_BYTES],
    ) -> Result<(), SignedError<D::Error>> {
        let (group, index) = (at.0 / self.span, at.0 % self.span);
        let leaf = digest(self.leaves(group)?, index);
        if leaf == Some(blake3::hash(bytes).as_bytes()) {
            return Ok(());
        }
        Err(SignedError::Differs { block: at })
    }

    /// The leaves of a group, from a frame or from the device.
    fn leaves(&mut self, group: u32) -> Result<&[Block], SignedError<D::Error>> {
        let (slot, length) = ((group % self.slots) as usize, self.shape.group.0.max(1));
        let first = group.saturating_mul(length);
        let count = self.shape.leaves().0.saturating_sub(first).min(length) as usize;
        let frame = self.frames.get_mut(slot * length as usize..).unwrap_or_default();
        let frame = frame.get_mut(..count).unwrap_or_default();
        let at = BlockIdx(0) + self.shape.image + BlockCount(first);
        if let Some(held) = self.held.get_mut(slot).filter(|held| **held != group) {
            *held = NOTHING;
            self.device.read(at, frame).map_err(SignedError::Device)?;
            if digest(self.tops, group) != Some(blake3::hash(Block::bytes(frame)).as_bytes()) {
                return Err(SignedError::Leaves { at });
            }
            *held = group;
        }
        Ok(frame)
    }

    fn check_all(
        &mut self,
        start: BlockIdx,
        blocks: &[Block],
    ) -> Result<(), SignedError<D::Error>> {
        blocks.iter().zip(start.0..).try_for_each(|(block, at)| self.check(BlockIdx(at), &block.0))
    }

    /// Refuses what was not signed.
    fn inside(&self, start: BlockIdx, dst: &[Block]) -> Result<(), SignedError<D::Error>> {
        OutOfRange::check(start, dst, self.shape.image).map_err(SignedError::OutOfRange)
    }
}

/// The digest of this index in blocks of digests.
fn digest(blocks: &[Block], index: u32) -> Option<&[u8; DIGEST_BYTES]> {
    let block = blocks.get((index / DIGESTS) as usize)?;
    block.0.as_chunks().0.get((index % DIGESTS) as usize)
}

impl<D: BlockDevice> BlockDevice for Signed<'_, D> {
    type Error = SignedError<D::Error>;

    /// As many as the image says it has; those behind what was signed are not read.
    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        Ok(self.blocks)
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        self.read_while(start, dst, || ())
    }

    /// As the trait says; what has arrived is compared when `work` is done.
    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        self.inside(start, dst)?;
        let done = self.device.read_while(start, dst, work).map_err(SignedError::Device)?;
        self.check_all(start, dst)?;
        Ok(done)
    }

    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), Self::Error> {
        self.device.stay_open(gap).map_err(SignedError::Device)
    }

    /// As the device below. Where leaves have to be read before, the command is broken.
    fn goes_on(&self) -> Option<BlockIdx> {
        self.device.goes_on()
    }
}
