//! The `ripple` command as its users meet it: what it prints, what it refuses, what it leaves.

use assert_cmd::Command;
use ripple_host_sim::import::demo;
use ripple_host_sim::model::Model;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

pub const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");

/// A folder with every output of the pipeline for story-nano, made once by the command itself.
pub fn pipeline() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = fresh("pipeline");
        let profile = format!("{MODELS}/story-nano/profile.txt");
        let model = format!("{MODELS}/story-nano");
        ok(&folder, &["import", &model, "-o", "story.model"]);
        ok(
            &folder,
            &["trace", "story.model", "--text", &profile, "--tokens", "512", "-o", "story.trace"],
        );
        ok(&folder, &["place", "story.trace", "--method", "coactivation", "-o", "story.placement"]);
        ok(
            &folder,
            &[
                "pack",
                "story.model",
                "--placement",
                "story.placement",
                "--trace",
                "story.trace",
                "-o",
                "story.image",
            ],
        );
        folder
    })
}

/// Packs the demo model `name`, changed, its neurons in their order, as the image `to` in `folder`.
pub fn pack_demo(folder: &Path, name: &str, to: &str, change: impl FnOnce(&mut Model)) {
    let mut model = Model::load(&demo::path(name).unwrap()).unwrap();
    change(&mut model);
    let c = &model.config;
    let placement = Placement::identity(to, c.layers as usize, c.neurons as usize);
    let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
    std::fs::write(folder.join(to), image).unwrap();
}

/// An empty folder of that name.
pub fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub fn ripple(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripple"));
    command.current_dir(folder).args(args).env("RUST_BACKTRACE", "0");
    command
}

/// What the command prints on standard output; it must succeed.
pub fn ok(folder: &Path, args: &[&str]) -> String {
    let output = ripple(folder, args).assert().success().get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

/// The error of a command that must fail, print one line, and leave the folder as it was.
pub fn refused(folder: &Path, args: &[&str]) -> String {
    let before = contents(folder);
    let output = ripple(folder, args).assert().failure().get_output().clone();
    assert!(contents(folder) == before, "{args:?} changed the folder");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: ") && error.ends_with('\n'), "{error}");
    // Errors of the command line itself end with a hint to `--help`.
    assert!(error.lines().count() == 1 || output.status.code() == Some(2), "{error}");
    error
}

fn contents(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(&path).ok()))
        .collect();
    all.sort();
    all
}

#[track_caller]
pub fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "expected `{word}` in: {error}");
    }
}

/// The text without the report.
fn story(stdout: &str) -> &str {
    stdout.split_once("\n\nsimulated").unwrap().0
}

#[test]
fn the_demo_prints_this() {
    let out = ok(Path::new("."), &["-n", "40"]);
    assert!(
        out.lines().filter(|line| line.starts_with(' ')).all(|line| line.len() <= 100),
        "{out}"
    );
    // What this machine takes is its own.
    let (simulated, measured) = out.rsplit_once("measured   on this machine: ").unwrap();
    assert!(measured.contains(" tokens a second after the prompt, "), "{measured}");
    insta::assert_snapshot!("demo", simulated);
}

#[test]
fn inspect_prints_this() {
    insta::assert_snapshot!("inspect", ok(pipeline(), &["inspect", "story.image"]));
}

#[test]
#[ignore = "slow"]
fn the_text_is_the_same_whatever_is_mapped_cached_or_placed() {
    let args = ["run", "story.image", "-n", "40", "--prompt", "One day,"];
    let with = |more: &[&str]| {
        let out = ok(pipeline(), &[&args[..], more].concat());
        story(&out).to_owned()
    };
    let all = with(&["--map", "all"]);
    assert!(all.len() > 80, "{all}");
    for more in [
        &["--map", "none", "--cache", "0"][..],
        &["--map", "dense", "--cache", "1", "--card", "spi"],
        &["--map", "60000", "--cache", "5000B", "--gap", "0"],
        &["--map", "250000", "--staging", "0", "--card", "sandisk-extreme"],
    ] {
        assert_eq!(with(more), all, "{more:?}");
    }
    let demo = ok(Path::new("."), &["-n", "40"]);
    let (_, demo) = demo.split_once("\n\n").unwrap();
    assert_eq!(story(demo), all, "the demo places by another trace");
}

#[test]
fn every_card_runs() {
    for card in [
        "spi",
        "sdio-hs",
        "uhs-ddr50",
        "uhs-sdr104",
        "sandisk-extreme",
        "emmc-hs200",
        "emmc-hs400",
        "ufs4",
    ] {
        let out = ok(pipeline(), &["run", "story.image", "-n", "3", "--card", card]);
        says(&out, &[&format!("simulated  {card} card (")]);
    }
}

#[test]
fn json_is_all_that_standard_output_gets() {
    let held_out = format!("{MODELS}/story-nano/held-out.txt");
    for args in [
        &["run", "story.image", "-n", "3", "--json"][..],
        &["inspect", "story.image", "--json"],
        &["orders", "story.trace", "story.trace", "--json"],
        &["perplexity", "story.model", "--text", &held_out, "--windows", "1", "--json"],
    ] {
        let out = ok(pipeline(), args);
        let _: serde_json::Value = serde_json::from_str(&out).unwrap();
    }
    let run = ok(pipeline(), &["run", "story.image", "-n", "3", "--map", "none", "--json"]);
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    assert_eq!(run["generated_tokens"], 3);
    let simulated = &run["simulated"];
    let tokens = simulated["tokens"].as_f64().unwrap();
    let sum = |field: &str| -> f64 {
        let stages = simulated["stages"].as_array().unwrap();
        stages.iter().map(|stage| stage[field].as_f64().unwrap()).sum()
    };
    for (stage, total) in [("reads", "reads_per_token"), ("bytes", "bytes_per_token")] {
        let total = simulated[total].as_f64().unwrap() * tokens;
        assert!((sum(stage) - total).abs() < 1e-3, "{stage}: {} of {total}", sum(stage));
    }
}

#[test]
fn stages_print_nothing_on_standard_output() {
    let folder = fresh("quiet");
    let model = format!("{MODELS}/novel-nano");
    assert_eq!(ok(&folder, &["import", &model, "-o", "m"]), "");
    let text = format!("{MODELS}/novel-nano/profile.txt");
    assert_eq!(ok(&folder, &["trace", "m", "--text", &text, "--tokens", "64", "-o", "t"]), "");
    assert_eq!(ok(&folder, &["place", "t", "-o", "p"]), "");
    assert_eq!(ok(&folder, &["pack", "m", "--placement", "p", "-o", "i"]), "");
}

#[test]
fn a_closed_pipe_ends_the_command_quietly() {
    for args in [&["run", "story.image", "-n", "200"][..], &["inspect", "story.image"]] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_ripple"))
            .current_dir(pipeline())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut one = [0];
        let mut stdout = BufReader::with_capacity(1, child.stdout.take().unwrap());
        stdout.fill_buf().unwrap();
        stdout.read_exact(&mut one).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{args:?}");
    }
}
