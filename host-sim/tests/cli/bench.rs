//! `ripple bench`, and placing for a card, as their users meet them.

use assert_cmd::Command;
use std::path::Path;

fn ripple() -> Command {
    Command::cargo_bin("ripple").unwrap()
}

#[test]
#[ignore = "slow"]
fn the_bench_prints_this() {
    let files = tempfile::tempdir().unwrap();
    let (json, again) = (files.path().join("a.json"), files.path().join("b.json"));
    let run = |json: &Path| {
        ripple()
            .args(["bench", "story-nano", "--preset", "spi,uhs-sdr104", "--cache", "0,0.1"])
            .args(["--profile-tokens", "1024", "--tokens", "256", "--json"])
            .arg(json)
            .assert()
            .success()
    };
    let output = run(&json);
    insta::assert_snapshot!(String::from_utf8_lossy(&output.get_output().stdout));
    run(&again);
    let [first, second] = [json, again].map(|path| std::fs::read_to_string(path).unwrap());
    assert_eq!(first, second, "two runs print the same digits");
    let rows: serde_json::Value = serde_json::from_str(&first).unwrap();
    let rows = rows["rows"].as_array().unwrap();
    let io = |policy: &str, preset: &str, ratio: f64| {
        let row = rows.iter().find(|row| {
            row["policy"] == policy && row["preset"] == preset && row["cache_ratio"] == ratio
        });
        row.unwrap()["io_ms"].as_f64().unwrap()
    };
    for preset in ["spi", "uhs-sdr104"] {
        for ratio in [0.0, 0.1] {
            // With so short a profile, and a fifth of the neurons active, streaming everything with one
            // command is faster on a fast card.
            let dense = (preset == "spi").then_some("dense");
            let others = ["llm-in-a-flash", "llm-in-a-flash-merged", "frequency", "ripple"];
            for other in others.into_iter().chain(dense) {
                assert!(io("ours", preset, ratio) < io(other, preset, ratio), "{preset} {other}");
            }
        }
    }
}

#[test]
fn a_model_placed_for_a_card_runs_with_pages() {
    let folder = tempfile::tempdir().unwrap();
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models/story-nano");
    let text = format!("{models}/profile.txt");
    let run = |arguments: &[&str]| {
        let output = ripple().current_dir(folder.path()).args(arguments).assert().success();
        String::from_utf8_lossy(&output.get_output().stdout).into_owned()
    };
    run(&["trace", models, "--text", &text, "--tokens", "900", "-o", "t"]);
    run(&["place", "t", "--method", "coactivation", "-o", "plain"]);
    run(&["place", "t", "--card", "spi", "-o", "placed"]);
    run(&["place", "t", "-o", "default"]);
    run(&["place", "t", "--card", "uhs-sdr104", "-o", "named"]);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(read("default"), read("named"));
    assert_ne!(read("default"), read("placed"));
    run(&["place", "t", "--card", "spi", "--page-mib", "0", "-o", "bare"]);
    let image = |placement: &str| {
        run(&["pack", models, "--placement", placement, "-o", "image"]);
        let report = run(&["run", "image", "--card", "spi", "-n", "60", "--seed", "1", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let number = |key: &str| report["simulated"][key].as_f64().unwrap();
        (number("io_ms"), number("image_bytes"), report["text"].clone())
    };
    let (plain, bare, placed) = (image("plain"), image("bare"), image("placed"));
    assert!(placed.0 < bare.0 && bare.0 < plain.0, "{placed:?} {bare:?} {plain:?}");
    assert!(placed.1 > 2.0 * plain.1 && bare.1 == plain.1);
    assert!(placed.2 == plain.2, "the text does not depend on the placement");
}

#[test]
fn what_does_not_go_with_a_card_is_refused() {
    for (arguments, says) in [
        (
            &["place", "t", "--card", "spi", "--layers", "0..1", "-o", "p"][..],
            "cannot be used with",
        ),
        (
            &["place", "t", "--page-mib", "5", "--method", "frequency", "-o", "p"],
            "cannot be used with",
        ),
        (&["place", "t", "--card", "floppy", "-o", "p"], "floppy"),
        (&["bench", "--policies", "best"], "no policy is called `best`"),
    ] {
        let output = ripple().args(arguments).assert().failure();
        let error = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}
