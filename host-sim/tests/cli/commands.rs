//! The `ripple` command as its users meet it: what it prints, what it refuses, what it leaves.

use assert_cmd::Command;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

pub const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");

/// A folder with every output of the pipeline for story-nano, made once by the command itself.
fn pipeline() -> &'static Path {
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

/// The packed image, changed, in a folder of its own.
fn image(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let folder = fresh(name);
    let mut bytes = std::fs::read(pipeline().join("story.image")).unwrap();
    change(&mut bytes);
    std::fs::write(folder.join("story.image"), bytes).unwrap();
    folder
}

/// A copy of the story-nano directory, without the texts.
fn checkpoint(name: &str) -> PathBuf {
    let folder = fresh(name);
    std::fs::create_dir(folder.join("model")).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(format!("{MODELS}/story-nano/{file}"), folder.join("model").join(file))
            .unwrap();
    }
    folder
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

#[test]
fn what_is_no_image_is_refused() {
    let folder = fresh("no-image");
    std::fs::write(folder.join("empty"), "").unwrap();
    std::fs::write(folder.join("text"), "Once upon a time there was no image here.\n").unwrap();
    for command in ["run", "inspect"] {
        for file in ["nosuch", "empty", "text"] {
            let code = ripple(&folder, &[command, file]).assert().get_output().status.code();
            assert_eq!(code, Some(3), "{command} {file}");
        }
        says(&refused(&folder, &[command, "nosuch"]), &["nosuch: no such file"]);
    }
    says(&refused(&folder, &["inspect", "empty"]), &["empty: ", "found 0", "ripple pack"]);
    says(&refused(&folder, &["inspect", "text"]), &["text: not a Ripple image", "ripple pack"]);
    let or_a_model = "expected an image, as `ripple pack` writes it, or a model, found ";
    says(&refused(&folder, &["run", "empty"]), &["empty: ", or_a_model, "an empty file"]);
    says(&refused(&folder, &["run", "text"]), &["text: ", or_a_model, "none of the formats"]);
}

#[test]
fn a_cut_image_is_refused() {
    let folder = image("cut", |bytes| bytes.truncate(100_000));
    let error = refused(&folder, &["run", "story.image"]);
    says(&error, &["story.image: the image is cut short", "712 blocks", "196", "copy it again"]);
    let error = refused(&folder, &["inspect", "story.image"]);
    says(&error, &["expected 364544 bytes, found 100000", "copy it again"]);
}

#[test]
fn a_flipped_byte_is_refused_wherever_it_is() {
    let folder = image("flip-header", |bytes| bytes[60] ^= 0x10);
    says(&refused(&folder, &["run", "story.image"]), &["story.image: header checksum"]);
    says(&refused(&folder, &["inspect", "story.image"]), &["story.image: header checksum"]);

    let folder = image("flip-tokenizer", |bytes| bytes[1000] ^= 1);
    let error = refused(&folder, &["run", "story.image", "--map", "none"]);
    says(&error, &["section `tokenizer` has checksum", "copy it again"]);

    // The predictor, mapped, mapped in part, and read.
    let folder = image("flip-predictor", |bytes| bytes[30_000] ^= 0x10);
    for map in ["dense", "all"] {
        let error = refused(&folder, &["run", "story.image", "--map", map]);
        says(&error, &["section `predictor` has checksum", "copy it again"]);
    }
    let error = refused(&folder, &["run", "story.image", "--map", "40000"]);
    says(
        &error,
        &["record 4 of layer 1 of section `predictor` is damaged", "copy the image again"],
    );
    let error = refused(&folder, &["run", "story.image", "--map", "none"]);
    says(&error, &["section `predictor`, layer 1: record 4 is damaged", "copy the image again"]);

    // A hot neuron of the first layer, so that opening reads it.
    let folder = image("flip-ffn", |bytes| bytes[372 * 512 + 30] ^= 0x10);
    let error = refused(&folder, &["run", "story.image"]);
    says(&error, &["section `ffn`, layer 0: record 0 is damaged", "copy the image again"]);
    let error = refused(&folder, &["run", "story.image", "--map", "all"]);
    says(&error, &["section `ffn` has checksum"]);
    let error = refused(&folder, &["inspect", "story.image"]);
    says(&error, &["wrong checksum in section `ffn`"]);
}

