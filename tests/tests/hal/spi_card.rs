//! Reads from a card on a SPI bus with DMA, against a simulated card that follows the specification.

use crate::common::{fill, noise};
use crate::spi_bus::{Card, NoDelay, Wire, card};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, Polled, SpiCard,
    SpiCardError, WriteDevice,
};
use std::convert::Infallible;
use std::pin;

fn check(card: &mut Card, bytes: &[u8], start: u32, count: usize) {
    let mut read = vec![Block::ZERO; count];
    let mut expected = read.clone();
    fill(bytes, BlockIdx(start), &mut expected);
    card.read(BlockIdx(start), &mut read).unwrap();
    assert!(Block::bytes(&read) == Block::bytes(&expected), "{count} blocks from {start}");
}

#[test]
fn every_read_is_one_command_and_gives_what_is_on_the_card() {
    for high_capacity in [true, false] {
        let bytes = noise(1024 * 512, 5);
        let (mut card, sim) = card(&bytes, high_capacity);
        assert_eq!(card.block_count().unwrap(), BlockCount(1024));
        assert_eq!(sim.borrow().hertz, 25_000_000);
        sim.borrow_mut().commands.clear();
        let step = if high_capacity { 1 } else { 512 };
        for (start, count) in [(0, 1), (3, 2), (7, 1), (100, 64), (1023, 1), (1020, 4), (0, 1024)] {
            check(&mut card, &bytes, start, count);
            let commands = std::mem::take(&mut sim.borrow_mut().commands);
            let expected: &[_] =
                if count == 1 { &[(17, start * step)] } else { &[(18, start * step), (12, 0)] };
            assert_eq!(commands, expected);
            assert!(!sim.borrow().selected);
        }
        card.read(BlockIdx(5), &mut []).unwrap();
        assert!(sim.borrow().commands.is_empty());
    }
}

#[test]
fn work_runs_while_the_first_transfer_is_under_way() {
    let bytes = noise(1024 * 512, 6);
    let (mut card, sim) = card(&bytes, true);
    let mut read = vec![Block::ZERO; 16];
    let seen = sim.clone();
    let during = card
        .read_while(BlockIdx(8), &mut read, || {
            let sim = seen.borrow();
            (sim.commands.last().copied(), sim.transfers, sim.selected)
        })
        .unwrap();
    assert_eq!(during, (Some((18, 8)), 1, true));
    let mut expected = vec![Block::ZERO; 16];
    fill(&bytes, BlockIdx(8), &mut expected);
    assert!(Block::bytes(&read) == Block::bytes(&expected));
}

