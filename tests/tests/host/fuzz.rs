//! Hostile files of every kind, some hundred each: what `tests/fuzz` looks for at length, in a few seconds.
//!
//! The inputs are files that the project's own tools or others' write, changed by a seeded generator, so that a
//! failure comes back; its number is in the message.

use crate::checkpoint_common::{Gguf, Llama2c, Piece, silu, vocabulary};
use ripple_hal::PartitionTable;
use ripple_host_sim::import::demo;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_tests::arbitrary::{paged_image, pages};
use ripple_tests::fuzz::{TARGETS, mutated};
use ripple_tests::synthetic::Synthetic;
use ripple_tests::tiny::{Shape, tokenizer};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Inputs of each kind.
const INPUTS: u64 = 150;

/// A file of each kind, and what must stand beside it.
fn seed(name: &str, folder: &Path) -> Vec<u8> {
    let family = Path::new(env!("CARGO_MANIFEST_DIR")).join("families/llama2");
    let beside = |files: &[&str]| {
        for file in files {
            fs::copy(family.join(file), folder.join(file)).unwrap();
        }
    };
    match name {
        "image" | "sealed_image" => {
            let shape = Shape { layers: 2, neurons: 20, ..Shape::OPT };
            paged_image(shape, &PredictorChoice::Exact, &[3], pages(shape, &[1, 2], 1))
        }
        "tokenizer" => tokenizer().pack().unwrap(),
        "adapter" => vec![0; 512],
        "card" => {
            let mut card = vec![0; 64 * 512];
            let table = PartitionTable::parse(card[..512].try_into().unwrap());
            assert!(table.is_none());
            card[446 + 4] = 0x0C;
            card[446 + 8..][..8].copy_from_slice(&[1, 0, 0, 0, 63, 0, 0, 0]);
            card[510..512].copy_from_slice(&[0x55, 0xAA]);
            // A boot sector of FAT16: 512 bytes, a block a cluster, one table, 16 entries in the root.
            let boot = &mut card[512..1024];
            boot[11..13].copy_from_slice(&[0, 2]);
            (boot[13], boot[14], boot[16], boot[17], boot[19], boot[22]) = (1, 1, 1, 16, 63, 1);
            boot[510..512].copy_from_slice(&[0x55, 0xAA]);
            card
        }
        "chat_template" => br#"{% for m in messages %}{{ '<|' ~ m['role'] ~ '|>' }}{% if m.content | length > 1 -%}
            {{ m['content'][::-1] | trim }}{% endif %}{% set x = namespace(n=loop.index0 * 7 % 5) %}{% endfor %}"#
            .to_vec(),
        "tokenizer_json" => fs::read(demo::path("story-nano").unwrap().join("tokenizer.json")).unwrap(),
        "config_json" => {
            beside(&["model.safetensors"]);
            fs::copy(demo::path("story-nano").unwrap().join("tokenizer.json"), folder.join("tokenizer.json"))
                .unwrap();
            fs::read(family.join("config.json")).unwrap()
        }
        "safetensors" => {
            beside(&["config.json"]);
            fs::copy(demo::path("story-nano").unwrap().join("tokenizer.json"), folder.join("tokenizer.json"))
                .unwrap();
            fs::read(family.join("model.safetensors")).unwrap()
        }
        "model_file" => {
            let piece = |text: &str, score| Piece { text: text.to_owned(), score };
            let pieces = vocabulary(&[piece("a", -8.0), piece("\u{e9}", -7.0)]);
            let file = tempfile::tempdir().unwrap();
            let gguf = fs::read(Gguf::of(&silu(Shape::LLAMA), &pieces).write(file.path())).unwrap();
            // Beside a llama2.c vocabulary, so that both are read.
            let model = silu(Shape { dim: 16, head_dim: 8, ..Shape::LLAMA });
            let llama2c = Llama2c::write(&model, &pieces, 1);
            fs::copy(llama2c.folder.path().join("tokenizer.bin"), folder.join("tokenizer.bin")).unwrap();
            gguf
        }
        "placement" => {
            let path = folder.join("good");
            Placement::identity("tiny", 2, 9).write(&path).unwrap();
            fs::read(path).unwrap()
        }
        "trace" => {
            let path = folder.join("good");
            Synthetic::new(2, 30, 8, 0.2, 1).trace(0..3).write(&path).unwrap();
            fs::read(path).unwrap()
        }
        other => panic!("no seed for {other}"),
    }
}

#[test]
fn no_hostile_file_panics() {
    for (name, target) in TARGETS {
        let folder = tempfile::tempdir().unwrap();
        let seed = seed(name, folder.path());
        target(&seed, folder.path());
        for number in 0..INPUTS {
            let bytes = mutated(&seed, number);
            let run = || target(&bytes, folder.path());
            assert!(catch_unwind(AssertUnwindSafe(run)).is_ok(), "{name}, input {number}");
        }
    }
}
