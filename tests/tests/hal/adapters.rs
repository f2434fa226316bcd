//! Devices over devices: what each adds, and that the bytes and the work stay whole.

use crate::common::{Ram, fill, noise};
use ripple_hal::{
    AsyncBlockDevice, Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, Faults,
    Faulty, FaultyError, OutOfRange, Polled, RawPartition, Retry, WriteDevice,
};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};

const BLOCKS: u32 = 64;

fn ram() -> Ram {
    Ram::new(noise(BLOCKS as usize * 512, 21))
}

fn expected(start: u32, count: usize) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; count];
    fill(&ram().bytes, BlockIdx(start), &mut blocks);
    blocks
}

fn same(a: &[Block], b: &[Block]) -> bool {
    Block::bytes(a) == Block::bytes(b)
}

/// Every fault, often enough to be counted.
const SOME_OF_EACH: Faults = Faults {
    seed: 7,
    timeout: 6000,
    corrupted: 6000,
    no_card: 3000,
    out_of_range: 3000,
    other: 3000,
    silent: 3000,
    fail_at: None,
    cut: None,
};

#[test]
fn adapters_say_what_a_command_goes_on_with() {
    fn read_on(device: &mut impl BlockDevice) -> Option<BlockIdx> {
        assert_eq!(device.goes_on(), None);
        assert!(device.read(BlockIdx(3), &mut [Block::ZERO; 2]).is_ok());
        device.goes_on()
    }
    let five = Some(BlockIdx(5));
    assert_eq!(read_on(&mut &mut ram()), five);
    assert_eq!(read_on(&mut Retry::new(ram(), 2)), five);
    assert_eq!(read_on(&mut Faulty::new(ram(), Faults::default())), five);
    // A partition table; what was read to find the partition lies in front of it.
    let mut bytes = noise(BLOCKS as usize * 512, 21);
    bytes[..512].fill(0);
    bytes[446..462].copy_from_slice(&[0, 0, 0, 0, 0xDA, 0, 0, 0, 8, 0, 0, 0, 50, 0, 0, 0]);
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    let mut partition = RawPartition::find(Ram::new(bytes), &mut [Block::ZERO]).unwrap();
    assert_eq!(read_on(&mut partition), five);
    assert_eq!(partition.into_inner().goes_on(), Some(BlockIdx(13)));
}

