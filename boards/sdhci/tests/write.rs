//! Writes against a controller and a card in software: contents, errors, loss of power.

#![allow(unsafe_code, reason = "the model writes memory as a DMA controller does")]

mod model;

use model::{Controller, Fault, Kind, Ticks, contents};
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, WriteDevice};
use ripple_sdhci::{Media, Options, Sdhci, SdhciError};
use std::collections::HashMap;

const BLOCKS: u32 = 4096;
const BOUNDARY: usize = 512 * 1024;
const KINDS: [Kind; 3] = [Kind::SdV1, Kind::SdHc, Kind::Emmc];

type Device = Sdhci<Controller, Ticks>;

/// Every kind of card, on a controller with and without DMA.
fn each(test: impl Fn(&Controller, &mut Device)) {
    for kind in KINDS {
        for dma in [false, true] {
            let controller = Controller::new(kind, BLOCKS, dma);
            let media = if kind == Kind::Emmc { Media::Emmc } else { Media::Sd };
            let options = Options { media, base_hz: 0, detects_card: true };
            let mut device = Sdhci::new(controller.clone(), Ticks::default(), options);
            device.block_count().unwrap();
            controller.commands();
            test(&controller, &mut device);
        }
    }
}

/// `count` blocks that the card does not hold before, and no other `write` has.
///
/// In memory without a multiple of 512 KiB, where there would be a command more.
fn written(write: u32, count: usize) -> Vec<Block> {
    loop {
        let numbers = 0..count as u32;
        let blocks: Vec<_> = numbers.map(|i| contents(1_000_000 + 10_000 * write + i)).collect();
        let addresses = Block::bytes(&blocks).as_ptr_range();
        if addresses.start.addr() / BOUNDARY == addresses.end.addr() / BOUNDARY {
            return blocks;
        }
        // Kept, so that the next ones lie elsewhere.
        blocks.leak();
    }
}

/// What was acknowledged; every other block is as it was from the start.
type Acknowledged = HashMap<u32, Block>;

/// Each block of the write from `start` on is old or new, all others are as they were.
fn old_or_new(controller: &Controller, before: &Acknowledged, start: u32, blocks: &[Block]) {
    let model = controller.0.borrow();
    for &at in model.kept.keys().chain(before.keys()) {
        let now = model.block(at).0;
        let was = before.get(&at).copied().unwrap_or_else(|| contents(at));
        let to_be = at.checked_sub(start).and_then(|i| blocks.get(i as usize));
        assert!(now == was.0 || to_be.is_some_and(|block| block.0 == now), "block {at}");
    }
}

fn put(acknowledged: &mut Acknowledged, start: u32, blocks: &[Block]) {
    acknowledged.extend((start..).zip(blocks.iter().copied()));
}

#[test]
fn every_size_is_one_command_and_is_read_back() {
    each(|controller, device| {
        let step = if controller.0.borrow().kind == Kind::SdV1 { 512 } else { 1 };
        let mut expected = Acknowledged::new();
        for (number, blocks) in (0..).zip([1, 2, 3, 8, 31, 40]) {
            for start in [0, 7, 1000, BLOCKS - blocks as u32] {
                let src = written(number, blocks);
                device.write(BlockIdx(start), &src).unwrap();
                put(&mut expected, start, &src);
                let command = if blocks == 1 { 24 } else { 25 };
                let commands = controller.commands();
                assert_eq!(commands[0], (command, start * step));
                // The card is programming the first three times that it is asked.
                assert!(commands.len() == 5 && commands[1..].iter().all(|(c, _)| *c == 13));
                let mut read = vec![Block::ZERO; blocks];
                device.read(BlockIdx(start), &mut read).unwrap();
                assert!(Block::bytes(&read) == Block::bytes(&src));
                controller.commands();
            }
        }
        old_or_new(controller, &expected, 0, &[]);
        device.write(BlockIdx(3), &[]).unwrap();
        assert_eq!(controller.commands(), []);
    });
}

