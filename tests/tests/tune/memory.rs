//! The arena is the plan's, to the byte; what is wrong with what is lent is said.

use crate::common::{Golden, Lent, OPTIONS, exact_arms, geometry, gradients};
use ripple_hal::Slice;
use ripple_kernel::ModelConfig;
use ripple_kernel::image::Geometry;
use ripple_tune::{
    Arms, AttentionTape, FfnTape, Gradients, InputTape, Optimiser, Store, TuneError, TuneMemory,
    TuneOpenError, TuneOptions, TunePlan, TuneRegion, Tuner,
};

#[test]
fn every_word_of_the_arena_is_needed_and_none_more() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    for (name, arms) in exact_arms() {
        let options = TuneOptions { arms, ..OPTIONS };
        let plan = TunePlan::for_model::<f32>(&geometry(&image), &options);
        let sum: u64 = TuneRegion::ALL.iter().map(|region| plan.region_bytes(*region)).sum();
        assert_eq!((plan.bytes(), plan.arena() as u64 * 8), (sum, sum), "{name}");
        let mut lent = Lent::of::<f32>(&geometry(&image), &options);
        let short = &mut lent.arena[1..];
        let memory = TuneMemory { arena: short, staging: &mut lent.staging };
        let error = Tuner::<_, _, f32>::open(Slice::new(&image), &[], memory, &options, ()).err();
        assert_eq!(error, Some(TuneOpenError::Arena { needed: sum, given: sum - 8 }), "{name}");
    }
}

/// Each region is written to its last word, so that none is planned too large, and nothing behind the last.
#[test]
fn the_high_water_mark_is_the_plan() {
    const MARK: u64 = 0xA5A5_5A5A_C3C3_3C3C;
    for kind in ["relu", "opt"] {
        let golden = Golden::load(kind);
        let image = golden.image(false);
        for (name, arms) in exact_arms() {
            let options = TuneOptions { arms, ..OPTIONS };
            let geometry = geometry(&image);
            let plan = TunePlan::for_model::<f32>(&geometry, &options);
            let mut lent = Lent::of::<f32>(&geometry, &options);
            // More than is asked for: nothing behind the plan is touched.
            lent.arena.resize(plan.arena() + 64, MARK);
            lent.arena[plan.arena()..].fill(MARK);
            {
                let memory = TuneMemory { arena: &mut lent.arena, staging: &mut lent.staging };
                let mut tuner =
                    Tuner::<_, _, f32>::open(Slice::new(&image), &[], memory, &options, ())
                        .unwrap();
                let adapters: Vec<f32> = golden.adapters().iter().map(|x| *x as f32).collect();
                assert!(tuner.set_adapters(&adapters));
                tuner.accumulate(&golden.tokens).unwrap();
            }
            assert!(lent.arena[plan.arena()..].iter().all(|word| *word == MARK), "{kind}, {name}");
            let mut at = 0;
            for region in TuneRegion::ALL {
                let words = (plan.region_bytes(region) / 8) as usize;
                let found = &lent.arena[at..at + words];
                at += words;
                // Moments are written by the update, masks have a bit for tokens that there are not, and
                // these regions are as large as the largest of their uses.
                let spare = match region {
                    TuneRegion::Moments => continue,
                    TuneRegion::Masks | TuneRegion::Scratch | TuneRegion::Rows => words / 2,
                    TuneRegion::Vectors => 4,
                    _ => 1,
                };
                let unused = found.iter().rev().take_while(|word| **word == 0).count();
                assert!(unused <= spare, "{kind}, {name}: {unused} of {words} in {region:?}");
            }
        }
    }
}

#[test]
fn more_tokens_need_more() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    let geometry = geometry(&image);
    let bytes = |tokens| {
        let options = TuneOptions { tokens, ..OPTIONS };
        TunePlan::for_model::<f32>(&geometry, &options).lent_bytes()
    };
    for tokens in [1, 5, 21, 31] {
        let most = |bytes| TunePlan::most_tokens::<f32>(&geometry, &OPTIONS, bytes);
        assert_eq!(most(bytes(tokens)), tokens);
        assert_eq!(most(bytes(tokens) - 1), tokens - 1);
    }
    // No more than the model has positions for.
    assert_eq!(TunePlan::most_tokens::<f32>(&geometry, &OPTIONS, u64::MAX), 32);
    assert_eq!(bytes(1000), bytes(32));
}

