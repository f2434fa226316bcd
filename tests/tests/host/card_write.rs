//! Written cards: what firmware reads from them, and that half of one never opens.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use ripple_hal::{
    BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, ExtentDevice, FatError, FatFile,
    OutOfRange, Partition, PartitionTable, RawPartition,
};
use ripple_host_sim::medium::{
    CardBlocks, Layout, LayoutError, Medium, WriteError, contents, write,
};
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::Header;
use ripple_tests::arbitrary;
use ripple_tests::tiny::Shape;
use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;

const FAT: Layout<'static> = Layout::Fat32("RIPPLE.IMG");
/// No room behind the image.
const NONE: BlockCount = BlockCount(0);
const LAYOUTS: [Layout<'static>; 2] = [FAT, Layout::Raw];

/// Two images, the first one larger.
fn images() -> &'static [Vec<u8>; 2] {
    static IMAGES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let pack = |shape: Shape| {
            arbitrary::image(shape, &PredictorChoice::Exact, &vec![0; shape.layers as usize])
        };
        [pack(Shape { layers: 60, ..Shape::LLAMA }), pack(Shape::OPT)]
    })
}

/// The blocks of a card that are not zero.
type Blocks = BTreeMap<u32, [u8; BLOCK_BYTES]>;

fn store(blocks: &mut Blocks, at: u32, block: &[u8; BLOCK_BYTES]) {
    if *block == [0; BLOCK_BYTES] {
        blocks.remove(&at);
    } else {
        blocks.insert(at, *block);
    }
}

/// A card that loses power before an operation, and what was not synchronised in part.
struct Card {
    blocks: Blocks,
    /// Written and not synchronised, in order.
    pending: Vec<(u32, [u8; BLOCK_BYTES])>,
    /// Operations before the power fails.
    left: usize,
    /// A block that never holds what is written to it.
    broken: Option<u32>,
}

impl Card {
    fn new(blocks: Blocks) -> Self {
        Self { blocks, pending: Vec::new(), left: usize::MAX, broken: None }
    }

    fn operation(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or(io::ErrorKind::NotConnected)?;
        Ok(())
    }

    /// What is on the card after power has failed: any part of what was pending.
    fn after_failure(&self, rng: &mut Xoshiro256PlusPlus) -> Blocks {
        let mut blocks = self.blocks.clone();
        let share = [0.0, 0.02, 0.5, 0.98, 1.0][rng.random_range(0..5)];
        for (at, block) in &self.pending {
            if rng.random::<f64>() < share {
                store(&mut blocks, *at, block);
            }
        }
        blocks
    }
}

impl Medium for Card {
    fn write(&mut self, start: BlockIdx, blocks: &[Block]) -> io::Result<()> {
        // What was transferred when it failed is a part like any other.
        self.pending.extend((start.0..).zip(blocks.iter().map(|block| block.0)));
        self.operation()
    }

    fn read(&mut self, start: BlockIdx, blocks: &mut [Block]) -> io::Result<()> {
        self.operation()?;
        assert!(self.pending.is_empty(), "what is read back was synchronised");
        for (at, block) in (start.0..).zip(blocks) {
            block.0 = self.blocks.get(&at).copied().unwrap_or([0; BLOCK_BYTES]);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.operation()?;
        for (at, mut block) in std::mem::take(&mut self.pending) {
            block[17] ^= u8::from(self.broken == Some(at));
            store(&mut self.blocks, at, &block);
        }
        Ok(())
    }
}

/// The card as firmware meets it.
struct Reader<'a>(&'a Blocks);

impl BlockDevice for Reader<'_> {
    type Error = OutOfRange;

    fn block_count(&mut self) -> Result<BlockCount, OutOfRange> {
        Ok(BlockCount(1 << 18))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), OutOfRange> {
        OutOfRange::check(start, dst, BlockCount(1 << 18))?;
        for (at, block) in (start.0..).zip(dst) {
            block.0 = self.0.get(&at).copied().unwrap_or([0; BLOCK_BYTES]);
        }
        Ok(())
    }
}

/// All of the image, if the device begins with one that opens.
fn open<D: BlockDevice>(mut device: D) -> Option<Vec<u8>> {
    let mut start = vec![Block::ZERO; 4];
    device.read(BlockIdx(0), &mut start).ok()?;
    let header = Header::parse(Block::bytes(&start)).ok()?;
    let mut all = vec![Block::ZERO; header.blocks.0 as usize];
    device.read(BlockIdx(0), &mut all).ok()?;
    Some(Block::bytes(&all).to_vec())
}

