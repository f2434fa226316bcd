//! Adapters on a card: power may fail at any block that is written, and what is wrong is said.

use crate::common::{Golden, OPTIONS, header};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, Faults, Faulty, OutOfRange, WriteDevice,
};
use ripple_kernel::adapter::{AdapterError, AdapterFile};
use ripple_kernel::image::Header;
use ripple_tune::{AdapterSlots, LoadError, SaveError};

/// A card in memory; `deaf`: a block whose writes are lost.
#[derive(Clone)]
struct Card {
    blocks: Vec<Block>,
    deaf: Option<u32>,
}

const FIRST: BlockIdx = BlockIdx(3);

impl Card {
    fn new(blocks: u32) -> Self {
        Self { blocks: vec![Block([0xC5; 512]); blocks as usize], deaf: None }
    }

    fn slots(&self) -> AdapterSlots {
        AdapterSlots::between(FIRST, BlockCount(self.blocks.len() as u32))
    }
}

impl BlockDevice for Card {
    type Error = OutOfRange;

    fn block_count(&mut self) -> Result<BlockCount, OutOfRange> {
        Ok(BlockCount(self.blocks.len() as u32))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), OutOfRange> {
        OutOfRange::check(start, dst, BlockCount(self.blocks.len() as u32))?;
        dst.copy_from_slice(&self.blocks[start.0 as usize..][..dst.len()]);
        Ok(())
    }
}

impl WriteDevice for Card {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), OutOfRange> {
        OutOfRange::check(start, src, BlockCount(self.blocks.len() as u32))?;
        for (at, block) in (start.0..).zip(src) {
            if self.deaf != Some(at) {
                self.blocks[at as usize] = *block;
            }
        }
        Ok(())
    }
}

/// Adapters of every number alike, so that a mixture of two is none.
struct Adapters {
    header: Header,
    numbers: Vec<f32>,
    steps: u32,
}

impl Adapters {
    fn new(header: &Header, steps: u32) -> Self {
        let count = OPTIONS.adapter().numbers(&header.geometry.config);
        Self { header: *header, numbers: vec![steps as f32 + 0.5; count], steps }
    }

    fn file(&self) -> AdapterFile<'_> {
        AdapterFile { shape: OPTIONS.adapter(), steps: self.steps, numbers: &self.numbers }
    }

    fn blocks(&self) -> u32 {
        AdapterSlots::blocks_for(self.numbers.len()).0
    }

    fn save<D: WriteDevice, const N: usize>(
        &self,
        slots: AdapterSlots,
        device: &mut D,
    ) -> Result<u32, SaveError<D::Error>> {
        slots.save(device, &self.header, &self.file(), &mut [Block([0x77; 512]); N])
    }
}

/// Steps of the adapters that are loaded, and how often adapters were saved.
fn load<D: BlockDevice>(
    slots: AdapterSlots,
    device: &mut D,
    header: &Header,
) -> Result<Option<(u32, u32)>, LoadError<D::Error>> {
    let mut words = vec![0; 8192];
    let loaded = slots.load(device, header, &mut words, &mut [Block::ZERO; 2])?;
    Ok(loaded.map(|(sequence, file)| {
        assert!(file.numbers.iter().all(|x| *x == file.steps as f32 + 0.5));
        (file.steps, sequence)
    }))
}

#[test]
fn what_is_saved_last_is_loaded_however_much_is_written_at_once() {
    let header = header(&Golden::load("relu").image(false));
    let adapters = |steps| Adapters::new(&header, steps);
    // Just as much room as they need.
    let mut card = Card::new(FIRST.0 + adapters(0).blocks());
    let slots = card.slots();
    assert_eq!(load(slots, &mut card, &header), Ok(None));
    assert_eq!(adapters(7).save::<_, 1>(slots, &mut card), Ok(1));
    assert_eq!(load(slots, &mut card, &header), Ok(Some((7, 1))));
    assert_eq!(adapters(9).save::<_, 64>(slots, &mut card), Ok(2));
    assert_eq!(load(slots, &mut card, &header), Ok(Some((9, 2))));
    assert_eq!(adapters(8).save::<_, 3>(slots, &mut card), Ok(3));
    assert_eq!(load(slots, &mut card, &header), Ok(Some((8, 3))));
    // Nothing before the room.
    assert!(Block::bytes(&card.blocks[..FIRST.0 as usize]).iter().all(|byte| *byte == 0xC5));
}

