//! Run lengths: counted right, equal to the closed form, and longer where there is something to
//! link.

use proptest::prelude::*;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use ripple_host_sim::placement::runs::{RANDOM_SEEDS, RunLengths, Runs, order_table};
use ripple_host_sim::placement::{Method, Order, PlaceOptions, expected_reads, place};
use ripple_host_sim::profile::coactivation::CoActivation;
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};

const METHODS: [Method; 4] =
    [Method::Identity, Method::Random, Method::Frequency, Method::Coactivation];

fn builder(text: &str, layers: usize, neurons: usize) -> TraceBuilder {
    let (model, text) = ("m".to_owned(), text.to_owned());
    TraceBuilder::new(TraceHeader { model, text, layers, neurons, bundle_bytes: 64 })
}

fn random_trace(seed: u64, tokens: usize, neurons: usize, density: f64) -> Trace {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut builder = builder("t", 2, neurons);
    for token in 0..tokens {
        for layer in 0..2 {
            let active = (0..neurons as u16).filter(|_| rng.random_bool(density));
            builder.push(token, layer, &active.collect::<Vec<_>>());
        }
    }
    builder.finish()
}

/// The same by a scan of booleans, slot by slot.
fn naive_runs(trace: &Trace, layer: usize, order: &Order) -> Runs {
    let mut runs = Runs::default();
    for token in 0..trace.tokens() {
        let mut length = 0;
        for neuron in order.neurons() {
            if trace.active(token, layer).any(|active| active == *neuron) {
                runs.bundles += 1;
                runs.reads += u64::from(length == 0);
                length += 1;
                runs.longest = runs.longest.max(length);
            } else {
                length = 0;
            }
        }
    }
    runs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn runs_equal_a_scan_of_booleans(
        seed: u64, tokens in 0_usize..12, neurons in 1_usize..150, density in 0.0..1.0_f64,
    ) {
        let trace = random_trace(seed, tokens, neurons, density);
        for method in METHODS {
            let options = PlaceOptions { seed, hot: vec![] };
            let placement = place(&trace, method, &options, &|_| {}).unwrap();
            let replay = RunLengths::replay(&trace, &placement).unwrap();
            prop_assert_eq!(replay.tokens, tokens);
            let orders = placement.layers().iter().enumerate();
            let naive: Vec<Runs> =
                orders.map(|(layer, order)| naive_runs(&trace, layer, order)).collect();
            prop_assert_eq!(replay.total().reads, naive[0].reads + naive[1].reads);
            prop_assert_eq!(replay.total().longest, naive[0].longest.max(naive[1].longest));
            prop_assert_eq!(replay.layers, naive);
        }
    }

    #[test]
    fn expected_reads_equal_a_replay_of_the_profile(
        seed: u64, tokens in 0_usize..40, neurons in 1_usize..100, density in 0.0..1.0_f64,
    ) {
        let trace = random_trace(seed, tokens, neurons, density);
        for method in METHODS {
            let options = PlaceOptions { seed, hot: vec![] };
            let placement = place(&trace, method, &options, &|_| {}).unwrap();
            let replay = RunLengths::replay(&trace, &placement).unwrap();
            for (layer, order) in placement.layers().iter().enumerate() {
                let expected = expected_reads(order, &CoActivation::measure(&trace, layer));
                let found = replay.layers[layer].reads as f64 / tokens.max(1) as f64;
                prop_assert!((expected - found).abs() < 1e-9, "{method}: {expected}, {found}");
            }
        }
    }
}

const CLUSTERS: usize = 24;
const CLUSTER: usize = 8;

/// Every token fires three of the clusters, most members of each, and one neuron in a hundred.
/// `popular`: some clusters more often than others.
fn planted(text: &str, seed: u64, tokens: usize, members: &[u16], popular: bool) -> Trace {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut builder = builder(text, 1, members.len());
    for token in 0..tokens {
        let mut active: Vec<u16> =
            (0..members.len() as u16).filter(|_| rng.random_bool(0.01)).collect();
        for _ in 0..3 {
            let mut cluster = rng.random_range(0..CLUSTERS);
            if popular {
                cluster = cluster.min(rng.random_range(0..CLUSTERS));
            }
            let members = &members[cluster * CLUSTER..][..CLUSTER];
            active.extend(members.iter().filter(|_| rng.random_bool(0.9)));
        }
        builder.push(token, 0, &active);
    }
    builder.finish()
}

#[test]
fn coactivation_finds_planted_clusters_on_held_out_tokens() {
    for seed in 0..6 {
        let mut members: Vec<u16> = (0..(CLUSTERS * CLUSTER) as u16).collect();
        // Not a seed of the random orders: that one would shuffle the clusters back together.
        members.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(1000 + seed));
        for popular in [false, true] {
            let profile = planted("profile", 100 + seed, 2000, &members, popular);
            let held_out = planted("held out", 200 + seed, 500, &members, popular);
            let table = order_table(&profile, &held_out).unwrap();
            let [identity, random, frequency, coactivation] = table.rows.as_slice() else {
                panic!("four rows");
            };
            assert_eq!(coactivation.method, Method::Coactivation);
            assert_eq!(random.replays.len(), RANDOM_SEEDS.len());
            for other in [identity, random, frequency] {
                let (linked, other) = (coactivation.mean_run(), other.mean_run());
                assert!(linked.mean > 1.5 * other.max, "seed {seed}\n{table}");
            }
        }
    }
}

#[test]
fn the_table_shows_every_method_and_the_spread_of_random() {
    let members: Vec<u16> = (0..(CLUSTERS * CLUSTER) as u16).collect();
    let profile = planted("profile.txt", 1, 300, &members, true);
    let held_out = planted("held-out.txt", 2, 100, &members, true);
    let table = order_table(&profile, &held_out).unwrap().to_string();
    assert!(table.starts_with(
        "m: placed by profile.txt (300 tokens), replayed on held-out.txt (100 tokens), no cache"
    ));
    for word in ["identity", "random (5 seeds)", "frequency", "coactivation", "..", "by layer"] {
        assert!(table.contains(word), "no `{word}` in:\n{table}");
    }
    let other = random_trace(1, 3, 20, 0.5);
    assert!(order_table(&profile, &other).unwrap_err().to_string().contains("2 layers of 20"));
}
