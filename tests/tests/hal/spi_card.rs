//! Reads from a card on a SPI bus with DMA, against a simulated card that follows the specification.

use crate::common::{fill, noise};
use crate::spi_model::{Card, NoDelay, Wire, card};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, Polled, SpiCard, SpiCardError,
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