#[test]
fn power_that_fails_at_any_block_leaves_the_old_adapters_or_the_new() {
    let header = header(&Golden::load("relu").image(false));
    let (old, new) = (Adapters::new(&header, 5), Adapters::new(&header, 6));
    let empty = Card::new(FIRST.0 + old.blocks());
    let slots = empty.slots();
    let mut once = empty.clone();
    old.save::<_, 2>(slots, &mut once).unwrap();
    let mut twice = once.clone();
    Adapters::new(&header, 4).save::<_, 2>(slots, &mut twice).unwrap();
    old.save::<_, 2>(slots, &mut twice).unwrap();
    let writes = u64::from(old.blocks() / 2);
    for (card, before) in [(empty, None), (once, Some((5, 1))), (twice, Some((5, 3)))] {
        for cut in 0..=writes {
            let mut faulty =
                Faulty::new(card.clone(), Faults { cut: Some(cut), ..Faults::default() });
            let saved = new.save::<_, 2>(slots, &mut faulty);
            let mut card = faulty.into_inner();
            let found = load(slots, &mut card, &header).unwrap();
            if cut < writes {
                // The head is the last block; torn, half of it already says all.
                let whole = cut == writes - 1;
                let after = Some((6, before.map_or(0, |(_, sequence)| sequence) + 1));
                assert!(saved.is_err());
                assert_eq!(found, if whole { after } else { before }, "{cut} of {writes}");
            } else {
                assert_eq!(found.map(|(steps, _)| steps), Some(6));
                assert_eq!(Some(saved.unwrap()), found.map(|(_, sequence)| sequence));
            }
            // And they can be saved again.
            new.save::<_, 2>(slots, &mut card).unwrap();
            assert_eq!(load(slots, &mut card, &header).unwrap().unwrap().0, 6);
        }
    }
}

#[test]
fn what_is_wrong_is_said_and_what_was_saved_stays() {
    let golden = Golden::load("relu");
    let header = header(&golden.image(false));
    let (old, new) = (Adapters::new(&header, 5), Adapters::new(&header, 6));
    let mut card = Card::new(FIRST.0 + old.blocks());
    let slots = card.slots();
    old.save::<_, 4>(slots, &mut card).unwrap();

    let needed = BlockCount(old.blocks());
    for less in [1, 2, needed.0, needed.0 + FIRST.0] {
        let mut small = Card::new(FIRST.0 + needed.0 - less);
        let given = BlockCount((needed.0.saturating_sub(less)) / 2 * 2);
        let error = new.save::<_, 4>(small.slots(), &mut small).unwrap_err();
        assert_eq!(error, SaveError::Full { needed, given });
        assert_eq!(load(small.slots(), &mut small, &header), Ok(None));
    }

    // A write that is lost, of each block of the other slot.
    let other = FIRST.0 + needed.0 / 2;
    for lost in other..FIRST.0 + needed.0 {
        let mut deaf = Card { deaf: Some(lost), ..card.clone() };
        let error = new.save::<_, 4>(slots, &mut deaf).unwrap_err();
        assert_eq!(error, SaveError::Unlike { at: BlockIdx(other) });
        assert_eq!(load(slots, &mut deaf, &header), Ok(Some((5, 1))));
    }

    // A read that fails.
    let fail_at = Some((1, ErrorKind::Timeout));
    let mut faulty = Faulty::new(card.clone(), Faults { fail_at, ..Faults::default() });
    let error = new.save::<_, 4>(slots, &mut faulty).unwrap_err();
    assert!(matches!(error, SaveError::Device { at: BlockIdx(4), .. }), "{error:?}");
    assert_eq!(load(slots, &mut faulty.into_inner(), &header), Ok(Some((5, 1))));

    let error = slots.load(&mut card, &header, &mut [0; 40], &mut [Block::ZERO; 4]).unwrap_err();
    let needed = old.numbers.len() as u32 + 16;
    assert_eq!(error, LoadError::Room { needed, given: 40 });

    // Another image; a byte that has changed.
    let other = Golden::load("opt");
    let other = crate::common::header(&other.image(false));
    let error = load(slots, &mut card, &other).unwrap_err();
    let expected = AdapterError::Image { expected: other.crc, found: header.crc };
    assert_eq!(error, LoadError::Adapter(expected));
    new.save::<_, 4>(slots, &mut card).unwrap();
    let at = FIRST.0 as usize + new.blocks() as usize / 2 + 1;
    card.blocks[at].0[77] ^= 1;
    assert_eq!(load(slots, &mut card, &header), Ok(Some((5, 1))));
    card.blocks[at - 1].0[13] ^= 1;
    assert_eq!(load(slots, &mut card, &header), Ok(Some((5, 1))));
    // The slot that is damaged is the one that is written next.
    assert_eq!(Adapters::new(&header, 8).save::<_, 4>(slots, &mut card), Ok(2));
    assert_eq!(load(slots, &mut card, &header), Ok(Some((8, 2))));
}

