//! Where an output goes: a file that is replaced whole, or a stream that there already is.
//!
//! In: the path that was asked for. Out: [`Target`], or why nothing is written there. Knows nothing of
//! what is written.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{FileType, Permissions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Symbolic links that are followed one after the other: as many as Linux follows.
const LINKS: usize = 40;

/// What is written to.
pub(super) enum Target {
    /// A regular file, or a name that nothing has yet.
    File {
        /// Behind all symbolic links, which stay.
        path: PathBuf,
        /// Of the file that is there.
        permissions: Option<Permissions>,
    },
    /// A character device or a FIFO, which is written to and stays what it is.
    Stream,
}

impl Target {
    /// What `path` leads to.
    ///
    /// # Errors
    /// When that is a folder, a block device, a socket, write-protected, or in no folder.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let shown = path.display();
        let found = match std::fs::metadata(path) {
            Ok(found) => Some(found),
            // A folder that is missing, or a file instead of it, is named below.
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) =>
            {
                None
            }
            Err(error) => return Err(error).with_context(|| shown.to_string()),
        };
        if found.as_ref().is_some_and(|found| is_stream(found.file_type())) {
            return Ok(Self::Stream);
        }
        let file = behind_links(path)?;
        let folder = folder(&file);
        ensure!(
            folder.is_dir(),
            "{shown}: cannot be written, there is no folder `{}`; make it first",
            folder.display()
        );
        let Some(found) = found else { return Ok(Self::File { path: file, permissions: None }) };
        ensure!(
            !found.is_dir(),
            "{shown}: cannot be written, expected the name of a file, found a folder"
        );
        ensure!(
            found.is_file(),
            "{shown}: cannot be written, expected a file, found a block device or a socket; only `ripple \
             card` writes to devices"
        );
        ensure!(
            !found.permissions().readonly(),
            "{shown}: cannot be written, the file there is write-protected; remove it or take another name"
        );
        Ok(Self::File { path: file, permissions: Some(found.permissions()) })
    }
}

/// The folder that `path` lies in.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Where symbolic links lead to from `path`, whether or not there is a file.
fn behind_links(path: &Path) -> Result<PathBuf> {
    let mut file = path.to_owned();
    for _ in 0..LINKS {
        let Ok(next) = std::fs::read_link(&file) else { return Ok(file) };
        file = folder(&file).join(next);
    }
    bail!("{}: cannot be written, more than {LINKS} symbolic links in a row", path.display())
}

#[cfg(unix)]
fn is_stream(kind: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.is_char_device() || kind.is_fifo()
}

#[cfg(not(unix))]
fn is_stream(_: FileType) -> bool {
    false
}
