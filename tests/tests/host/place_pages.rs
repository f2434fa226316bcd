//! Pages: what their plans hold, what they take, what a file keeps of them.

use proptest::prelude::*;
use ripple_hal::BlockCount;
use ripple_host_sim::cost::Preset;
use ripple_host_sim::machine::exact_gap;
use ripple_host_sim::placement::{
    LayerPage, Method, Pages, PlaceOptions, Placement, ReadCost, pages, place, refine,
};
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};
use ripple_kernel::read::collapse::collapse;

const LAYERS: usize = 2;

fn trace(neurons: usize, sets: &[(u32, Vec<Vec<u16>>)]) -> Trace {
    let (model, text) = ("m".to_owned(), "t".to_owned());
    let mut trace =
        TraceBuilder::new(TraceHeader { model, text, layers: LAYERS, neurons, bundle_bytes: 64 });
    for (position, (_, sets)) in sets.iter().enumerate() {
        for (layer, active) in sets.iter().enumerate() {
            trace.push(position, layer, active);
        }
    }
    trace.name(&sets.iter().map(|(token, _)| *token).collect::<Vec<_>>());
    trace.finish()
}

/// Tokens with neurons of their own, and noise.
fn traces() -> impl Strategy<Value = Trace> {
    (30..200usize, 1..6u32, 10..60usize, any::<u64>()).prop_map(|(neurons, vocab, count, seed)| {
        let mut state = seed | 1;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u32
        };
        let mut sets = Vec::new();
        for _ in 0..count {
            let token = random() % vocab;
            let own = |n: u16| (u32::from(n).wrapping_mul(0x9E37) ^ (token * 77)) % 7 < 2;
            let set = |random: &mut dyn FnMut() -> u32| {
                (0..neurons as u16)
                    .filter(|&n| random() % 100 < if own(n) { 70 } else { 2 })
                    .collect()
            };
            sets.push((token, (0..LAYERS).map(|_| set(&mut random)).collect()));
        }
        trace(neurons, &sets)
    })
}

fn cost(preset: &str) -> ReadCost {
    let preset = Preset::by_name(preset).unwrap();
    ReadCost::new(&preset.timing(), 64, exact_gap(preset), BlockCount(16))
}

fn start(trace: &Trace, method: Method, hot: usize) -> Placement {
    let options = PlaceOptions { hot: vec![hot; LAYERS], ..PlaceOptions::default() };
    place(trace, method, &options, &|_| ()).unwrap()
}