/// A card on which one bit of a read flips, and whose power fails after some writes.
struct Noisy {
    card: Card,
    flips_in: u32,
    bit: usize,
    writes: u32,
}

impl BlockDevice for Noisy {
    type Error = OutOfRange;

    fn block_count(&mut self) -> Result<BlockCount, OutOfRange> {
        self.card.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), OutOfRange> {
        self.card.read(start, dst)?;
        if self.flips_in == 0 {
            Block::bytes_mut(dst)[self.bit / 8] ^= 1 << (self.bit % 8);
        }
        self.flips_in = self.flips_in.wrapping_sub(1);
        Ok(())
    }
}

impl WriteDevice for Noisy {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), OutOfRange> {
        let Some(left) = self.writes.checked_sub(1) else {
            let count = BlockCount(src.len() as u32);
            return Err(OutOfRange { start, count, blocks: BlockCount(0) });
        };
        self.writes = left;
        self.card.write(start, src)
    }
}

#[test]
fn a_bit_that_flips_on_its_way_loses_nothing_that_was_saved() {
    let header = header(&Golden::load("relu").image(false));
    let adapters = |steps| Adapters::new(&header, steps);
    let mut card = Card::new(FIRST.0 + adapters(0).blocks());
    let slots = card.slots();
    for steps in 1..=3 {
        adapters(steps).save::<_, 2>(slots, &mut card).unwrap();
    }
    let (mut saved, mut kept) = (0, 0);
    for flips_in in 0..60 {
        for writes in 0..6 {
            // In the magic, the sequence, the length, and the checks of a head.
            for bit in [3, 8 * 12, 8 * 16 + 1, 8 * 20 + 7, 8 * 47] {
                let mut noisy = Noisy { card: card.clone(), flips_in, bit, writes };
                let done = adapters(4).save::<_, 2>(slots, &mut noisy);
                let found = load(slots, &mut noisy.card, &header).unwrap().map(|(steps, _)| steps);
                match done {
                    Ok(_) => saved += 1,
                    Err(_) => kept += u32::from(found == Some(3)),
                }
                let right = if done.is_ok() { vec![Some(4)] } else { vec![Some(3), Some(4)] };
                assert!(right.contains(&found), "{flips_in} {writes} {bit}: {done:?} {found:?}");
            }
        }
    }
    assert!(saved > 0 && kept > 0, "{saved} {kept}");
}
