//! The sampler against sorting in float64.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ripple_kernel::text::sample::{Sampler, SamplerOptions};

/// The sampler's weight of the likeliest token.
const ONE: f64 = (1 << 30) as f64;

/// The tokens that the filters keep and their probabilities, or `None` where rounding decides.
fn naive(logits: &[f32], recent: &[u32], options: SamplerOptions) -> Option<Vec<(usize, f64)>> {
    let penalty = f64::from(options.repetition_penalty);
    let logit = |(id, &logit): (usize, &f32)| {
        let logit = f64::from(logit);
        match recent.contains(&(id as u32)) {
            true if logit > 0.0 => logit / penalty,
            true => logit * penalty,
            false => logit,
        }
    };
    let logits: Vec<f64> = logits.iter().enumerate().map(logit).collect();
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |logit: &f64| ((logit - max) / f64::from(options.temperature)).exp();
    let mut kept: Vec<(usize, f64)> = logits.iter().map(weight).enumerate().collect();
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    // What the sampler calls equally likely need not be equal here.
    let quanta = |share: f64| (share * ONE).floor();
    let close = |a: f64, b: f64| {
        a != b && ((a - b).abs() < 1e-5 * a.max(b) || (quanta(a) == quanta(b) && quanta(a) > 0.0))
    };
    let cut_off = |share: f64| (share * ONE - 1.0).abs() < 1e-4;
    if kept.windows(2).any(|pair| close(pair[0].1, pair[1].1) || cut_off(pair[1].1)) {
        return None;
    }
    if options.top_k > 0 {
        kept.truncate(options.top_k as usize);
    }
    let total: f64 = kept.iter().map(|token| token.1).sum();
    let mut sum = 0.0;
    let mut nucleus = kept.len();
    for (at, token) in kept.iter().enumerate() {
        sum += token.1 / total;
        if (sum - f64::from(options.top_p)).abs() < 1e-5 && options.top_p < 1.0 {
            return None;
        }
        if sum >= f64::from(options.top_p) && options.top_p < 1.0 {
            nucleus = at + 1;
            break;
        }
    }
    kept.truncate(nucleus);
    let min_p = f64::from(options.min_p);
    if kept.iter().any(|token| (token.1 - min_p).abs() < 1e-5 * min_p) {
        return None;
    }
    kept.retain(|token| token.1 >= min_p && token.1 * ONE >= 1.0);
    let total: f64 = kept.iter().map(|token| token.1).sum();
    kept.iter_mut().for_each(|token| token.1 /= total);
    kept.sort_by_key(|token| token.0);
    Some(kept)
}

fn seeded() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x5EED);
    ProptestConfig {
        rng_seed,
        failure_persistence: None,
        max_global_rejects: 4096,
        ..ProptestConfig::default()
    }
}

fn sampler(options: SamplerOptions, recent: &mut [u32]) -> Sampler<'_> {
    Sampler::new(options, recent).unwrap()
}

fn options() -> impl Strategy<Value = SamplerOptions> {
    let temperature = prop::sample::select(&[0.25_f32, 0.7, 1.0, 1.3, 4.0][..]);
    let top_p = prop_oneof![Just(1.0_f32), 0.05..1.0_f32];
    let min_p = prop_oneof![Just(0.0_f32), 0.001..1.0_f32];
    let penalty = prop_oneof![Just(1.0_f32), 0.5..2.0_f32];
    (temperature, 0..12_u32, top_p, min_p, penalty, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, repetition_penalty, seed)| SamplerOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            seed,
        },
    )
}

/// Quarters: many ties, and nothing closer than a tie.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-40..40_i8).prop_map(|quarters| f32::from(quarters) / 4.0), 1..40)
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn filters_keep_what_sorting_keeps(
        logits in logits(),
        recent in prop::collection::vec(0..50_u32, 0..6),
        options in options(),
    ) {
        let expected = naive(&logits, &recent, options);
        prop_assume!(expected.is_some());
        let expected = expected.unwrap();
        let mut ring = vec![0; recent.len()];
        let mut sampler = sampler(options, &mut ring);
        recent.iter().for_each(|&id| sampler.accept(id));
        let mut weights = logits;
        let id = sampler.sample(&mut weights) as usize;
        let weights: Vec<f64> = weights.iter().map(|weight| weight.to_bits().into()).collect();
        let total: f64 = weights.iter().sum();
        let kept: Vec<usize> = (0..weights.len()).filter(|&id| weights[id] > 0.0).collect();
        prop_assert_eq!(&kept, &expected.iter().map(|token| token.0).collect::<Vec<_>>());
        for (id, probability) in expected {
            prop_assert!((weights[id] / total - probability).abs() < 1e-5);
        }
        prop_assert!(kept.contains(&id));
    }

    #[test]
    fn any_bits_are_sampled_without_panic_and_repeatably(
        bits in prop::collection::vec(any::<u32>(), 0..40),
        options in options(),
    ) {
        let draw = || {
            let mut ring = [0; 3];
            let mut sampler = sampler(options, &mut ring);
            (0..4).map(|_| {
                let mut logits: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
                let id = sampler.sample(&mut logits);
                sampler.accept(id);
                id
            }).collect::<Vec<u32>>()
        };
        let ids = draw();
        prop_assert_eq!(&ids, &draw());
        prop_assert!(ids.iter().all(|&id| (id as usize) < bits.len().max(1)));
    }
}

#[test]
fn draws_are_as_frequent_as_probable() {
    let logits = [1.0_f32, 0.0, -1.0, 2.5, 2.5, f32::NEG_INFINITY];
    let options = SamplerOptions { temperature: 0.9, seed: 5, ..SamplerOptions::GREEDY };
    let mut sampler = sampler(options, &mut []);
    let mut counts = [0_u32; 6];
    let draws = 50_000;
    for _ in 0..draws {
        counts[sampler.sample(&mut logits.clone()) as usize] += 1;
    }
    for (id, probability) in naive(&logits, &[], options).unwrap() {
        let share = f64::from(counts[id]) / f64::from(draws);
        // Four standard deviations.
        let slack = 4.0 * (probability * (1.0 - probability) / f64::from(draws)).sqrt();
        assert!((share - probability).abs() < slack, "{id}: {share} {probability}");
    }
    assert_eq!(counts[5], 0);
}
