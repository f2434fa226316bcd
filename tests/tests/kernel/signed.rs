//! Signed images: whoever writes the card, changes it under the decoder, or gives other bytes each time, gets an
//! error out of it by name, and never a token that is not the signed image's.

use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, Slice};
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::pack::sign::{check, is_signed, signed};
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::record::identity;
use ripple_kernel::image::{Header, Image, SectionKind};
use ripple_kernel::{Decoder, MemoryPlan, Options, StepError};
use ripple_signed::{Lent, OpenError, Room, Shape as Sizes, Signed, SignedError, public_key};
use ripple_tests::arbitrary::{paged_image, pages};
use ripple_tests::spy::SpyDevice;
use ripple_tests::tiny::{CONTEXT, Shape};
use std::cell::RefCell;

const OPTIONS: Options = Options { context: CONTEXT, cache_bytes: 600, ..Options::DEFAULT };
const TOKENS: [u32; 6] = [1, 4, 0, 5, 2, 3];
const SECRET: [u8; 32] = [7; 32];
const GROUP: BlockCount = BlockCount(2);

fn plain(seed: u64) -> Vec<u8> {
    let shape = Shape { seed, ..Shape::LLAMA };
    paged_image(shape, &PredictorChoice::Exact, &[3], pages(shape, &[1, 2], 1))
}

fn image(seed: u64, counter: u64) -> Vec<u8> {
    signed(&plain(seed), &SECRET, counter, GROUP).unwrap()
}

/// Room for any image here, and for as many frames as are asked for.
struct Lend(Vec<Block>, Vec<Block>, Vec<u32>);

impl Lend {
    fn new(frames: usize) -> Self {
        Self(vec![Block::ZERO; 16], vec![Block::ZERO; frames * GROUP.0 as usize], vec![0; frames])
    }

    fn room(&mut self) -> Room<'_> {
        Room { tops: &mut self.0, frames: &mut self.1, held: &mut self.2 }
    }
}

/// What a card gives to a firmware with the key that takes `least` and later.
fn open<'m, D: BlockDevice<Error = ErrorKind>>(
    mut device: D,
    least: u64,
    lend: &'m mut Lend,
) -> Result<Signed<'m, D>, OpenError<ErrorKind>> {
    // As the header says that nobody has checked.
    let mut front = vec![Block::ZERO; 8];
    device.read(BlockIdx(0), &mut front).unwrap();
    let blocks = Header::parse(Block::bytes(&front)).unwrap().blocks;
    Signed::open(device, blocks, &public_key(&SECRET), least, lend.room())
}

fn refused(card: &[u8], least: u64) -> OpenError<ErrorKind> {
    match open(Slice::new(card), least, &mut Lend::new(2)) {
        Err(error) => error,
        Ok(_) => panic!("opened"),
    }
}

/// The logits of a few tokens, as bits, and how the text ended.
type Text<E> = (Vec<Vec<u32>>, Result<(), StepError<E>>);

fn text<D: BlockDevice>(device: D, front: &[u8]) -> Text<D::Error>
where
    D::Error: std::fmt::Debug,
{
    text_with(device, front, |_| ())
}

/// The same, with something that happens before each token.
fn text_with<D: BlockDevice>(
    mut device: D,
    front: &[u8],
    mut before: impl FnMut(usize),
) -> Text<D::Error>
where
    D::Error: std::fmt::Debug,
{
    let mut blocks = vec![Block::ZERO; 8];
    device.read(BlockIdx(0), &mut blocks).unwrap();
    let header = Header::parse(Block::bytes(&blocks)).unwrap();
    let mut memory = HostMemory::new(&MemoryPlan::for_model(&header.geometry, &OPTIONS));
    let mut decoder = Decoder::open(device, front, memory.lend(), &OPTIONS, ()).unwrap();
    let mut all = Vec::new();
    for (at, token) in TOKENS.into_iter().enumerate() {
        before(at);
        match decoder.step(token) {
            Ok(logits) => all.push(logits.iter().map(|logit| logit.to_bits()).collect()),
            Err(error) => return (all, Err(error)),
        }
    }
    (all, Ok(()))
}

