//! Rows in 4 bits, trained predictors and what they cost, as the users of `ripple` meet them.

use super::commands::{ok, refused};
use serde_json::Value;
use std::path::Path;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/story-nano");

fn text(name: &str) -> String {
    format!("{MODEL}/{name}")
}

fn json(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&ok(folder, args)).unwrap()
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {value}"))
}

#[test]
#[ignore = "slow"]
fn the_references_perplexity_is_that_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let golden = std::fs::read_to_string(text("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let windows = number(&golden, "/held_out_own/windows").to_string();
    let held_out = text("held-out.txt");
    let args = ["perplexity", MODEL, "--text", &held_out, "--windows", &windows, "--json"];
    let found = json(folder.path(), &args);
    let ratio =
        number(&found, "/lossless/0/perplexity") / number(&golden, "/held_out_own/perplexity");
    assert!((ratio - 1.0).abs() < 1e-3, "{ratio} times transformers'");
    assert_eq!(found["lossy"], serde_json::json!([]), "nothing lossy was asked for");
    assert_eq!(found["lossless"].as_array().unwrap().len(), 2);
}

#[test]
fn lossless_and_lossy_rows_have_tables_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let held_out = text("held-out.txt");
    let base = ["perplexity", MODEL, "--text", &held_out, "--windows", "1"];
    let rows: Vec<_> = base.into_iter().chain(["--ffn", "q4"]).collect();
    let out = ok(folder.path(), &rows);
    let (lossless, lossy) = out.split_once("lossy settings:").unwrap();
    assert!(lossless.contains("reference, f32") && lossless.contains("ffn q8, attn q8, head q8"));
    assert!(!lossless.contains("q4") && lossy.contains("ffn q4, attn q8, head q8"), "{out}");
    assert!(!ok(folder.path(), &base).contains("lossy"));
}

#[test]
fn an_image_in_four_bits_is_packed_shown_run_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let profile = text("profile.txt");
    for rows in ["q8", "q4"] {
        let name = |what: &str| format!("{rows}.{what}");
        let (trace, placement, image) = (name("trace"), name("placement"), name("image"));
        let args = ["trace", MODEL, "--text", &profile, "--tokens", "512", "--ffn", rows];
        ok(folder, &[&args[..], &["-o", &trace]].concat());
        ok(folder, &["place", &trace, "--method", "coactivation", "-o", &placement]);
        let args = ["pack", MODEL, "--placement", &placement, "--ffn", rows, "--head", rows];
        ok(folder, &[&args[..], &["-o", &image]].concat());
    }
    let bytes = |name: &str| std::fs::metadata(folder.join(name)).unwrap().len() as f64;
    assert!(bytes("q4.image") < 0.7 * bytes("q8.image"));
    let inspected = ok(folder, &["inspect", "q4.image"]);
    let format = |section: &str| {
        let (_, table) = inspected.split_once("first block").unwrap();
        let mut lines = table.lines().filter(|line| line.starts_with(section));
        lines.next().unwrap().split_whitespace().rev().nth(1).unwrap().to_owned()
    };
    let found = ["  ffn", "  predictor", "  attention qkv", "  embedding"].map(format);
    assert_eq!(found, ["q4", "q4", "q8", "q4"]);
    let run = |image| ok(folder, &["run", image, "-n", "3", "--prompt", "One day"]);
    assert!(run("q4.image").contains("3 generated"));

    let held_out = text("held-out.txt");
    let args = ["perplexity", MODEL, "--text", &held_out, "--windows", "2", "--json"];
    let packed = json(folder, &[&args[..], &["--ffn", "q4", "--head", "q4"]].concat());
    let image = json(folder, &[&args[..], &["--image", "q4.image"]].concat());
    for field in ["perplexity", "divergence", "agreement", "bundle_bytes_per_token"] {
        let at = format!("/lossy/0/{field}");
        assert_eq!(number(&packed, &at), number(&image, &at), "{field}");
    }
}

#[test]
#[ignore = "slow"]
fn a_predictor_is_trained_the_same_again_and_packed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (profile, held_out) = (text("profile.txt"), text("held-out.txt"));
    let train = |kind: [&str; 2], name: &str| {
        let args = ["train-predictor", MODEL, "--text", &profile, "--tokens", "8192"];
        let judge = ["--held-out", &held_out, "--windows", "2", "--recall", "0.97", "--json"];
        json(folder, &[&args[..], &judge, &kind, &["-o", name]].concat())
    };
    ok(folder, &["trace", MODEL, "--text", &profile, "--tokens", "512", "-o", "trace"]);
    ok(folder, &["place", "trace", "--method", "coactivation", "-o", "placement"]);
    for kind in [["--planes", "4"], ["--rank", "12"]] {
        let rows = train(kind, "a");
        assert_eq!(rows, train(kind, "b"));
        let file = |name| std::fs::read(folder.join(name)).unwrap();
        assert!(file("a") == file("b"), "{kind:?}");
        // Five layers, and all of them.
        let rows = rows["layers"].as_array().unwrap();
        assert_eq!(rows.len(), 6);
        for row in rows {
            assert!((number(row, "/recall") - 0.97).abs() < 0.02, "{row}");
            assert!(number(row, "/precision") > 0.15, "{row}");
            assert!(number(row, "/bytes") > 0.0, "{row}");
            assert!(number(row, "/perplexity_change_percent").abs() < 2.0, "{row}");
        }
        let args = ["pack", MODEL, "--placement", "placement", "--trained", "a", "-o", "image"];
        ok(folder, &args);
        assert!(ok(folder, &["run", "image", "-n", "3"]).contains("3 generated"));
        let args = ["perplexity", MODEL, "--text", &held_out, "--windows", "2", "--json"];
        let found = json(folder, &[&args[..], &["--trained", "a", "--image", "image"]].concat());
        let perplexity = |i: u32| number(&found, &format!("/lossy/{i}/perplexity"));
        assert_eq!(perplexity(0), perplexity(1), "{found}");
    }
    std::fs::write(folder.join("bad"), "{}").unwrap();
    let args = ["pack", MODEL, "--placement", "placement", "--trained", "bad", "-o", "image"];
    assert!(refused(folder, &args).contains("bad: not a predictor"));
    let other = format!("{}/models/novel-nano", env!("CARGO_MANIFEST_DIR"));
    let args = ["perplexity", &other, "--text", &held_out, "--trained", "a"];
    assert!(refused(folder, &args).contains("thresholds for the model `novel-nano`"));
}
