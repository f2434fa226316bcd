//! Calibration at boot, on cards whose cost is known.

use crate::common::{Ram, noise};
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, CalibrateError, Calibration, Clock, ErrorKind,
    Faults, Faulty, FaultyError, Micros, calibrate,
};
use ripple_host_sim::cost::{Preset, Tail, Timing};
use ripple_host_sim::import::demo;
use ripple_host_sim::machine;
use ripple_host_sim::machine::{SimCard, VirtualClock};
use ripple_host_sim::model::Model;
use ripple_host_sim::model::text::read_tokens;
use ripple_host_sim::profile::record::record;
use ripple_kernel::read::collapse::collapse;
use std::cell::Cell;

const BUDGET: Micros = Micros(100_000);
const CARD_BYTES: usize = 4 << 20;
const TAIL: Tail = Tail { probability: 0.01, extra_ns: 2_000_000 };

/// What calibration makes of a card with `scratch` blocks lent. `seed`: where the tail strikes.
fn calibrated(timing: Timing, scratch: usize, seed: u64) -> Calibration {
    let clock = VirtualClock::new();
    let mut card = SimCard::new(vec![0; CARD_BYTES], timing, clock.clone()).with_seed(seed);
    let mut scratch = vec![Block::ZERO; scratch];
    let calibration = calibrate(&mut card, &clock, &mut scratch, BUDGET).unwrap();
    assert_eq!(u64::from(calibration.reads()), card.stats().reads);
    assert_eq!(calibration.took().0, card.stats().busy_ns() / 1000);
    calibration
}

fn error(found: u64, expected: u64) -> f64 {
    (found as f64 / expected as f64 - 1.0).abs()
}

#[test]
fn every_affine_preset_is_recovered_with_and_without_a_tail() {
    for preset in Preset::ALL.into_iter().filter(|preset| preset.table.is_empty()) {
        for scratch in [16, 32, 64, 100] {
            for tail in [None, Some(TAIL)] {
                let timing = Timing { tail, ..preset.timing() };
                let (mut worst_t0, mut worst_bw) = (0.0f64, 0.0f64);
                for seed in 0..50 {
                    let found = calibrated(timing.clone(), scratch, seed);
                    worst_t0 = worst_t0.max(error(found.t0_ns(), preset.t0_ns));
                    let bw = error(found.bytes_per_second(), preset.bytes_per_second);
                    worst_bw = worst_bw.max(bw);
                    assert!(found.overlaps());
                    let exact = preset.timing().break_even_gap_bytes() / 512;
                    assert!(exact.abs_diff(found.collapse_gap().0.into()) <= 1, "{}", preset.name);
                }
                let found = calibrated(timing, scratch, 0);
                println!(
                    "simulated {:10} {scratch:4} blocks, tail {}: t0 {:.2} %, BW {:.2} % off at \
                     most, {} reads, {:.1} ms",
                    preset.name,
                    tail.is_some(),
                    worst_t0 * 100.0,
                    worst_bw * 100.0,
                    found.reads(),
                    found.took().0 as f64 / 1e3
                );
                assert!(worst_t0 < 0.05 && worst_bw < 0.05, "{}", preset.name);
            }
        }
    }
}

/// What is read: for each layer of each token the slots wanted, of records of `stride` bytes.
struct Wanted {
    name: String,
    stride: u32,
    longest: BlockCount,
    slots: Vec<Vec<u32>>,
}

/// Slots that are wanted with the probability `share`, in runs of `mean_run` on average.
fn drawn(stride: u32, share: f32, mean_run: f32, longest: u32) -> Wanted {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
    let stays = 1.0 - 1.0 / mean_run;
    let begins = (1.0 - stays) * share / (1.0 - share);
    let mut wanted = false;
    let slots = (0..(2000.0 / share) as u32).filter(|_| {
        wanted = rng.random_bool(f64::from(if wanted { stays } else { begins }));
        wanted
    });
    Wanted {
        name: format!("{share} of {stride} bytes, runs of {mean_run}, up to {longest} blocks"),
        stride,
        longest: BlockCount(longest),
        slots: vec![slots.collect()],
    }
}

/// Active neurons of a trained model, in the order they were trained in.
fn recorded(name: &str, longest: u32) -> Wanted {
    let directory = demo::path(name).unwrap();
    let model = Model::load(&directory).unwrap();
    let tokens = read_tokens(&model, &directory.join("profile.txt")).unwrap();
    let trace = record(&model, "profile.txt", &tokens[..32], &|_| ());
    let layers = trace.layers();
    let active = |token, layer| trace.active(token, layer).map(u32::from).collect();
    Wanted {
        name: format!("{name}, up to {longest} blocks"),
        stride: trace.bundle_bytes(),
        longest: BlockCount(longest),
        slots: (0..32 * layers).map(|i| active(i / layers, i % layers)).collect(),
    }
}

