//! Reads that go on with the command of the read before: contents, commands, what ends them.

#![allow(unsafe_code, reason = "the model writes memory as a DMA controller does")]

mod model;

use model::{Controller, Fault, Kind, Ticks, contents};
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, WriteDevice};
use ripple_sdhci::{Media, Options, Sdhci, SdhciError};

const BLOCKS: u32 = 4096;
const KINDS: [Kind; 3] = [Kind::SdV1, Kind::SdHc, Kind::Emmc];
const STOP: (u8, u32) = (12, 0);

type Device = Sdhci<Controller, Ticks>;

/// A card of each kind, read by copy, that stays open across gaps of up to 8 blocks.
fn each(test: impl Fn(&Controller, &mut Device, u32)) {
    for kind in KINDS {
        let controller = Controller::new(kind, BLOCKS, false);
        let media = if kind == Kind::Emmc { Media::Emmc } else { Media::Sd };
        let options = Options { media, base_hz: 0, detects_card: true };
        let mut device = Sdhci::new(controller.clone(), Ticks::default(), options);
        device.block_count().unwrap();
        device.stay_open(Some(BlockCount(8))).unwrap();
        controller.commands();
        test(&controller, &mut device, if kind == Kind::SdV1 { 512 } else { 1 });
    }
}

fn reads(device: &mut Device, start: u32, blocks: usize) -> Result<(), SdhciError> {
    let mut dst = vec![Block::ZERO; blocks];
    device.read(BlockIdx(start), &mut dst)?;
    let right = dst.iter().zip(start..).all(|(block, at)| block.0 == contents(at).0);
    assert!(right, "{blocks} blocks from {start}");
    Ok(())
}

#[test]
fn reads_that_ascend_go_on_with_one_command() {
    each(|controller, device, step| {
        assert_eq!(device.goes_on(), None);
        for (start, blocks) in [(10, 1), (11, 40), (51, 1), (52 + 8, 3), (64, 5)] {
            reads(device, start, blocks).unwrap();
            assert_eq!(device.goes_on(), Some(BlockIdx(start + blocks as u32)));
        }
        assert_eq!(controller.commands(), [(18, 10 * step)]);
        // Further on than the gap, and back: commands of their own.
        reads(device, 69 + 9, 2).unwrap();
        reads(device, 79, 2).unwrap();
        let expected = [STOP, (18, 78 * step), STOP, (18, 79 * step)];
        assert_eq!(controller.commands(), expected);
        device.stay_open(None).unwrap();
        assert_eq!(device.goes_on(), None);
        reads(device, 81, 2).unwrap();
        reads(device, 83, 1).unwrap();
        assert_eq!(controller.commands(), [STOP, (18, 81 * step), (17, 83 * step)]);
    });
}

/// Against what a card that is read with commands of their own gives, and the count of commands that is
/// due.
#[test]
fn any_reads_have_the_right_contents_and_the_commands_that_are_due() {
    each(|controller, device, _| {
        let (mut random, mut next, mut due) = (7u32, None, 0);
        for _ in 0..2000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let near = next.unwrap_or(0) + (random >> 8) % 12;
            let start = if random >> 28 < 12 { near } else { random >> 16 } % (BLOCKS - 20);
            let blocks = 1 + (random >> 20) % 19;
            let goes_on = next.is_some_and(|next| (next..=next + 8).contains(&start));
            due += u32::from(!goes_on);
            reads(device, start, blocks as usize).unwrap();
            next = Some(start + blocks);
        }
        let commands = controller.commands();
        let reads = commands.iter().filter(|(command, _)| *command == 18).count();
        assert_eq!(reads, due as usize);
        assert_eq!(commands.iter().filter(|&&command| command == STOP).count(), reads - 1);
    });
}

#[test]
fn a_write_ends_what_is_open_and_is_read_back() {
    each(|controller, device, _| {
        reads(device, 10, 4).unwrap();
        let src = [contents(900), contents(901)];
        device.write(BlockIdx(14), &src).unwrap();
        assert_eq!(device.goes_on(), None);
        assert_eq!(controller.commands()[1], STOP);
        let mut dst = [Block::ZERO; 2];
        device.read(BlockIdx(14), &mut dst).unwrap();
        assert!(dst.iter().zip(&src).all(|(found, written)| found.0 == written.0));
    });
}

#[test]
fn nothing_stays_open_at_the_cards_end() {
    each(|controller, device, step| {
        reads(device, BLOCKS - 9, 4).unwrap();
        reads(device, BLOCKS - 3, 3).unwrap();
        assert_eq!(device.goes_on(), None);
        reads(device, 5, 1).unwrap();
        let expected = [(18, (BLOCKS - 9) * step), STOP, (18, 5 * step)];
        assert_eq!(controller.commands(), expected);
    });
}

#[test]
fn faults_of_an_open_read_are_typed_and_the_next_read_works() {
    let faults = [
        (Fault::DataCrc(6), SdhciError::Crc { command: 18 }),
        (Fault::DataTimeout(6), SdhciError::Timeout { command: 18 }),
        (Fault::DataSilence(6), SdhciError::Timeout { command: 18 }),
        (Fault::Pulled(6), SdhciError::NoCard),
    ];
    for (fault, expected) in faults {
        // In what is skipped, and in what is copied.
        for start in [26, 23] {
            each(|controller, device, _| {
                reads(device, 20, 2).unwrap();
                controller.fail(fault);
                assert_eq!(reads(device, start, 9), Err(expected), "{fault:?}");
                assert_eq!(device.goes_on(), None);
                controller.0.borrow_mut().fault = None;
                controller.insert();
                reads(device, start, 9).unwrap();
            });
        }
    }
    // In the command that ends it.
    for fault in [Fault::NoResponse(12), Fault::Silence(12), Fault::ResponseCrc(12)] {
        each(|controller, device, _| {
            reads(device, 20, 2).unwrap();
            controller.fail(fault);
            assert!(reads(device, 500, 9).is_err(), "{fault:?}");
            reads(device, 500, 9).unwrap();
            reads(device, 509, 9).unwrap();
        });
    }
}

#[test]
fn a_card_pulled_and_put_back_while_a_read_is_open_is_started_anew() {
    each(|controller, device, step| {
        reads(device, 20, 2).unwrap();
        controller.pull();
        controller.insert();
        controller.commands();
        reads(device, 22, 2).unwrap();
        let commands = controller.commands();
        assert_eq!(commands.first(), Some(&(0, 0)));
        assert_eq!(commands.last(), Some(&(18, 22 * step)));
    });
}

/// What DMA reads has a command of its own, with a count.
#[test]
fn a_read_by_dma_does_not_stay_open() {
    let controller = Controller::new(Kind::SdHc, BLOCKS, true);
    let options = Options { media: Media::Sd, base_hz: 0, detects_card: true };
    let mut device = Sdhci::new(controller.clone(), Ticks::default(), options);
    device.stay_open(Some(BlockCount(8))).unwrap();
    reads(&mut device, 3, 1).unwrap();
    controller.commands();
    reads(&mut device, 4, 3).unwrap();
    assert_eq!(device.goes_on(), None);
    assert_eq!(controller.commands(), [(18, 4)]);
}
