//! The greedy search against the paper's Algorithm 1, transcribed; and what every method keeps.

use proptest::prelude::*;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use ripple_host_sim::placement::{
    Method, Order, PlaceOptions, Placement, expected_reads, greedy, path_weight, place,
};
use ripple_host_sim::profile::coactivation::CoActivation;
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};
use std::cmp::Reverse;

const METHODS: [Method; 4] =
    [Method::Identity, Method::Random, Method::Frequency, Method::Coactivation];

/// A trace of tokens that fire some of a few overlapping groups; some neurons never fire.
fn grouped(seed: u64, tokens: usize, layers: usize, neurons: usize) -> Trace {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (model, text) = ("m".to_owned(), "t".to_owned());
    let mut builder =
        TraceBuilder::new(TraceHeader { model, text, layers, neurons, bundle_bytes: 64 });
    for token in 0..tokens {
        for layer in 0..layers {
            let group = rng.random_range(0..6_usize);
            let fires = |&i: &u16| {
                let i = usize::from(i);
                let in_group = i.wrapping_mul(2654435761) % 7 == group;
                i % 11 != 10 && rng.random_bool(if in_group { 0.8 } else { 0.05 })
            };
            builder.push(token, layer, &(0..neurons as u16).filter(fires).collect::<Vec<_>>());
        }
    }
    builder.finish()
}

/// Algorithm 1: all pairs in a sorted list, and links as lists that are spliced.
fn naive_greedy(counts: &CoActivation, neurons: &[u16]) -> Vec<u16> {
    let mut pairs = Vec::new();
    for (at, &i) in neurons.iter().enumerate() {
        for &j in &neurons[at + 1..] {
            pairs.push((Reverse(counts.pairs(i, j)), i, j));
        }
    }
    pairs.sort_unstable();
    let mut links: Vec<Vec<u16>> = neurons.iter().map(|&neuron| vec![neuron]).collect();
    for (Reverse(count), i, j) in pairs {
        let link_of = |neuron| links.iter().position(|link| link.contains(&neuron)).unwrap();
        let (a, b) = (link_of(i), link_of(j));
        let is_end = |link: &[u16], neuron| link[0] == neuron || link[link.len() - 1] == neuron;
        if count == 0 || a == b || !is_end(&links[a], i) || !is_end(&links[b], j) {
            continue;
        }
        let mut right = links[b].clone();
        if right[0] != j {
            right.reverse();
        }
        if links[a][links[a].len() - 1] != i {
            links[a].reverse();
        }
        links[a].extend(right);
        links.remove(b);
    }
    let frequency = |neuron: u16| counts.frequency()[usize::from(neuron)];
    for link in &mut links {
        let (first, last) = (link[0], link[link.len() - 1]);
        if (Reverse(frequency(last)), last) < (Reverse(frequency(first)), first) {
            link.reverse();
        }
    }
    links.sort_by_key(|link| link[0].min(link[link.len() - 1]));
    let mean = |link: &[u16]| {
        link.iter().map(|&n| f64::from(frequency(n))).sum::<f64>() / link.len() as f64
    };
    links.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    links.concat()
}

