//! With the oldest keys and values on the card, every logit has the bits that it has with all of them in
//! memory; and every operation of the card may fail once.

use proptest::prelude::*;
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, OutOfRange, WriteDevice};
use ripple_hal::{DeviceError, Slice};
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::Header;
use ripple_kernel::{Decoder, KvKind, MemoryPlan, Options, SlideError, SpillError, StepError};
use ripple_tests::arbitrary::{image, options};
use ripple_tests::tiny::{CONTEXT, Shape};

/// A card with an image, and room behind it.
struct Card {
    blocks: Vec<Block>,
    image: u32,
    operations: usize,
    /// The number of the operation that fails.
    fail: Option<usize>,
    writes: usize,
}

impl Card {
    fn new(image: &[u8], room: BlockCount) -> Self {
        let own = BlockCount::for_bytes(image.len() as u64).0;
        // What the card held before must not matter.
        let mut blocks = vec![Block([0xC3; 512]); (own + room.0) as usize];
        Block::bytes_mut(&mut blocks)[..image.len()].copy_from_slice(image);
        Self { blocks, image: own, operations: 0, fail: None, writes: 0 }
    }

    fn operate(&mut self) -> Result<(), ErrorKind> {
        self.operations += 1;
        if self.fail == Some(self.operations) { Err(ErrorKind::Timeout) } else { Ok(()) }
    }
}

impl BlockDevice for Card {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        Ok(BlockCount(self.blocks.len() as u32))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        self.operate()?;
        let blocks = BlockCount(self.blocks.len() as u32);
        OutOfRange::check(start, dst, blocks).map_err(|e| e.kind())?;
        dst.copy_from_slice(&self.blocks[start.0 as usize..][..dst.len()]);
        Ok(())
    }
}

impl WriteDevice for Card {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), ErrorKind> {
        assert!(start.0 >= self.image, "the image is written");
        let blocks = BlockCount(self.blocks.len() as u32);
        OutOfRange::check(start, src, blocks).map_err(|e| e.kind())?;
        let failed = self.operate();
        // A write that fails may have been done by half.
        let done = if failed.is_err() { src.len() / 2 } else { src.len() };
        self.blocks[start.0 as usize..][..done].copy_from_slice(&src[..done]);
        self.writes += 1;
        failed
    }
}

