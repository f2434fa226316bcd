//! Pair counts against the definition: three nested loops.

use proptest::prelude::*;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use ripple_host_sim::profile::coactivation::CoActivation;
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};

/// A trace whose layer 1 holds `rows`, and layer 0 nothing.
fn trace_of(neurons: usize, rows: &[Vec<bool>]) -> Trace {
    let (model, text) = ("m".to_owned(), "t".to_owned());
    let mut builder =
        TraceBuilder::new(TraceHeader { model, text, layers: 2, neurons, bundle_bytes: 64 });
    for (token, row) in rows.iter().enumerate() {
        let active = (0..neurons as u16).filter(|&i| row[usize::from(i)]).collect::<Vec<_>>();
        builder.push(token, 1, &active);
    }
    builder.finish()
}

fn naive(rows: &[Vec<bool>], i: usize, j: usize) -> u32 {
    rows.iter().filter(|row| row[i] && row[j]).count() as u32
}

fn check(neurons: usize, rows: &[Vec<bool>]) {
    let trace = trace_of(neurons, rows);
    let counts = CoActivation::measure(&trace, 1);
    assert_eq!((counts.neurons(), counts.tokens()), (neurons, rows.len()));
    assert_eq!(counts.frequency(), trace.frequency(1));
    let mut joined = counts.joined();
    for i in 0..neurons {
        for j in 0..neurons {
            let expected = naive(rows, i, j);
            assert_eq!(counts.pairs(i as u16, j as u16), expected, "pair {i}, {j}");
            if i < j && expected > 0 {
                assert_eq!(joined.next(), Some((i as u16, j as u16, expected)));
            }
        }
    }
    assert_eq!(joined.next(), None);
    let idle = CoActivation::measure(&trace, 0);
    assert!(idle.frequency().iter().all(|&count| count == 0) && idle.joined().next().is_none());
}

fn random_rows(seed: u64, tokens: usize, neurons: usize, density: f64) -> Vec<Vec<bool>> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut row = || (0..neurons).map(|_| rng.random_bool(density)).collect();
    (0..tokens).map(|_| row()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn pair_counts_equal_three_nested_loops(
        seed: u64, tokens in 0_usize..80, neurons in 1_usize..90,
        // Both ways of counting: sparse below 3.5%, sliced above.
        density in prop_oneof![0.0..0.05, 0.0..1.0],
    ) {
        check(neurons, &random_rows(seed, tokens, neurons, density));
    }
}

#[test]
fn pair_counts_are_exact_at_the_edges_of_words_and_lanes() {
    for neurons in [63, 64, 65, 511, 512, 513] {
        for density in [0.01, 0.3] {
            check(neurons, &random_rows(neurons as u64, 40, neurons, density));
        }
    }
}

#[test]
fn pair_counts_are_exact_beyond_a_block_of_tokens_and_a_full_counter() {
    for density in [0.02, 0.5, 1.0] {
        check(19, &random_rows(7, 9001, 19, density));
    }
}
