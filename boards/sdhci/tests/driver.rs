//! The driver against a controller and a card in software: contents, errors, what happens afterwards.

#![allow(unsafe_code, reason = "the model writes memory as a DMA controller does")]

mod model;

use model::{Controller, Fault, Kind, Ticks, contents};
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind};
use ripple_sdhci::{Media, Options, Sdhci, SdhciError};

const BLOCKS: u32 = 4096;
const KINDS: [Kind; 3] = [Kind::SdV1, Kind::SdHc, Kind::Emmc];

type Device = Sdhci<Controller, Ticks>;

fn device(controller: &Controller, detects_card: bool) -> Device {
    let emmc = controller.0.borrow().kind == Kind::Emmc;
    let media = if emmc { Media::Emmc } else { Media::Sd };
    Sdhci::new(controller.clone(), Ticks::default(), Options { media, base_hz: 0, detects_card })
}

fn is_right(start: u32, dst: &[Block]) -> bool {
    dst.iter().zip(start..).all(|(block, at)| block.0 == contents(at).0)
}

/// Every kind of card, by copy and by DMA.
fn each(test: impl Fn(&Controller, &mut Device)) {
    for kind in KINDS {
        for dma in [false, true] {
            let controller = Controller::new(kind, BLOCKS, dma);
            let mut device = device(&controller, true);
            test(&controller, &mut device);
        }
    }
}

fn reads(device: &mut Device, start: u32, blocks: usize) -> Result<(), SdhciError> {
    let mut dst = vec![Block::ZERO; blocks];
    device.read(BlockIdx(start), &mut dst)?;
    assert!(is_right(start, &dst), "{blocks} blocks from {start}");
    Ok(())
}

#[test]
fn every_size_and_offset_has_the_right_contents() {
    each(|_, device| {
        assert_eq!(device.block_count(), Ok(BlockCount(BLOCKS)));
        for blocks in 1..=40 {
            for start in [0, 1, 7, 1000, BLOCKS - blocks as u32] {
                reads(device, start, blocks).unwrap();
            }
        }
        reads(device, 3, 0).unwrap();
    });
}

/// Where SDMA stops.
const BOUNDARY: usize = 512 * 1024;

/// Calls `test` with `blocks` blocks that begin `offset` bytes after a multiple of 512 KiB.
fn placed(offset: usize, blocks: usize, test: impl FnOnce(&mut [Block])) {
    let mut memory = vec![0u8; BOUNDARY + blocks * 512];
    let skipped = (BOUNDARY + offset - memory.as_ptr().addr() % BOUNDARY) % BOUNDARY;
    let start = memory[skipped..].as_mut_ptr().cast::<Block>();
    assert!(start.is_aligned());
    // SAFETY: aligned, inside `memory`, borrowed alone; any bytes are a block.
    test(unsafe { std::slice::from_raw_parts_mut(start, blocks) });
}

#[test]
fn commands_end_where_dma_would_stop() {
    let controller = Controller::new(Kind::Emmc, BLOCKS, true);
    let mut device = device(&controller, true);
    device.block_count().unwrap();
    for (offset, expected) in [
        (0, &[(18, 5), (18, 1029), (17, 2053)][..]),
        (BOUNDARY - 512, &[(17, 5), (18, 6), (18, 1030)]),
    ] {
        controller.commands();
        placed(offset, 2049, |dst| {
            device.read(BlockIdx(5), dst).unwrap();
            assert!(is_right(5, dst));
        });
        assert_eq!(controller.commands(), expected);
        assert_eq!(controller.0.borrow().boundaries, 0);
    }
}

#[test]
fn dma_goes_on_where_it_stops_inside_a_block() {
    let controller = Controller::new(Kind::Emmc, BLOCKS, true);
    let mut device = device(&controller, true);
    device.block_count().unwrap();
    controller.commands();
    for offset in [64, 448, BOUNDARY - 64, BOUNDARY - 448] {
        placed(offset, 2500, |dst| {
            device.read(BlockIdx(5), dst).unwrap();
            assert!(is_right(5, dst));
        });
        assert_eq!(controller.commands(), [(18, 5)]);
    }
    assert_eq!(controller.0.borrow().boundaries, 2 + 2 + 3 + 3);
}