/// Every image that firmware could open: in a file, in a partition, without either.
fn opened(blocks: &Blocks) -> Vec<Vec<u8>> {
    let mut scratch = [Block::ZERO; 8];
    let file = FatFile::<4>::resolve(&mut Reader(blocks), "RIPPLE.IMG", &mut scratch);
    let partition = RawPartition::find(Reader(blocks), &mut [Block::ZERO]);
    [
        file.ok().and_then(|file| open(ExtentDevice::new(Reader(blocks), file))),
        partition.ok().and_then(open),
        open(Reader(blocks)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn written(image: &[u8], layout: Layout<'_>) -> Blocks {
    let mut card = Card::new(Blocks::new());
    let planned = CardBlocks::new(image, layout, NONE, None).unwrap();
    write(&mut card, &planned, &mut |_, _| ()).unwrap();
    card.blocks
}

#[test]
fn firmware_reads_the_image_in_one_piece() {
    for layout in LAYOUTS {
        for image in images() {
            let card = written(image, layout);
            assert!(opened(&card) == [image.clone()], "{layout:?}");
            assert!(written(image, layout) == card, "the same image, the same card");
            let found = contents(&mut Reader(&card), "RIPPLE.IMG").unwrap();
            assert!(found.has_image, "{found:?}");
        }
    }
    let card = written(&images()[0], FAT);
    let file = FatFile::<1>::resolve(&mut Reader(&card), "ripple.img", &mut [Block::ZERO; 8]);
    assert_eq!(file.unwrap().bytes(), images()[0].len() as u64);
    let raw = written(&images()[0], Layout::Raw);
    let none = FatFile::<1>::resolve(&mut Reader(&raw), "RIPPLE.IMG", &mut [Block::ZERO; 8]);
    assert!(matches!(none, Err(FatError::NoFilesystem)));
}

/// The old card: each layout, an image at block 0, and one at another place of the same volume.
fn old_cards() -> Vec<Blocks> {
    let [large, small] = images();
    let mut plain = Blocks::new();
    for (at, block) in (0..).zip(large.as_chunks::<BLOCK_BYTES>().0) {
        store(&mut plain, at, block);
    }
    // A raw partition whose image spreads over what will be the new card's tables and image.
    let mut spread = Blocks::new();
    let place = Partition { kind: Partition::RAW, start: BlockIdx(2040), count: BlockCount(9000) };
    let entries = [Some(place), None, None, None];
    store(&mut spread, 0, &PartitionTable { signature: 0, entries }.emit().0);
    for (at, block) in (2040..).zip(large.as_chunks::<BLOCK_BYTES>().0) {
        store(&mut spread, at, block);
    }
    let all = vec![written(large, FAT), written(small, FAT), written(large, Layout::Raw)];
    [all, vec![plain, spread]].concat()
}

#[test]
fn whenever_power_fails_no_image_opens_but_a_whole_one() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(0xCA2D);
    let mut outcomes = [0; 3];
    for old in old_cards() {
        let before = opened(&old);
        assert_eq!(before.len(), 1);
        for layout in LAYOUTS {
            let image = &images()[0];
            let planned = CardBlocks::new(image, layout, NONE, None).unwrap();
            for left in 0.. {
                let mut card = Card { left, ..Card::new(old.clone()) };
                let finished = write(&mut card, &planned, &mut |_, _| ()).is_ok();
                for _ in 0..24 {
                    let after = card.after_failure(&mut rng);
                    let now = opened(&after);
                    match now.as_slice() {
                        [] => outcomes[0] += 1,
                        [whole] if whole == image => outcomes[1] += 1,
                        _ => {
                            assert!(now == before, "{layout:?}: half an image after {left}");
                            // The old one may be there still, then all of it is.
                            outcomes[2] += 1;
                        }
                    }
                    assert!(!finished || now == [image.clone()]);
                }
                if finished {
                    break;
                }
            }
        }
    }
    assert!(outcomes.iter().all(|&n| n > 20), "{outcomes:?}");
}

#[test]
fn a_block_that_does_not_hold_is_named_and_nothing_opens() {
    for layout in LAYOUTS {
        let image = &images()[1];
        let planned = CardBlocks::new(image, layout, NONE, None).unwrap();
        let first = planned.image_start().0;
        for broken in [0, 1, 2047, first, first + 1, planned.end().0 - 1] {
            let mut card = Card { broken: Some(broken), ..Card::new(Blocks::new()) };
            match write(&mut card, &planned, &mut |_, _| ()).unwrap_err() {
                WriteError::Mismatch { block, byte: 17, .. } => assert_eq!(block, broken),
                error => panic!("{error}"),
            }
            assert!(opened(&card.blocks).is_empty(), "{layout:?}, block {broken}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let image = &images()[0];
    let error = |layout, mib: u32| {
        let blocks = BlockCount(mib << 11);
        CardBlocks::new(image, layout, NONE, Some(blocks)).map(|_| ()).unwrap_err()
    };
    match error(FAT, 16) {
        LayoutError::TooSmall { needed, raw_fits: true, .. } => {
            assert!(CardBlocks::new(image, FAT, NONE, Some(needed)).is_ok());
            let less = BlockCount(needed.0 - 2048);
            assert!(CardBlocks::new(image, FAT, NONE, Some(less)).is_err());
        }
        error => panic!("{error}"),
    }
    assert_eq!(
        error(FAT, 16).to_string(),
        "expected a card of at least 34 MiB, found one of 16.0 MiB; take a larger one, or the raw \
         layout, which fits"
    );
    assert!(matches!(error(Layout::Raw, 1), LayoutError::TooSmall { raw_fits: false, .. }));
    for name in ["", "A.B.C", "NINECHARS.IMG", "a/b", "..", "Ä.IMG"] {
        let error =
            CardBlocks::new(image, Layout::Fat32(name), NONE, None).map(|_| ()).unwrap_err();
        assert!(matches!(error, LayoutError::Name(_)), "{name}: {error}");
    }
    let mut cut = image.clone();
    cut.truncate(image.len() - 1);
    let error = CardBlocks::new(&cut, FAT, NONE, None).map(|_| ()).unwrap_err();
    assert!(matches!(error, LayoutError::CutShort { .. }), "{error}");
    assert!(matches!(CardBlocks::new(b"no", FAT, NONE, None), Err(LayoutError::Image(_))));
    // Bytes behind the image are not the image's.
    let more = [image.as_slice(), &[7; 1000]].concat();
    assert_eq!(
        CardBlocks::new(&more, FAT, NONE, None).unwrap().image_blocks().bytes(),
        image.len() as u64
    );
}

#[test]
fn room_behind_the_image_is_in_its_file_or_partition() {
    let image = &images()[1];
    let own = BlockCount::for_bytes(image.len() as u64);
    for room in [BlockCount(1), BlockCount(4000), BlockCount(200_000)] {
        let mut planned = CardBlocks::new(image, FAT, room, None).unwrap();
        assert_eq!(planned.image_blocks(), own);
        let file =
            FatFile::<1>::resolve(&mut planned, "RIPPLE.IMG", &mut [Block::ZERO; 8]).unwrap();
        // One piece, so that what is written behind the image is one command as well.
        assert_eq!(file.blocks(), own + room);
        assert_eq!(file.extents().as_slice()[0].count, own + room);
        assert!(
            file.extents().as_slice()[0].device + file.blocks() <= BlockIdx(planned.blocks().0)
        );
        assert!(open(ExtentDevice::new(&mut planned, file)).as_ref() == Some(image));

        let planned = CardBlocks::new(image, Layout::Raw, room, None).unwrap();
        assert!(planned.partition().count >= own + room);
    }
    let room = BlockCount(8 << 20);
    let error = CardBlocks::new(image, FAT, room, None).map(|_| ()).unwrap_err();
    assert!(matches!(error, LayoutError::TooLong { bytes } if bytes == (own + room).bytes()));
}

/// Every size up to the largest cards: the plan itself is read back as firmware does.
#[test]
fn cards_of_every_size_can_be_planned() {
    let image = &images()[0];
    for mib in
        [34, 35, 36, 63, 64, 65, 68, 69, 100, 128, 132, 133, 260, 1000, 2048, 32 << 10, 60_906]
    {
        let blocks = BlockCount(mib << 11);
        let mut planned = CardBlocks::new(image, FAT, NONE, Some(blocks)).unwrap();
        assert_eq!(planned.partition().count.0, blocks.0 - 2048);
        let file =
            FatFile::<1>::resolve(&mut planned, "RIPPLE.IMG", &mut [Block::ZERO; 8]).unwrap();
        assert_eq!(file.extents().as_slice()[0].device, planned.image_start(), "{mib} MiB");
        assert!(open(ExtentDevice::new(&mut planned, file)).as_ref() == Some(image), "{mib} MiB");
    }
}
