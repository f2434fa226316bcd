//! Layers placed on several machines and joined are the placement that one machine makes.

use ripple_host_sim::placement::admission::hot_prefix;
use ripple_host_sim::placement::{Method, PartialPlacement, PlaceOptions, Placement, place};
use ripple_host_sim::profile::trace::Trace;
use ripple_tests::synthetic::Synthetic;
use std::ops::Range;
use std::path::{Path, PathBuf};

fn options(trace: &Trace) -> PlaceOptions {
    PlaceOptions { seed: 9, hot: hot_prefix(trace, 0.1) }
}

/// Places some layers, through a file.
fn part(
    trace: &Trace,
    method: Method,
    layers: Range<usize>,
    folder: &Path,
) -> (String, PartialPlacement) {
    let name = format!("{}..{}", layers.start, layers.end);
    let path = folder.join(&name);
    let part = PartialPlacement::place(trace, method, &options(trace), layers, &|_| {}).unwrap();
    part.write(&path).unwrap();
    assert_eq!(PartialPlacement::read(&path).unwrap(), part);
    (name, part)
}

#[test]
fn parts_joined_are_the_whole_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |placement: &Placement| {
        let path: PathBuf = folder.path().join("whole");
        placement.write(&path).unwrap();
        std::fs::read(&path).unwrap()
    };
    // The second is wide: placed among candidate pairs.
    for (layers, neurons) in [(5, 96), (3, 4100)] {
        let trace = Synthetic::new(layers, neurons, 64, 0.03, 1).trace(0..6);
        for method in [Method::Random, Method::Frequency, Method::Coactivation] {
            let whole = place(&trace, method, &options(&trace), &|_| {}).unwrap();
            for cuts in [vec![0, layers], vec![0, 1, layers], vec![0, 1, 2, layers]] {
                let ranges = cuts.windows(2).map(|cut| cut[0]..cut[1]);
                let mut parts: Vec<_> =
                    ranges.map(|layers| part(&trace, method, layers, folder.path())).collect();
                parts.reverse();
                assert_eq!(
                    bytes(&PartialPlacement::merge(parts).unwrap()),
                    bytes(&whole),
                    "{method} {cuts:?}"
                );
            }
        }
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let model = Synthetic::new(6, 96, 64, 0.1, 1);
    let (trace, longer) = (model.trace(0..4), model.trace(0..5));
    let of = |trace, method, layers| part(trace, method, layers, folder.path());
    let by = |layers| of(&trace, Method::Coactivation, layers);
    let hotter = || {
        let options = PlaceOptions { seed: 0, hot: hot_prefix(&trace, 0.2) };
        let part =
            PartialPlacement::place(&trace, Method::Coactivation, &options, 3..6, &|_| {}).unwrap();
        ("hotter".to_owned(), part)
    };
    let other = Synthetic::new(6, 104, 64, 0.1, 1).trace(0..4);
    for (parts, words) in [
        (vec![], "expected at least one part"),
        (vec![by(0..3)], "layers 3..6 of 6 are in none of the parts; place them too"),
        (vec![by(1..6)], "layers 0..1 of 6 are in none"),
        (vec![by(4..6), by(0..2)], "layers 2..4 of 6 are in none"),
        (vec![by(0..4), by(3..6)], "3..6: expected layers from 4 on after 0..4, found 3..6"),
        (vec![by(0..6), by(0..6)], "expected layers from 6 on"),
        (
            vec![by(0..3), of(&trace, Method::Frequency, 3..6)],
            "3..6: expected method coactivation as in 0..3, found frequency; place all parts",
        ),
        (
            vec![by(0..3), of(&longer, Method::Coactivation, 3..6)],
            "expected tokens 256 as in 0..3, found 320",
        ),
        (vec![by(0..3), hotter()], "hotter: expected hot prefixes ["),
        (
            vec![by(0..3), of(&other, Method::Coactivation, 3..6)],
            "expected model \"synthetic-6x96\" as in 0..3, found \"synthetic-6x104\"",
        ),
    ] {
        let message = PartialPlacement::merge(parts).unwrap_err().to_string();
        assert!(message.contains(words), "no `{words}` in: {message}");
    }
    let range = |layers| {
        PartialPlacement::place(&trace, Method::Identity, &options(&trace), layers, &|_| {})
            .unwrap_err()
    };
    assert!(range(4..7).to_string().contains("layers 4..7: expected some of 0..6"));
    assert!(range(2..2).to_string().contains("layers 2..2: expected some of 0..6"));
}

#[test]
fn a_part_is_no_placement_and_a_placement_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let trace = Synthetic::new(3, 40, 16, 0.1, 1).trace(0..2);
    part(&trace, Method::Identity, 0..2, folder.path());
    let path = folder.path().join("0..2");
    let message = format!("{:#}", Placement::read(&path).unwrap_err());
    assert!(message.contains("expected all 3 layers, found the part 0..2; join"), "{message}");

    let whole = folder.path().join("whole");
    place(&trace, Method::Identity, &options(&trace), &|_| {}).unwrap().write(&whole).unwrap();
    let message = format!("{:#}", PartialPlacement::read(&whole).unwrap_err());
    assert!(message.contains("whole: not a part of a placement: expected a part"), "{message}");

    let text = std::fs::read_to_string(&path).unwrap();
    for first in ["2", "18446744073709551615"] {
        let moved = text.replace("\"first_layer\": 0", &format!("\"first_layer\": {first}"));
        std::fs::write(&path, moved).unwrap();
        let message = format!("{:#}", PartialPlacement::read(&path).unwrap_err());
        assert!(message.contains("expected at most 3 layers"), "{message}");
    }
}
