//! A session of wrong uses: what is typed, what the command answers, what it leaves.
//!
//! Each test is one mistake; its snapshot reads as the terminal would, with the exit code below and
//! what became of the folder.

use crate::import_common::Directory;
use rustix::process::{Pid, Signal, kill_process};
use safetensors::tensor::Dtype;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
const GATE: &str = "model.layers.0.mlp.gate_proj.weight";

fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong-uses").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn ripple(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripple"));
    command.current_dir(folder).args(line.split_whitespace()).env("RUST_BACKTRACE", "0");
    command
}

/// A folder with what the stages make of story-nano.
fn made() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = fresh("made");
        let model = format!("{MODELS}/story-nano");
        for line in [
            format!("import {model} -o story.model"),
            format!("trace story.model --text {model}/profile.txt --tokens 256 -o story.trace"),
            "place story.trace -o story.placement".to_owned(),
            "pack story.model --placement story.placement -o story.image".to_owned(),
        ] {
            assert!(ripple(&folder, &line).stderr(Stdio::null()).status().unwrap().success());
        }
        folder
    })
}

/// A folder of that name with copies of `files`.
fn with(name: &str, files: &[&str]) -> PathBuf {
    let folder = fresh(name);
    for file in files {
        std::fs::copy(made().join(file), folder.join(file)).unwrap();
    }
    folder
}

fn contents(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ordinary = |path: &PathBuf| path.is_file().then(|| std::fs::read(path).unwrap());
    let mut all: Vec<_> = entries.map(|path| (path.clone(), ordinary(&path))).collect();
    all.sort();
    all
}

/// The session as a terminal shows it.
fn session(shown: &str, output: &std::process::Output, left: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().map_or("none".to_owned(), |code| code.to_string());
    format!("$ {shown}\n{}{}exit code {code}; {left}", text(&output.stdout), text(&output.stderr))
}

/// Runs `line`, which must leave the folder as it was.
fn wrong(folder: &Path, line: &str) -> String {
    let before = contents(folder);
    let output = ripple(folder, line).output().unwrap();
    assert!(!output.status.success(), "{line}");
    assert!(contents(folder) == before, "{line} changed the folder");
    session(&format!("ripple {line}"), &output, "the folder is as it was")
}

/// A checkpoint, changed, in the folder `model` of its own.
fn checkpoint(change: impl FnOnce(&mut Directory)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut directory = Directory::of("story-nano");
    directory.write();
    change(&mut directory);
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    folder
}

#[test]
fn missing_tensor() {
    let folder = checkpoint(|directory| {
        directory.tensors.remove(GATE);
        directory.write();
    });
    insta::assert_snapshot!(wrong(folder.path(), "import model -o out.model"));
}

#[test]
fn wrong_dtype() {
    let folder = checkpoint(|directory| {
        let tensor = directory.tensor(GATE);
        tensor.dtype = Dtype::I8;
        tensor.bytes.truncate(256 * 64);
        directory.write();
    });
    insta::assert_snapshot!(wrong(folder.path(), "import model -o out.model"));
}

#[test]
fn wrong_shape() {
    let folder = checkpoint(|directory| {
        directory.tensor(GATE).shape = vec![64, 256];
        directory.write();
    });
    insta::assert_snapshot!(wrong(folder.path(), "import model -o out.model"));
}

#[test]
fn tokenizer_of_another_model() {
    let folder = checkpoint(|directory| {
        let other = format!("{MODELS}/novel-nano/tokenizer.json");
        std::fs::copy(other, directory.file("tokenizer.json")).unwrap();
    });
    insta::assert_snapshot!(wrong(folder.path(), "import model -o out.model"));
}

#[test]
fn image_of_a_newer_version() {
    let folder = with("newer", &["story.image"]);
    let path = folder.join("story.image");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 99;
    std::fs::write(&path, bytes).unwrap();
    insta::assert_snapshot!(wrong(&folder, "run story.image"));
}

#[test]
fn prompt_longer_than_the_context() {
    let folder = with("prompt", &["story.image"]);
    insta::assert_snapshot!(wrong(
        &folder,
        "run story.image --context 4 --prompt Once-upon-a-time"
    ));
}

#[test]
fn card_preset_misspelt() {
    let folder = with("preset", &["story.image"]);
    insta::assert_snapshot!(wrong(&folder, "run story.image --card sdio-sh"));
}

#[test]
fn trace_of_another_model() {
    let folder = with("other-trace", &["story.trace", "story.placement"]);
    let model = format!("{MODELS}/novel-nano");
    let line = format!("pack {model} --placement story.placement -o out.image");
    insta::assert_snapshot!(wrong(&folder, &line).replace(MODELS, "MODELS"));
}

#[test]
fn not_an_image() {
    let folder = with("not-an-image", &["story.trace"]);
    insta::assert_snapshot!(wrong(&folder, "inspect story.trace"));
}

#[test]
fn output_in_no_folder() {
    let folder = with("no-folder", &["story.trace"]);
    insta::assert_snapshot!(wrong(&folder, "place story.trace -o nowhere/story.placement"));
}

/// Files may have 64 blocks of 512 bytes here: to the command a full disk.
#[test]
fn disk_full() {
    let folder = with("full", &["story.model", "story.placement", "story.image"]);
    let before = contents(&folder);
    let line = "pack story.model --placement story.placement -o story.image";
    let shell = format!("trap '' XFSZ; ulimit -f 64; exec {} {line}", env!("CARGO_BIN_EXE_ripple"));
    let output = Command::new("sh").current_dir(&folder).args(["-c", &shell]).output().unwrap();
    assert!(contents(&folder) == before, "the old image is there, and nothing beside it");
    let left = "the old story.image is as it was";
    insta::assert_snapshot!(session(&format!("ripple {line}"), &output, left));
}