#[test]
fn faults_repeat_with_the_seed_and_are_as_frequent_as_asked() {
    let run = |seed| {
        let mut device = Faulty::new(ram(), Faults { seed, ..SOME_OF_EACH });
        let mut seen = Vec::new();
        for i in 0..20_000u32 {
            let mut read = [Block::ZERO; 2];
            let start = i % (BLOCKS - 1);
            let fate = device.read(BlockIdx(start), &mut read).map_err(|e| e.kind());
            seen.push(fate.map(|()| same(&read, &expected_cached(start))));
        }
        assert_eq!(device.reads(), 20_000);
        assert_eq!(device.injected(), seen.iter().filter(|s| **s != Ok(true)).count() as u64);
        seen
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
    for (what, probability) in [
        (Err(ErrorKind::Timeout), 6000),
        (Err(ErrorKind::Corrupted), 6000),
        (Err(ErrorKind::NoCard), 3000),
        (Err(ErrorKind::OutOfRange), 3000),
        (Err(ErrorKind::Other), 3000),
        (Ok(false), 3000),
    ] {
        let share = first.iter().filter(|s| **s == what).count() as f64 / 20_000.0;
        assert!((share - probability as f64 / 65536.0).abs() < 0.01, "{what:?}: {share}");
    }
}

fn expected_cached(start: u32) -> Vec<Block> {
    thread_local!(static ALL: Vec<Block> = expected(0, BLOCKS as usize));
    ALL.with(|all| all[start as usize..][..2].to_vec())
}

#[test]
fn power_that_fails_tears_a_block_and_nothing_works_from_there() {
    let new = [Block([0xEE; 512]); 3];
    for cut in 0..=7 {
        let mut device = Faulty::new(ram(), Faults { cut: Some(cut), ..Faults::default() });
        let results = [2, 8].map(|start| device.write(BlockIdx(start), &new).is_ok());
        assert_eq!(results, [cut >= 3, cut >= 6], "{cut}");
        assert_eq!(device.written(), cut.min(6));
        let off = device.read(BlockIdx(0), &mut [Block::ZERO]).map_err(|e| e.kind());
        assert_eq!(off, if cut < 6 { Err(ErrorKind::NoCard) } else { Ok(()) });
        let places: Vec<usize> = (2..5).chain(8..11).collect();
        let mut expected = ram().bytes;
        for (i, place) in places.into_iter().enumerate() {
            let bytes = match (i as u64).cmp(&cut) {
                Ordering::Less => 512,
                Ordering::Equal => 256,
                Ordering::Greater => 0,
            };
            expected[place * 512..][..bytes].fill(0xEE);
        }
        assert!(device.into_inner().bytes == expected, "{cut}");
    }
}

#[test]
fn a_silent_fault_is_one_bit() {
    let mut device = Faulty::new(ram(), Faults { silent: u16::MAX, seed: 1, ..Faults::default() });
    let mut read = [Block::ZERO; 8];
    device.read(BlockIdx(5), &mut read).unwrap();
    let flipped: u32 = Block::bytes(&read)
        .iter()
        .zip(Block::bytes(&expected(5, 8)))
        .map(|(a, b)| (a ^ b).count_ones())
        .sum();
    assert_eq!(flipped, 1);
}

#[test]
fn the_read_that_must_fail_fails_and_no_other() {
    let fail_at = Some((3, ErrorKind::NoCard));
    let mut device = Faulty::new(ram(), Faults { fail_at, ..Faults::default() });
    for read in 0..10 {
        let result = device.read(BlockIdx(0), &mut [Block::ZERO]);
        let fails = FaultyError::Injected { kind: ErrorKind::NoCard, read: 3 };
        assert_eq!(result, if read == 3 { Err(fails) } else { Ok(()) });
    }
}

#[test]
fn retried_work_runs_exactly_once_whenever_the_attempt_failed() {
    // Of the failing attempts about half have run the work already, so both cases occur.
    let faults = Faults { timeout: 20_000, corrupted: 10_000, seed: 3, ..Faults::default() };
    let mut device = Retry::new(Faulty::new(ram(), faults), 40);
    for i in 0..2000 {
        let (mut ran, mut read) = (0, vec![Block::ZERO; 4]);
        let start = i % (BLOCKS - 4);
        let result = device.read_while(BlockIdx(start), &mut read, || {
            ran += 1;
            i * 3
        });
        assert_eq!((result.unwrap(), ran), (i * 3, 1));
        assert!(same(&read, &expected(start, 4)));
    }
    assert!(device.retries() > 1000, "{}", device.retries());
    let retries = device.retries();
    assert_eq!(device.into_inner().injected(), retries);
}

#[test]
fn retries_are_bounded_and_only_for_transient_errors() {
    for (kind, attempts, reads) in [
        (ErrorKind::Timeout, 3, 3),
        (ErrorKind::Timeout, 1, 1),
        (ErrorKind::Timeout, 0, 1),
        (ErrorKind::NoCard, 3, 1),
        (ErrorKind::OutOfRange, 3, 1),
        (ErrorKind::Other, 3, 1),
    ] {
        let mut always = Faults { seed: 1, ..Faults::default() };
        match kind {
            ErrorKind::Timeout => always.timeout = u16::MAX,
            ErrorKind::NoCard => always.no_card = u16::MAX,
            ErrorKind::OutOfRange => always.out_of_range = u16::MAX,
            _ => always.other = u16::MAX,
        }
        let mut device = Retry::new(Faulty::new(ram(), always), attempts);
        let error = device.read(BlockIdx(0), &mut [Block::ZERO]).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(device.into_inner().reads(), reads, "{kind:?}, {attempts} attempts");
    }
}

/// An async driver that needs some polls, and knows whether a transfer is on its way.
struct Slow<'a> {
    ram: Ram,
    polls: u32,
    in_flight: &'a Cell<bool>,
}

