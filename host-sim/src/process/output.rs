//! Output: files that appear whole or not at all, standard output that may close, and progress
//! bars that keep out of the way.
//!
//! In: a path and what to write, or text. Out: the file, replaced in one step. Knows nothing of
//! formats.

use super::target::{Target, folder};
use super::terminal;
use anyhow::{Context, Result};
use indicatif::{
    HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Files that are being written.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Refuses a `path` that nothing can be written to, before the work that it is for.
///
/// # Errors
/// When the folder is not there, or `path` is a folder itself, a block device, a socket or write-protected.
pub fn check_path(path: &Path) -> Result<()> {
    Target::of(path).map(drop)
}

/// Writes `text` to standard output at once.
///
/// Ends the process, with success, when nobody reads on (`ripple ... | head -1`).
///
/// # Errors
/// When the text cannot be written: a full disk.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.context("standard output"),
    }
}

/// Writes a line to standard error; that it cannot be written is no reason to stop.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Version of all JSON that the command writes: raised when a field changes its meaning or goes;
/// `host-sim/README.md` has the fields.
pub const JSON_VERSION: u32 = 3;

/// `value` as JSON, a field `version` before its own.
///
/// # Errors
/// When `value` is not written as an object.
pub fn json(value: &impl Serialize) -> Result<String> {
    #[derive(Serialize)]
    struct Versioned<'v, T> {
        version: u32,
        #[serde(flatten)]
        value: &'v T,
    }
    Ok(serde_json::to_string_pretty(&Versioned { version: JSON_VERSION, value })? + "\n")
}

/// Prints `value` as [`json`].
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl Serialize) -> Result<()> {
    print(&json(value)?)
}

/// Writes `path` through a temporary file beside it and renames at the end, so that a failure (a
/// full disk, an interrupt) leaves whatever was there before.
///
/// A symbolic link stays: what it leads to is replaced. So does a character device or a FIFO: it gets the
/// bytes once all of them are there. A new file has the permissions that the process gives to files, one
/// that was there keeps its own.
///
/// # Errors
/// When the folder cannot be written or `write` fails; `path` is then untouched.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    replace_file(path, |file| {
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        Ok(writer.flush()?)
    })
}

/// As [`write_whole`], for what is not written from front to back: `fill` gets an empty file.
///
/// # Errors
/// When the folder cannot be written or `fill` fails; `path` is then untouched.
pub fn replace_file(path: &Path, fill: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let target = Target::of(path)?;
    let folder = match &target {
        Target::File { path, .. } => folder(path).to_owned(),
        Target::Stream => std::env::temp_dir(),
    };
    let file = temporary(&folder)
        .with_context(|| format!("{}: the folder cannot be written", folder.display()))?;
    let _unfinished = Unfinished::new(file.path());
    let written = fill(file.as_file()).and_then(|()| Ok(file.as_file().sync_all()?));
    let shown = path.display();
    written.map_err(|error| {
        let fix = if is_full(&error) { "; make room on the disk" } else { "" };
        error.context(format!("{shown}: not written, what was there before is as it was{fix}"))
    })?;
    match target {
        Target::File { path, permissions } => {
            if let Some(permissions) = permissions {
                file.as_file().set_permissions(permissions)?;
            }
            let placed = file.persist(path).map(drop).map_err(|error| error.error);
            placed.with_context(|| format!("{shown}: the finished file could not be put in place"))
        }
        Target::Stream => {
            let mut finished = file.as_file();
            finished.rewind()?;
            let stream = File::options().write(true).open(path);
            let copied = stream.and_then(|mut stream| std::io::copy(&mut finished, &mut stream));
            copied.map(drop).with_context(|| format!("{shown}: not written to its end"))
        }
    }
}

/// An empty file in `folder`, with the permissions of any new file.
fn temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ripple-");
    #[cfg(unix)]
    let ordinary = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(ordinary);
    builder.tempfile_in(folder)
}

/// A file that [`remove_unfinished_and_exit`] removes before this is dropped.
struct Unfinished(PathBuf);

impl Unfinished {
    fn new(path: &Path) -> Self {
        unfinished().push(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        unfinished().retain(|path| *path != self.0);
    }
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the files that are being written, and ends the process.
pub fn remove_unfinished_and_exit(code: i32) -> ! {
    terminal::restore();
    // Locked until the end: no other thread begins a file.
    let unfinished = unfinished();
    unfinished.iter().for_each(|path| drop(std::fs::remove_file(path)));
    std::process::exit(code)
}

/// Whether a file could not grow.
fn is_full(error: &anyhow::Error) -> bool {
    let full = [ErrorKind::StorageFull, ErrorKind::FileTooLarge, ErrorKind::QuotaExceeded];
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| full.contains(&cause.kind()))
}

/// How often a progress bar is drawn, whatever is done meanwhile: its clock goes on.
const TICK: Duration = Duration::from_millis(200);

/// A progress bar over `total` steps of `what`: drawn on standard error, only on a terminal.
pub fn progress(total: u64, what: &str) -> ProgressBar {
    use std::io::IsTerminal;
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
    let template = "{msg:>10} [{bar:32}] {human_pos}/{human_len}{pace}  {elapsed}{left}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        let left = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&left(state.pos(), total, state.elapsed(), state.eta()));
        };
        let pace = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&pace(state.per_sec()));
        };
        bar.set_style(style.with_key("left", left).with_key("pace", pace).progress_chars("=> "));
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// How fast it goes, to two or three digits; nothing before it goes at all.
fn pace(per_second: f64) -> String {
    match per_second {
        rate if rate >= 10.0 => format!(", {}/s", HumanCount(rate as u64)),
        rate if rate >= 1.0 => format!(", {rate:.1}/s"),
        rate if rate > 0.0 => format!(", {:.1} s each", 1.0 / rate),
        _ => String::new(),
    }
}

/// What is to be said behind the time that has passed: how long it will take, as soon as that is more
/// than a guess.
fn left(done: u64, total: u64, elapsed: Duration, eta: Duration) -> String {
    if done == 0 || done >= total || elapsed < Duration::from_secs(1) {
        return String::new();
    }
    format!(", {} left", HumanDuration(eta))
}

#[cfg(test)]
mod tests {
    use super::{left, pace};
    use std::time::Duration;

    #[test]
    fn rates_have_few_digits() {
        for (rate, said) in [
            (0.0, ""),
            (0.16, ", 6.2 s each"),
            (1.6108, ", 1.6/s"),
            (161.0782, ", 161/s"),
            (1_610_782.3, ", 1,610,782/s"),
        ] {
            assert_eq!(pace(rate), said);
        }
    }

    #[test]
    fn what_is_left_is_said_once_it_is_known() {
        let (one, ten) = (Duration::from_secs(1), Duration::from_secs(10));
        assert_eq!(left(0, 10, ten, one), "");
        assert_eq!(left(5, 10, Duration::from_millis(10), one), "");
        assert_eq!(left(5, 10, one, ten), ", 10 seconds left");
        assert_eq!(left(10, 10, ten, one), "");
    }
}