#[test]
#[cfg(target_os = "linux")]
fn standard_output_full() {
    let folder = with("full-output", &["story.image"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = ripple(&folder, "inspect story.image").stdout(full).output().unwrap();
    insta::assert_snapshot!(session(
        "ripple inspect story.image > /dev/full",
        &output,
        "nothing was printed"
    ));
}

/// A command that waits for one of its files, a pipe that nobody writes to yet.
struct Waiting {
    child: Child,
    pipe: File,
}

impl Waiting {
    fn start(folder: &Path, line: &str, file: &str) -> Self {
        let path = folder.join(file);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut command = ripple(folder, line);
        command.stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Opens when the command has opened the other end.
        let pipe = File::options().write(true).open(path).unwrap();
        Self { child, pipe }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Lets it read `bytes` to their end; gives what it printed.
    fn finish(mut self, bytes: &[u8]) -> std::process::Output {
        // It may be gone already.
        let _ = self.pipe.write_all(bytes);
        drop(self.pipe);
        self.child.wait_with_output().unwrap()
    }
}

/// Until the signal has got through: nobody tells.
const SETTLES: Duration = Duration::from_millis(300);

#[test]
fn interrupted_pack() {
    let folder = with("pack", &["story.model", "story.image"]);
    let before = std::fs::read(folder.join("story.image")).unwrap();
    let line = "pack story.model --placement pipe -o story.image";
    let waiting = Waiting::start(&folder, line, "pipe");
    waiting.signal(Signal::INT);
    std::thread::sleep(SETTLES);
    let output = waiting.finish(&[]);
    assert!(std::fs::read(folder.join("story.image")).unwrap() == before);
    assert_eq!(contents(&folder).len(), 3, "nothing is left beside it");
    let left = "the old story.image is as it was";
    insta::assert_snapshot!(session(&format!("ripple {line}\n^C"), &output, left));
}

#[test]
fn a_pack_killed_at_any_time_leaves_the_old_image() {
    let folder = with("killed", &["story.model", "story.placement"]);
    let (image, old) = (folder.join("story.image"), b"the old image".to_vec());
    let new = std::fs::read(made().join("story.image")).unwrap();
    for delay in 0..12 {
        std::fs::write(&image, &old).unwrap();
        let line = "pack story.model --placement story.placement -o story.image";
        let mut child = ripple(&folder, line).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(5 * delay));
        let _ = child.kill();
        let _: ExitStatus = child.wait().unwrap();
        let found = std::fs::read(&image).unwrap();
        assert!(found == old || found == new, "after {} ms: {} bytes", 5 * delay, found.len());
    }
}

#[test]
fn interrupted_run_prints_what_was_done() {
    let folder = fresh("run");
    let waiting = Waiting::start(&folder, "run pipe --prompt One -n 100", "pipe");
    waiting.signal(Signal::INT);
    std::thread::sleep(SETTLES);
    let output = waiting.finish(&std::fs::read(made().join("story.image")).unwrap());
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(printed.contains("simulated  uhs-sdr104 card"), "{printed}");
    assert!(printed.contains("interrupted"), "{printed}");
    assert_eq!(output.status.code(), Some(130));
    let head: Vec<&str> = printed.lines().take(4).collect();
    let error = String::from_utf8(output.stderr).unwrap();
    insta::assert_snapshot!(format!(
        "$ ripple run pipe --prompt One -n 100\n^C\n{}\n[...]\n{error}exit code 130",
        head.join("\n")
    ));
}

#[test]
fn an_interrupted_run_on_a_device_prints_what_was_done() {
    let folder = with("device", &["story.image"]);
    let line = "run --device story.image --file pipe -n 100";
    let waiting = Waiting::start(&folder, line, "pipe");
    waiting.signal(Signal::INT);
    std::thread::sleep(SETTLES);
    let output = waiting.finish(b"One day, ");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("measured   story.image, "), "{printed}");
    assert!(printed.contains("; interrupted\n"), "{printed}");
    assert_eq!(output.status.code(), Some(130));
}

#[test]
fn interrupted_trace_writes_nothing() {
    let folder = with("trace", &["story.model"]);
    let line = "trace story.model --text pipe -o story.trace";
    let waiting = Waiting::start(&folder, line, "pipe");
    waiting.signal(Signal::INT);
    std::thread::sleep(SETTLES);
    let output = waiting.finish(b"One day, a little girl went to the park.");
    assert!(!folder.join("story.trace").exists());
    insta::assert_snapshot!(session(&format!("ripple {line}\n^C"), &output, "no story.trace"));
}

#[test]
fn interrupted_bench_prints_the_cases_it_did() {
    let folder = fresh("bench");
    let text = "One day, a little girl went to the park with her mom. ".repeat(20);
    std::fs::write(folder.join("held-out.txt"), &text).unwrap();
    let line = "bench story-nano --preset spi --cache 0 --profile pipe --held-out held-out.txt \
                --json rows.json";
    let waiting = Waiting::start(&folder, line, "pipe");
    waiting.signal(Signal::INT);
    std::thread::sleep(SETTLES);
    let output = waiting.finish(text.as_bytes());
    assert!(!folder.join("rows.json").exists());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("these are 0 of 1 cases; no file was written"), "{error}");
    assert_eq!(output.status.code(), Some(130));
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let folder = fresh("twice");
    let mut waiting = Waiting::start(&folder, "run pipe", "pipe");
    waiting.signal(Signal::INT);
    std::thread::sleep(SETTLES);
    waiting.signal(Signal::INT);
    let status = waiting.child.wait().unwrap();
    let mut error = String::new();
    waiting.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(status.code(), Some(130), "{error}");
}