#[test]
fn a_signed_image_has_the_bits_of_the_image_with_any_frames_with_and_without_a_key() {
    let (plain, card) = (plain(1), image(1, 3));
    let expected = text(Slice::new(&plain), &[]);
    assert!(expected.1.is_ok());
    // Firmware without a key.
    assert_eq!(text(Slice::new(&card), &[]), expected);
    let mut reads = Vec::new();
    for frames in [1, 2, 3, 40] {
        let mut lend = Lend::new(frames);
        let mut spy = SpyDevice::new(&card);
        let device = open(&mut spy, 3, &mut lend).unwrap();
        assert_eq!(device.counter(), 3);
        let (logits, end) = text(device, &[]);
        assert!(end.is_ok() && logits == expected.0, "{frames} frames");
        reads.push(spy.reads.len());
    }
    // More frames, fewer reads; with all of them only the first read of each group is one more.
    assert!(reads.is_sorted_by(|a, b| a >= b) && reads[0] > reads[3], "{reads:?}");
}

#[test]
fn no_changed_byte_comes_through() {
    let card = image(1, 3);
    let count = Header::parse(&card).unwrap().blocks.0;
    let blocks = plain(1).len() / BLOCK_BYTES;
    let (mut opened, mut closed) = (0, 0);
    for at in 0..card.len() / BLOCK_BYTES {
        let mut bad = card.clone();
        // Not in the header's own bytes, which `Header::parse` refuses before anything is opened; nor in the
        // last block behind the signature, which nobody reads.
        let byte = if at == 0 { 500 } else { (at * 37) % 100 };
        bad[at * BLOCK_BYTES + byte] ^= 1 << (at % 8);
        let mut lend = Lend::new(2);
        let Ok(mut device) = open(Slice::new(&bad), 0, &mut lend) else {
            closed += 1;
            continue;
        };
        opened += 1;
        let mut errors = 0;
        // All blocks at times, and each block behind a changed digest: else the changed one and a neighbour.
        let all = at >= blocks || at % 32 == 0;
        for block in (0..blocks).filter(|block| all || block.abs_diff(at) < 2) {
            let mut found = [Block::ZERO];
            match device.read(BlockIdx(block as u32), &mut found) {
                Ok(()) => {
                    assert!(found[0].0[..] == card[block * BLOCK_BYTES..][..BLOCK_BYTES]);
                }
                Err(SignedError::Differs { block: differs }) => {
                    assert_eq!((differs.0 as usize, block), (at, at));
                    errors += 1;
                }
                Err(SignedError::Leaves { .. }) => errors += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(errors > 0, "block {at} of {count}");
    }
    // Tops and statement are compared in opening, all else in reading.
    assert!(closed >= 2 && opened > blocks, "{closed}, {opened}");
}

/// Changes numbers of every record of a section, and makes their checks right again: what a CRC cannot notice.
fn forge(card: &mut [u8], kind: SectionKind) {
    let header = Header::parse(card).unwrap();
    let (records, layout) = header.geometry.table(kind).unwrap();
    let (start, stride) = (header.section(kind).start.0 as usize, layout.stride() as usize);
    for slot in 0..records {
        let record = &mut card[start * BLOCK_BYTES + slot as usize * stride..][..stride];
        record[stride - 2] ^= 0x15;
        layout.seal(identity(header.number, kind as u32, 0, slot), record);
    }
    // And the image is whole, as far as it says itself.
    let table = Image::new(header, card).table(kind, 0);
    assert!(table.mapped(0).is_some(), "the forged record passes its check");
}

#[test]
fn a_forged_record_with_its_check_made_right_is_refused() {
    let expected = text(Slice::new(&image(1, 3)), &[]).0;
    for kind in [SectionKind::Embedding, SectionKind::Qkv, SectionKind::Ffn] {
        let mut card = image(1, 3);
        forge(&mut card, kind);
        // Without a key it runs: what a CRC promises is no more.
        let (logits, end) = text(Slice::new(&card), &[]);
        assert!(end.is_ok() && logits != expected, "{kind}");
        let mut lend = Lend::new(2);
        let device = open(Slice::new(&card), 3, &mut lend).unwrap();
        let blocks = Header::parse(&card).unwrap().blocks;
        let mut memory = {
            let header = Header::parse(&card).unwrap();
            HostMemory::new(&MemoryPlan::for_model(&header.geometry, &OPTIONS))
        };
        assert!(blocks.0 > 0);
        let opened = Decoder::open(device, &[], memory.lend(), &OPTIONS, ());
        let differs = |source| matches!(source, SignedError::Differs { .. });
        match opened {
            Err(ripple_kernel::OpenError::Device { source, .. }) => assert!(differs(source)),
            Err(other) => panic!("{kind}: {other}"),
            Ok(mut decoder) => {
                let error = TOKENS.iter().find_map(|&token| decoder.step(token).err());
                let Some(StepError::Device { source, .. }) = error else {
                    panic!("{kind}: {error:?}")
                };
                assert!(differs(source), "{kind}");
            }
        }
        assert!(check(&card, &Header::parse(&card).unwrap(), &public_key(&SECRET)).is_err());
    }
}

#[test]
fn swapped_sections_foreign_digests_and_older_images_are_refused() {
    let (card, other) = (image(1, 3), image(2, 4));
    assert_eq!(card.len(), other.len());
    let header = Header::parse(&card).unwrap();
    let sizes = Sizes { image: BlockCount(header.blocks.0 - tail(&card)), group: GROUP };
    assert_eq!(sizes.blocks(), Some(header.blocks));
    let byte = |block: u32| block as usize * BLOCK_BYTES;

    // A section of another image that the same key has signed; and two blocks of one image in each other's place.
    let section = header.section(SectionKind::Ffn);
    let range = byte(section.start.0)..byte(section.start.0 + section.part.0);
    let mut swapped = card.clone();
    swapped[range.clone()].copy_from_slice(&other[range]);
    let mut exchanged = card.clone();
    let (a, b) = exchanged[byte(section.start.0)..].split_at_mut(BLOCK_BYTES);
    a.swap_with_slice(&mut b[..BLOCK_BYTES]);
    for bad in [swapped, exchanged] {
        let mut lend = Lend::new(2);
        let mut device = open(Slice::new(&bad), 3, &mut lend).unwrap();
        let error = device.read(section.start, &mut [Block::ZERO]);
        assert_eq!(error, Err(SignedError::Differs { block: section.start }));
    }
    // With the leaves of the other image as well; with its tops as well; and with its statement.
    let (leaves, tops) = (sizes.image.0, sizes.image.0 + sizes.leaves().0);
    let end = header.blocks.0 - 1;
    let mix = |from: u32| {
        let mut bad = card.clone();
        bad[byte(leaves)..byte(from)].copy_from_slice(&other[byte(leaves)..byte(from)]);
        bad
    };
    let mut lend = Lend::new(2);
    let with_leaves = mix(tops);
    let mut device = open(Slice::new(&with_leaves), 3, &mut lend).unwrap();
    let error = device.read(BlockIdx(0), &mut [Block::ZERO]);
    assert_eq!(error, Err(SignedError::Leaves { at: BlockIdx(leaves) }));
    assert_eq!(refused(&mix(end), 3), OpenError::Tops { at: BlockIdx(tops) });
    let mut statement = card.clone();
    statement[byte(end)..].copy_from_slice(&other[byte(end)..]);
    assert_eq!(refused(&statement, 3), OpenError::Tops { at: BlockIdx(tops) });

    // An older image, as it was; and one that says it is newer.
    assert_eq!(refused(&card, 4), OpenError::Older { found: 3, least: 4 });
    let mut newer = card.clone();
    newer[byte(end) + 20] = 9;
    assert_eq!(refused(&newer, 4), OpenError::Signature);
}

fn tail(card: &[u8]) -> u32 {
    ((card.len() - plain(1).len()) / BLOCK_BYTES) as u32
}

#[test]
fn what_is_not_signed_by_the_key_does_not_open() {
    let unsigned = plain(1);
    let last = BlockIdx((unsigned.len() / BLOCK_BYTES) as u32 - 1);
    assert_eq!(refused(&unsigned, 0), OpenError::Unsigned { at: last });
    let foreign = signed(&unsigned, &[8; 32], 3, GROUP).unwrap();
    assert_eq!(refused(&foreign, 0), OpenError::Signature);
    assert!(is_signed(&foreign, &Header::parse(&foreign).unwrap()));
    assert!(!is_signed(&unsigned, &Header::parse(&unsigned).unwrap()));
    assert!(signed(&foreign, &SECRET, 3, GROUP).is_err(), "signed twice");

    // A header that has another length than what was signed.
    let card = image(1, 3);
    for more in [-1, 1] {
        let mut bad = card.clone();
        let blocks = (card.len() / BLOCK_BYTES) as i32 + more;
        Header::lengthen(&mut bad, BlockCount(blocks as u32)).unwrap();
        bad.resize(bad.len() + BLOCK_BYTES, 0);
        let at = BlockIdx(blocks as u32 - 1);
        assert_eq!(refused(&bad, 0), OpenError::Unsigned { at });
        // And its statement moved to where it is looked for.
        let statement = card[card.len() - BLOCK_BYTES..].to_vec();
        bad[at.0 as usize * BLOCK_BYTES..][..BLOCK_BYTES].copy_from_slice(&statement);
        let signed = BlockCount((card.len() / BLOCK_BYTES) as u32);
        let found = BlockCount(blocks as u32);
        assert_eq!(refused(&bad, 0), OpenError::Length { signed, found });
    }
    let mut version = card.clone();
    let at = version.len() - BLOCK_BYTES + 8;
    version[at] = 2;
    assert_eq!(refused(&version, 0), OpenError::Version { found: 2 });
    // A key that anybody can sign for.
    let mut lend = Lend::new(2);
    let weak = [&[1u8][..], &[0; 31]].concat().try_into().unwrap();
    let blocks = BlockCount((card.len() / BLOCK_BYTES) as u32);
    let opened = Signed::open(Slice::new(&card), blocks, &weak, 0, lend.room());
    assert_eq!(opened.err(), Some(OpenError::Signature));
}

#[test]
fn too_little_room_is_said_by_name() {
    let card = image(1, 3);
    let sizes = Sizes { image: BlockCount((plain(1).len() / BLOCK_BYTES) as u32), group: GROUP };
    for (tops, frames, held, expected) in [
        (0, 2, 1, (Lent::Tops, sizes.tops().0, 0)),
        (9, 0, 1, (Lent::Frames, 1, 0)),
        (9, 1, 1, (Lent::Frames, 2, 1)),
        (9, 2, 0, (Lent::Held, 1, 0)),
    ] {
        let mut lend = Lend(vec![Block::ZERO; tops], vec![Block::ZERO; frames], vec![0; held]);
        let (lent, needed, given) = expected;
        let error = open(Slice::new(&card), 0, &mut lend).err();
        assert_eq!(error, Some(OpenError::Room { lent, needed, given }));
    }
}

/// A card that holds the signed image until someone tells it otherwise.
struct Liar<'a> {
    card: &'a [u8],
    lies: &'a RefCell<Vec<u8>>,
    /// Reads until it lies; and whether it does so once only.
    from: &'a RefCell<u32>,
}

impl BlockDevice for Liar<'_> {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        Slice::new(self.card).block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        let mut from = self.from.borrow_mut();
        *from = from.saturating_sub(1);
        if *from > 0 {
            return Slice::new(self.card).read(start, dst);
        }
        Slice::new(&self.lies.borrow()).read(start, dst)
    }
}