#[test]
fn an_error_in_the_middle_of_a_text_starts_a_line() {
    // The whole FFN, cache off: the first token read finds it.
    let folder = image("flip-all-ffn", |bytes| {
        for at in (372 * 512..bytes.len()).step_by(136) {
            bytes[at] ^= 1;
        }
    });
    let run = ripple(&folder, &["run", "story.image", "--cache", "0"]).assert().failure();
    let out = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert!(out.is_empty() || out.ends_with('\n'), "{out:?}");
}

#[test]
fn a_newer_version_is_refused() {
    let folder = image("version", |bytes| bytes[8] = 99);
    let error = refused(&folder, &["run", "story.image"]);
    says(&error, &["story.image: image format version 99, expected 5", "pack the model again"]);
}

#[test]
fn options_out_of_range_are_refused() {
    let run = |more: &[&str]| {
        let line = [&["run", "story.image"], more].concat();
        let code = ripple(pipeline(), &line).assert().get_output().status.code();
        assert_eq!(code, Some(2), "{line:?}");
        refused(pipeline(), &line)
    };
    says(&run(&["--card", "nosuch"]), &["nosuch", "spi, sdio-hs", "sandisk-extreme", "ufs4"]);
    says(&run(&["--temperature", "-1"]), &["--temperature -1: expected 0 or more"]);
    says(&run(&["--top-p", "0"]), &["--top-p 0: expected above 0, at most 1"]);
    says(&run(&["--repeat-penalty", "-1"]), &["--repeat-penalty -1: expected above 0"]);
    for cache in ["-1", "NaN", "inf", "1.5", "2", "5000", "1.5MiB", "MiB", "2 parsec"] {
        let error = run(&["--cache", cache]);
        says(&error, &["--cache", cache, "a share of the FFN from 0 to 1, or bytes with a unit"]);
    }
    for cache in ["0", "1", "0.25", "512B", "64KiB", "2MiB", "1GiB"] {
        ok(pipeline(), &["run", "story.image", "-n", "1", "--cache", cache]);
    }
    says(&run(&["--context", "0"]), &["--context", "0 is not in 1.."]);
    says(&run(&["--context", "257"]), &["--context 257: expected at most 256"]);
    says(&run(&["--map", "-1"]), &["--map", "`none`, `dense`, `all` or a number of bytes"]);
    says(&run(&["--hot-permille", "1001"]), &["--hot-permille", "1001 is not in 0..=1000"]);
    says(&run(&["--staging", "4294967295"]), &["--staging", "not in 0..=65536"]);
    says(&run(&["-n", "0"]), &["--tokens", "0 is not in 1.."]);
    let error = refused(Path::new(env!("CARGO_TARGET_TMPDIR")), &["--model", "nosuch"]);
    says(&error, &["nosuch", "story-nano", "novel-small"]);
    let trace = ["place", "story.trace", "-o", "never"];
    for more in
        [&["--hot", "1.5"][..], &["--layers", "0..9"], &["--page-mib", "5", "--method", "random"]]
    {
        let line = [&trace[..], more].concat();
        says(&refused(pipeline(), &line), &[more[0]]);
        assert_eq!(ripple(pipeline(), &line).assert().get_output().status.code(), Some(2));
    }
}

#[test]
fn a_prompt_beyond_the_context_is_refused_and_a_text_ends_with_it() {
    let long = "the cat sat on the mat ".repeat(60);
    let error = refused(pipeline(), &["run", "story.image", "--prompt", &long]);
    says(&error, &["the prompt has 4", "the context is 256", "shorten the prompt"]);
    let error =
        refused(pipeline(), &["run", "story.image", "-p", "One day, a dog", "--context", "3"]);
    says(&error, &["the context is 3", "shorten the prompt"]);
    let out = ok(pipeline(), &["run", "story.image", "-n", "50", "--context", "8"]);
    says(&out, &["8 run: 1 of the prompt, 8 generated; the context is full"]);
}

