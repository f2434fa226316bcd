//! Writes to a card on a SPI bus, against a simulated card that refuses, complains and loses power.

use crate::common::noise;
use crate::spi_bus::{Card, card};
use crate::spi_model::Sim;
use ripple_hal::{
    Block, BlockDevice, BlockIdx, DeviceError, ErrorKind, Retry, SpiCardError, WriteDevice,
};
use std::cell::RefCell;
use std::rc::Rc;

const BLOCKS: u32 = 1024;

fn new_card(high_capacity: bool) -> (Card, Rc<RefCell<Sim>>) {
    let (mut card, sim) = card(&noise(BLOCKS as usize * 512, 5), high_capacity);
    card.block_count().unwrap();
    sim.borrow_mut().commands.clear();
    (card, sim)
}

/// `count` blocks that no other write has.
fn written(write: u8, count: usize) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; count];
    Block::bytes_mut(&mut blocks).copy_from_slice(&noise(count * 512, u64::from(write) + 100));
    blocks
}

fn put(bytes: &mut [u8], start: u32, blocks: &[Block]) {
    bytes[start as usize * 512..][..blocks.len() * 512].copy_from_slice(Block::bytes(blocks));
}

#[test]
fn every_write_is_one_command_and_changes_its_blocks_and_no_others() {
    for high_capacity in [true, false] {
        let (mut card, sim) = new_card(high_capacity);
        let mut expected = sim.borrow().bytes.clone();
        let step = if high_capacity { 1 } else { 512 };
        let writes = [(0, 1), (3, 2), (7, 1), (100, 64), (BLOCKS - 1, 1), (BLOCKS - 4, 4)];
        for (number, (start, count)) in (0..).zip(writes) {
            let blocks = written(number, count);
            card.write(BlockIdx(start), &blocks).unwrap();
            put(&mut expected, start, &blocks);
            let command = if count == 1 { 24 } else { 25 };
            let commands = std::mem::take(&mut sim.borrow_mut().commands);
            assert_eq!(commands, [(command, start * step), (13, 0)]);
            assert!(!sim.borrow().selected && sim.borrow().bytes == expected);
            let mut read = vec![Block::ZERO; count];
            card.read(BlockIdx(start), &mut read).unwrap();
            assert!(Block::bytes(&read) == Block::bytes(&blocks));
            sim.borrow_mut().commands.clear();
        }
        card.write(BlockIdx(5), &[]).unwrap();
        let error = card.write(BlockIdx(BLOCKS - 1), &written(9, 2)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
        assert!(sim.borrow().commands.is_empty() && sim.borrow().bytes == expected);
    }
}

/// Each block of `start..` is as it was or as it was to be, every other block as it was.
fn old_or_new(now: &[u8], before: &[u8], start: u32, blocks: &[Block]) {
    for (at, (now, before)) in (0..).zip(now.chunks(512).zip(before.chunks(512))) {
        let to_be = usize::try_from(at - i64::from(start)).ok().and_then(|i| blocks.get(i));
        assert!(now == before || to_be.is_some_and(|b| b.0 == now), "block {at}");
    }
}

#[test]
fn a_refused_block_is_a_typed_error_and_the_next_write_starts_over() {
    let (mut card, sim) = new_card(true);
    for (answer, kind) in [
        (0x0B, ErrorKind::Corrupted),
        (0xEB, ErrorKind::Corrupted),
        (0x0D, ErrorKind::Other),
        (0xFF, ErrorKind::Timeout),
    ] {
        for (count, refused) in [(1, 0), (4, 0), (4, 2), (4, 3)] {
            let before = sim.borrow().bytes.clone();
            let blocks = written(answer, count);
            sim.borrow_mut().refusal = Some((refused, answer));
            let error = card.write(BlockIdx(9), &blocks).unwrap_err();
            assert!(matches!(error, SpiCardError::Write { answer: a } if a == answer), "{error:?}");
            assert_eq!(error.kind(), kind);
            old_or_new(&sim.borrow().bytes, &before, 9, &blocks);
            sim.borrow_mut().commands.clear();
            card.write(BlockIdx(9), &blocks).unwrap();
            assert_eq!(sim.borrow().commands[0], (0, 0));
            let mut expected = before;
            put(&mut expected, 9, &blocks);
            assert!(sim.borrow().bytes == expected);
        }
    }
}

#[test]
fn a_transient_refusal_is_overcome_by_trying_again() {
    let (card, sim) = new_card(true);
    let mut card = Retry::new(card, 2);
    let blocks = written(1, 5);
    sim.borrow_mut().refusal = Some((3, 0x0B));
    card.write(BlockIdx(20), &blocks).unwrap();
    assert_eq!(card.retries(), 1);
    let mut read = vec![Block::ZERO; 5];
    card.read(BlockIdx(20), &mut read).unwrap();
    assert!(Block::bytes(&read) == Block::bytes(&blocks));
}

#[test]
fn what_the_card_finds_out_after_it_accepted_is_an_error() {
    let (mut card, sim) = new_card(true);
    for (status, kind) in
        [(0x80, ErrorKind::OutOfRange), (0x20, ErrorKind::Other), (0x04, ErrorKind::Other)]
    {
        for count in [1, 3] {
            sim.borrow_mut().complaint = status;
            let error = card.write(BlockIdx(1), &written(2, count)).unwrap_err();
            let found = u16::from(status);
            assert!(matches!(error, SpiCardError::Lost { status } if status == found), "{error:?}");
            assert_eq!(error.kind(), kind);
            card.write(BlockIdx(1), &written(2, count)).unwrap();
        }
    }
}

#[test]
fn a_card_that_stays_busy_is_given_up() {
    for count in [1, 2] {
        let (mut card, sim) = new_card(true);
        sim.borrow_mut().mute = true;
        let error = card.write(BlockIdx(0), &written(3, count)).unwrap_err();
        assert!(matches!(error, SpiCardError::Silent), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        sim.borrow_mut().mute = false;
        card.write(BlockIdx(0), &written(3, count)).unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power_at_any_byte() {
    let writes = [(40, 1), (700, 5), (41, 2), (702, 1), (40, 3)];
    let (mut lost, mut finished) = (0, 0);
    for power in (0..).step_by(61) {
        let (mut card, sim) = new_card(true);
        let mut acknowledged = sim.borrow().bytes.clone();
        sim.borrow_mut().power = Some(power);
        let mut failed = None;
        for (number, (start, count)) in (0..).zip(writes) {
            let blocks = written(number, count);
            if let Err(error) = card.write(BlockIdx(start), &blocks) {
                assert_ne!(error.kind(), ErrorKind::OutOfRange);
                failed = Some((start, blocks));
                break;
            }
            put(&mut acknowledged, start, &blocks);
        }
        sim.borrow_mut().restart();
        let Some((start, blocks)) = failed else {
            assert!(sim.borrow().bytes == acknowledged);
            finished += 1;
            if finished == 3 {
                break;
            }
            continue;
        };
        lost += 1;
        old_or_new(&sim.borrow().bytes, &acknowledged, start, &blocks);
        // The card is started over, and what failed can be done.
        card.write(BlockIdx(start), &blocks).unwrap();
        put(&mut acknowledged, start, &blocks);
        assert!(sim.borrow().bytes == acknowledged);
    }
    assert!(lost > 80, "{lost}");
}

#[test]
fn a_write_that_is_dropped_under_way_changes_no_other_blocks() {
    use ripple_hal::{AsyncWriteDevice, Polled};
    use std::task::{Context, Waker};
    for polls in 1..4 {
        let (card, sim) = new_card(true);
        let before = sim.borrow().bytes.clone();
        let blocks = written(4, 3);
        let mut card = card.into_inner();
        {
            let mut write = std::pin::pin!(card.write(BlockIdx(1), &blocks));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                assert!(write.as_mut().poll(&mut context).is_pending());
            }
        }
        let mut card = Polled::new(card);
        card.write(BlockIdx(8), &blocks).unwrap();
        let mut expected = before;
        put(&mut expected, 8, &blocks);
        old_or_new(&sim.borrow().bytes, &expected, 1, &blocks);
    }
}
