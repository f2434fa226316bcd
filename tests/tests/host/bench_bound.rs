//! The clairvoyant bound: exact misses against every possible cache, and no time below it.

use proptest::prelude::*;
use ripple_host_sim::bench::Floor;
use ripple_host_sim::cost::{Preset, Timing};
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};
use std::collections::HashMap;

/// Active sets `[token][layer]`, each a bit mask of neurons.
type Sets = Vec<Vec<u8>>;

const NEURONS: usize = 3;

fn trace(layers: usize, sets: &Sets) -> Trace {
    let (model, text) = ("m".to_owned(), "t".to_owned());
    let header = TraceHeader { model, text, layers, neurons: NEURONS, bundle_bytes: 64 };
    let mut builder = TraceBuilder::new(header);
    for (token, layers) in sets.iter().enumerate() {
        for (layer, mask) in layers.iter().enumerate() {
            let active = (0..NEURONS as u16).filter(|neuron| mask >> neuron & 1 == 1);
            builder.push(token, layer, &active.collect::<Vec<_>>());
        }
    }
    builder.finish()
}

/// What the sets ask for, one after the other, as masks of bundles of all layers.
fn requests(sets: &Sets) -> Vec<u32> {
    let of = |(layer, mask): (usize, &u8)| u32::from(*mask) << (layer * NEURONS);
    sets.iter().flat_map(|layers| layers.iter().enumerate().map(of)).collect()
}

/// Least total of `price(missed bundles)` over the tokens, by trying every content of the cache at
/// every step: it keeps any part of what it holds and of what was used.
fn cheapest(sets: &Sets, bundles: usize, capacity: u32, price: impl Fn(u32) -> u64) -> u64 {
    let contents = (0..1u32 << bundles).filter(|held| held.count_ones() <= capacity);
    let contents: Vec<u32> = contents.collect();
    // By what is held, and how many bundles of the token were missed in the layers before.
    let mut costs: HashMap<(u32, u32), u64> = contents.iter().map(|held| ((*held, 0), 0)).collect();
    let layers = sets.first().map_or(1, Vec::len);
    for (at, wanted) in requests(sets).into_iter().enumerate() {
        let token_ends = (at + 1) % layers == 0;
        let mut after = HashMap::new();
        for ((held, missed), cost) in costs {
            let missed = missed + (wanted & !held).count_ones();
            let (missed, cost) =
                if token_ends { (0, cost + price(missed)) } else { (missed, cost) };
            for kept in contents.iter().filter(|kept| *kept & !(held | wanted) == 0) {
                let least = after.entry((*kept, missed)).or_insert(cost);
                *least = cost.min(*least);
            }
        }
        costs = after;
    }
    costs.into_values().min().unwrap()
}

/// MIN by scanning ahead for each bundle: O(requests * capacity * requests).
fn scanning_misses(sets: &Sets, bundles: usize, capacity: usize) -> u64 {
    let requests = requests(sets);
    let next = |from: usize, key: usize| {
        (from..requests.len()).find(|at| requests[*at] >> key & 1 == 1).unwrap_or(usize::MAX)
    };
    let keep = |from: usize, mut held: Vec<usize>| {
        held.sort_by_key(|key| next(from, *key));
        held.truncate(capacity);
        held
    };
    let mut held = keep(0, (0..bundles).collect());
    let mut misses = 0;
    for (at, wanted) in requests.iter().enumerate() {
        let missed = (0..bundles).filter(|key| wanted >> key & 1 == 1 && !held.contains(key));
        let missed: Vec<usize> = missed.collect();
        misses += missed.len() as u64;
        held = keep(at + 1, [held, missed].concat());
    }
    misses
}

fn some_sets(layers: usize, most_tokens: usize) -> impl Strategy<Value = Sets> {
    let token = prop::collection::vec(0..1u8 << NEURONS, layers);
    prop::collection::vec(token, 1..most_tokens)
}

