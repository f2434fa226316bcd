//! Gradients without a way back: two losses along signs drawn at random.

use crate::common::{Golden, Lent, OPTIONS, geometry, gradients, with_tuner};
use ripple_hal::Slice;
use ripple_tune::{Arms, Gradients, Optimiser, Rate, TuneOptions, TunePlan, Tuner};

const SAMPLED: TuneOptions = TuneOptions {
    gradients: Gradients::Sampled { eps: 1e-5 },
    optimiser: Optimiser::Sgd,
    arms: Arms::PLAIN,
    ..OPTIONS
};

/// A step moves all adapters by the slope along its signs, which is that of the gradient.
#[test]
fn a_step_goes_as_far_as_the_gradient_says_along_its_signs() {
    for kind in ["relu", "opt", "silu"] {
        let golden = Golden::load(kind);
        let (image, adapters) = (golden.image(false), golden.adapters());
        let (_, gradient) = gradients::<f64>(&image, &OPTIONS, &adapters, &golden.tokens);
        let moved = with_tuner::<f64, _>(&image, &SAMPLED, |tuner| {
            tuner.begin(5);
            assert!(tuner.set_adapters(&adapters));
            let mut moves = Vec::new();
            for _ in 0..2 {
                assert!(tuner.set_adapters(&adapters));
                tuner.step(&golden.tokens, Rate { rate: 1.0, clip: 0.0 }).unwrap();
                let moved = tuner.adapters().iter().zip(&adapters).map(|(a, b)| a - b);
                moves.push(moved.collect::<Vec<f64>>());
            }
            moves
        });
        for moved in &moved {
            let size = moved[0].abs();
            assert!(moved.iter().all(|x| (x.abs() - size).abs() < 1e-9), "{kind}");
            // Against the signs, times the slope along them.
            let signs: Vec<f64> = moved.iter().map(|x| x.signum()).collect();
            let along: f64 = gradient.iter().zip(&signs).map(|(g, s)| g * s).sum();
            assert!((along.abs() - size).abs() < 1e-6 * size.max(1.0), "{kind}: {along}, {size}");
            assert!(along < 0.0, "{kind}: it goes up");
        }
        assert!(moved[0] != moved[1], "{kind}: each step has signs of its own");
    }
}

#[test]
fn nothing_is_kept_and_the_same_seed_gives_the_same_adapters() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    let geometry = geometry(&image);
    let bytes = TunePlan::for_model::<f32>(&geometry, &SAMPLED).step_bytes();
    let layer = TuneOptions { arms: Arms::LEAN, ..OPTIONS };
    assert!(bytes < TunePlan::for_model::<f32>(&geometry, &layer).step_bytes());
    let run = |seed| {
        let options = TuneOptions { gradients: Gradients::Sampled { eps: 1e-3 }, ..SAMPLED };
        let mut lent = Lent::of::<f32>(&geometry, &options);
        let mut tuner =
            Tuner::<_, _, f32>::open(Slice::new(&image), &[], lent.lend(), &options, ()).unwrap();
        tuner.begin(seed);
        let first = tuner.evaluate(&golden.tokens).unwrap();
        for _ in 0..60 {
            tuner.step(&golden.tokens, Rate { rate: 1e-4, clip: 0.0 }).unwrap();
        }
        let last = tuner.evaluate(&golden.tokens).unwrap();
        assert!(last < first, "{first} -> {last}");
        tuner.adapters().iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
    };
    assert!(run(1) == run(1));
    assert!(run(1) != run(2));
}