/// What reading the misses of a whole trace takes, slot by slot.
fn total(trace: &Trace, placement: &Placement, cost: &ReadCost, layer: usize) -> u64 {
    let slots = placement.layers()[layer].slots();
    let sets = (0..trace.tokens()).map(|token| {
        let mut misses: Vec<u16> = trace.active(token, layer).map(|n| slots[n as usize]).collect();
        misses.retain(|slot| usize::from(*slot) >= placement.hot()[layer]);
        misses.sort_unstable();
        cost.extents(misses.into_iter())
    });
    sets.sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn pages_hold_likely_misses_within_their_room(
        trace in traces(), hot in 0..20usize, most in 0..200u64,
    ) {
        let placement = start(&trace, Method::Frequency, hot);
        let cost = cost("spi");
        let all = pages(&trace, &placement, &cost, u64::MAX, &|_| ()).unwrap();
        let few = pages(&trace, &placement, &cost, most, &|_| ()).unwrap();
        prop_assert!(few.blocks(64) <= most && few.blocks(64) <= all.blocks(64));
        for token in 0..all.tokens() {
            for (layer, (plan, kept)) in all.of(token).iter().zip(few.of(token)).enumerate() {
                prop_assert!(kept.neurons.is_empty() || kept == plan, "kept whole or not at all");
                let held = &placement.layers()[layer].neurons()[..hot];
                prop_assert!(plan.neurons.iter().all(|neuron| !held.contains(neuron)));
                prop_assert!(usize::from(plan.ahead) <= plan.neurons.len());
            }
        }
        // A file keeps them.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let placement = placement.with_pages(Some(all));
        placement.write(&path).unwrap();
        prop_assert_eq!(Placement::read(&path).unwrap(), placement);
    }

    #[test]
    fn refining_keeps_the_hot_prefix_and_costs_no_more(trace in traces(), hot in 0..20usize) {
        let cost = cost("sdio-hs");
        let starts = [Method::Frequency, Method::Coactivation].map(|m| start(&trace, m, hot));
        let refined = refine(&trace, &starts.each_ref(), &cost, &|_| ()).unwrap();
        for layer in 0..LAYERS {
            prop_assert_eq!(
                &refined.layers()[layer].neurons()[..hot],
                &starts[0].layers()[layer].neurons()[..hot]
            );
            let best = starts.iter().map(|s| total(&trace, s, &cost, layer)).min().unwrap();
            prop_assert!(total(&trace, &refined, &cost, layer) <= best);
        }
        prop_assert_eq!(refine(&trace, &starts.each_ref(), &cost, &|_| ()).unwrap(), refined);
    }

    #[test]
    fn read_costs_are_those_of_the_planner(
        mut slots in proptest::collection::btree_set(0..400u16, 0..60), preset in 0..8usize,
    ) {
        let preset = &Preset::ALL[preset];
        let (timing, gap) = (preset.timing(), exact_gap(preset));
        let cost = ReadCost::new(&timing, 136, gap, BlockCount(40));
        let naive: u64 = collapse(slots.iter().map(|&s| u32::from(s)), 136, gap, BlockCount(40))
            .map(|extent| timing.cost_ps(extent.blocks.bytes()))
            .sum();
        prop_assert_eq!(cost.extents(slots.iter().copied()), naive);
        slots.clear();
        prop_assert_eq!(cost.extents(slots.into_iter()), 0);
    }
}

/// Layers further apart than the longest read, but not than the gap.
#[test]
fn a_gap_may_be_longer_than_any_read() {
    let trace = trace(60, &vec![(0, vec![vec![0], vec![59]]); 5]);
    let card = Preset::by_name("emmc-hs200").unwrap();
    for longest in [1, 2, 8] {
        let cost = ReadCost::new(&card.timing(), 64, BlockCount(70), BlockCount(longest));
        for cost in [cost.staying_open(card, trace.neurons()), cost] {
            let placement = start(&trace, Method::Frequency, 0);
            let made = pages(&trace, &placement, &cost, u64::MAX, &|_| ()).unwrap();
            assert!(made.tokens() > 0);
        }
    }
}

#[test]
fn pages_need_a_trace_that_names_its_tokens() {
    let header = trace(30, &[]).header().clone();
    let mut bare = TraceBuilder::new(header);
    bare.push(0, 0, &[1, 2]);
    let bare = bare.finish();
    let placement = start(&bare, Method::Identity, 0);
    let error = pages(&bare, &placement, &cost("spi"), 9, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("does not say which tokens it read; trace the text again"), "{error}");
}

#[test]
fn plans_that_cannot_be_are_refused() {
    let refuse = |layers, plans: Vec<(Vec<u16>, u16)>| {
        let plans = plans.into_iter().map(|(neurons, ahead)| LayerPage { neurons, ahead });
        Pages::new(layers, 10, plans.collect()).unwrap_err().to_string()
    };
    assert!(refuse(2, vec![(vec![], 0)]).contains("expected 2 pages for each token, found 1"));
    let twice = refuse(2, vec![(vec![], 0), (vec![3, 4, 3], 0)]);
    assert!(
        twice.contains("page of token 0 in layer 1: expected neurons below 10, each once, found 3")
    );
    assert!(refuse(1, vec![(vec![10], 0)]).contains("found 10"));
    assert!(refuse(1, vec![(vec![1], 2)]).contains("2 bundles read ahead of 1"));
}
