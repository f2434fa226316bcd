//! The simulated card: its costs are exact, its overlap is the longer of both, its runs repeat.

use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, Clock, DeviceError, ErrorKind, Micros};
use ripple_host_sim::cost::{Preset, Tail, Timing};
use ripple_host_sim::machine::{SimCard, Stats, VirtualClock};
use std::sync::Arc;

fn card(timing: Timing) -> SimCard<Vec<u8>> {
    SimCard::new((0..64 * 512u32).map(|i| (i * 7 / 3) as u8).collect(), timing, VirtualClock::new())
}

#[test]
fn a_read_costs_t0_and_its_bytes_without_drift() {
    // 3 GB/s is 333.3 ps a byte: 170,666.7 ps a block.
    let mut card = card(Timing::affine(100_000, 3_000_000_000));
    for reads in 1..=3000u64 {
        card.read(BlockIdx(5), &mut [Block::ZERO]).unwrap();
        assert_eq!(card.clock().now_ps(), reads * (100_000_000 + 170_667));
    }
    let stats = card.stats();
    assert_eq!((stats.reads, stats.blocks, stats.bytes()), (3000, 3000, 3000 * 512));
    assert_eq!(stats.busy_ps, card.clock().now_ps());
    assert_eq!(stats.waited_ps, stats.busy_ps);
    assert_eq!(stats.overlapped_ns(), 0);
}

#[test]
fn many_blocks_pay_the_access_time_once() {
    let timing = Timing::affine(600_000, 2_000_000);
    let mut card = card(timing.clone());
    card.read(BlockIdx(0), &mut [Block::ZERO; 32]).unwrap();
    // 16,384 bytes at 2 MB/s are 8.192 ms.
    assert_eq!(card.clock().now_ns(), 600_000 + 8_192_000);
    assert_eq!(card.clock().now(), Micros(8_792));
    assert!((card.clock().now_seconds() - 8.792e-3).abs() < 1e-12);
    assert_eq!(timing.cost_ns(16_384), 8_792_000);
    assert_eq!(timing.break_even_gap_bytes(), 1200);
    assert_eq!(timing.cost_ps(0), 0);
}

#[test]
fn overlap_is_the_longer_of_both() {
    // A block takes 100 us + 512 ns.
    for (work_ns, waited_ns) in [(0, 100_512), (60_000, 40_512), (100_512, 0), (500_000, 0)] {
        let mut card = card(Timing::affine(100_000, 1_000_000_000));
        let clock = card.clock();
        let result = card.read_while(BlockIdx(1), &mut [Block::ZERO], || {
            clock.advance_ns(work_ns);
            "done"
        });
        assert_eq!(result.unwrap(), "done");
        assert_eq!(clock.now_ns(), work_ns.max(100_512));
        let stats = card.stats();
        assert_eq!((stats.busy_ns(), stats.waited_ns()), (100_512, waited_ns));
        assert_eq!(stats.overlapped_ns(), 100_512 - waited_ns);
    }
}

#[test]
fn the_bytes_are_the_image_and_then_zeroes() {
    let image: Arc<[u8]> = (0..700u32).map(|i| i as u8).collect();
    let mut card = SimCard::new(image.clone(), Timing::affine(1, 1), VirtualClock::new());
    assert_eq!(card.block_count().unwrap(), BlockCount(2));
    let mut read = [Block([9; 512]); 2];
    card.read(BlockIdx(0), &mut read).unwrap();
    assert_eq!(Block::bytes(&read)[..700], image[..]);
    assert!(Block::bytes(&read)[700..].iter().all(|&b| b == 0));
}

#[test]
fn a_read_beyond_the_end_costs_nothing_and_does_not_work() {
    let mut card = card(Timing::affine(1000, 1_000_000));
    let mut ran = false;
    for start in [63, 64, u32::MAX] {
        let error = card.read_while(BlockIdx(start), &mut [Block::ZERO; 2], || ran = true);
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.blocks), (ErrorKind::OutOfRange, BlockCount(64)));
    }
    card.read(BlockIdx(64), &mut []).unwrap();
    assert!(!ran);
    assert_eq!((card.stats(), card.clock().now_ps()), (Stats::default(), 0));
}

#[test]
fn stats_are_taken_in_parts() {
    let mut card = card(Timing::affine(1000, 1_000_000));
    card.read(BlockIdx(0), &mut [Block::ZERO; 3]).unwrap();
    let earlier = card.stats();
    card.read(BlockIdx(0), &mut [Block::ZERO; 2]).unwrap();
    let part = card.stats().since(&earlier);
    assert_eq!((part.reads, part.blocks, part.busy_ns()), (1, 2, 1000 + 1_024_000));
    assert_eq!(card.take_stats().reads, 2);
    assert_eq!(card.stats(), Stats::default());
    let text = serde_json::to_string(&part).unwrap();
    assert_eq!(serde_json::from_str::<Stats>(&text).unwrap(), part);
}

