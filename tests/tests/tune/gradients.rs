//! Gradients are those of automatic differentiation, and of differences.

use crate::common::{Golden, KINDS, OPTIONS, exact_arms, gradients, with_tuner};
use ripple_tune::{
    Arms, Choice, ColumnScore, Columns, Elimination, FfnTape, InputTape, Keep, TuneOptions,
};

/// `|a - b| / |b|`.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

/// The largest distance of any one matrix of an adapter.
fn worst(golden: &Golden, a: &[f64], b: &[f64]) -> f64 {
    let c = &golden.model.config;
    let (dim, query, kv) = (c.dim as usize, c.query_dim() as usize, c.kv_dim() as usize);
    let sides = [dim, query, dim, kv, dim, kv, query, dim].map(|side| 2 * side);
    let mut at = 0;
    let mut most = 0.0f64;
    while at < a.len() {
        for side in sides {
            most = most.max(apart(&a[at..at + side], &b[at..at + side]));
            at += side;
        }
    }
    most
}

const KEPT: Elimination = Elimination {
    first: 1,
    end: 3,
    block: 4,
    keep_permille: 500,
    choice: Choice::Recency,
    keep: Keep::Share,
};

/// Arms, and which of the goldens they have.
fn arms() -> Vec<(&'static str, Arms, &'static str)> {
    let mut all: Vec<_> =
        exact_arms().into_iter().map(|(name, arms)| (name, arms, "grad")).collect();
    for (name, arms) in exact_arms() {
        if arms.input != InputTape::Recovered {
            all.push((name, Arms { elimination: Some(KEPT), ..arms }, "kept"));
        }
    }
    // Through the same 8 of the 20 neurons that automatic differentiation went through.
    let scores = [("length", ColumnScore::Length), ("slope", ColumnScore::Slope)];
    for (which, score) in scores {
        for (name, values) in [("columns kept", true), ("columns again", false)] {
            let columns = Columns { keep_permille: 400, score, values };
            all.push((name, Arms { ffn: FfnTape::Columns(columns), ..Arms::TILED }, which));
        }
    }
    all
}

#[test]
fn they_are_those_of_automatic_differentiation() {
    for kind in KINDS {
        let golden = Golden::load(kind);
        let adapters = golden.adapters();
        for whole in [false, true] {
            let image = golden.image(whole);
            for (name, arms, which) in arms() {
                let options = TuneOptions { arms, ..OPTIONS };
                let (loss, expected) = golden.expected(which);
                let (wide, found) = gradients::<f64>(&image, &options, &adapters, &golden.tokens);
                let error = worst(&golden, &found, &expected);
                let place = format!("{kind}, {name}, {which}, whole {whole}");
                assert!((wide - loss).abs() < 1e-12 * loss, "{place}: loss {wide}, not {loss}");
                assert!(error < 1e-12, "{place}: {error:.1e} in f64");
                let (narrow, found) = gradients::<f32>(&image, &options, &adapters, &golden.tokens);
                let found: Vec<f64> = found.into_iter().map(f64::from).collect();
                let error = worst(&golden, &found, &expected);
                assert!((f64::from(narrow) - loss).abs() < 2e-6 * loss, "{place}: {narrow}");
                assert!(error < 2e-5, "{place}: {error:.1e} in f32");
            }
        }
    }
}

#[test]
fn they_are_those_of_differences() {
    for kind in KINDS {
        let golden = Golden::load(kind);
        let (image, adapters) = (golden.image(false), golden.adapters());
        let (_, slopes) = gradients::<f64>(&image, &OPTIONS, &adapters, &golden.tokens);
        let mut state = 1u64;
        for direction in 0..6 {
            let way: Vec<f64> = (0..adapters.len())
                .map(|_| {
                    state =
                        state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 40) as f64 / f64::from(1u32 << 23) - 1.0
                })
                .collect();
            let length = way.iter().map(|x| x * x).sum::<f64>().sqrt();
            let eps = 1e-5;
            let at = |sign: f64| {
                let moved: Vec<f64> =
                    adapters.iter().zip(&way).map(|(x, d)| x + sign * eps * d / length).collect();
                gradients::<f64>(&image, &OPTIONS, &moved, &golden.tokens).0
            };
            let difference = (at(1.0) - at(-1.0)) / (2.0 * eps);
            let along: f64 = slopes.iter().zip(&way).map(|(g, d)| g * d / length).sum();
            let error = (difference - along).abs() / along.abs();
            assert!(
                error < 1e-6,
                "{kind}, direction {direction}: {difference} and {along}, {error:.1e}"
            );
        }
    }
}

#[test]
fn texts_add_up_and_are_forgotten() {
    let golden = Golden::load("relu");
    let (image, adapters) = (golden.image(false), golden.adapters());
    let (a, b) = (&golden.tokens[..12], &golden.tokens[7..]);
    let one = |text: &[u32]| gradients::<f64>(&image, &OPTIONS, &adapters, text).1;
    let (of_a, of_b) = (one(a), one(b));
    let both = with_tuner::<f64, _>(&image, &OPTIONS, |tuner| {
        tuner.set_adapters(&adapters);
        tuner.accumulate(a).unwrap();
        tuner.accumulate(b).unwrap();
        let both = tuner.gradients().to_vec();
        let length = tuner.update(ripple_tune::Rate { rate: 0.0, clip: 0.0 });
        let mean = both.iter().map(|g| g * g / 4.0).sum::<f64>().sqrt();
        assert!((f64::from(length) - mean).abs() < 1e-6 * mean, "{length}, {mean}");
        assert!(tuner.gradients().iter().all(|g| *g == 0.0));
        both
    });
    let sum: Vec<f64> = of_a.iter().zip(&of_b).map(|(a, b)| a + b).collect();
    assert!(apart(&both, &sum) < 1e-14);
}