#[test]
fn a_card_that_changes_after_opening_gives_no_wrong_token() {
    let card = image(1, 3);
    let expected = text(Slice::new(&card), &[]).0;
    // Another image that the key has signed, the same image forged, zeroes, and the other with this tail.
    let other = image(2, 4);
    let mut forged = card.clone();
    forge(&mut forged, SectionKind::Qkv);
    forge(&mut forged, SectionKind::Ffn);
    let front = plain(1).len();
    let mixed = [&other[..front], &card[front..]].concat();
    let mut ended = 0;
    for lies in [other, forged, vec![0; card.len()], mixed] {
        let lies = RefCell::new(lies);
        for when in 0..TOKENS.len() {
            for frames in [1, 40] {
                let from = RefCell::new(u32::MAX);
                let mut lend = Lend::new(frames);
                let liar = Liar { card: &card, lies: &lies, from: &from };
                let device = open(liar, 3, &mut lend).unwrap();
                let (logits, end) = text_with(device, &[], |at| {
                    if at == when {
                        *from.borrow_mut() = 0;
                    }
                });
                assert_eq!(logits[..], expected[..logits.len()], "changed before token {when}");
                if let Err(error) = end {
                    let StepError::Device { source, .. } = error else { panic!("{error:?}") };
                    let named =
                        matches!(source, SignedError::Differs { .. } | SignedError::Leaves { .. });
                    assert!(named, "{source:?}");
                    ended += 1;
                }
            }
        }
    }
    assert!(ended >= 40, "{ended}");
}

