//! The ids are those of the `tokenizers` library.

use ripple_host_sim::import::tokenizer::read;
use ripple_host_sim::model::tokenizer::TokenizerSpec;
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use serde_json::Value;
use std::path::Path;

const IDS: &str = include_str!("../../fixtures/tokenizer-ids.json");
const CLASSES: &str = include_str!("../../fixtures/tokenizer-classes.json");

fn spec(model: &str) -> TokenizerSpec {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-sim/models");
    read(&models.join(model).join("tokenizer.json")).unwrap()
}

fn encode(tokenizer: &Tokenizer<'_>, text: &str, parse_special: bool) -> Vec<u32> {
    let options = EncodeOptions { parse_special, ..EncodeOptions::default() };
    ripple_host_sim::model::text::encode(tokenizer, text, options).unwrap()
}

#[test]
fn ids_are_those_of_the_reference() {
    let fixture: Value = serde_json::from_str(IDS).unwrap();
    let texts: Vec<String> = serde_json::from_value(fixture["texts"].clone()).unwrap();
    for (model, expected) in fixture["models"].as_object().unwrap() {
        let section = spec(model).pack().unwrap();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        for (name, parse_special) in [("special", true), ("plain", false)] {
            let expected: Vec<Vec<u32>> = serde_json::from_value(expected[name].clone()).unwrap();
            assert_eq!(expected.len(), texts.len());
            for (text, expected) in texts.iter().zip(expected) {
                assert_eq!(
                    encode(&tokenizer, text, parse_special),
                    expected,
                    "{model} {name} {text:?}"
                );
            }
        }
    }
}

/// With a merge of `a`, `1` and `!` with every byte that can begin a character, one id fewer than
/// bytes says that the character is in the pre-token of its neighbour.
#[test]
fn classes_are_those_of_the_reference() {
    let mut spec = spec("story-nano");
    spec.tokens = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    spec.byte_ids = (0..256).map(Some).collect();
    (spec.special, spec.merges) = (vec![], vec![]);
    for left in *b"a1!" {
        for right in 0xc2..=0xf4 {
            let result = spec.tokens.len().try_into().unwrap();
            spec.tokens.push(vec![left, right]);
            spec.merges.push((left.into(), right.into(), result));
        }
    }
    let section = spec.pack().unwrap();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let runs: Vec<(usize, u32)> = serde_json::from_str(CLASSES).unwrap();
    let mut first = 0x80;
    for (class, length) in runs {
        // Both ends of every run say it all.
        for c in [first, first + length - 1].into_iter().filter_map(char::from_u32) {
            let joins = ["!", "a", "1"].map(|mate| {
                let text = format!("{mate}{c}");
                encode(&tokenizer, &text, false).len() < text.len()
            });
            let expected = [0, 1, 2].map(|of| of == class);
            assert_eq!(joins, expected, "{c:?} {:#x}", u32::from(c));
        }
        first += length;
    }
    assert_eq!(first, 0x11_0000);
}

#[test]
fn sections_are_small() {
    let bytes = ["story-nano", "novel-small"].map(|model| spec(model).pack().unwrap().len());
    assert_eq!(bytes, [6_109, 53_242]);
}

#[test]
fn a_long_run_ends_soon() {
    let section = spec("novel-small").pack().unwrap();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    for text in ["a".repeat(100_000), " ".repeat(100_000), "the".repeat(30_000)] {
        let ids = encode(&tokenizer, &text, true);
        let bytes: Vec<u8> =
            ids.iter().flat_map(|&id| tokenizer.bytes(id).unwrap()).copied().collect();
        assert_eq!(bytes, text.as_bytes());
    }
}
