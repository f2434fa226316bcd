//! Which blocks of tokens attention keeps: by thresholds, by what is guessed, and without a look ahead.

use crate::common::{Golden, Lent, OPTIONS, geometry, gradients, with_tuner};
use ripple_hal::Slice;
use ripple_tune::{
    Arms, AttentionTape, Choice, Elimination, Keep, Store, TuneError, TuneOptions, Tuner,
};

const DIM: usize = 16;
/// Numbers of a token's keys.
const KV: usize = 16;
const ORACLE: Choice = Choice::Oracle { causal: false, once: false };

fn options(choice: Choice, keep: Keep, keep_permille: u32) -> TuneOptions {
    let e = Elimination { first: 1, end: 3, block: 4, keep_permille, choice, keep };
    TuneOptions { arms: Arms { elimination: Some(e), ..Arms::EXACT }, ..OPTIONS }
}

/// Scores of a layer, and its inputs.
type Seen = (Vec<f64>, Vec<f64>);

/// What there is to see of each layer.
fn looks(golden: &Golden, image: &[u8], choice: Choice, tokens: &[u32]) -> Vec<Seen> {
    let options =
        options(choice, if choice == Choice::Ahead { Keep::Threshold } else { Keep::Share }, 500);
    with_tuner::<f64, _>(image, &options, |tuner| {
        assert!(tuner.set_adapters(&golden.adapters()));
        let mut all = Vec::new();
        let see = &mut |look: &ripple_tune::Look<'_, f64>| {
            assert_eq!(look.layer, all.len());
            assert_eq!(look.keys.len() % look.inputs.len().div_ceil(DIM), 0);
            all.push((look.scores.to_vec(), look.inputs.to_vec()));
        };
        tuner.look(tokens, see).unwrap();
        all
    })
}

fn loss(golden: &Golden, image: &[u8], options: &TuneOptions, guide: Option<&[f64]>) -> f64 {
    with_tuner::<f64, _>(image, options, |tuner| {
        assert!(tuner.set_adapters(&golden.adapters()));
        if let Some(guide) = guide {
            assert!(tuner.set_guide(guide), "{} numbers, not {}", guide.len(), tuner.guide().len());
        }
        let loss = tuner.accumulate(&golden.tokens).unwrap();
        assert_eq!(tuner.evaluate_kept(&golden.tokens).unwrap(), loss as f32);
        loss
    })
}

#[test]
fn a_threshold_that_all_reach_keeps_all_and_one_that_none_reaches_the_ends() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    let (dense, _) = gradients::<f64>(&image, &OPTIONS, &golden.adapters(), &golden.tokens);
    let of = |choice, threshold: f64, keep_permille| {
        let options = options(choice, Keep::Threshold, keep_permille);
        loss(&golden, &image, &options, Some(&[threshold; 3]))
    };
    for choice in [ORACLE, Choice::Ahead] {
        assert_eq!(of(choice, -1.0, 1000), dense);
        let ends = of(choice, f64::MAX, 1000);
        assert!(ends != dense);
        assert_eq!(of(choice, f64::MAX, 0), ends);
        // No more than there is room for, whatever reaches it.
        assert_eq!(of(choice, -1.0, 0), ends);
    }
    let share = loss(&golden, &image, &options(ORACLE, Keep::Share, 500), None);
    assert_eq!(of(ORACLE, -1.0, 500), share);
}

/// What stands in a table is what is kept, and what tokens say of themselves is added to it.
#[test]
fn what_is_guessed_is_a_table_and_the_largest_of_each_hidden_number() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    let table_of = |scores: &[f64]| options_guide(scores, 0, &[]);
    let choice = Choice::Predicted { rank: 0 };
    // The latest blocks, by a table that says so.
    let latest: Vec<f64> = (0..6).map(f64::from).collect();
    let found = loss(&golden, &image, &options(choice, Keep::Share, 500), Some(&table_of(&latest)));
    assert_eq!(found, loss(&golden, &image, &options(Choice::Recency, Keep::Share, 500), None));

    // With a hidden number that looks at the inputs: the scores, computed here, as a table of layer 1.
    let mut row = vec![0.0; DIM];
    (row[2], row[5]) = (1.5, -0.75);
    let (bias, factor) = (0.25, 4.0);
    let (inputs, _) = (&looks(&golden, &image, ORACLE, &golden.tokens)[1].1, ());
    let scores: Vec<f64> = (0..6)
        .map(|n| {
            let tokens = inputs.chunks(DIM).skip(4 * n).take(4);
            let most = tokens.map(|x| x.iter().zip(&row).map(|(x, u)| x * u).sum::<f64>());
            factor * (most.fold(f64::MIN, f64::max) + bias).max(0.0)
        })
        .collect();
    assert!(scores.iter().any(|s| *s > 0.0) && scores.iter().any(|s| *s != scores[0]));
    let one_layer = |choice| {
        let mut options = options(choice, Keep::Share, 500);
        if let Some(e) = &mut options.arms.elimination {
            e.end = 2;
        }
        options
    };
    let by_table = loss(&golden, &image, &one_layer(choice), Some(&table_of(&scores)));
    let hidden: Vec<f64> = [bias, factor].into_iter().chain(row).collect();
    let guide = options_guide(&[0.0; 6], 1, &hidden);
    let by_inputs = loss(&golden, &image, &one_layer(Choice::Predicted { rank: 1 }), Some(&guide));
    assert_eq!(by_inputs, by_table);
}

