//! A card on a SPI bus with DMA, against a simulated card that follows the specification.

use crate::common::{fill, noise};
use embedded_hal::spi::{ErrorKind as BusErrorKind, ErrorType, SpiBus};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, Polled, SpiCard, SpiCardError,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::task::Poll;
use std::{future, pin};

/// What the card is asked and what it would do; shared with its test.
struct Sim {
    bytes: Vec<u8>,
    high_capacity: bool,
    random: u32,
    /// Sent next, before what a read under way adds.
    queue: VecDeque<u8>,
    /// The next block of a CMD18.
    reading: Option<u32>,
    received: Vec<u8>,
    selected: bool,
    idle: bool,
    commands: Vec<(u8, u32)>,
    transfers: u32,
    hertz: u32,
    /// Sent instead of the next block.
    fault: Option<u8>,
    /// The next blocks never come.
    mute: bool,
}

impl Sim {
    fn exchange(&mut self, sent: u8) -> u8 {
        if !self.selected {
            return 0xFF;
        }
        if self.queue.is_empty()
            && let Some(block) = self.reading
        {
            self.send_block(block);
            self.reading = Some(block + 1);
        }
        let answer = self.queue.pop_front().unwrap_or(0xFF);
        if !self.received.is_empty() || sent & 0xC0 == 0x40 {
            self.received.push(sent);
            if self.received.len() == 6 {
                let frame = std::mem::take(&mut self.received);
                self.command(&frame);
            }
        }
        answer
    }

    fn send_block(&mut self, block: u32) {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let silence = (self.random >> 16) as usize % 900;
        self.queue.extend(std::iter::repeat_n(0xFF, silence));
        if self.mute {
            return;
        }
        if let Some(token) = self.fault.take() {
            self.queue.push_back(token);
            return;
        }
        let at = block as usize * 512;
        match self.bytes.get(at..at + 512) {
            Some(data) => {
                self.queue.push_back(0xFE);
                self.queue.extend(data);
                self.queue.extend([0x12, 0xFE]);
            }
            None => self.queue.push_back(0x08),
        }
    }

    fn command(&mut self, frame: &[u8]) {
        let (command, crc) = (frame[0] & 0x3F, frame[5]);
        let argument = u32::from_be_bytes(frame[1..5].try_into().unwrap());
        assert_eq!(crc, crc7(&frame[..5]) << 1 | 1, "CMD{command}");
        assert!(self.hertz <= 400_000 || !self.idle, "a card is woken slowly");
        self.commands.push((command, argument));
        self.queue.clear();
        self.reading = None;
        // Ncr, and the stuff byte of CMD12.
        self.queue.extend([0xFF, 0xFF]);
        let block = if self.high_capacity { argument } else { argument / 512 };
        match command {
            0 => {
                self.idle = true;
                self.queue.push_back(0x01);
            }
            8 => self.queue.extend([0x01, 0, 0, 1, 0xAA]),
            55 => self.queue.push_back(0x01),
            41 => {
                self.idle = false;
                self.queue.push_back(0x00);
            }
            58 => {
                self.queue.extend([0x00, if self.high_capacity { 0xC0 } else { 0x80 }, 0, 0, 0]);
            }
            9 => {
                let csd = self.csd();
                self.queue.extend([0x00, 0xFF, 0xFE]);
                self.queue.extend(csd);
                self.queue.extend([0, 0]);
            }
            17 => {
                self.queue.push_back(0x00);
                self.send_block(block);
            }
            18 => {
                self.queue.push_back(0x00);
                self.reading = Some(block);
            }
            // Busy for a while.
            12 => self.queue.extend([0x00, 0x00, 0x00, 0x00]),
            _ => self.queue.push_back(0x04),
        }
    }

