//! What every `--json` looks like: its fields and their types are a promise.

use assert_cmd::Command;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");

fn ripple(folder: &Path, line: &str) -> Vec<u8> {
    let mut command = Command::cargo_bin("ripple").unwrap();
    let output = command.current_dir(folder).args(line.split_whitespace()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}");
    output.stdout
}

/// A line for each field: its path and type; the items of an array share one.
fn shape(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                shape(field, &format!("{path}.{name}"), out);
            }
            return;
        }
        Value::Array(items) => {
            items.iter().for_each(|item| shape(item, &format!("{path}[]"), out));
            return;
        }
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
    };
    out.insert(format!("{path}: {kind}"));
}

#[test]
fn every_json_has_a_version_and_these_fields() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = format!("{MODELS}/story-nano");
    let (profile, held_out) = (format!("{model}/profile.txt"), format!("{model}/held-out.txt"));
    ripple(folder, &format!("trace {model} --text {profile} --tokens 256 -o t"));
    ripple(folder, "place t -o p");
    ripple(folder, &format!("pack {model} --placement p --trace t -o i.img"));
    let small = "--profile-tokens 256 --tokens 64";
    ripple(folder, &format!("bench story-nano --preset spi --cache 0.1 {small} --json bench.json"));
    let measured = "--ram 2M --pp 4 --tg 2 -r 1 --json measured.json";
    ripple(folder, &format!("bench --device i.img {measured}"));
    let report = format!("report story-nano {small} --generate 2 -o r.html --json report.json");
    ripple(folder, &report);
    let read = |file: &str| std::fs::read(folder.join(file)).unwrap();
    let mut all = String::new();
    for (name, json) in [
        ("ripple run IMAGE --json", ripple(folder, "run i.img -n 2 --json")),
        (
            "ripple run --device IMAGE --json",
            ripple(folder, "run --device i.img --page-cache --ram 2M -n 2 --json"),
        ),
        (
            "ripple tune IMAGE --text TEXT --json",
            ripple(
                folder,
                &format!(
                    "tune i.img --text {held_out} --tokens 16 -n 1 --windows 1 -o a.lora --json"
                ),
            ),
        ),
        (
            "ripple plan IMAGE --tune --json",
            ripple(folder, "plan i.img --tune --arena 512K --json"),
        ),
        ("ripple inspect IMAGE --json", ripple(folder, "inspect i.img --json")),
        ("ripple orders TRACE TRACE --json", ripple(folder, "orders t t --json")),
        (
            "ripple perplexity MODEL --text TEXT --json",
            ripple(folder, &format!("perplexity {model} --text {held_out} --windows 1 --json")),
        ),
        (
            "ripple plan --board BOARD --simulate --json",
            ripple(folder, "plan --board raspi3b i.img --simulate -n 2 --json"),
        ),
        ("ripple card IMAGE -o FILE --json", ripple(folder, "card i.img -o c --json")),
        ("ripple doctor --json", ripple(folder, "doctor --json")),
        ("ripple bench MODEL --json FILE", read("bench.json")),
        ("ripple bench --device IMAGE --json FILE", read("measured.json")),
        ("ripple report MODEL -o PAGE --json FILE", read("report.json")),
    ] {
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["version"], 3, "{name}");
        let mut fields = BTreeSet::new();
        shape(&json, "", &mut fields);
        // What this machine has installed is no part of it.
        fields.retain(|field| {
            !field.starts_with(".checks[].found") && !field.starts_with(".checks[].install")
        });
        all += &format!("{name}\n");
        fields.iter().for_each(|field| all += &format!("  {field}\n"));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_command_has_an_example() {
    let help = |line: &str| String::from_utf8(ripple(Path::new("."), line)).unwrap();
    let all = help("--help");
    assert!(all.contains("Exit codes:"));
    let commands = all.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = commands.take_while(|line| !line.is_empty());
    let names: Vec<&str> = names
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() >= 17, "{names:?}");
    for name in names {
        let help = help(&format!("{name} --help"));
        // What the documentation of the code links to is no link here.
        assert!(!help.contains("[`") && !help.contains("]("), "{name}: {help}");
        let (_, example) = help.split_once("\n\nOptions:").unwrap();
        assert!(example.contains(&format!("ripple {name} ")), "{name}: {help}");
    }
}

#[test]
fn shells_complete_and_man_reads() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ripple(Path::new("."), &format!("completions {shell}"));
        assert!(String::from_utf8(script).unwrap().contains("perplexity"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    ripple(folder.path(), "man .");
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("ripple.1").contains("EXTRA") && page("ripple-report.1").contains("\\-\\-layer"));
}

#[test]
fn the_doctor_fails_only_for_a_board_it_was_asked_about() {
    let run = |line: &str, path: &str| {
        let mut command = Command::cargo_bin("ripple").unwrap();
        command.args(line.split_whitespace()).env("PATH", path).output().unwrap()
    };
    let output = run("doctor", "");
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("rustup target add thumbv7m-none-eabi"), "{printed}");
    for name in ["cc", "python3", "arm-none-eabi-gcc", "boards/x setup"] {
        assert!(printed.contains(name), "{printed}");
    }
    let (_, installs) = printed.split_once("To install what is missing:").unwrap();
    let mut lines: Vec<&str> = installs.lines().collect();
    lines.sort_unstable();
    let all = lines.len();
    lines.dedup();
    assert_eq!(lines.len(), all, "each command once: {installs}");
    let output = run("doctor lm3s6965evb", "");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("lm3s6965evb cannot be built and run here: cargo, cc, thumbv7m"),
        "{error}"
    );
    assert!(!error.contains("probe-rs"), "{error}");
}
