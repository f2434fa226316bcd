//! The calibration at run time follows the card, and nothing else.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, Calibration, Clock, ErrorKind, Micros, OutOfRange,
    Slice, Tuned, calibrate,
};
use ripple_host_sim::cost::{Preset, Tail, Timing};
use ripple_host_sim::machine::{SimCard, VirtualClock};
use std::cell::RefCell;

const CARD_BYTES: usize = 1 << 20;
const TAIL: Tail = Tail { probability: 0.01, extra_ns: 2_000_000 };

type Card = Tuned<SimCard<Vec<u8>>, VirtualClock>;

fn tuned(timing: Timing) -> Card {
    let clock = VirtualClock::new();
    let mut card = SimCard::new(vec![0; CARD_BYTES], timing, clock.clone());
    let mut scratch = [Block::ZERO; 32];
    let calibration = calibrate(&mut card, &clock, &mut scratch, Micros(100_000)).unwrap();
    Tuned::new(card, clock, calibration)
}

/// What the application does while a block is on its way, in nanoseconds.
#[derive(Clone, Copy, Debug)]
enum Work {
    Nothing,
    /// Up to twice the time of the read.
    Some,
}

/// Reads `count` times, sizes as asked for, and gives the least and the greatest gap on the way.
fn reads(card: &mut Card, count: u32, sizes: &[usize], work: Work, seed: u64) -> (u32, u32) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut dst = [Block::ZERO; 32];
    let mut gaps = (u32::MAX, 0);
    for _ in 0..count {
        let dst = &mut dst[..sizes[rng.random_range(0..sizes.len())]];
        let at = BlockIdx(rng.random_range(0..1000));
        let device = card.device_mut();
        let (clock, cost) = (device.clock(), device.timing().cost_ns(size_of_val(dst) as u64));
        match work {
            Work::Nothing => card.read(at, dst).unwrap(),
            Work::Some => {
                let ns = rng.random_range(0..2 * cost);
                card.read_while(at, dst, || clock.advance_ns(ns)).unwrap();
            }
        }
        let gap = card.calibration().gap().0;
        gaps = (gaps.0.min(gap), gaps.1.max(gap));
    }
    gaps
}

const MIXED: &[usize] = &[1, 1, 1, 2, 3, 4, 6, 8, 12, 24, 32];

/// A card that changes from one timing to another, with a tail and without, read with and without
/// work beside it.
fn drift(preset: &Preset, slower: u64, narrower: u64) {
    let (t0_ns, bytes_per_second) = (slower * preset.t0_ns, preset.bytes_per_second / narrower);
    let after = Timing::affine(t0_ns, bytes_per_second);
    let gaps = [preset.timing(), after.clone()].map(|t| t.break_even_gap_bytes() as f64 / 512.0);
    for (work, tail) in [Work::Nothing, Work::Some]
        .into_iter()
        .flat_map(|work| [None, Some(TAIL)].map(|tail| (work, tail)))
    {
        let mut card = tuned(Timing { tail, ..preset.timing() });
        let steady = reads(&mut card, 2000, MIXED, work, 1);
        let about = |gap: f64, within: f64| gap * (1.0 - within) - 1.0..gap * (1.0 + within) + 1.0;
        for gap in [steady.0, steady.1] {
            assert!(about(gaps[0], 0.2).contains(&f64::from(gap)), "{}: {steady:?}", preset.name);
        }

        card.device_mut().set_timing(Timing { tail, ..after.clone() });
        let moving = reads(&mut card, 4000, MIXED, work, 2);
        let found = card.calibration();
        println!(
            "simulated {:10} t0 x {slower}, BW / {narrower}, {work:?} beside, tail {}: gap {:.0} -> \
             {} of {:.0}, at most {}; t0 {:.3}, BW {:.3} of the new",
            preset.name,
            tail.is_some(),
            gaps[0],
            found.gap().0,
            gaps[1],
            moving.1,
            found.t0_ns() as f64 / t0_ns as f64,
            found.bytes_per_second() as f64 / bytes_per_second as f64,
        );
        let error = |found: u64, new: u64| (found as f64 / new as f64 - 1.0).abs();
        assert!(error(found.t0_ns(), t0_ns) < 0.05);
        assert!(error(found.bytes_per_second(), bytes_per_second) < 0.25);
        assert!(about(gaps[1], 0.25).contains(&f64::from(found.gap().0)));
        // On the way it may overshoot, but not without bounds.
        let (least, most) = (gaps[0].min(gaps[1]), gaps[0].max(gaps[1]));
        assert!(f64::from(moving.0) > 0.6 * least - 1.0 && f64::from(moving.1) < 2.5 * most + 1.0);
    }
}

#[test]
fn a_drifted_card_is_followed() {
    for preset in Preset::ALL.into_iter().filter(|preset| preset.table.is_empty()) {
        for (slower, narrower) in [(2, 1), (1, 2), (2, 2), (5, 1)] {
            drift(&preset, slower, narrower);
        }
    }
}

#[test]
fn a_drifted_table_is_scaled() {
    let preset = Preset::by_name("sandisk-extreme").unwrap();
    let mut card = tuned(preset.timing());
    reads(&mut card, 1000, MIXED, Work::Some, 1);
    let table = preset.table.iter().map(|&(bytes, ns)| (bytes, 2 * ns)).collect();
    let slow = Timing { table: Some(table), ..preset.timing() };
    card.device_mut().set_timing(slow.clone());
    reads(&mut card, 4000, MIXED, Work::Some, 2);
    for point in card.calibration().table() {
        let real = slow.cost_ns(point.blocks.bytes());
        assert!((point.ns as f64 / real as f64 - 1.0).abs() < 0.1, "{point:?} {real}");
    }
}