#[test]
fn dma_goes_on_where_it_stops_inside_a_block() {
    let controller = Controller::new(Kind::Emmc, BLOCKS, true);
    let options = Options { media: Media::Emmc, base_hz: 0, detects_card: true };
    let mut device = Sdhci::new(controller.clone(), Ticks::default(), options);
    device.block_count().unwrap();
    // Where a block ends at a multiple of 512 KiB, so does a command; elsewhere the controller stops.
    for (offset, commands, boundaries) in
        [(0, &[(25, 5), (25, 1029), (24, 2053)][..], 0), (448, &[(25, 5)], 2), (64, &[(25, 5)], 2)]
    {
        controller.commands();
        controller.0.borrow_mut().boundaries = 0;
        let mut memory = vec![Block::ZERO; 1024 + 2049];
        let skipped = (memory.as_ptr().addr() / 64).wrapping_neg() % 8192 + offset / 64;
        let bytes = Block::bytes_mut(&mut memory);
        let start = bytes[skipped % 8192 * 64..].as_mut_ptr().cast::<Block>();
        // SAFETY: aligned, inside `memory`, borrowed alone; any bytes are a block.
        let src = unsafe { std::slice::from_raw_parts_mut(start, 2049) };
        for (i, block) in (0..).zip(&mut *src) {
            *block = contents(1_000_000 + offset as u32 + i);
        }
        device.write(BlockIdx(5), src).unwrap();
        let sent: Vec<_> = controller.commands().into_iter().filter(|(c, _)| *c != 13).collect();
        assert_eq!(sent, commands, "{offset}");
        let model = controller.0.borrow();
        assert_eq!(model.boundaries, boundaries, "{offset}");
        for (at, block) in (5..).zip(&*src) {
            assert!(model.block(at).0 == block.0, "{offset}: block {at}");
        }
    }
}

#[test]
fn beyond_the_end_is_out_of_range_and_no_command() {
    each(|controller, device| {
        for (start, blocks) in [(BLOCKS, 1), (BLOCKS - 1, 2), (u32::MAX, 1)] {
            let error = device.write(BlockIdx(start), &written(0, blocks)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfRange);
        }
        assert_eq!(controller.commands(), []);
        assert_eq!(device.block_count(), Ok(BlockCount(BLOCKS)));
    });
}

#[test]
fn faults_are_typed_and_the_next_write_works() {
    for (command, blocks) in [(24, 1), (25, 9)] {
        let refused = |command, status| {
            (Fault::CardStatus(command, status), SdhciError::Card { command, status })
        };
        for (fault, expected) in [
            (Fault::NoResponse(command), SdhciError::Timeout { command }),
            (Fault::Silence(command), SdhciError::Timeout { command }),
            (Fault::ResponseCrc(command), SdhciError::Crc { command }),
            // Write-protected.
            refused(command, 1 << 26),
            (Fault::DataCrc(0), SdhciError::Crc { command }),
            (Fault::DataCrc(blocks - 1), SdhciError::Crc { command }),
            (Fault::DataTimeout(blocks - 1), SdhciError::Timeout { command }),
            (Fault::DataSilence(0), SdhciError::Timeout { command }),
            // Busy for ever after the last block.
            (Fault::DataSilence(blocks), SdhciError::Timeout { command }),
            (Fault::Pulled(blocks), SdhciError::NoCard),
            (Fault::NoResponse(13), SdhciError::Timeout { command: 13 }),
        ] {
            each(|controller, device| {
                let src = written(blocks, blocks as usize);
                controller.fail(fault);
                assert_eq!(device.write(BlockIdx(2), &src), Err(expected), "{fault:?}");
                controller.0.borrow_mut().fault = None;
                old_or_new(controller, &Acknowledged::new(), 2, &src);
                controller.insert();
                device.write(BlockIdx(2), &src).unwrap();
                let mut expected = Acknowledged::new();
                put(&mut expected, 2, &src);
                old_or_new(controller, &expected, 0, &[]);
            });
        }
    }
}

#[test]
fn what_the_card_finds_out_while_it_programs_is_an_error() {
    each(|controller, device| {
        // The first answers say that it programs; the errors come with the last.
        controller.0.borrow_mut().fails_to_program = true;
        let error = device.write(BlockIdx(5), &written(1, 4)).unwrap_err();
        assert!(
            matches!(error, SdhciError::Card { command: 13, status } if status >> 19 & 1 == 1),
            "{error:?}"
        );
        device.write(BlockIdx(5), &written(1, 4)).unwrap();
    });
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power_at_any_block() {
    let writes = [(40, 1), (700, 5), (41, 2), (702, 1), (40, 3)];
    let lengths = writes.iter().map(|(_, count)| *count as u32);
    each(|controller, device| {
        for (cut, blocks) in (0..).zip(lengths.clone()) {
            for after in 0..=blocks {
                controller.0.borrow_mut().kept.clear();
                let mut expected = Acknowledged::new();
                for (number, (start, count)) in (0..).zip(writes) {
                    let src = written(number, count);
                    if number == cut {
                        controller.fail(Fault::Pulled(after));
                        let error = device.write(BlockIdx(start), &src).unwrap_err();
                        assert_eq!(error, SdhciError::NoCard);
                        old_or_new(controller, &expected, start, &src);
                        controller.insert();
                        device.write(BlockIdx(start), &src).unwrap();
                    } else {
                        device.write(BlockIdx(start), &src).unwrap();
                    }
                    put(&mut expected, start, &src);
                    old_or_new(controller, &expected, 0, &[]);
                }
            }
        }
    });
}