#[test]
fn reads_longer_than_the_counter_are_split() {
    let controller = Controller::new(Kind::SdHc, 1 << 18, true);
    let mut device = device(&controller, true);
    device.block_count().unwrap();
    controller.commands();
    placed(64, 65_537, |dst| {
        device.read(BlockIdx(9), dst).unwrap();
        assert!(is_right(9, dst));
    });
    assert_eq!(controller.commands(), [(18, 9), (18, 9 + 65_535)]);
}

#[test]
fn single_blocks_and_byte_addresses() {
    let controller = Controller::new(Kind::SdV1, BLOCKS, false);
    let mut device = device(&controller, true);
    device.block_count().unwrap();
    controller.commands();
    placed(0, 1, |dst| device.read(BlockIdx(3), dst).unwrap());
    placed(0, 2, |dst| device.read(BlockIdx(3), dst).unwrap());
    assert_eq!(controller.commands(), [(17, 3 * 512), (18, 3 * 512)]);
}

#[test]
fn beyond_the_end_is_out_of_range_and_no_command() {
    each(|controller, device| {
        device.block_count().unwrap();
        controller.commands();
        for (start, blocks) in [(BLOCKS, 1), (BLOCKS - 1, 2), (u32::MAX, 1)] {
            let error = reads(device, start, blocks).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfRange);
        }
        assert_eq!(controller.commands(), []);
    });
}

#[test]
fn faults_are_typed_and_the_next_read_works() {
    let data = |command| {
        [
            (Fault::NoResponse(command), SdhciError::Timeout { command }),
            (Fault::Silence(command), SdhciError::Timeout { command }),
            (Fault::ResponseCrc(command), SdhciError::Crc { command }),
            (Fault::CardStatus(command, 1 << 31), SdhciError::Card { command, status: 1 << 31 }),
            (Fault::DataCrc(0), SdhciError::Crc { command }),
            (Fault::DataTimeout(0), SdhciError::Timeout { command }),
            (Fault::DataSilence(0), SdhciError::Timeout { command }),
            (Fault::Pulled(0), SdhciError::NoCard),
        ]
    };
    for (command, blocks) in [(17, 1), (18, 9)] {
        for (fault, expected) in data(command) {
            each(|controller, device| {
                reads(device, 2, blocks).unwrap();
                controller.fail(fault);
                assert_eq!(reads(device, 2, blocks), Err(expected), "{fault:?}");
                controller.0.borrow_mut().fault = None;
                assert!(!controller.is_writing());
                controller.insert();
                reads(device, 2, blocks).unwrap();
            });
        }
    }
}

#[test]
fn a_fault_in_the_middle_of_many_blocks() {
    for fault in [Fault::DataCrc(5), Fault::DataTimeout(5), Fault::DataSilence(5), Fault::Pulled(5)]
    {
        each(|controller, device| {
            controller.fail(fault);
            let error = reads(device, 2, 9).unwrap_err();
            let kind = match fault {
                Fault::DataCrc(_) => ErrorKind::Corrupted,
                Fault::Pulled(_) => ErrorKind::NoCard,
                _ => ErrorKind::Timeout,
            };
            assert_eq!(error.kind(), kind, "{fault:?}");
            controller.0.borrow_mut().fault = None;
            controller.insert();
            reads(device, 2, 9).unwrap();
        });
    }
}