#[test]
fn a_table_is_met_at_its_points_and_linear_between() {
    let table = vec![(4096, 300_000), (8192, 600_000), (65_536, 1_300_000)];
    let timing = Timing { table: Some(table.clone()), ..Timing::affine(1, 1_000_000) };
    for (bytes, ns) in table {
        assert_eq!(timing.cost_ns(bytes), ns);
    }
    assert_eq!(timing.cost_ns(512), 300_000, "nothing is known below the first point");
    assert_eq!(timing.cost_ns(6144), 450_000);
    assert_eq!(timing.cost_ns(65_536 + 57_344), 2_000_000, "the last slope goes on");
    let single = Timing { table: Some(vec![(512, 5000)]), ..Timing::affine(1, 1_000_000) };
    assert_eq!(single.cost_ns(1512), 5000 + 1_000_000);
    let empty = Timing { table: Some(vec![]), ..Timing::affine(1, 1_000_000) };
    assert_eq!(empty.cost_ns(1000), 1 + 1_000_000);
}

#[test]
fn the_tail_strikes_as_often_as_asked_and_repeats_with_the_seed() {
    let tail = Some(Tail { probability: 0.05, extra_ns: 2_000_000 });
    let run = |seed| {
        let timing = Timing { tail, ..Timing::affine(1000, 1_000_000_000) };
        let mut card = card(timing).with_seed(seed);
        let costs: Vec<u64> = (0..20_000)
            .map(|_| {
                let before = card.clock().now_ps();
                card.read(BlockIdx(0), &mut [Block::ZERO]).unwrap();
                card.clock().now_ps() - before
            })
            .collect();
        let stats = card.stats();
        assert_eq!(stats.busy_ns(), 20_000 * 1512 + stats.tails * 2_000_000);
        assert!((900..1100).contains(&stats.tails), "{}", stats.tails);
        costs
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn presets_are_ordered_sane_and_say_where_they_come_from() {
    for preset in Preset::ALL {
        assert_eq!(Preset::by_name(preset.name).unwrap(), &preset);
        assert!(!preset.source.is_empty());
        let timing = preset.timing();
        let sizes = [512, 1024, 4096, 8192, 32_768, 65_536, 262_144, 1 << 20];
        let costs = sizes.map(|bytes| timing.cost_ps(bytes));
        assert!(costs.is_sorted(), "{}: a longer read takes longer", preset.name);
        assert!(costs[0] > 0);
        let affine = Timing::affine(preset.t0_ns, preset.bytes_per_second);
        let (fitted, real) = (affine.cost_ns(1 << 20) as f64, timing.cost_ns(1 << 20) as f64);
        assert!((fitted / real - 1.0).abs() < 0.2, "{}: {fitted} / {real}", preset.name);
    }
    let affine_ones = Preset::ALL.into_iter().filter(|preset| preset.table.is_empty());
    let slowest_last: Vec<u64> =
        affine_ones.rev().map(|preset| preset.timing().cost_ns(16_384)).collect();
    assert!(slowest_last.is_sorted(), "a faster bus is faster: {slowest_last:?}");
}

#[test]
fn four_kilobyte_reads_match_the_published_rates() {
    // Random reads of 4 KiB a second, one at a time, as published for each class.
    for (name, least, most) in [
        ("uhs-ddr50", 1_600.0, 2_600.0),
        ("uhs-sdr104", 3_300.0, 4_800.0),
        ("sandisk-extreme", 3_388.0, 3_390.0),
        ("emmc-hs200", 3_900.0, 4_400.0),
    ] {
        let rate = 1e9 / Preset::by_name(name).unwrap().timing().cost_ns(4096) as f64;
        assert!((least..most).contains(&rate), "{name}: {rate}");
    }
}

#[test]
fn an_unknown_preset_lists_the_known() {
    let error = Preset::by_name("floppy").unwrap_err().to_string();
    assert!(error.contains("\"floppy\""), "{error}");
    for name in Preset::names() {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_command_that_stays_open_costs_what_one_of_that_length_does() {
    let table = vec![(512, 9_000), (4096, 60_000), (8192, 61_000)];
    let affine = Timing::affine(100_000, 3_000_000_000);
    for timing in [affine.clone(), Timing { table: Some(table), ..affine }] {
        let mut open = card(timing.clone());
        open.stay_open(Some(BlockCount(3))).unwrap();
        let mut read = |start, count| {
            let before = open.clock().now_ps();
            let mut dst = vec![Block::ZERO; count];
            open.read(BlockIdx(start), &mut dst).unwrap();
            let mut alone = dst.clone();
            card(timing.clone()).read(BlockIdx(start), &mut alone).unwrap();
            assert!(Block::bytes(&dst) == Block::bytes(&alone));
            open.clock().now_ps() - before
        };
        let cost = |blocks: u64| timing.cost_ps(512 * blocks);
        assert_eq!(read(4, 2), cost(2));
        assert_eq!(read(6, 1), cost(3) - cost(2));
        // Three blocks are clocked through.
        assert_eq!(read(10, 4), cost(10) - cost(3));
        // Too far, and back.
        assert_eq!(read(18, 1), cost(1));
        assert_eq!(read(18, 1), cost(1));
        let stats = open.stats();
        assert_eq!((stats.reads, stats.blocks), (3, 12));
        assert_eq!(open.goes_on(), Some(BlockIdx(19)));
        open.stay_open(None).unwrap();
        open.read(BlockIdx(19), &mut [Block::ZERO]).unwrap();
        open.read(BlockIdx(20), &mut [Block::ZERO]).unwrap();
        assert_eq!(open.goes_on(), None);
        assert_eq!(open.stats().since(&stats).busy_ps, 2 * cost(1));
    }
}