#[test]
fn a_card_that_tells_the_truth_at_times_gives_no_wrong_token_and_the_text_goes_on() {
    let card = image(1, 3);
    let expected = text(Slice::new(&card), &[]).0;
    let mut forged = card.clone();
    for kind in [SectionKind::Embedding, SectionKind::Qkv, SectionKind::Output, SectionKind::Ffn] {
        forge(&mut forged, kind);
    }
    let lies = RefCell::new(forged);
    let mut refused = 0;
    for seed in 0..40u32 {
        let from = RefCell::new(u32::MAX);
        let mut lend = Lend::new(1 + seed as usize % 3);
        let liar = Liar { card: &card, lies: &lies, from: &from };
        let device = open(liar, 3, &mut lend).unwrap();
        let header = Header::parse(&card).unwrap();
        let mut memory = HostMemory::new(&MemoryPlan::for_model(&header.geometry, &OPTIONS));
        let mut decoder = Decoder::open(device, &[], memory.lend(), &OPTIONS, ()).unwrap();
        for (at, token) in TOKENS.into_iter().enumerate() {
            // Lies from some read of this token on, and then no more.
            *from.borrow_mut() = 1 + (seed * 7 + at as u32 * 3) % 11;
            let first = decoder.step(token).is_err();
            refused += u32::from(first);
            if first {
                *from.borrow_mut() = u32::MAX;
                decoder.step(token).unwrap();
            }
            decoder.rewind(at as u32);
            *from.borrow_mut() = u32::MAX;
            let logits = decoder.step(token).unwrap();
            let bits: Vec<u32> = logits.iter().map(|logit| logit.to_bits()).collect();
            assert_eq!(bits, expected[at], "seed {seed}, token {at}");
        }
    }
    assert!(refused > 40, "{refused}");
}

