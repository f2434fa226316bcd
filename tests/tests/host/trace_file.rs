//! Trace files: what is written is read back, and a bad file is refused in words that help.

use proptest::prelude::*;
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn header(layers: usize, neurons: usize) -> TraceHeader {
    let (model, text) = ("novel \"wide\"".to_owned(), "profile.txt".to_owned());
    TraceHeader { model, text, layers, neurons, bundle_bytes: 516 }
}

/// Active sets by token and layer, and the shape they are for.
fn active_sets() -> impl Strategy<Value = (usize, usize, Vec<Vec<BTreeSet<u16>>>)> {
    (1_usize..4, 1_usize..150).prop_flat_map(|(layers, neurons)| {
        let set = proptest::collection::btree_set(0..neurons as u16, 0..=neurons);
        let token = proptest::collection::vec(set, layers);
        (Just(layers), Just(neurons), proptest::collection::vec(token, 0..12))
    })
}

fn check(trace: &Trace, layers: usize, neurons: usize, sets: &[Vec<BTreeSet<u16>>]) {
    assert_eq!((trace.tokens(), trace.layers(), trace.neurons()), (sets.len(), layers, neurons));
    assert_eq!((trace.model(), trace.text()), ("novel \"wide\"", "profile.txt"));
    assert_eq!(trace.bundle_bytes(), 516);
    for layer in 0..layers {
        let mut frequency = vec![0; neurons];
        for (token, set) in sets.iter().enumerate() {
            let active: Vec<u16> = trace.active(token, layer).collect();
            assert_eq!(active, set[layer].iter().copied().collect::<Vec<_>>());
            set[layer].iter().for_each(|&neuron| frequency[usize::from(neuron)] += 1);
        }
        assert_eq!(trace.frequency(layer), frequency);
        let ones = frequency.iter().sum::<u32>();
        let density = f64::from(ones) / (sets.len() * neurons).max(1) as f64;
        assert!((trace.density(layer) - density).abs() < 1e-12);
    }
}

proptest! {
    #[test]
    fn what_is_recorded_is_written_and_read_back((layers, neurons, sets) in active_sets()) {
        let mut builder = TraceBuilder::new(header(layers, neurons));
        for (token, set) in sets.iter().enumerate() {
            for (layer, set) in set.iter().enumerate() {
                // In two parts, in any order: a probe may see a layer's neurons bit by bit.
                let set: Vec<u16> = set.iter().rev().copied().collect();
                let (some, others) = set.split_at(set.len() / 2);
                builder.push(token, layer, others);
                builder.push(token, layer, some);
            }
        }
        let recorded = builder.finish();
        check(&recorded, layers, neurons, &sets);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.trace");
        recorded.write(&path).unwrap();
        let read = Trace::read(&path).unwrap();
        check(&read, layers, neurons, &sets);
        let bytes = std::fs::read(&path).unwrap();
        read.write(&path).unwrap();
        prop_assert_eq!(bytes, std::fs::read(&path).unwrap());
    }
}

/// A safetensors file of one tensor, with the metadata that `change` leaves.
fn file(
    name: &str,
    dtype: &str,
    shape: &[usize],
    metadata: &[(&str, &str)],
    data: &[u8],
) -> Vec<u8> {
    let strings: serde_json::Map<_, _> =
        metadata.iter().map(|&(key, value)| (key.to_owned(), value.into())).collect();
    let tensor =
        serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [0, data.len()]});
    let header = serde_json::json!({"__metadata__": strings, name: tensor}).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

const GOOD: [(&str, &str); 4] =
    [("neurons", "20"), ("bundle_bytes", "516"), ("model", "m"), ("text", "t")];

/// Two tokens, two layers, twenty neurons: all active in the last set.
const BITS: [u8; 12] = [1, 0, 0, 0, 0, 8, 0, 0, 0, 0xff, 0xff, 0x0f];