#[test]
fn after_an_error_the_next_read_starts_over_and_succeeds() {
    let bytes = noise(1024 * 512, 7);
    let (mut card, sim) = card(&bytes, true);
    check(&mut card, &bytes, 0, 4);
    for (token, kind) in [(0x04, ErrorKind::Corrupted), (0x08, ErrorKind::OutOfRange)] {
        for count in [1, 4] {
            sim.borrow_mut().fault = Some(token);
            let error = card.read(BlockIdx(9), &mut vec![Block::ZERO; count]).unwrap_err();
            assert!(matches!(error, SpiCardError::Read { token: t } if t == token), "{error:?}");
            assert_eq!(error.kind(), kind);
            sim.borrow_mut().commands.clear();
            check(&mut card, &bytes, 9, count);
            assert_eq!(sim.borrow().commands[0], (0, 0));
        }
    }
    let error = card.read(BlockIdx(1023), &mut [Block::ZERO; 2]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    check(&mut card, &bytes, 1022, 2);
}

/// In one block alone, whose CRC is fetched, and in the first of several.
#[test]
fn a_bit_lost_on_the_bus_is_noticed_and_the_next_read_succeeds() {
    let bytes = noise(1024 * 512, 10);
    let (mut card, sim) = card(&bytes, true);
    for count in [1, 3] {
        for bit in [0, 100, 4095, 4096, 4111] {
            sim.borrow_mut().flip = Some(bit);
            let error = card.read(BlockIdx(9), &mut vec![Block::ZERO; count]).unwrap_err();
            assert!(matches!(error, SpiCardError::Crc { .. }), "{error:?}");
            assert_eq!(error.kind(), ErrorKind::Corrupted);
            check(&mut card, &bytes, 9, count);
        }
    }
}

#[test]
fn a_silent_card_is_given_up() {
    let bytes = noise(1024 * 512, 8);
    let (mut card, sim) = card(&bytes, true);
    check(&mut card, &bytes, 0, 2);
    sim.borrow_mut().mute = true;
    let error = card.read(BlockIdx(0), &mut [Block::ZERO; 2]).unwrap_err();
    assert!(matches!(error, SpiCardError::Silent), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    sim.borrow_mut().mute = false;
    check(&mut card, &bytes, 0, 2);
}

#[test]
fn a_read_that_is_dropped_under_way_does_no_harm() {
    use ripple_hal::AsyncBlockDevice;
    use std::task::{Context, Waker};
    let bytes = noise(1024 * 512, 9);
    let (card, _sim) = card(&bytes, true);
    let mut card = card.into_inner();
    {
        let mut dst = [Block::ZERO; 3];
        let mut read = pin::pin!(card.read(BlockIdx(1), &mut dst));
        let mut context = Context::from_waker(Waker::noop());
        assert!(read.as_mut().poll(&mut context).is_pending());
    }
    check(&mut Polled::new(card), &bytes, 1, 3);
}

/// A chip select that is not connected.
struct Loose;

impl embedded_hal::digital::ErrorType for Loose {
    type Error = Infallible;
}

impl embedded_hal::digital::OutputPin for Loose {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[test]
fn a_slot_without_a_card_is_said_to_be_empty() {
    let (_, sim) = card(&[], true);
    let mut none = Polled::new(SpiCard::new(Wire(sim), Loose, NoDelay, |_, _| {}, 25_000_000));
    assert_eq!(none.block_count().unwrap_err().kind(), ErrorKind::NoCard);
}

/// The commands that were sent since the last call.
fn commands(sim: &std::rc::Rc<std::cell::RefCell<crate::spi_model::Sim>>) -> Vec<(u8, u32)> {
    std::mem::take(&mut sim.borrow_mut().commands)
}

#[test]
fn reads_that_ascend_go_on_with_one_command_while_the_card_stays_open() {
    for high_capacity in [true, false] {
        let bytes = noise(1024 * 512, 9);
        let (mut card, sim) = card(&bytes, high_capacity);
        let step = if high_capacity { 1 } else { 512 };
        card.stay_open(Some(BlockCount(8))).unwrap();
        check(&mut card, &bytes, 100, 1);
        commands(&sim);
        // What follows, what lies as far behind as the gap, with a buffer shorter than what is skipped.
        for (start, count) in [(101, 4), (105, 1), (106 + 8, 1), (115 + 7, 3)] {
            check(&mut card, &bytes, start, count);
            assert_eq!(commands(&sim), [], "{start}");
            assert_eq!(card.goes_on(), Some(BlockIdx(start + count as u32)));
            assert!(sim.borrow().selected);
        }
        // Too far, and back.
        check(&mut card, &bytes, 125 + 9, 2);
        assert_eq!(commands(&sim), [(12, 0), (18, 134 * step)]);
        check(&mut card, &bytes, 135, 2);
        assert_eq!(commands(&sim), [(12, 0), (18, 135 * step)]);
        // Behind the last block there is nothing to go on with.
        check(&mut card, &bytes, 1000, 1);
        check(&mut card, &bytes, 1008, 16);
        assert_eq!(commands(&sim), [(12, 0), (18, 1000 * step), (12, 0)]);
        assert_eq!(card.goes_on(), None);
        assert!(!sim.borrow().selected);
        check(&mut card, &bytes, 3, 1);
        assert_eq!(commands(&sim), [(18, 3 * step)]);
        card.stay_open(None).unwrap();
        assert_eq!(commands(&sim), [(12, 0)]);
        assert!(!sim.borrow().selected);
        check(&mut card, &bytes, 4, 1);
        assert_eq!(commands(&sim), [(17, 4 * step)]);
    }
}

#[test]
fn a_command_that_is_open_ends_with_an_error_or_a_write() {
    let bytes = noise(1024 * 512, 10);
    let (mut card, sim) = card(&bytes, true);
    card.stay_open(Some(BlockCount(8))).unwrap();
    check(&mut card, &bytes, 20, 4);
    // A block that is skipped is checked too: the card is started over, as after every error.
    for flip in [false, true] {
        if flip {
            sim.borrow_mut().flip = Some(77);
        } else {
            sim.borrow_mut().fault = Some(0x04);
        }
        let error = card.read(BlockIdx(26), &mut [Block::ZERO; 2]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupted);
        commands(&sim);
        check(&mut card, &bytes, 20, 4);
        assert_eq!(commands(&sim)[0], (0, 0));
    }
    let mut written = bytes.clone();
    written[24 * 512..25 * 512].fill(7);
    card.write(BlockIdx(24), &[Block([7; 512])]).unwrap();
    assert_eq!(commands(&sim), [(12, 0), (24, 24), (13, 0)]);
    check(&mut card, &written, 24, 2);
    assert_eq!(commands(&sim), [(18, 24)]);
}