/// A guide that is the same in all layers.
fn options_guide(table: &[f64], rank: usize, hidden: &[f64]) -> Vec<f64> {
    assert_eq!(hidden.len(), rank * (2 + DIM));
    let layer: Vec<f64> = table.iter().chain(hidden).copied().collect();
    [&layer[..]; 3].concat()
}

/// Keys say how long they are, and the layer before how much it looked at each block: as tables of what they
/// gave, they keep the same tokens.
#[test]
fn key_lengths_and_the_layer_before_choose_as_their_tables_do() {
    for kind in ["relu", "opt"] {
        let golden = Golden::load(kind);
        let image = golden.image(false);
        let back = Choice::Oracle { causal: true, once: false };
        // Of layer 1 alone: what comes before it is dense, so that it is seen as it will be.
        let one_layer = |choice| {
            let mut options = options(choice, Keep::Share, 500);
            if let Some(e) = &mut options.arms.elimination {
                e.end = 2;
            }
            options
        };
        let seen = looks(&golden, &image, Choice::KeyLength, &golden.tokens);
        let keys = keys(&golden, &image);
        let longest = keys.chunks(4 * KV).map(|keys| {
            let squares = keys.chunks(KV).map(|k| k.iter().map(|x| x * x).sum::<f64>());
            squares.fold(0.0, f64::max)
        });
        for (found, expected) in seen[1].0.iter().zip(longest) {
            assert!((found - expected).abs() < 1e-12 * expected, "{kind}: {found}, {expected}");
        }
        let before = looks(&golden, &image, back, &golden.tokens);
        for (choice, scores) in [(Choice::KeyLength, &seen[1].0), (Choice::Before, &before[0].0)] {
            let table = options_guide(scores, 0, &[]);
            let by_table = one_layer(Choice::Predicted { rank: 0 });
            let expected = loss(&golden, &image, &by_table, Some(&table));
            let found = loss(&golden, &image, &one_layer(choice), None);
            assert_eq!(found, expected, "{kind}, {choice:?}");
        }
        let mut first = one_layer(Choice::Before);
        if let Some(e) = &mut first.arms.elimination {
            e.first = 0;
        }
        let mut lent = Lent::of::<f64>(&geometry(&image), &first);
        let tuner = Tuner::<_, _, f64>::open(Slice::new(&image), &[], lent.lend(), &first, ());
        let error = tuner.err().unwrap().to_string();
        assert!(error.starts_with("`arms.elimination.first` is 0: expected at least 1"), "{error}");
    }
}

/// The keys of layer 1, rotated as attention has them.
fn keys(golden: &Golden, image: &[u8]) -> Vec<f64> {
    let options = options(Choice::Oracle { causal: true, once: false }, Keep::Share, 500);
    with_tuner::<f64, _>(image, &options, |tuner| {
        assert!(tuner.set_adapters(&golden.adapters()));
        let mut keys = Vec::new();
        let see = &mut |look: &ripple_tune::Look<'_, f64>| {
            if look.layer == 1 {
                keys = look.keys.to_vec();
            }
        };
        tuner.look(&golden.tokens, see).unwrap();
        keys
    })
}

/// No token behind a block's first has a part in its score; those that oracles give change.
#[test]
fn who_looks_ahead_sees_no_label() {
    for kind in ["relu", "opt"] {
        let golden = Golden::load(kind);
        let image = golden.image(false);
        for first in [8usize, 12] {
            let mut other = golden.tokens.clone();
            for token in &mut other[first + 1..] {
                *token = (*token + 77) % 500;
            }
            let blocks = first / 4 + 1;
            for (choice, leaks) in [
                (Choice::Ahead, false),
                (ORACLE, true),
                (Choice::Oracle { causal: true, once: false }, true),
            ] {
                let [a, b] =
                    [&golden.tokens, &other].map(|tokens| looks(&golden, &image, choice, tokens));
                let same = a.iter().zip(&b).all(|((a, _), (b, _))| a[..blocks] == b[..blocks]);
                assert_eq!(same, !leaks, "{kind}, {choice:?}, {first}");
            }
        }
    }
}

/// What is looked at is the model as it will run, whatever the arms keep, with as many tokens as there are.
#[test]
fn nothing_is_left_out_without_a_way_back() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    let evaluated = |options: &TuneOptions| {
        with_tuner::<f64, _>(&image, options, |tuner| {
            assert!(tuner.set_adapters(&golden.adapters()));
            tuner.evaluate(&golden.tokens).unwrap()
        })
    };
    let dense = evaluated(&OPTIONS);
    let half = AttentionTape::Kept { values: Store::Half, middle: Store::Half };
    for (first, end) in [(0, 3), (1, 3), (2, 3)] {
        for (attention, spill) in
            [(Arms::EXACT.attention, false), (half, false), (Arms::EXACT.attention, true)]
        {
            let mut options = options(Choice::Recency, Keep::Share, 0);
            if let Some(e) = &mut options.arms.elimination {
                (e.first, e.end) = (first, end);
            }
            (options.arms.attention, options.arms.spill) = (attention, spill);
            assert_eq!(evaluated(&options), dense, "{first} to {end}, {attention:?}, {spill}");
        }
    }
}

#[test]
fn scores_are_for_who_has_them() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    with_tuner::<f64, _>(&image, &OPTIONS, |tuner| {
        let error = tuner.look(&golden.tokens, &mut |_| ()).unwrap_err();
        assert_eq!(error, TuneError::NoScores);
        assert!(tuner.set_guide(&[]) && !tuner.set_guide(&[0.0]));
    });
}