fn patterns() -> Vec<Wanted> {
    let mut patterns = Vec::new();
    for longest in [16, 32, 128] {
        for stride in [130, 512, 1024, 1600, 4096] {
            for (share, run) in [(0.01, 1.01), (0.05, 1.1), (0.1, 1.6), (0.2, 1.3), (0.2, 3.0)] {
                patterns.push(drawn(stride, share, run, longest));
            }
        }
        patterns.extend(["story-nano", "novel-opt"].map(|name| recorded(name, longest)));
    }
    patterns
}

#[test]
fn the_gap_is_close_to_the_best_of_a_sweep() {
    let patterns = patterns();
    for preset in Preset::ALL {
        let timing = preset.timing();
        let gap = calibrated(timing.clone(), 128, 0).collapse_gap().0;
        let (mut worst, mut at) = (0.0f64, "");
        for wanted in &patterns {
            let cost = |gap| -> f64 {
                let plan = |slots: &Vec<u32>| {
                    let slots = slots.clone().into_iter();
                    collapse(slots, wanted.stride, BlockCount(gap), wanted.longest)
                };
                let extents = wanted.slots.iter().flat_map(plan);
                extents.map(|extent| timing.cost_ps(extent.blocks.bytes()) as f64).sum()
            };
            let gaps = (0..64).chain((64..=256).step_by(4));
            let over = cost(gap) / gaps.map(cost).fold(f64::INFINITY, f64::min) - 1.0;
            if over >= worst {
                (worst, at) = (over, &wanted.name);
            }
        }
        println!(
            "simulated {:16} gap {gap}: {:.2} % above the best of 113 at most, with {at}",
            preset.name,
            worst * 100.0
        );
        assert!(worst < if preset.table.is_empty() { 0.034 } else { 0.081 }, "{}", preset.name);
    }
}

#[test]
fn the_simulator_runs_affine_cards_with_the_exact_gap() {
    for preset in Preset::ALL.into_iter().filter(|preset| preset.table.is_empty()) {
        for staging in [32, 64, 65_536] {
            let found = machine::calibrated(&preset, staging).unwrap();
            assert_eq!(
                found.collapse_gap(),
                machine::exact_gap(&preset),
                "{} {staging}",
                preset.name
            );
        }
    }
    assert_eq!(machine::calibrated(&Preset::ALL[0], 1), None);
}

/// A clock that gives what it is told, in turn, then stands still.
struct Told<'a>(Cell<&'a [u64]>);

impl Clock for Told<'_> {
    fn now(&self) -> Micros {
        let (&now, rest) = self.0.get().split_first().unwrap();
        if !rest.is_empty() {
            self.0.set(rest);
        }
        Micros(now)
    }
}

#[test]
fn a_device_error_is_typed_and_says_where() {
    let clock = VirtualClock::new();
    let mut scratch = [Block::ZERO; 8];
    for fail in [0, 1, 40, 90] {
        let card = SimCard::new(vec![0; CARD_BYTES], Timing::affine(5000, 1 << 32), clock.clone());
        let faults = Faults { fail_at: Some((fail, ErrorKind::Timeout)), ..Faults::default() };
        let mut card = Faulty::new(card, faults);
        let error = calibrate(&mut card, &clock, &mut scratch, BUDGET).unwrap_err();
        let CalibrateError::Device { at, source } = error else { panic!("{error:?}") };
        assert!(at.0 < (CARD_BYTES / 512) as u32);
        assert_eq!(source, FaultyError::Injected { kind: ErrorKind::Timeout, read: fail });
        assert_eq!(card.reads(), fail + 1, "nothing is read after an error");
    }
}

#[test]
fn what_cannot_be_calibrated_is_refused() {
    let mut ram = Ram::new(noise(16 * 512, 1));
    let mut one = Ram::new(noise(512, 1));
    let still = Told(Cell::new(&[7]));
    let mut scratch = [Block::ZERO; 8];
    let small = |scratch, device| CalibrateError::TooSmall {
        scratch: BlockCount(scratch),
        device: BlockCount(device),
    };
    let refused = |device: &mut Ram, scratch: &mut [Block]| {
        calibrate(device, &still, scratch, BUDGET).unwrap_err()
    };
    assert_eq!(refused(&mut ram, &mut []), small(0, 16));
    assert_eq!(refused(&mut ram, &mut scratch[..1]), small(1, 16));
    assert_eq!(refused(&mut one, &mut scratch), small(8, 1));
    // A clock that stands still cannot make it read forever: 96 of 4 sizes, and the first.
    assert_eq!(refused(&mut ram, &mut scratch), CalibrateError::NoTime { reads: 385 });
}