/// Cards: every preset, and tables that make short reads dear, cheap, or the only ones known.
fn timings() -> Vec<Timing> {
    let with = |table: &[(u64, u64)]| Timing {
        table: Some(table.to_vec()),
        ..Timing::affine(7_000, 20_000_000)
    };
    let mut timings: Vec<_> = Preset::ALL.iter().map(Preset::timing).collect();
    timings.extend([with(&[(64, 9_000)]), with(&[(64, 9_000), (128, 9_500), (192, 30_000)])]);
    timings.extend([with(&[(64, 1_000), (128, 9_500), (192, 9_600)]), with(&[(64, 9), (192, 99)])]);
    timings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn misses_are_the_fewest_of_every_possible_cache(
        sets in some_sets(2, 9), capacity in 0_usize..7,
    ) {
        let bound = Floor::of(&trace(2, &sets), capacity);
        let fewest = cheapest(&sets, 2 * NEURONS, capacity as u32, u64::from);
        prop_assert_eq!(bound.missed_bundles, fewest);
    }

    #[test]
    fn misses_equal_a_scan_for_the_next_use(
        layers in 1_usize..5, seed in some_sets(5, 80), capacity in 0_usize..13,
    ) {
        let sets: Sets = seed.into_iter().map(|token| token[..layers].to_vec()).collect();
        let bound = Floor::of(&trace(layers, &sets), capacity);
        let naive = scanning_misses(&sets, layers * NEURONS, capacity);
        prop_assert_eq!(bound.missed_bundles, naive);
    }

    /// A card serves the bundles that a token misses in the cheapest split into commands.
    #[test]
    fn no_cache_takes_less_time_on_any_card(sets in some_sets(2, 9), capacity in 0_usize..7) {
        let stride = 64;
        let bound = Floor::of(&trace(2, &sets), capacity);
        for timing in timings() {
            let one = |bundles: u32| timing.cost_ps(u64::from(bundles * stride));
            // The cheapest of any number of bundles, from those of fewer.
            let mut splits = vec![0];
            for bundles in 1..=2 * NEURONS as u32 {
                let splits_of = |first: u32| one(first) + splits[(bundles - first) as usize];
                splits.push((1..=bundles).map(splits_of).min().unwrap());
            }
            let split = |bundles: u32| splits[bundles as usize];
            let least = cheapest(&sets, 2 * NEURONS, capacity as u32, split);
            let ps = bound.floor_ms(&timing, stride) * 1e9 * sets.len() as f64;
            // The card rounds each of up to six commands a token to whole picoseconds.
            let rounding = 0.5 * (2 * NEURONS * sets.len()) as f64;
            prop_assert!(ps <= least as f64 + rounding, "{ps} above {least} on {timing:?}");
        }
    }

    #[test]
    fn more_room_never_misses_more(sets in some_sets(2, 40)) {
        let trace = trace(2, &sets);
        let bounds: Vec<Floor> = (0..8).map(|capacity| Floor::of(&trace, capacity)).collect();
        prop_assert!(bounds.windows(2).all(|b| b[1].missed_bundles <= b[0].missed_bundles));
        prop_assert!(bounds.iter().all(|b| b.tokens_missed_by_all <= b.tokens_missed));
    }
}

/// The layer's only bundles, token by token.
fn one_layer(masks: &[u8]) -> Trace {
    trace(1, &masks.iter().map(|mask| vec![*mask]).collect())
}

#[test]
fn without_room_everything_is_missed() {
    let bound = Floor::of(&one_layer(&[0b011, 0b000, 0b111]), 0);
    assert_eq!((bound.missed_bundles, bound.tokens_missed, bound.tokens_missed_by_all), (5, 2, 2));
    assert_eq!(bound.missed_per_token(), 5.0 / 3.0);
}

#[test]
fn what_was_there_at_the_start_is_not_missed() {
    let bound = Floor::of(&one_layer(&[0b111, 0b111]), 3);
    assert_eq!((bound.missed_bundles, bound.tokens_missed), (0, 0));
    assert_eq!(bound.floor_ms(&Preset::ALL[0].timing(), 64), 0.0);
}

/// a b a b ...: to admit each miss would miss every time.
#[test]
fn a_bundle_used_later_than_all_held_is_not_admitted() {
    let bound = Floor::of(&one_layer(&[0b001, 0b010, 0b001, 0b010, 0b001, 0b010]), 1);
    assert_eq!(bound.missed_bundles, 3);
}

/// b is held when {a, b} is asked for, and gives its place to a only after that.
#[test]
fn room_is_made_only_after_the_layer_was_computed() {
    let bound = Floor::of(&one_layer(&[0b010, 0b011, 0b001]), 1);
    assert_eq!(bound.missed_bundles, 1);
}

/// Two layers of two bundles, room for two: one layer is held, the other read by one command.
#[test]
fn time_on_an_affine_card_is_one_command_a_token_and_the_bytes() {
    let bound = Floor::of(&trace(2, &vec![vec![0b011, 0b011]; 4]), 2);
    assert_eq!((bound.missed_bundles, bound.tokens_missed, bound.tokens_missed_by_all), (8, 4, 4));
    // 1000 ns and 1 byte a nanosecond; a token reads 2 bundles of 64 bytes.
    let ms = bound.floor_ms(&Timing::affine(1000, 1_000_000_000), 64);
    assert!((ms - (1000.0 + 2.0 * 64.0) * 1e-6).abs() < 1e-12, "{ms}");
}

#[test]
fn no_token_is_spared_that_needs_more_than_there_is_room_for() {
    let bound = Floor::of(&one_layer(&[0b011; 4]), 1);
    assert_eq!((bound.missed_bundles, bound.tokens_missed, bound.tokens_missed_by_all), (4, 4, 4));
}

#[test]
fn without_tokens_there_is_no_time() {
    let bound = Floor::of(&one_layer(&[]), 1);
    assert_eq!(bound.floor_ms(&Preset::ALL[0].timing(), 64), 0.0);
}