/// Ends the transfer when the future is dropped.
struct InFlight<'a>(&'a Cell<bool>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl AsyncBlockDevice for Slow<'_> {
    type Error = OutOfRange;

    async fn block_count(&mut self) -> Result<BlockCount, OutOfRange> {
        self.ram.block_count()
    }

    async fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), OutOfRange> {
        OutOfRange::check(start, dst, BlockCount(BLOCKS))?;
        self.in_flight.set(true);
        let _transfer = InFlight(self.in_flight);
        let mut left = self.polls;
        std::future::poll_fn(|_| {
            left = left.saturating_sub(1);
            if left == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        self.ram.read(start, dst)
    }
}

#[test]
fn a_polled_read_is_on_its_way_while_the_work_runs() {
    for polls in [1, 2, 3, 10] {
        let (in_flight, idle) = (Cell::new(false), Cell::new(0));
        let driver = Slow { ram: ram(), polls, in_flight: &in_flight };
        let mut device = Polled::with_idle(driver, || idle.set(idle.get() + 1));
        assert_eq!(device.block_count().unwrap(), BlockCount(BLOCKS));
        let mut read = vec![Block::ZERO; 5];
        let seen = device.read_while(BlockIdx(9), &mut read, || in_flight.get()).unwrap();
        assert_eq!(seen, polls > 1, "one poll starts the transfer");
        assert!(!in_flight.get());
        assert!(same(&read, &expected(9, 5)));
        assert_eq!(idle.get(), polls.saturating_sub(2), "idle only between polls");
        device.read(BlockIdx(1), &mut read).unwrap();
        assert!(same(&read, &expected(1, 5)));
        assert_eq!(device.read_while(BlockIdx(0), &mut [], || 3).unwrap(), 3);
    }
}

#[test]
fn a_polled_read_that_fails_at_once_does_not_work() {
    let in_flight = Cell::new(false);
    let mut device = Polled::new(Slow { ram: ram(), polls: 3, in_flight: &in_flight });
    let mut ran = false;
    let error = device.read_while(BlockIdx(BLOCKS), &mut [Block::ZERO], || ran = true).unwrap_err();
    assert_eq!((error.kind(), ran), (ErrorKind::OutOfRange, false));
}

#[test]
fn work_that_unwinds_stops_the_polled_transfer_first() {
    let in_flight = Cell::new(false);
    let mut device = Polled::new(Slow { ram: ram(), polls: 5, in_flight: &in_flight });
    let mut read = [Block::ZERO];
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _ = device.read_while(BlockIdx(0), &mut read, || {
            assert!(in_flight.get());
            std::panic::resume_unwind(Box::new(()));
        });
    }));
    assert!(unwound.is_err());
    assert!(!in_flight.get(), "the buffer would be written after it is gone");
    device.read(BlockIdx(0), &mut read).unwrap();
}

/// The table of devices over devices: whatever the stack, the bytes are the card's, and the work
/// runs once and gives its result.
#[test]
fn every_stack_of_adapters_reads_the_same() {
    fn check(name: &str, mut device: impl BlockDevice) {
        assert_eq!(device.block_count().unwrap(), BlockCount(BLOCKS), "{name}");
        for (start, count) in [(0, 1), (3, 7), (BLOCKS - 5, 5), (0, BLOCKS as usize), (9, 0)] {
            let (mut read, order) = (vec![Block::ZERO; count], RefCell::new(Vec::new()));
            let result = device.read_while(BlockIdx(start), &mut read, || {
                order.borrow_mut().push(start);
                count
            });
            assert_eq!((result.unwrap(), order.into_inner()), (count, vec![start]), "{name}");
            assert!(same(&read, &expected(start, count)), "{name}");
        }
        let outside = device.read(BlockIdx(BLOCKS), &mut [Block::ZERO]).unwrap_err();
        assert_eq!(outside.kind(), ErrorKind::OutOfRange, "{name}");
    }
    let in_flight = Cell::new(false);
    let faults = Faults { timeout: 30_000, seed: 5, ..Faults::default() };
    check("faulty", Faulty::new(ram(), Faults::default()));
    check("retry", Retry::new(Faulty::new(ram(), faults), 60));
    check("polled", Polled::new(Slow { ram: ram(), polls: 4, in_flight: &in_flight }));
}
