//! `ripple make`, and `ripple run` of what is no image yet.

use crate::commands::{MODELS, fresh, ok, refused, ripple, says};
use crate::gguf;
use std::path::Path;

fn profile() -> String {
    format!("{MODELS}/story-nano/profile.txt")
}

/// What a command that succeeds says on standard error.
fn said(folder: &Path, args: &[&str]) -> String {
    let output = ripple(folder, args).assert().success().get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

fn read(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).unwrap()
}

#[test]
fn making_is_what_the_steps_do_one_by_one() {
    let folder = fresh("make");
    let model = format!("{MODELS}/story-nano");
    let text = profile();
    ok(&folder, &["import", &model, "-o", "m"]);
    ok(&folder, &["trace", "m", "--text", &text, "--tokens", "512", "-o", "t"]);
    ok(&folder, &["place", "t", "--hot", "0.1", "--card", "sdio-hs", "-o", "p"]);
    ok(&folder, &["pack", "m", "--placement", "p", "--trace", "t", "-o", "steps"]);
    for from in [&model[..], "m", "story-nano"] {
        let make = ["make", from, "--text", &text, "--tokens", "512", "--card", "sdio-hs"];
        let told = said(&folder, &[&make[..], &["-o", "made"]].concat());
        assert!(read(&folder, "made") == read(&folder, "steps"), "{from}");
        // What it costs comes first, what was done last.
        let lines: Vec<&str> = told.lines().collect();
        says(lines[0], &["story-nano: Gated FFN, 5 layers of 256 neurons"]);
        says(lines[1], &["image    356.0 KiB, and up to 64.0 MiB of pages"]);
        says(lines[2], &["reading  512 tokens of profile.txt: about "]);
        says(lines[3], &["placed for an sdio-hs card by 512 tokens -> made"]);
    }
    let bare = ["make", "m", "--text", &text, "--tokens", "64", "--page-mib", "0", "-o", "bare"];
    let bare = said(&folder, &bare);
    says(&bare, &["image    356.0 KiB, without pages"]);
    assert_eq!(read(&folder, "bare").len(), 364_544);
}

#[test]
fn a_gguf_becomes_an_image_and_a_dear_threshold_is_warned_of() {
    let folder = fresh("make-gguf");
    gguf::write(&folder.join("my.gguf"));
    std::fs::write(folder.join("text"), "a b c d e f g h ".repeat(40)).unwrap();
    let make = ["make", "my.gguf", "--text", "text", "-o", "my.image"];
    says(&refused(&folder, &make), &["its activation is Silu", "--threshold"]);
    let told = said(&folder, &[&make[..], &["--threshold", "1"]].concat());
    assert!(!told.contains("warning"), "{told}");
    says(&ok(&folder, &["inspect", "my.image"]), &["100 % of the neurons are active: nothing is"]);
    says(&ok(&folder, &["run", "my.image", "-p", "a", "-n", "3"]), &["3 generated"]);
    let told = said(&folder, &[&make[..], &["--threshold", "0.02"]].concat());
    says(&told, &["2 % of the neurons active, lossy: perplexity of"]);
    // Whether it is dear depends on the weights, which are random: it is warned of if it is.
    let percent = told.split_once(" (").unwrap().1.split_once(" %)").unwrap().0;
    let percent: f64 = percent.parse().unwrap();
    assert_eq!(told.contains("warning: --threshold 0.02"), percent > 5.0, "{told}");
}

#[test]
fn what_is_made_for_a_board_fits_it() {
    let folder = fresh("make-board");
    let make = ["make", "novel-small", "--board", "lm3s6965evb", "-o", "image"];
    let error = refused(&folder, &make);
    says(&error, &["novel-small: ram of lm3s6965evb: needs"]);
    let error = refused(&folder, &[&make[..], &["--card", "spi"]].concat());
    says(&error, &["--board", "cannot be used with"]);
    ok(&folder, &["import", "story-nano", "-o", "m"]);
    let text = profile();
    for (args, words) in [
        (&["make", "m", "-o", "i"][..], "m has no profile.txt beside it"),
        (
            &["make", "m", "--text", &text, "--context", "9", "-o", "i"],
            "which was imported already",
        ),
    ] {
        says(&refused(&folder, args), &["m", words]);
        assert_eq!(ripple(&folder, args).assert().get_output().status.code(), Some(2), "{args:?}");
    }
    let error = refused(&folder, &["make", "nosuch", "--text", &text, "-o", "i"]);
    says(&error, &["nosuch: no such file"]);
}

#[test]
#[ignore = "slow"]
fn a_model_runs_before_there_is_an_image_of_it() {
    let folder = fresh("run-model");
    let run = |args: &[&str]| {
        let run = ripple(&folder, &[&["run"], args].concat()).assert().success();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&run.get_output().stdout), text(&run.get_output().stderr))
    };
    let story = |out: &str| out.split_once("\n\nsimulated").unwrap().0.to_owned();
    let options = ["-p", "One day,", "-n", "30"];
    let (demo, told) = run(&[&["story-nano"], &options[..]].concat());
    says(&told, &["placed by 16384 tokens of", "in a temporary file", "`ripple make`"]);
    ok(&folder, &["import", "story-nano", "-o", "m"]);
    let (model, told) = run(&[&["m"], &options[..]].concat());
    says(&told, &["its neurons lie as in the checkpoint", "0 B of it pages"]);
    assert_eq!(story(&demo), story(&model));
    let text = profile();
    let (placed, told) = run(&[&["m", "--text", &text], &options[..]].concat());
    says(&told, &["placed by 16384 tokens of"]);
    assert_eq!(simulated(&placed), simulated(&demo), "placed alike");
    gguf::write(&folder.join("my.gguf"));
    let (out, told) = run(&["my.gguf", "-p", "a", "-n", "3"]);
    says(&out, &["3 generated"]);
    says(&told, &["tiny: all neurons are active, as Silu is never 0: nothing is left out"]);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "nothing is left beside them");
}

/// The simulated part of a report.
fn simulated(out: &str) -> &str {
    out.split_once("\n\nsimulated").unwrap().1.split_once("\nmeasured").unwrap().0
}

/// An image with 96 MiB behind it runs where 64 MiB can be allocated.
#[cfg(target_os = "linux")]
#[test]
fn an_image_is_mapped_and_not_read() {
    let folder = fresh("mapped");
    let model = format!("{MODELS}/story-nano");
    ok(&folder, &["make", &model, "--text", &profile(), "--tokens", "64", "-o", "i"]);
    let file = std::fs::File::options().write(true).open(folder.join("i")).unwrap();
    file.set_len(96 << 20).unwrap();
    let shell = format!("ulimit -d 65536; exec {} run i -n 2", env!("CARGO_BIN_EXE_ripple"));
    let mut command = assert_cmd::Command::new("sh");
    command.current_dir(&folder).args(["-c", &shell]).assert().success();
}