fn write(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.trace");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn refusal(bytes: &[u8]) -> String {
    let (_folder, path) = write(bytes);
    let message = format!("{:#}", Trace::read(&path).unwrap_err());
    assert!(message.contains("some.trace: not an activation trace"), "{message}");
    message
}

#[test]
fn another_tool_can_write_a_trace() {
    let (_folder, path) = write(&file("active", "U8", &[2, 2, 3], &GOOD, &BITS));
    let trace = Trace::read(&path).unwrap();
    assert_eq!(trace.active(0, 0).collect::<Vec<_>>(), [0]);
    assert_eq!(trace.active(0, 1).collect::<Vec<_>>(), [19]);
    assert_eq!(trace.active(1, 0).count(), 0);
    assert_eq!(trace.active(1, 1).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_bad_file_is_refused_with_what_was_expected_and_found() {
    let with = |key: &str, value: &'static str| {
        GOOD.map(|(k, v)| if k == key { (k, value) } else { (k, v) })
    };
    let good = file("active", "U8", &[2, 2, 3], &GOOD, &BITS);
    let mut stray = BITS;
    stray[8] = 0x10;
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        ("empty", vec![], &["0 bytes", "write it again"]),
        ("text", b"once upon a time".to_vec(), &["16 bytes", "no safetensors header"]),
        (
            "cut short",
            good[..good.len() - 5].to_vec(),
            &[&format!("expected {} bytes", good.len()), &format!("found {}", good.len() - 5)],
        ),
        ("cut in the header", good[..40].to_vec(), &["40 bytes", "invalid header length"]),
        (
            "another tensor",
            file("activations", "U8", &[2, 2, 3], &GOOD, &BITS),
            &["expected a tensor `active`", "found `activations`"],
        ),
        (
            "floats",
            file("active", "F32", &[1, 1, 3], &GOOD, &BITS),
            &["`active`: expected dtype U8", "found F32", "packbits"],
        ),
        (
            "two dimensions",
            file("active", "U8", &[4, 3], &GOOD, &BITS),
            &["expected shape (tokens, layers, ceil(neurons / 8))", "found [4, 3]"],
        ),
        (
            "unpacked",
            file("active", "U8", &[1, 1, 12], &with("neurons", "12"), &BITS),
            &["expected 2 bytes", "`neurons` = 12", "found 12"],
        ),
        ("no layers", file("active", "U8", &[4, 0, 3], &GOOD, &[]), &["at least one layer"]),
        (
            "no metadata",
            file("active", "U8", &[2, 2, 3], &GOOD[..3], &BITS),
            &["found no `text`", "__metadata__"],
        ),
        (
            "not a number",
            file("active", "U8", &[2, 2, 3], &with("neurons", "many"), &BITS),
            &["`neurons`: expected 1 to 65535", "found `many`"],
        ),
        (
            "too many neurons",
            file("active", "U8", &[2, 2, 3], &with("neurons", "65536"), &BITS),
            &["expected 1 to 65535", "found `65536`"],
        ),
        (
            "empty bundles",
            file("active", "U8", &[2, 2, 3], &with("bundle_bytes", "0"), &BITS),
            &["`bundle_bytes`", "found `0`"],
        ),
        (
            "stray bits",
            file("active", "U8", &[2, 2, 3], &GOOD, &stray),
            &["token 1, layer 0", "beyond neuron 19", "0x10"],
        ),
    ];
    for (name, bytes, words) in cases {
        let message = refusal(bytes);
        for word in *words {
            assert!(message.contains(word), "{name}: no `{word}` in: {message}");
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let message = format!("{:#}", Trace::read("/nowhere/at.all".as_ref()).unwrap_err());
    assert!(message.contains("/nowhere/at.all") && message.contains("no such file"), "{message}");
}

#[test]
#[should_panic(expected = "neuron 20 of 20")]
fn a_neuron_that_does_not_exist_is_not_recorded() {
    TraceBuilder::new(header(1, 20)).push(0, 0, &[20]);
}
