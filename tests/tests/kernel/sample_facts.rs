//! What the sampler promises, case by case.

use ripple_kernel::text::sample::{OptionsError, Pcg32, Sampler, SamplerOptions};

const WARM: SamplerOptions =
    SamplerOptions { temperature: 1.0, seed: 42, ..SamplerOptions::GREEDY };

fn sample(options: SamplerOptions, recent: &[u32], logits: &[f32]) -> u32 {
    let mut ring = vec![0; recent.len()];
    let mut sampler = Sampler::new(options, &mut ring).unwrap();
    recent.iter().for_each(|&id| sampler.accept(id));
    sampler.sample(&mut logits.to_vec())
}

/// The first round of `pcg32-demo` in <https://github.com/imneme/pcg-c-basic>.
#[test]
fn pcg32_gives_the_published_numbers() {
    let mut random = Pcg32::new(42, 54);
    let numbers: [u32; 6] = std::array::from_fn(|_| random.next_u32());
    let published = [0xa15c_02b7, 0x7b47_f409, 0xba1d_3330, 0x83d2_f293, 0xbfa4_784b, 0xcbed_606e];
    assert_eq!(numbers, published);
}

/// The stream of a seed is part of the interface: the same on every target and in every version.
#[test]
fn a_seed_gives_the_same_tokens_everywhere() {
    let logits: Vec<f32> = (0..64_u16).map(|id| f32::from(id * 37 % 64) / 16.0).collect();
    let options = SamplerOptions { top_k: 40, top_p: 0.95, min_p: 0.02, ..WARM };
    let mut sampler = Sampler::new(options, &mut []).unwrap();
    let ids: [u32; 16] = std::array::from_fn(|_| sampler.sample(&mut logits.clone()));
    assert_eq!(ids, STREAM);
}

const STREAM: [u32; 16] = [10, 38, 58, 43, 19, 12, 19, 5, 43, 39, 38, 55, 10, 60, 19, 19];

#[test]
fn greedy_takes_the_highest_and_of_equals_the_first() {
    let greedy = SamplerOptions::GREEDY;
    assert_eq!(sample(greedy, &[], &[0.0, 3.0, -1.0, 3.0]), 1);
    assert_eq!(sample(greedy, &[], &[f32::NAN, -3.0, f32::NAN, -2.0]), 3);
    assert_eq!(sample(greedy, &[], &[1.0, f32::INFINITY, f32::INFINITY]), 1);
    assert_eq!(sample(greedy, &[], &[f32::NAN; 4]), 0);
    assert_eq!(sample(greedy, &[], &[]), 0);
}

#[test]
fn of_equally_likely_tokens_the_first_are_kept() {
    for seed in 0..200 {
        let top_k = SamplerOptions { top_k: 2, seed, ..WARM };
        assert!(sample(top_k, &[], &[1.0; 9]) < 2);
        let top_p = SamplerOptions { top_p: 0.3, seed, ..WARM };
        assert!(sample(top_p, &[], &[1.0; 9]) < 3);
    }
}

#[test]
fn nan_and_infinity_are_never_a_surprise() {
    for seed in 0..50 {
        let options = SamplerOptions { seed, top_k: 3, top_p: 0.9, ..WARM };
        assert_eq!(sample(options, &[], &[f32::NAN, 1.0, f32::NAN]), 1);
        assert_eq!(sample(options, &[], &[0.0, f32::INFINITY, f32::NEG_INFINITY]), 1);
        assert_eq!(sample(options, &[], &[f32::NAN, f32::NEG_INFINITY]), 0);
    }
}

#[test]
fn one_likely_token_is_always_kept() {
    let narrow = [
        SamplerOptions { top_p: f32::MIN_POSITIVE, ..WARM },
        SamplerOptions { top_k: 1, ..WARM },
        SamplerOptions { min_p: 1.0, ..WARM },
        SamplerOptions { temperature: f32::MIN_POSITIVE, ..WARM },
    ];
    for options in narrow {
        assert_eq!(sample(options, &[], &[0.0, 1.0, 5.0, 4.9]), 2, "{options:?}");
    }
}

#[test]
fn the_penalty_divides_positive_and_multiplies_negative_logits_once() {
    let options = SamplerOptions { repetition_penalty: 2.0, ..SamplerOptions::GREEDY };
    let penalised = |recent: &[u32], logits: &[f32]| {
        let mut ring = vec![0; recent.len()];
        let mut sampler = Sampler::new(options, &mut ring).unwrap();
        recent.iter().for_each(|&id| sampler.accept(id));
        let mut logits = logits.to_vec();
        sampler.sample(&mut logits);
        logits
    };
    assert_eq!(penalised(&[0, 1, 0, 0, 9], &[4.0, -4.0, 3.0]), [2.0, -8.0, 3.0]);
    assert_eq!(sample(options, &[0], &[4.0, 3.0]), 1);
}

#[test]
fn the_oldest_token_is_forgotten() {
    let options = SamplerOptions { repetition_penalty: 2.0, ..SamplerOptions::GREEDY };
    let mut ring = [0; 2];
    let mut sampler = Sampler::new(options, &mut ring).unwrap();
    // The ring's zeros are no tokens yet.
    assert_eq!(sampler.sample(&mut [4.0, 3.0]), 0);
    [0, 5, 6].into_iter().for_each(|id| sampler.accept(id));
    assert_eq!(sampler.sample(&mut [4.0, 3.0]), 0);
    sampler.accept(0);
    assert_eq!(sampler.sample(&mut [4.0, 3.0]), 1);
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let refused = |options| {
        let OptionsError { field, .. } = Sampler::new(options, &mut []).unwrap_err();
        field
    };
    for bad in [f32::NAN, -1.0, f32::INFINITY] {
        assert_eq!(refused(SamplerOptions { temperature: bad, ..WARM }), "temperature");
        assert_eq!(refused(SamplerOptions { top_p: bad, ..WARM }), "top_p");
        assert_eq!(refused(SamplerOptions { min_p: bad, ..WARM }), "min_p");
        let penalty = SamplerOptions { repetition_penalty: bad, ..WARM };
        assert_eq!(refused(penalty), "repetition_penalty");
    }
    assert_eq!(refused(SamplerOptions { top_p: 0.0, ..WARM }), "top_p");
    assert_eq!(refused(SamplerOptions { repetition_penalty: 0.0, ..WARM }), "repetition_penalty");
}