#[test]
fn reads_of_one_size_leave_the_gap_alone() {
    for size in [1, 8, 32] {
        for (slower, narrower) in [(1, 1), (2, 1), (1, 2), (3, 3)] {
            let preset = Preset::by_name("uhs-sdr104").unwrap();
            let mut card = tuned(Timing { tail: Some(TAIL), ..preset.timing() });
            let gap = card.calibration().gap().0;
            reads(&mut card, 1000, &[size], Work::Nothing, 1);
            let slow = Timing::affine(slower * preset.t0_ns, preset.bytes_per_second / narrower);
            card.device_mut().set_timing(slow.clone());
            let (least, most) = reads(&mut card, 3000, &[size], Work::Nothing, 1);
            assert!(least >= gap - 1 && most <= gap + 1, "{least} {most} {gap}");
            // The time of that size is known all the same.
            let blocks = BlockCount(size as u32);
            let (found, real) = (card.calibration().cost_ns(blocks), slow.cost_ns(blocks.bytes()));
            assert!((found as f64 / real as f64 - 1.0).abs() < 0.02, "{found} {real}");
        }
    }
}

/// A device that reads first and works then.
struct Blocking(SimCard<Vec<u8>>);

impl BlockDevice for Blocking {
    type Error = OutOfRange;

    fn block_count(&mut self) -> Result<BlockCount, OutOfRange> {
        self.0.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), OutOfRange> {
        self.0.read(start, dst)
    }
}

#[test]
fn work_after_the_read_is_not_counted() {
    let preset = Preset::by_name("emmc-hs200").unwrap();
    let clock = VirtualClock::new();
    let card = SimCard::new(vec![0; CARD_BYTES], preset.timing(), clock.clone());
    let mut card = Blocking(card);
    let mut scratch = [Block::ZERO; 32];
    let found = calibrate(&mut card, &clock, &mut scratch, Micros(100_000)).unwrap();
    card.0.set_timing(Timing::affine(2 * preset.t0_ns, preset.bytes_per_second));
    let mut card = Tuned::new(card, clock.clone(), found);
    for i in 0..4000 {
        let work = || clock.advance_ns(7_654_321);
        card.read_while(BlockIdx(0), &mut scratch[..1 + i % 32], work).unwrap();
    }
    assert_eq!(card.samples(), 4000);
    let t0 = card.calibration().t0_ns() as f64 / preset.t0_ns as f64;
    assert!((t0 - 2.0).abs() < 0.05, "{t0}");
}

#[test]
fn hidden_reads_teach_nothing_and_do_no_harm() {
    let preset = Preset::by_name("emmc-hs200").unwrap();
    let mut card = tuned(preset.timing());
    let before = card.calibration();
    let clock = card.device_mut().clock();
    for i in 0..2000 {
        let mut dst = [Block::ZERO; 32];
        let dst = &mut dst[..1 + i % 32];
        card.read_while(BlockIdx(0), dst, || clock.advance_ns(5_000_000)).unwrap();
    }
    assert_eq!((card.samples(), card.calibration()), (0, before));
}

#[test]
fn failed_and_empty_reads_are_not_counted() {
    let clock = VirtualClock::new();
    let mut card = Tuned::new(Slice::new(&[0; 1024]), clock, Calibration::affine(1000, 1_000_000));
    assert_eq!(card.block_count(), Ok(BlockCount(2)));
    assert_eq!(card.read(BlockIdx(2), &mut [Block::ZERO]), Err(ErrorKind::OutOfRange));
    let failed = card.read_while(BlockIdx(2), &mut [Block::ZERO], || ());
    assert_eq!(failed, Err(ErrorKind::OutOfRange));
    card.read(BlockIdx(0), &mut []).unwrap();
    assert_eq!(card.samples(), 0);
    card.read(BlockIdx(0), &mut [Block::ZERO]).unwrap();
    assert_eq!(card.samples(), 1);
}

/// A clock that gives what it is told, in turn, then stands still.
struct Told(RefCell<Vec<u64>>);

impl Clock for Told {
    fn now(&self) -> Micros {
        Micros(self.0.borrow_mut().pop().unwrap_or(9))
    }
}

proptest! {
    #[test]
    fn no_sequence_of_reads_panics(
        moments in prop::collection::vec(prop_oneof![any::<u64>(), 0..2000u64], 0..600),
        sizes in prop::collection::vec((0..33usize, any::<bool>()), 1..200),
        (t0, bw) in (any::<u64>(), any::<u64>()),
    ) {
        let image = [0; 64 * 512];
        let calibration = Calibration::affine(t0, bw);
        let mut card = Tuned::new(Slice::new(&image), Told(RefCell::new(moments)), calibration);
        for (size, overlapped) in sizes {
            let mut dst = [Block::ZERO; 33];
            if overlapped {
                card.read_while(BlockIdx(0), &mut dst[..size], || ()).unwrap();
            } else {
                card.read(BlockIdx(0), &mut dst[..size]).unwrap();
            }
            let now = card.calibration();
            prop_assert!(now.t0_ns() <= calibration.t0_ns().saturating_mul(16));
            prop_assert!(now.gap().0 as u64 <= calibration.gap().0 as u64 * 257 + 256);
        }
    }
}
