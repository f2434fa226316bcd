//! Wide layers: columns count what the triangle counts, and the search among candidate pairs finds
//! nearly the full search's path.

use proptest::prelude::*;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use ripple_host_sim::import::demo;
use ripple_host_sim::model::Model;
use ripple_host_sim::model::text::read_tokens;
use ripple_host_sim::placement::{
    Method, Order, PlaceOptions, expected_reads, greedy, greedy_wide, place,
};
use ripple_host_sim::profile::coactivation::{CoActivation, Columns};
use ripple_host_sim::profile::record::record;
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};
use ripple_tests::synthetic::Synthetic;
use std::cmp::Reverse;

fn random_trace(seed: u64, tokens: usize, neurons: usize, density: f64) -> Trace {
    let (model, text) = ("m".to_owned(), "t".to_owned());
    let header = TraceHeader { model, text, layers: 2, neurons, bundle_bytes: 64 };
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut builder = TraceBuilder::new(header);
    for token in 0..tokens {
        let active = (0..neurons as u16).filter(|_| rng.random_bool(density));
        builder.push(token, 1, &active.collect::<Vec<_>>());
    }
    builder.finish()
}

fn all(neurons: usize) -> Vec<u16> {
    (0..neurons as u16).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn columns_count_what_the_triangle_counts(
        seed: u64,
        tokens in prop_oneof![0_usize..200, 2040_usize..2056, Just(4100)],
        neurons in prop_oneof![1_usize..40, 63_usize..66],
        density in 0.0..1.0_f64,
    ) {
        let trace = random_trace(seed, tokens, neurons, density);
        let (columns, counts) = (Columns::gather(&trace, 1), CoActivation::measure(&trace, 1));
        prop_assert_eq!((columns.neurons(), columns.tokens()), (neurons, tokens));
        prop_assert_eq!(columns.frequency(), counts.frequency());
        let pairs: Vec<(u16, u16)> =
            all(neurons).into_iter().flat_map(|i| (i..neurons as u16).map(move |j| (i, j))).collect();
        let expected: Vec<u32> = pairs.iter().map(|&(i, j)| counts.pairs(i, j)).collect();
        prop_assert_eq!(columns.count(&pairs), expected);
    }

    #[test]
    fn candidates_of_a_few_neurons_are_all_pairs_and_the_search_is_the_full_one(
        seed: u64, tokens in 0_usize..600, neurons in 1_usize..33, density in 0.0..0.4_f64,
        leave_out in 2_u16..9,
    ) {
        let trace = random_trace(seed, tokens, neurons, density);
        let (columns, counts) = (Columns::gather(&trace, 1), CoActivation::measure(&trace, 1));
        let mut members = all(neurons);
        members.retain(|i| i % leave_out != 0);
        let wide = greedy_wide(&columns, &members, &|_| {});
        // A neuron that fires for more tokens than there are witnesses may miss a rare partner.
        if columns.frequency().iter().all(|&count| count <= 120) {
            prop_assert_eq!(wide, greedy(&counts, &members));
        } else {
            let mut sorted = wide;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, members);
        }
    }
}

#[test]
fn no_neurons_and_one_neuron_are_an_order() {
    let columns = Columns::gather(&random_trace(1, 9, 3, 0.5), 1);
    assert!(greedy_wide(&columns, &[], &|_| {}).is_empty());
    assert_eq!(greedy_wide(&columns, &[2], &|_| {}), [2]);
}

/// Path weight of the search among candidates as a share of the full search's, with and without a
/// hot prefix.
fn shares(trace: &Trace, layer: usize) -> [f64; 2] {
    let (columns, counts) = (Columns::gather(trace, layer), CoActivation::measure(trace, layer));
    let mut ranked = all(trace.neurons());
    ranked.sort_by_key(|&neuron| Reverse(counts.frequency()[usize::from(neuron)]));
    [0, trace.neurons() / 10].map(|hot| {
        let mut rest = ranked[hot..].to_vec();
        rest.sort_unstable();
        let weight = |order: Vec<u16>| -> u64 {
            assert_eq!(order.len(), rest.len());
            order.windows(2).map(|ends| u64::from(counts.pairs(ends[0], ends[1]))).sum()
        };
        let wide = weight(greedy_wide(&columns, &rest, &|_| {}));
        wide as f64 / weight(greedy(&counts, &rest)) as f64
    })
}

#[test]
fn the_path_is_at_most_one_percent_lighter_than_the_full_search_on_synthetic_activations() {
    for (neurons, share) in [(512, 0.1), (1024, 0.03), (2048, 0.03)] {
        let trace = Synthetic::new(1, neurons, 64, share, 7).trace(0..48);
        for share in shares(&trace, 0) {
            assert!(share > 0.99, "{neurons}: {share}");
        }
    }
}

#[test]
fn the_path_is_at_most_one_percent_lighter_than_the_full_search_on_a_demo_model() {
    let directory = demo::path("story-nano").unwrap();
    let model = Model::load(&directory).unwrap();
    let tokens = read_tokens(&model, &directory.join("profile.txt")).unwrap();
    let trace = record(&model, "profile.txt", &tokens[..2048], &|_| ());
    for layer in 0..trace.layers() {
        for share in shares(&trace, layer) {
            assert!(share > 0.99, "layer {layer}: {share}");
        }
    }
}

#[test]
fn a_wide_layer_is_placed_among_candidates_and_reported_neuron_by_neuron() {
    let trace = Synthetic::new(2, 4100, 64, 0.02, 3).trace(0..8);
    let done = std::sync::atomic::AtomicU64::new(0);
    let options = PlaceOptions { seed: 0, hot: vec![100, 0] };
    let count = |neurons| {
        done.fetch_add(neurons, std::sync::atomic::Ordering::Relaxed);
    };
    let placement = place(&trace, Method::Coactivation, &options, &count).unwrap();
    assert_eq!(done.into_inner(), 2 * 4100);
    for (layer, order) in placement.layers().iter().enumerate() {
        let columns = Columns::gather(&trace, layer);
        let hot = placement.hot()[layer];
        let mut rest = order.neurons()[hot..].to_vec();
        rest.sort_unstable();
        assert_eq!(order.neurons()[hot..], greedy_wide(&columns, &rest, &|_| {}));
        let frequency = place(&trace, Method::Frequency, &options, &|_| {}).unwrap();
        let counts = CoActivation::measure(&trace, layer);
        let reads = |order: &Order| expected_reads(order, &counts);
        assert!(reads(order) < 0.9 * reads(&frequency.layers()[layer]));
    }
}