/// SmolLM2-135M as its `config.json` has it: dense, so that a mask of its neurons is full and the fused arm keeps
/// none. 8 MiB in all, rank 4 of q and v, AdamW.
#[test]
fn smollm2_learns_in_eight_mebibytes() {
    let tiny = geometry(&Golden::load("silu").image(false));
    let config = ModelConfig {
        dim: 576,
        layers: 30,
        neurons: 1536,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        vocab: 49_152,
        context: 2048,
        ..tiny.config
    };
    let geometry = Geometry { config, ..tiny };
    let most = |input, gradients| {
        let arms = Arms {
            ffn: FfnTape::Nothing,
            attention: AttentionTape::Nothing,
            input: InputTape::Kept(input),
            ..Arms::EXACT
        };
        let options = TuneOptions { arms, gradients, ..TuneOptions::DEFAULT };
        TunePlan::most_tokens::<f32>(&geometry, &options, 8 << 20)
    };
    let whole = [Store::Half, Store::Bytes].map(|input| most(input, Gradients::Whole));
    let by_layer = [Store::Half, Store::Bytes].map(|input| most(input, Gradients::Layer));
    assert!(whole[0] >= 80 && whole[1] >= 120, "{whole:?}");
    assert!(by_layer[0] >= 100 && by_layer[1] >= 150, "{by_layer:?}");
}

fn open_error(image: &[u8], options: &TuneOptions) -> String {
    let mut lent = Lent::of::<f32>(&geometry(image), options);
    let tuner = Tuner::<_, _, f32>::open(Slice::new(image), &[], lent.lend(), options, ());
    tuner.err().expect("it opens").to_string()
}

#[test]
fn what_cannot_be_is_said() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    let bad = |change: &dyn Fn(&mut TuneOptions)| {
        let mut options = OPTIONS;
        change(&mut options);
        open_error(&image, &options)
    };
    assert_eq!(bad(&|o| o.rank = 0), "`rank` is 0: expected 1 to 256");
    assert_eq!(bad(&|o| o.tokens = 0), "`tokens` is 0: expected at least 1");
    let adam = |beta1| Optimiser::AdamW { beta1, beta2: 0.9, eps: 1e-8, decay: 0.0 };
    assert!(bad(&|o| o.optimiser = adam(1.0)).starts_with("`optimiser` is 0: expected betas"));
    let values = AttentionTape::Kept { values: Store::Bytes, middle: Store::Full };
    assert!(bad(&|o| o.arms.attention = values).starts_with("`arms.attention.values` is 8"));
    let nothing = AttentionTape::Nothing;
    let recovered = |o: &mut TuneOptions| {
        (o.arms.input, o.arms.attention) = (InputTape::Recovered, nothing);
    };
    assert!(bad(&recovered).starts_with("`arms.input` is 0: expected kept"));

    let mut lent = Lent::of::<f32>(&geometry(&image), &OPTIONS);
    let mut tuner =
        Tuner::<_, _, f32>::open(Slice::new(&image), &[], lent.lend(), &OPTIONS, ()).unwrap();
    let length = |tokens| TuneError::Length { tokens, least: 2, most: 22 };
    assert_eq!(tuner.accumulate(&[]), Err(length(0)));
    assert_eq!(tuner.accumulate(&[1]), Err(length(1)));
    assert_eq!(tuner.evaluate(&[1; 23]), Err(length(23)));
    assert_eq!(tuner.evaluate(&[1, 520]), Err(TuneError::UnknownToken { token: 520, vocab: 520 }));
    assert!(!tuner.set_adapters(&[0.0; 3]));

    let options = TuneOptions { gradients: Gradients::Layer, ..OPTIONS };
    let mut lent = Lent::of::<f32>(&geometry(&image), &options);
    let mut tuner =
        Tuner::<_, _, f32>::open(Slice::new(&image), &[], lent.lend(), &options, ()).unwrap();
    assert_eq!(tuner.accumulate(&golden.tokens), Err(TuneError::Texts { texts: 2 }));
}

/// What loses something says how much: gradients from inputs in 16 or 8 bits point where the exact ones do.
#[test]
fn fewer_bits_lose_little() {
    let cosine = |a: &[f64], b: &[f64]| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    for kind in ["relu", "opt"] {
        let golden = Golden::load(kind);
        let (image, adapters) = (golden.image(false), golden.adapters());
        let of = |arms| {
            let options = TuneOptions { arms, ..OPTIONS };
            gradients::<f64>(&image, &options, &adapters, &golden.tokens).1
        };
        let exact = of(Arms::EXACT);
        let kept = |values, middle| AttentionTape::Kept { values, middle };
        for (arms, least) in [
            (Arms::LEAN, 0.99),
            (Arms { input: InputTape::Kept(Store::Half), ..Arms::LEAN }, 0.999_999),
            (Arms { attention: kept(Store::Half, Store::Half), ..Arms::EXACT }, 0.999_99),
            (Arms { attention: kept(Store::Full, Store::Bytes), ..Arms::EXACT }, 0.99),
        ] {
            let found = cosine(&of(arms), &exact);
            assert!(found > least && found < 1.0, "{kind}, {arms:?}: {found}");
        }
    }
}