#[test]
fn bad_traces_and_placements_are_refused_and_outputs_survive() {
    let folder = fresh("stages");
    let from = |file: &str| std::fs::read(pipeline().join(file)).unwrap();
    std::fs::write(folder.join("cut.trace"), &from("story.trace")[..5000]).unwrap();
    std::fs::write(folder.join("good.placement"), from("story.placement")).unwrap();
    std::fs::write(folder.join("story.model"), from("story.model")).unwrap();
    std::fs::write(folder.join("good.image"), from("story.image")).unwrap();
    let error = refused(&folder, &["place", "cut.trace", "-o", "good.placement"]);
    says(&error, &["cut.trace: not an activation trace", "found 5000", "cut short"]);

    let novel = format!("{MODELS}/novel-nano");
    let pack = |placement| {
        refused(&folder, &["pack", "story.model", "--placement", placement, "-o", "good.image"])
    };
    says(&pack("cut.trace"), &["cut.trace: not a placement"]);
    says(&pack("nosuch"), &["nosuch: no such file"]);
    let wrong = ["pack", &novel, "--placement", "good.placement", "-o", "good.image"];
    says(
        &refused(&folder, &wrong),
        &["good.placement: the placement is for 5 layers of 256", "`novel-nano` has 4 of"],
    );
}

#[test]
fn bad_checkpoints_are_refused() {
    let import = ["import", "model", "-o", "out.model"];
    let folder = checkpoint("silu");
    let config = folder.join("model/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"relu\"", "\"silu\"")).unwrap();
    let error = refused(&folder, &import);
    says(
        &error,
        &["model: its activation is Silu, which is never exactly zero", "nothing to skip"],
    );

    let folder = checkpoint("cut-checkpoint");
    let weights = folder.join("model/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..50_000]).unwrap();
    std::fs::write(folder.join("out.model"), "an earlier one").unwrap();
    let error = refused(&folder, &import);
    says(&error, &["model/model.safetensors: not a whole safetensors file", "download it again"]);

    let folder = checkpoint("no-tokenizer");
    std::fs::remove_file(folder.join("model/tokenizer.json")).unwrap();
    says(&refused(&folder, &import), &["model/tokenizer.json: not found, nor vocab.json"]);
}

#[test]
fn bad_texts_are_refused() {
    let folder = fresh("texts");
    std::fs::write(folder.join("empty.txt"), " \n").unwrap();
    std::fs::write(folder.join("latin1.txt"), b"caf\xe9 au lait").unwrap();
    std::fs::write(folder.join("short.txt"), "Once upon a time").unwrap();
    std::fs::write(folder.join("good.trace"), "an earlier one").unwrap();
    let model = format!("{MODELS}/story-nano");
    let trace = |text| refused(&folder, &["trace", &model, "--text", text, "-o", "good.trace"]);
    says(&trace("empty.txt"), &["empty.txt: the text is empty"]);
    says(&trace("latin1.txt"), &["latin1.txt: expected a text in UTF-8", "index 3"]);
    says(&trace("nosuch.txt"), &["nosuch.txt: no such file"]);
    let error = refused(&folder, &["perplexity", &model, "--text", "short.txt"]);
    says(&error, &["short.txt: expected at least one full context of 256 tokens, found"]);
}

#[test]
fn outputs_that_cannot_be_written_are_refused_before_the_work() {
    let folder = fresh("outputs");
    std::fs::create_dir(folder.join("folder")).unwrap();
    let model = format!("{MODELS}/story-nano");
    let text = format!("{MODELS}/story-nano/profile.txt");
    let placement = pipeline().join("story.placement").display().to_string();
    let trace = pipeline().join("story.trace").display().to_string();
    for args in [
        &["import", &model][..],
        &["trace", &model, "--text", &text],
        &["place", &trace],
        &["pack", &model, "--placement", &placement],
    ] {
        let error = refused(&folder, &[args, &["-o", "nosuch/out"]].concat());
        says(
            &error,
            &["nosuch/out: cannot be written, there is no folder `nosuch`; make it first"],
        );
        let error = refused(&folder, &[args, &["-o", "folder"]].concat());
        says(&error, &["folder: cannot be written, expected the name of a file, found a folder"]);
    }
}
