//! A short form of `examples/soak.rs`: some thousand steps of anything, each with the right bits.

use ripple_tests::soak::{Done, text};

#[test]
fn random_texts_with_faults_have_the_same_bits() {
    let mut all = Done::default();
    for seed in 0..25 {
        all += text(seed, 120).unwrap();
    }
    assert!(all.steps >= 25 * 120 && all.texts == 25, "{all:?}");
    // What could go wrong did.
    assert!(all.faults > 500 && all.repeated > 50 && all.moved > 50 && all.reads > 5000, "{all:?}");
}
