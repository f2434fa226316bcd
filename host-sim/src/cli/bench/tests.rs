//! What `ripple bench` asks for and writes, with a replay that makes its rows up.

use super::{Bench, Case, Preset, Row, Settings};
use crate::profile::trace::{TraceBuilder, TraceHeader};
use anyhow::{Result, bail};
use clap::Parser;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const POLICIES: [&str; 2] = ["llm-in-a-flash", "ours"];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    bench: Bench,
}

fn parse(args: &[&str]) -> Result<Bench, clap::Error> {
    Cli::try_parse_from([&["bench"], args].concat()).map(|cli| cli.bench)
}

/// A row for each policy, slower on slower cards and with smaller caches.
fn made_up(
    case: &Case<'_>,
    settings: &Settings,
    preset: &'static Preset,
    ratio: f64,
) -> Result<Vec<Row>> {
    let row = |(at, policy): (usize, &String)| Row {
        model: case.name.to_owned(),
        preset: preset.name.to_owned(),
        cache_ratio: ratio,
        policy: policy.clone(),
        ms_per_token: 3.0,
        io_ms: preset.t0_ns as f64 * (1.0 - ratio) / (at + 1) as f64,
        compute_ms: 1.0,
        reads_per_token: 1.0,
        bytes_per_token: f64::from(case.bundle_bytes),
        mean_run_bundles: 1.0,
        read_amplification: 1.0,
        hit_rate: ratio,
        p99_ms: 4.0,
        floor_ms: 1.0,
        ffn_bytes: 1,
        page_bytes: 0,
        index_bytes: 0,
    };
    Ok(settings.policies.iter().enumerate().map(row).collect())
}

fn no_rows(_: &Case<'_>, _: &Settings, _: &'static Preset, _: f64) -> Result<Vec<Row>> {
    bail!("replayed although the arguments are wrong")
}

/// A trace file of `tokens` tokens.
fn trace(folder: &Path, file: &str, tokens: usize, neurons: usize) -> PathBuf {
    let (model, text) = ("m".to_owned(), format!("{file}.txt"));
    let header = TraceHeader { model, text, layers: 2, neurons, bundle_bytes: 64 };
    let mut builder = TraceBuilder::new(header);
    for token in 0..tokens {
        builder.push(token, 0, &[(token % neurons) as u16]);
    }
    let path = folder.join(file);
    builder.finish().write(&path).unwrap();
    path
}

/// The arguments of the trace form, and more.
fn traces(folder: &TempDir, more: &[&str]) -> Bench {
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    let a = path(trace(folder.path(), "a", 20, 9));
    let b = path(trace(folder.path(), "b", 10, 9));
    let args = [&["--profile-trace", &a, "--test-trace", &b], more].concat();
    parse(&args).unwrap()
}

#[test]
fn every_cache_size_is_replayed_on_every_card() {
    let folder = TempDir::new().unwrap();
    let mut calls = Vec::new();
    let bench = traces(&folder, &["--bundle-bytes", "100", "--cache", "0,0.5,0"]);
    let text = bench.compare(&POLICIES, |case, settings, preset, ratio| {
        assert_eq!((case.bundle_bytes, case.profile.tokens(), case.test.tokens()), (100, 20, 10));
        assert_eq!(settings.policies, POLICIES);
        calls.push((ratio, preset.name));
        made_up(case, settings, preset, ratio)
    });
    let text = text.unwrap();
    let cards = |ratio: f64| Preset::names().map(|name| (ratio, name));
    assert_eq!(calls, [cards(0.0), cards(0.5)].concat());
    assert!(text.starts_with("Simulated. placed by a.txt (20 tokens), replayed on b.txt (10"));
    assert!(Preset::names().iter().all(|name| text.contains(&format!("{name} (simulated)"))));
}

