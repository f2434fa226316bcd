//! Output files that appear whole or not at all, and progress bars that keep out of the way.
//!
//! In: a path and what to write. Out: the file, replaced in one step. Knows nothing of formats.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes `path` through a temporary file beside it and renames at the end, so that a failure (a
/// full disk, an interrupt) leaves whatever was there before.
///
/// # Errors
/// When the folder cannot be written or `write` fails; `path` is then untouched.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let file = tempfile::Builder::new()
        .prefix(".ripple-")
        .tempfile_in(folder)
        .with_context(|| format!("{}: the folder cannot be written", folder.display()))?;
    let mut writer = BufWriter::new(file);
    write(&mut writer).with_context(|| format!("{}: not written", path.display()))?;
    let file = writer.into_inner().with_context(|| format!("{}: not written", path.display()))?;
    file.as_file().sync_all().with_context(|| format!("{}: not written", path.display()))?;
    #[cfg(unix)]
    {
        // Temporary files are private (0600); an output is an ordinary file.
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path).map_err(|e| e.error).with_context(|| {
        format!("{}: the finished file could not be put in place", path.display())
    })?;
    Ok(())
}

/// A progress bar over `total` steps of `what`: drawn on standard error, only on a terminal, and
/// five times a second.
pub fn progress(total: u64, what: &str) -> ProgressBar {
    use std::io::IsTerminal;
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(5)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(style) = ProgressStyle::with_template(
        "{msg:>12} [{bar:32}] {human_pos}/{human_len} {elapsed} eta {eta}",
    ) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_owned());
    bar
}
