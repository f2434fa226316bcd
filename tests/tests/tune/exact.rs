//! Arms that lose nothing, and everything that does not change a result, to the last bit.

use crate::common::{
    Golden, KINDS, Lent, OPTIONS, before_bundles, exact_arms, geometry, gradients,
};
use ripple_hal::BlockCount;
use ripple_tests::spy::SpyDevice;
use ripple_tune::{Arms, Gradients, InputTape, LossTape, Rate, TuneOptions, Tuner};

fn bits(numbers: &[f32]) -> Vec<u32> {
    // Only zeroes differ in what nobody can see: their signs.
    numbers.iter().map(|x| (x + 0.0).to_bits()).collect()
}

#[test]
fn what_is_kept_changes_no_bit() {
    for kind in KINDS {
        let golden = Golden::load(kind);
        let adapters = golden.adapters();
        for whole in [false, true] {
            let image = golden.image(whole);
            let of = |arms| {
                let options = TuneOptions { arms, ..OPTIONS };
                let (loss, slopes) = gradients::<f32>(&image, &options, &adapters, &golden.tokens);
                (loss.to_bits(), bits(&slopes))
            };
            let tiled = of(Arms::TILED);
            for (name, arms) in exact_arms() {
                // These have an order of their own: see the two tests below.
                if arms.loss == LossTape::Logits || arms.input == InputTape::Recovered {
                    continue;
                }
                assert!(of(arms) == tiled, "{kind}, {name}, whole {whole}");
            }
            let logits = Arms { loss: LossTape::Logits, ..Arms::EXACT };
            assert!(of(logits) == of(Arms::PLAIN), "{kind}, whole {whole}");
        }
    }
}

/// The largest difference of any gradient, against the largest of them.
fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    let most = b.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    a.iter().zip(b).fold(0.0f32, |error, (a, b)| error.max((a - b).abs())) / most
}

#[test]
fn one_read_of_the_head_and_recovered_inputs_round_otherwise() {
    for kind in KINDS {
        let golden = Golden::load(kind);
        let (image, adapters) = (golden.image(false), golden.adapters());
        let of = |arms| {
            let options = TuneOptions { arms, ..OPTIONS };
            gradients::<f32>(&image, &options, &adapters, &golden.tokens).1
        };
        for (name, arms) in [("tiled", Arms::TILED), ("recovered", Arms::RECOVERED)] {
            let error = largest_difference(&of(arms), &of(Arms::PLAIN));
            assert!(error < 2e-6, "{kind}, {name}: {error:.1e}");
        }
    }
}

/// Some steps, and the adapters after them.
fn steps(
    golden: &Golden,
    image: &[u8],
    mapped: usize,
    options: &TuneOptions,
    overlapped: bool,
) -> Vec<u32> {
    let mut lent = Lent::of::<f32>(&geometry(image), options);
    let mut device = SpyDevice::new(image);
    device.overlapped = overlapped;
    let mut tuner =
        Tuner::<_, _, f32>::open(device, &image[..mapped], lent.lend(), options, ()).unwrap();
    tuner.begin(7);
    for _ in 0..4 {
        let step = tuner.step(&golden.tokens, Rate { rate: 0.01, clip: 1.0 }).unwrap();
        assert!(step.loss.is_finite() && step.length > 0.0);
    }
    tuner.adapters().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn where_records_come_from_changes_no_bit() {
    for kind in ["relu", "opt"] {
        let golden = Golden::load(kind);
        for whole in [false, true] {
            let image = golden.image(whole);
            let expected = steps(&golden, &image, 0, &OPTIONS, true);
            let front = before_bundles(&image);
            for (mapped, gap, staging, window) in [
                (0, 40, 8, 7),
                (front, 0, 8, 7),
                (image.len(), 0, 8, 7),
                (front + 900, 3, 64, 1),
                (0, 0, 16, 1000),
            ] {
                let options = TuneOptions {
                    collapse_gap: BlockCount(gap),
                    staging: BlockCount(staging),
                    window,
                    ..OPTIONS
                };
                let found = steps(&golden, &image, mapped, &options, gap > 0);
                assert!(found == expected, "{kind}, {mapped}, {gap}, {staging}, {window}");
            }
        }
    }
}

#[test]
fn layers_that_follow_at_once_go_where_they_all_go() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    let of = |gradients| {
        let options = TuneOptions { gradients, ..OPTIONS };
        let mut lent = Lent::of::<f32>(&geometry(&image), &options);
        let mut tuner =
            Tuner::<_, _, f32>::open(SpyDevice::new(&image), &[], lent.lend(), &options, ())
                .unwrap();
        tuner.begin(7);
        for _ in 0..3 {
            tuner.step(&golden.tokens, Rate { rate: 0.01, clip: 0.0 }).unwrap();
        }
        bits(tuner.adapters())
    };
    assert!(of(Gradients::Whole) == of(Gradients::Layer));
}