#[test]
fn the_files_hold_the_rows_and_are_the_same_twice() {
    let folder = TempDir::new().unwrap();
    let names = ["rows.json", "rows.csv", "page.md", "chart.svg"];
    let paths = names.map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let [json, csv, md, svg] = &paths;
    let args = ["--json", json, "--csv", csv, "--md", md, "--svg", svg, "--preset", "spi,ufs4"];
    let bench = traces(&folder, &args);
    let mut written = Vec::new();
    for _ in 0..2 {
        bench.compare(&POLICIES, made_up).unwrap();
        written.push(paths.each_ref().map(|path| std::fs::read_to_string(path).unwrap()));
    }
    assert_eq!(written[0], written[1]);
    let [json, csv, md, svg] = &written[0];
    let read: serde_json::Value = serde_json::from_str(json).unwrap();
    let rows: Vec<Row> = serde_json::from_value(read["rows"].clone()).unwrap();
    assert_eq!(rows.len(), 2 * 4 * 2);
    assert_eq!(csv.lines().count(), 1 + rows.len());
    assert!(md.contains("## spi") && md.contains("## ufs4") && !md.contains("## sdio-hs"));
    // Of the default sizes the chart shows a tenth.
    assert!(svg.contains("Neuron cache: 10 % of the FFN"));
}

#[test]
fn a_demo_model_is_known_by_its_name() {
    let args = ["story-nano", "--tokens", "40", "--profile-tokens", "60", "--preset", "spi"];
    let bench = parse(&args).unwrap();
    let text = bench.compare(&POLICIES, |case, settings, preset, ratio| {
        assert_eq!((case.profile.tokens(), case.test.tokens()), (60, 40));
        let model = case.model.unwrap();
        assert_eq!((case.name, case.test.layers()), ("story-nano", model.config.layers as usize));
        made_up(case, settings, preset, ratio)
    });
    assert!(text.unwrap().contains("story-nano, cache 20 %"));
}

#[track_caller]
fn refused(bench: &Bench, words: &[&str]) {
    let error = format!("{:#}", bench.compare(&POLICIES, no_rows).unwrap_err());
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}

#[test]
fn what_is_wrong_is_said_before_anything_is_replayed() {
    let folder = TempDir::new().unwrap();
    refused(&traces(&folder, &["--policies", "ours,best"]), &["`best`", "llm-in-a-flash, ours"]);
    let chart = ["--svg", "chart.svg", "--svg-cache", "0.3"];
    refused(&traces(&folder, &chart), &["--svg-cache 0.3", "--cache", "0.05"]);
    refused(&traces(&folder, &["--csv", "no/such/folder/a.csv"]), &["no/such/folder", "make it"]);
    refused(&parse(&["no-such-model"]).unwrap(), &["no-such-model"]);
    refused(&parse(&["story-nano", "story-nano"]).unwrap(), &["second", "story-nano", "rename"]);
    let lost = parse(&["story-nano", "--held-out", "lost.txt"]).unwrap();
    refused(&lost, &["--held-out", "lost.txt", "story-nano"]);
    // Traces of different models, and one without tokens.
    let (a, other) = (trace(folder.path(), "a", 3, 9), trace(folder.path(), "c", 3, 8));
    let empty = trace(folder.path(), "d", 0, 9);
    let form = |a: &Path, b: &Path| {
        let [a, b] = [a, b].map(|path| path.to_str().unwrap());
        parse(&["--profile-trace", a, "--test-trace", b]).unwrap()
    };
    refused(&form(&a, &other), &["2 layers of 9", "found 2 of 8", "same model"]);
    refused(&form(&a, &empty), &["d: expected at least one token", "trace a text"]);
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    for args in [
        &["--profile-trace", "a"][..],
        &["--test-trace", "a"],
        &["--bundle-bytes", "100"],
        &["story-nano", "--profile-trace", "a", "--test-trace", "b"],
        &["--tokens", "10", "--profile-trace", "a", "--test-trace", "b"],
        &["--cache", "1.5"],
        &["--cache", "-0.1"],
        &["--preset", "floppy"],
        &["--svg-cache", "0.1"],
    ] {
        assert!(parse(args).is_err(), "{args:?}");
    }
}
