//! Whatever goes wrong with a card ends in the right logits, or in a typed error and a decoder that goes on.
//!
//! A short form of `examples/faults.rs`: each kind of fault some times.

use ripple_tests::faults::{Count, KINDS, Subject, run, table};

#[test]
fn every_fault_ends_well() {
    let subjects = Subject::all();
    let mut counts = [Count::default(); KINDS.len()];
    for (kind, count) in counts.iter_mut().enumerate() {
        for seed in 0..60 {
            count.add(run(&subjects, kind, seed).unwrap());
        }
    }
    let said = table(&counts);
    for (name, count) in KINDS.iter().zip(&counts) {
        assert!(count.faults >= 30, "{name}: hardly a fault\n{said}");
    }
    // Each way to end well is met, and errors that pass are many.
    assert!(
        counts.iter().all(|count| count.right + count.recovered + count.refused > 55),
        "{said}"
    );
    assert!(counts[1].recovered > 20 && counts[10].refused > 20 && counts[8].right == 60, "{said}");
}

/// The scenarios would notice: a subject that expects another text is told wrong at once.
#[test]
fn a_wrong_logit_is_noticed() {
    let mut subjects = Subject::all();
    for subject in &mut subjects {
        subject.logits[0][5][0] ^= 1;
    }
    let error = run(&subjects, 8, 0).unwrap_err();
    assert!(error.ends_with("wrong logits"), "{error}");
    assert!(run(&subjects, 8, 1).is_err_and(|error| error.contains("seed 1")));
}