fn memory(image: &[u8], options: &Options) -> HostMemory {
    HostMemory::new(&MemoryPlan::for_model(&Header::parse(image).unwrap().geometry, options))
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// The logits of every chunk of `tokens`, and what the card has done; what fails is repeated.
fn spilled(
    image: &[u8],
    options: &Options,
    tokens: &[u32],
    chunk: usize,
    fail: Option<usize>,
) -> (Vec<Vec<u32>>, Card, u32) {
    let geometry = Header::parse(image).unwrap().geometry;
    let mut memory = memory(image, options);
    let card = Card::new(image, options.spill_blocks(&geometry.config));
    let mut decoder = Decoder::open(card, &[], memory.lend(), options, ()).unwrap();
    assert_eq!(decoder.context(), options.context + options.spill);
    decoder.device_mut().fail = fail.map(|number| decoder.device_mut().operations + number);
    let (mut all, mut rest, mut faults) = (Vec::new(), tokens, 0);
    while !rest.is_empty() {
        if decoder.room() == 0 {
            match decoder.spill() {
                Ok(()) => assert!(decoder.spilled() > 0),
                Err(SpillError::Device { source, .. }) => {
                    assert_eq!(source, ErrorKind::Timeout);
                    faults += 1;
                    continue;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        let count = rest.len().min(chunk).min(decoder.room() as usize);
        match decoder.prefill(&rest[..count]) {
            Ok(logits) => {
                all.push(bits(logits));
                rest = &rest[count..];
            }
            Err(StepError::Device { .. }) => {
                faults += 1;
                rest = &tokens[decoder.position() as usize..];
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    let card = std::mem::replace(decoder.device_mut(), Card::new(&[], BlockCount(0)));
    (all, card, faults)
}

/// Rows of 64 bytes, 8 of which fill a block, for each kind of numbers.
fn shape(kv: KvKind, opt: bool, seed: u64) -> Shape {
    let head_dim = if kv == KvKind::F16 { 16 } else { 28 };
    Shape { opt, kv_heads: 2, head_dim, seed, ..if opt { Shape::OPT } else { Shape::LLAMA } }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_card_gives_back_the_same_bits(
        opt in any::<bool>(),
        eight_bits in any::<bool>(),
        seed in 0..4u64,
        options in options(),
        kept in 8..24u32,
        batch in 1..6u32,
        tokens in proptest::collection::vec(0..520u32, CONTEXT as usize),
    ) {
        let kv = if eight_bits { KvKind::Q8 } else { KvKind::F16 };
        let image = image(shape(kv, opt, seed), &PredictorChoice::Exact, &[3]);
        let options = Options { kv, batch, context: kept, spill: CONTEXT - kept, ..options };
        let (found, card, _) = spilled(&image, &options, &tokens, batch as usize, None);
        prop_assert!(card.writes > 0);

        let plain = Options { kv, context: CONTEXT, ..Options::DEFAULT };
        let mut memory = memory(&image, &plain);
        let device = Slice::new(&image);
        let mut decoder = Decoder::open(device, &[], memory.lend(), &plain, ()).unwrap();
        let expected: Vec<_> =
            tokens.iter().map(|token| bits(decoder.step(*token).unwrap())).collect();
        prop_assert_eq!(found.last(), expected.last());
        if batch == 1 {
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn every_operation_may_fail_once() {
    let image = image(shape(KvKind::F16, false, 1), &PredictorChoice::Exact, &[3]);
    let options = Options { context: 9, spill: 16, ..Options::DEFAULT };
    let tokens: Vec<u32> = (0..20).map(|i| i * 31 % 520).collect();
    let (expected, card, faults) = spilled(&image, &options, &tokens, 1, None);
    assert_eq!(faults, 0);
    for number in (1..card.operations).step_by(7) {
        let (found, _, faults) = spilled(&image, &options, &tokens, 1, Some(number));
        if faults > 0 {
            assert_eq!((found, faults), (expected.clone(), 1), "operation {number}");
        }
    }
}

#[test]
fn what_is_on_the_card_ends_begins_again_and_does_not_slide() {
    let image = image(shape(KvKind::F16, false, 1), &PredictorChoice::Exact, &[3]);
    let options = Options { context: 12, spill: 8, ..Options::DEFAULT };
    let geometry = Header::parse(&image).unwrap().geometry;
    let mut memory = memory(&image, &options);
    let card = Card::new(&image, options.spill_blocks(&geometry.config));
    let mut decoder = Decoder::open(card, &[], memory.lend(), &options, ()).unwrap();
    assert_eq!(decoder.spill(), Err(SpillError::TooFew { held: 0, unit: 8 }));
    decoder.feed(&[5; 12]).unwrap();
    assert_eq!(decoder.step(5), Err(StepError::ContextFull { context: 12 }));
    decoder.spill().unwrap();
    assert_eq!((decoder.spilled(), decoder.room()), (8, 8));
    assert_eq!(decoder.slide(0, 1), Err(SlideError::Spilled { spilled: 8 }));
    decoder.feed(&[5; 8]).unwrap();
    // All that may be on the card is.
    assert_eq!(decoder.spill(), Err(SpillError::TooFew { held: 12, unit: 8 }));
    decoder.rewind(9);
    assert_eq!((decoder.position(), decoder.room()), (9, 11));
    decoder.rewind(7);
    assert_eq!((decoder.position(), decoder.spilled()), (0, 0));
}

/// Whatever the card gives instead of what was written, no logit is computed from it: a bit that
/// changed, a row or a table in the place of another, an earlier text's, blocks that were never written.
#[test]
fn what_was_not_written_is_refused() {
    for (kv, opt) in [(KvKind::F16, false), (KvKind::Q8, true)] {
        let image = image(shape(kv, opt, 1), &PredictorChoice::Exact, &[3]);
        let options = Options { kv, context: 16, spill: 16, ..Options::DEFAULT };
        let geometry = Header::parse(&image).unwrap().geometry;
        let mut memory = memory(&image, &options);
        let card = Card::new(&image, options.spill_blocks(&geometry.config));
        let start = card.image as usize;
        let mut decoder = Decoder::open(card, &[], memory.lend(), &options, ()).unwrap();
        let text: Vec<u32> = (0..24).map(|i| i * 31 % 520).collect();
        let other: Vec<u32> = text.iter().map(|token| (token + 1) % 520).collect();
        decoder.feed(&other[..16]).unwrap();
        decoder.spill().unwrap();
        let earlier = decoder.device_mut().blocks.clone();
        decoder.rewind(0);
        // In two moves: the second goes on where the first ended.
        decoder.feed(&text[..16]).unwrap();
        decoder.spill().unwrap();
        decoder.feed(&text[16..]).unwrap();
        decoder.spill().unwrap();
        assert_eq!(decoder.spilled(), 16);
        let good = decoder.device_mut().blocks.clone();
        let expected = bits(decoder.step(7).unwrap());
        let tables = 2 * geometry.config.layers as usize;
        let blocks = (good.len() - start) / tables;
        assert_eq!(blocks, 2, "rows of 64 bytes: a block holds 8");

        let mut refused = |table: usize, change: &dyn Fn(&mut [Block])| {
            decoder.rewind(24);
            let device = decoder.device_mut();
            device.blocks.clone_from(&good);
            change(&mut device.blocks);
            assert!(Block::bytes(&device.blocks) != Block::bytes(&good), "the change is one");
            let at = BlockIdx((start + table * blocks) as u32);
            match decoder.step(7) {
                Err(error @ StepError::Corrupt { table, .. }) => {
                    assert_eq!(table, at);
                    assert!(error.is_transient());
                }
                result => panic!("{:?}", result.map(|_| ())),
            }
            assert_eq!(decoder.position(), 24);
            decoder.device_mut().blocks.clone_from(&good);
            assert_eq!(bits(decoder.step(7).unwrap()), expected);
        };
        for table in 0..tables {
            let first = start + table * blocks;
            for byte in (0..blocks * 512).step_by(37) {
                refused(table, &|card| card[first + byte / 512].0[byte % 512] ^= 1 << (byte % 8));
            }
            refused(table, &|card| card.swap(first, first + 1));
            refused(table, &|card| card[first].0.rotate_left(64));
            refused(table, &|card| card[first] = earlier[first]);
            refused(table, &|card| card[first + 1] = Block([0xC3; 512]));
            refused(table.min(tables - 2), &|card| {
                let (this, next) = (start + table.min(tables - 2) * blocks, blocks);
                for i in 0..blocks {
                    card.swap(this + i, this + next + i);
                }
            });
        }
    }
}