#[test]
fn a_damaged_read_is_stopped_without_a_new_start() {
    let controller = Controller::new(Kind::SdHc, BLOCKS, true);
    let mut device = device(&controller, true);
    device.block_count().unwrap();
    controller.fail(Fault::DataCrc(3));
    controller.commands();
    placed(0, 8, |dst| {
        let read = device.read(BlockIdx(0), dst);
        assert_eq!(read, Err(SdhciError::Crc { command: 18 }));
        let address = 0x1234 << 16;
        assert_eq!(controller.commands(), [(18, 0), (13, address), (12, 0), (13, address)]);
        device.read(BlockIdx(0), dst).unwrap();
        assert_eq!(controller.commands(), [(18, 0)]);
    });
}

#[test]
fn faults_at_every_command_of_the_start() {
    for kind in KINDS {
        for command in [0, 1, 2, 3, 6, 7, 8, 9, 13, 16, 41, 55] {
            for fault in
                [Fault::NoResponse(command), Fault::Silence(command), Fault::ResponseCrc(command)]
            {
                let controller = Controller::new(kind, BLOCKS, false);
                let mut device = device(&controller, true);
                controller.fail(fault);
                // A command that is not used, or need not be answered, fails nothing.
                let failed = device.block_count().is_err();
                let seen = controller.0.borrow().fault.is_none();
                assert!(!failed || seen, "{kind:?} {fault:?}");
                controller.0.borrow_mut().fault = None;
                assert_eq!(device.block_count(), Ok(BlockCount(BLOCKS)), "{kind:?} {fault:?}");
                reads(&mut device, 1, 3).unwrap();
            }
        }
    }
}

#[test]
fn no_card_is_told_with_and_without_detection() {
    for detects in [false, true] {
        for kind in KINDS {
            let controller = Controller::new(kind, BLOCKS, true);
            controller.pull();
            let mut device = device(&controller, detects);
            assert_eq!(device.block_count(), Err(SdhciError::NoCard));
            assert_eq!(reads(&mut device, 0, 1), Err(SdhciError::NoCard));
            controller.insert();
            reads(&mut device, 0, 1).unwrap();
        }
    }
}

#[test]
fn a_card_pulled_and_put_back_between_reads_is_started_anew() {
    each(|controller, device| {
        reads(device, 0, 4).unwrap();
        controller.pull();
        assert_eq!(reads(device, 0, 4), Err(SdhciError::NoCard));
        controller.insert();
        reads(device, 0, 4).unwrap();
        controller.pull();
        controller.insert();
        // Unnoticed by any read, but the controller remembers.
        reads(device, 0, 4).unwrap();
    });
}

#[test]
fn another_card_has_another_size() {
    let controller = Controller::new(Kind::SdHc, BLOCKS, false);
    let mut device = device(&controller, true);
    assert_eq!(device.block_count(), Ok(BlockCount(BLOCKS)));
    controller.pull();
    controller.0.borrow_mut().blocks = 2 * BLOCKS;
    controller.insert();
    assert_eq!(device.block_count(), Ok(BlockCount(2 * BLOCKS)));
}

#[test]
fn work_runs_while_dma_writes_and_the_read_waits() {
    let controller = Controller::new(Kind::Emmc, BLOCKS, true);
    let mut device = device(&controller, true);
    placed(0, 64, |dst| {
        let writing = device.read_while(BlockIdx(10), dst, || controller.is_writing());
        assert_eq!(writing, Ok(true));
        assert!(!controller.is_writing() && is_right(10, dst));
    });
}

#[test]
fn a_panic_in_the_work_stops_the_controller_first() {
    for dma in [false, true] {
        let controller = Controller::new(Kind::Emmc, BLOCKS, dma);
        let mut device = device(&controller, true);
        let mut dst = vec![Block::ZERO; 64];
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            device.read_while(BlockIdx(10), &mut dst, || panic!("in the work"))
        }));
        let unwound: Result<Result<(), _>, _> = unwound;
        assert!(unwound.is_err());
        // The model panics if it writes memory that is not lent.
        assert!(!controller.is_writing() && controller.0.borrow().lent.is_none());
        reads(&mut device, 10, 64).unwrap();
    }
}