    fn csd(&self) -> [u8; 16] {
        let mut csd = [0; 16];
        let blocks = self.bytes.len() as u32 / 512;
        if self.high_capacity {
            csd[0] = 0x40;
            let size = blocks / 1024 - 1;
            csd[7..10].copy_from_slice(&size.to_be_bytes()[1..]);
        } else {
            // READ_BL_LEN 9, C_SIZE_MULT 0: (C_SIZE + 1) * 4 blocks.
            let size = blocks / 4 - 1;
            csd[5] = 9;
            csd[6] = (size >> 10) as u8;
            csd[7] = (size >> 2) as u8;
            csd[8] = (size << 6) as u8;
        }
        csd[15] = crc7(&csd[..15]) << 1 | 1;
        csd
    }
}

fn crc7(bytes: &[u8]) -> u8 {
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).fold(
        0,
        |crc, bit| {
            let shifted = crc << 1;
            (if (crc >> 6 & 1) ^ bit == 1 { shifted ^ 0x09 } else { shifted }) & 0x7F
        },
    )
}

/// The bus and the chip select.
#[derive(Clone)]
struct Wire(Rc<RefCell<Sim>>);

impl ErrorType for Wire {
    type Error = BusErrorKind;
}

impl SpiBus for Wire {
    fn read(&mut self, _: &mut [u8]) -> Result<(), BusErrorKind> {
        unreachable!("a card that is sent zeroes may take them for a command")
    }
    fn write(&mut self, words: &[u8]) -> Result<(), BusErrorKind> {
        words.iter().for_each(|&word| _ = self.0.borrow_mut().exchange(word));
        Ok(())
    }
    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), BusErrorKind> {
        read.copy_from_slice(write);
        SpiBus::transfer_in_place(self, read)
    }
    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), BusErrorKind> {
        words.iter_mut().for_each(|word| *word = self.0.borrow_mut().exchange(*word));
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BusErrorKind> {
        Ok(())
    }
}

impl embedded_hal_async::spi::SpiBus for Wire {
    async fn read(&mut self, _: &mut [u8]) -> Result<(), BusErrorKind> {
        unreachable!()
    }
    async fn write(&mut self, _: &[u8]) -> Result<(), BusErrorKind> {
        unreachable!()
    }
    async fn transfer(&mut self, _: &mut [u8], _: &[u8]) -> Result<(), BusErrorKind> {
        unreachable!()
    }
    /// Begins in the first poll and is over in the second, as DMA.
    async fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), BusErrorKind> {
        assert!(words.iter().all(|&word| word == 0xFF));
        self.0.borrow_mut().transfers += 1;
        let mut begun = false;
        future::poll_fn(|_| {
            if std::mem::replace(&mut begun, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        SpiBus::transfer_in_place(self, words)
    }
    async fn flush(&mut self) -> Result<(), BusErrorKind> {
        Ok(())
    }
}

impl embedded_hal::digital::ErrorType for Wire {
    type Error = Infallible;
}

impl embedded_hal::digital::OutputPin for Wire {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.borrow_mut().selected = true;
        Ok(())
    }
    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.borrow_mut().selected = false;
        Ok(())
    }
}

#[derive(Clone)]
struct NoDelay;

impl embedded_hal::delay::DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

type Card = Polled<SpiCard<Wire, Wire, NoDelay>>;

fn card(bytes: &[u8], high_capacity: bool) -> (Card, Rc<RefCell<Sim>>) {
    let sim = Rc::new(RefCell::new(Sim {
        bytes: bytes.to_vec(),
        high_capacity,
        random: 1,
        queue: VecDeque::new(),
        reading: None,
        received: Vec::new(),
        selected: false,
        idle: true,
        commands: Vec::new(),
        transfers: 0,
        hertz: 0,
        fault: None,
        mute: false,
    }));
    let wire = Wire(sim.clone());
    let set_clock = |wire: &mut Wire, hertz| wire.0.borrow_mut().hertz = hertz;
    let card = SpiCard::new(wire.clone(), wire, NoDelay, set_clock, 25_000_000);
    (Polled::new(card), sim)
}

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