#[test]
fn a_front_in_flash_is_compared_too() {
    let card = image(1, 3);
    let expected = text(Slice::new(&card), &[]);
    let ffn = Header::parse(&card).unwrap().section(SectionKind::Ffn).start.0 as usize;
    let front = &card[..ffn * BLOCK_BYTES + 100];
    let mut lend = Lend::new(2);
    let mut device = open(Slice::new(&card), 3, &mut lend).unwrap();
    // A block that is not whole is not compared, and not given.
    let mapped = device.mapped(front).unwrap();
    assert_eq!(mapped.len(), ffn * BLOCK_BYTES);
    let (logits, end) = text(device, mapped);
    assert!(end.is_ok() && logits == expected.0);
    for at in [0, ffn / 2, ffn - 1] {
        let mut bad = front.to_vec();
        bad[at * BLOCK_BYTES + 9] ^= 4;
        let mut lend = Lend::new(2);
        let mut device = open(Slice::new(&card), 3, &mut lend).unwrap();
        let error = device.mapped(&bad).err();
        assert_eq!(error, Some(SignedError::Differs { block: BlockIdx(at as u32) }));
    }
    // More than was signed is not given either.
    let mut lend = Lend::new(2);
    let mut device = open(Slice::new(&card), 3, &mut lend).unwrap();
    assert_eq!(device.mapped(&card).unwrap().len(), plain(1).len());
}

#[test]
fn what_stands_behind_the_image_is_not_read() {
    let card = image(1, 3);
    let mut lend = Lend::new(2);
    let mut device = open(Slice::new(&card), 3, &mut lend).unwrap();
    let end = plain(1).len() / BLOCK_BYTES;
    for (start, count, inside) in [(end - 1, 1, true), (end - 1, 2, false), (end, 1, false)] {
        let read = device.read(BlockIdx(start as u32), &mut vec![Block::ZERO; count]);
        assert_eq!(read.is_ok(), inside, "{start}, {count}");
        assert!(inside || matches!(read, Err(SignedError::OutOfRange(_))));
    }
}
