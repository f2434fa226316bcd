//! `ripple place` on several machines, as its users meet it.

use assert_cmd::Command;
use ripple_host_sim::profile::trace::{TraceBuilder, TraceHeader};
use std::path::Path;

/// A trace of four layers of 40 neurons in `folder`.
fn trace(folder: &Path) {
    let (model, text) = ("m".to_owned(), "t".to_owned());
    let mut builder =
        TraceBuilder::new(TraceHeader { model, text, layers: 4, neurons: 40, bundle_bytes: 64 });
    for token in 0..200 {
        for layer in 0..4 {
            let group = (token * 7 + layer * 3 + token / 5) % 8;
            let fires = |&i: &usize| i * 5 % 8 == group || (i * i + token) % 13 == 0;
            let active: Vec<u16> = (0..40).filter(fires).map(|i| i as u16).collect();
            builder.push(token, layer, &active);
        }
    }
    builder.finish().write(&folder.join("m.trace")).unwrap();
}

fn place(folder: &Path, args: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripple"));
    command.current_dir(folder).arg("place").args(args).assert()
}

fn refused(folder: &Path, args: &[&str]) -> String {
    let output = place(folder, args).failure().get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn parts_are_joined_to_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trace(folder);
    place(folder, &["m.trace", "--method", "coactivation", "-o", "whole"]).success();
    place(folder, &["m.trace", "--layers", "0..3", "-o", "part-0"]).success();
    place(folder, &["m.trace", "--layers", "3..4", "-o", "part-3"]).success();
    place(folder, &["--merge", "part-3", "part-0", "-o", "joined"]).success();
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert!(read("whole") == read("joined"));

    place(folder, &["m.trace", "--layers", "2..4", "--hot", "0.5", "-o", "hotter"]).success();
    for (args, words) in [
        (&["--merge", "part-0"][..], "layers 3..4 of 4 are in none of the parts"),
        (&["--merge", "part-0", "part-0"], "part-0: expected layers from 3 on after part-0"),
        (&["--merge", "part-0", "hotter"], "hotter: expected hot prefixes ["),
        (&["--merge", "part-0", "whole"], "whole: not a part of a placement"),
        (&["--merge", "part-0", "nosuch"], "nosuch: no such file"),
        (&["--merge", "part-0", "--hot", "0.2"], "cannot be used with"),
        (&["m.trace", "--merge", "part-0"], "cannot be used with"),
        (&["m.trace", "--layers", "2..5"], "--layers 2..5: expected at most 0..4"),
        (&["m.trace", "--layers", "2..2"], "expected A..B, A less than B"),
        (&["m.trace", "--layers", "2"], "expected A..B, A less than B"),
        (&[], "required arguments were not provided"),
    ] {
        let error = refused(folder, &[args, &["-o", "joined"]].concat());
        assert!(error.contains(words), "no `{words}` in: {error}");
        assert!(read("whole") == read("joined"), "{args:?} changed the file");
    }
}

#[test]
fn help_shows_how_to_use_a_scheduler() {
    let folder = tempfile::tempdir().unwrap();
    let output = place(folder.path(), &["--help"]).success().get_output().clone();
    let help = String::from_utf8(output.stdout).unwrap();
    for words in ["sbatch --wait --array=0-3", "--layers $a..$((a + 8))", "place --merge part-*"] {
        assert!(help.contains(words), "no `{words}` in: {help}");
    }
}