fn slots(order: &[u16]) -> Vec<u32> {
    order.iter().map(|&neuron| neuron.into()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn greedy_equals_the_transcribed_algorithm(
        seed: u64, tokens in 0_usize..60, neurons in 1_usize..70, leave_out in 1_u16..9,
    ) {
        let counts = CoActivation::measure(&grouped(seed, tokens, 1, neurons), 0);
        let all: Vec<u16> = (0..neurons as u16).collect();
        let some: Vec<u16> = all.iter().copied().filter(|i| i % leave_out != 0).collect();
        for members in [all, some] {
            prop_assert_eq!(greedy(&counts, &members), naive_greedy(&counts, &members));
        }
    }

    #[test]
    fn every_method_gives_a_permutation_and_keeps_the_hot_prefix(
        seed: u64, tokens in 0_usize..40, neurons in 1_usize..70, share in 0.0..1.0_f64,
    ) {
        let trace = grouped(seed, tokens, 2, neurons);
        let hot = vec![(share * neurons as f64) as usize, neurons];
        for method in METHODS {
            for hot in [vec![], hot.clone()] {
                let options = PlaceOptions { seed, hot: hot.clone() };
                let placement = place(&trace, method, &options, &|_| {}).unwrap();
                prop_assert_eq!(placement.layers().len(), 2);
                for (layer, order) in placement.layers().iter().enumerate() {
                    prop_assert!(Order::new(&slots(order.neurons())).is_ok());
                    let frequency = trace.frequency(layer);
                    let rank = |n: &u16| (Reverse(frequency[usize::from(*n)]), *n);
                    let mut ranked: Vec<u16> = (0..neurons as u16).collect();
                    ranked.sort_by_key(rank);
                    let hot = placement.hot()[layer];
                    prop_assert_eq!(&order.neurons()[..hot], &ranked[..hot]);
                    let rest = &order.neurons()[hot..];
                    match method {
                        Method::Identity => prop_assert!(rest.is_sorted()),
                        Method::Frequency | Method::Card => {
                            prop_assert_eq!(rest, &ranked[hot..]);
                        }
                        Method::Random => {}
                        Method::Coactivation => {
                            ranked[hot..].sort_unstable();
                            let counts = CoActivation::measure(&trace, layer);
                            prop_assert_eq!(rest, naive_greedy(&counts, &ranked[hot..]));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn neurons_that_never_fire_come_last() {
    let trace = grouped(3, 200, 1, 66);
    let placement = place(&trace, Method::Coactivation, &PlaceOptions::default(), &|_| {}).unwrap();
    assert_eq!(placement.layers()[0].neurons()[60..], [10, 21, 32, 43, 54, 65]);
}

#[test]
fn the_greedy_path_is_heavier_and_reads_less() {
    let trace = grouped(4, 300, 1, 64);
    let counts = CoActivation::measure(&trace, 0);
    let order_by = |method| {
        let placement = place(&trace, method, &PlaceOptions::default(), &|_| {}).unwrap();
        placement.layers()[0].clone()
    };
    let greedy = order_by(Method::Coactivation);
    for method in [Method::Identity, Method::Random, Method::Frequency] {
        let other = order_by(method);
        assert!(path_weight(&greedy, &counts) > path_weight(&other, &counts), "{method}");
        assert!(expected_reads(&greedy, &counts) < expected_reads(&other, &counts), "{method}");
    }
}

#[test]
fn seeds_repeat_and_differ_and_so_do_layers() {
    let trace = grouped(5, 3, 2, 64);
    let random = |seed| {
        let options = PlaceOptions { seed, hot: vec![] };
        place(&trace, Method::Random, &options, &|_| {}).unwrap()
    };
    assert_eq!(random(1), random(1));
    assert_ne!(random(1).layers(), random(2).layers());
    assert_ne!(random(1).layers()[0], random(1).layers()[1]);
}

#[test]
fn hot_prefixes_that_do_not_fit_are_refused() {
    let trace = grouped(6, 3, 2, 20);
    let refusal = |hot: Vec<usize>| {
        let options = PlaceOptions { seed: 0, hot };
        place(&trace, Method::Frequency, &options, &|_| {}).unwrap_err().to_string()
    };
    assert!(refusal(vec![1]).contains("each of 2 layers, found 1"));
    assert!(refusal(vec![1, 21]).contains("layer 1: expected at most 20 hot neurons, found 21"));
}

#[test]
fn a_placement_is_written_and_read_back() {
    let trace = grouped(7, 30, 3, 40);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("placement.json");
    for method in METHODS {
        let options = PlaceOptions { seed: u64::MAX, hot: vec![0, 7, 40] };
        let placement = place(&trace, method, &options, &|_| {}).unwrap();
        placement.write(&path).unwrap();
        assert_eq!(Placement::read(&path).unwrap(), placement);
    }
}

#[test]
fn a_bad_placement_is_refused_with_the_layer_and_the_slot() {
    const GOOD: &str = r#"{"format": "ripple-placement-1", "model": "m", "neurons": 3,
        "method": "frequency", "settings": {"text": "t", "tokens": 9}, "hot": [0, 1],
        "layers": [[0, 1, 2], [2, 0, 1]]}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.json");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Placement::read(&path).map_err(|e| format!("{e:#}"))
    };
    let good = read(GOOD).unwrap();
    assert_eq!((good.layers()[1].slots(), good.neurons()), (vec![1, 2, 0], 3));
    let shape = good.check_shape(2, 4).unwrap_err().to_string();
    assert!(shape.contains("2 layers of 4") && shape.contains("2 layers of 3"), "{shape}");
    for (from, to, words) in [
        (
            "[2, 0, 1]",
            "[2, 0, 2]",
            "layer 1: not a permutation: neuron 2 lies in slot 0 and again in slot 2",
        ),
        (
            "[2, 0, 1]",
            "[2, 0, 3]",
            "layer 1: not a permutation: slot 2 holds neuron 3, expected less than 3",
        ),
        ("[2, 0, 1]", "[2, 0, 70000]", "slot 2 holds neuron 70000"),
        ("[2, 0, 1]", "[1, 0]", "layer 1: expected 3 neurons, found 2"),
        ("[2, 0, 1]]}", "[2, 0", "EOF"),
        ("[0, 1]", "[0, 4]", "layer 1: expected at most 3 hot neurons, found 4"),
        ("[0, 1],", "[0],", "each of 2 layers, found 1"),
        ("frequency", "alphabet", "alphabet"),
        (
            "placement-1",
            "placement-9",
            "expected format `ripple-placement-1`, found `ripple-placement-9`",
        ),
    ] {
        let message = read(&GOOD.replacen(from, to, 1)).unwrap_err();
        assert!(message.contains("some.json: not a placement"), "{message}");
        assert!(message.contains(words), "no `{words}` in: {message}");
    }
}
