//! `ripple trace` on several machines, and what `ripple perplexity --keep` refuses, as their users meet them.

use assert_cmd::Command;
use std::fs;
use std::path::Path;

fn ripple(folder: &Path, args: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripple"));
    command.current_dir(folder).args(args).assert()
}

#[test]
fn parts_of_a_text_are_joined_to_the_same_trace() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = "One day, a little girl saw a big dog. The dog was sad. ".repeat(40);
    fs::write(folder.join("t.txt"), text).unwrap();
    let trace = |more: &[&str]| {
        ripple(
            folder,
            &[&["trace", "story-nano", "--text", "t.txt", "--tokens", "600"], more].concat(),
        )
    };
    trace(&["-o", "whole"]).success();
    trace(&["--windows", "0..1", "-o", "part-0"]).success();
    trace(&["--windows", "1..3", "-o", "part-1"]).success();
    let merge =
        |parts: &[&str]| ripple(folder, &[&["trace", "-o", "joined", "--merge"], parts].concat());
    merge(&["part-1", "part-0"]).success();
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    assert!(read("whole") == read("joined"));

    trace(&["--windows", "1..2", "-o", "less"]).success();
    trace(&["--windows", "0..1", "--ffn", "q4", "-o", "other"]).success();
    for (parts, words) in [
        (&["part-0"][..], "the parts end with window 1 of 3"),
        (&["part-1"], "part-1: windows 1..3 of 3, expected a part that begins with window 0"),
        (&["part-0", "less"], "the parts end with window 2 of 3"),
        (&["part-0", "part-1", "less"], "expected a part that begins with window"),
        (&["part-0", "whole"], "whole: expected a part, as `ripple trace --windows` writes it"),
        (&["other", "part-1"], "part-1: a part of another trace than other"),
        (&["part-0", "nosuch"], "nosuch: no such file"),
    ] {
        let output = merge(parts).code(3).get_output().clone();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words), "no `{words}` in: {error}");
        assert!(read("whole") == read("joined"), "{parts:?} changed the file");
    }
    for (windows, words) in
        [("2..4", "--windows 2..4: expected at most 0..3"), ("2..2", "expected A..B")]
    {
        let output = trace(&["--windows", windows, "-o", "joined"]).code(2).get_output().clone();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
}

#[test]
fn shares_are_kept_of_neurons_without_zeros_only() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("t.txt"), "One day, a little girl saw a dog. ".repeat(80)).unwrap();
    let keep = ["perplexity", "story-nano", "--text", "t.txt", "--calibrate", "t.txt", "--keep"];
    for (shares, words) in [
        ("0.5", "its activation is Relu, expected SiLU or GELU gates"),
        ("0", "expected a share above 0, below 1"),
        ("1", "expected a share above 0, below 1"),
    ] {
        let output =
            ripple(folder, &[&keep[..], &[shares]].concat()).failure().get_output().clone();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
}