#[test]
fn boot_takes_no_longer_than_the_budget_or_seven_reads_of_each_size() {
    for preset in Preset::ALL {
        for budget in [0, 10_000, 100_000, 1_000_000] {
            let clock = VirtualClock::new();
            let mut card = SimCard::new(vec![0; CARD_BYTES], preset.timing(), clock.clone());
            let mut scratch = [Block::ZERO; 64];
            let found = calibrate(&mut card, &clock, &mut scratch, Micros(budget)).unwrap();
            let once: u64 = (0..=6).map(|i| preset.timing().cost_ns(512 << i) / 1000 + 1).sum();
            let least = 7 * once;
            assert!(found.took().0 <= budget.max(least) + 2 * once, "{}", preset.name);
            assert!((50..=1 + 7 * 96).contains(&found.reads()));
        }
    }
}

/// A clock of a host with other work to do: time jumps on at some of its readings.
struct Busy<'a> {
    clock: VirtualClock,
    random: &'a std::cell::RefCell<Xoshiro256PlusPlus>,
    share: f64,
}

impl Clock for Busy<'_> {
    fn now(&self) -> Micros {
        if self.random.borrow_mut().random_bool(self.share) {
            self.clock.advance_ns(10_000_000);
        }
        self.clock.now()
    }
}

#[test]
fn a_host_that_is_pre_empted_finds_the_same_card() {
    for preset in Preset::ALL.into_iter().filter(|preset| preset.table.is_empty()) {
        for seed in 0..20 {
            let random = Xoshiro256PlusPlus::seed_from_u64(seed);
            let random = std::cell::RefCell::new(random);
            let clock = VirtualClock::new();
            let mut card = SimCard::new(vec![0; CARD_BYTES], preset.timing(), clock.clone());
            // A read asks three times: of a third of them the time is wrong.
            let busy = Busy { clock, random: &random, share: 0.12 };
            let mut scratch = [Block::ZERO; 64];
            let found = calibrate(&mut card, &busy, &mut scratch, Micros(1_000_000)).unwrap();
            let (t0, bw) = (found.t0_ns(), found.bytes_per_second());
            assert!(error(t0, preset.t0_ns) < 0.05, "{} {seed}: {t0} ns", preset.name);
            assert!(error(bw, preset.bytes_per_second) < 0.05, "{} {seed}: {bw}", preset.name);
            assert!(found.overlaps(), "{} {seed}", preset.name);
        }
    }
}

/// A device that reads first and works then.
struct Blocking(SimCard<Vec<u8>>);

impl BlockDevice for Blocking {
    type Error = ripple_hal::OutOfRange;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        self.0.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        self.0.read(start, dst)
    }
}

#[test]
fn a_device_that_does_not_overlap_is_noticed() {
    for preset in Preset::ALL {
        let clock = VirtualClock::new();
        let card = SimCard::new(vec![0; CARD_BYTES], preset.timing(), clock.clone());
        let mut scratch = [Block::ZERO; 32];
        let found = calibrate(&mut Blocking(card), &clock, &mut scratch, BUDGET).unwrap();
        assert!(!found.overlaps(), "{}", preset.name);
        assert_eq!(found.collapse_gap(), calibrated(preset.timing(), 32, 0).collapse_gap());
    }
}

proptest::proptest! {
    #[test]
    fn no_clock_makes_calibration_panic(
        moments in proptest::collection::vec(proptest::prelude::any::<u64>(), 1..400),
        steps in proptest::collection::vec(-5i64..10_000, 1..400),
        blocks in 2..40usize,
        scratch in 2..40usize,
        budget in proptest::prelude::any::<u64>(),
    ) {
        let mut now = 1000;
        let walk: Vec<u64> = steps.iter().map(|step| { now = (now + step).max(0); now as u64 }).collect();
        let mut ram = Ram::new(noise(blocks * 512, 1));
        let mut scratch = vec![Block::ZERO; scratch];
        for moments in [&moments, &walk] {
            let clock = Told(Cell::new(moments));
            if let Ok(found) = calibrate(&mut ram, &clock, &mut scratch, Micros(budget)) {
                let _ = (found.collapse_gap(), found.bytes_per_second());
            }
        }
    }
}
