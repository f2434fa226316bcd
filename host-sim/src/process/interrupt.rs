//! Ctrl-C: long commands stop at their next step, others at once.
//!
//! In: SIGINT, or what stands for it. Out: [`requested`], for commands that [`listen`]. Knows
//! nothing of what they do.

use crate::process::failure::INTERRUPTED;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether the command stops by itself when it is asked to.
static LISTENS: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Files that are being written.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Sets the process up. The second Ctrl-C ends every command.
pub fn install() {
    // Where it cannot be set up, Ctrl-C ends the process as it always did.
    let _ = ctrlc::set_handler(|| {
        if !LISTENS.load(Ordering::Relaxed) || REQUESTED.swap(true, Ordering::Relaxed) {
            crate::process::output::note("error: interrupted; no file was half written");
            let unfinished = lock();
            unfinished.iter().for_each(|path| drop(std::fs::remove_file(path)));
            std::process::exit(INTERRUPTED.into());
        }
    });
}

/// From now on, the command looks at [`requested`] by itself.
pub fn listen() {
    LISTENS.store(true, Ordering::Relaxed);
}

/// Whether the command is to stop at its next step.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// A file that is removed when the process is interrupted before the guard is dropped.
#[must_use]
pub fn unfinished(path: &Path) -> Unfinished {
    lock().push(path.to_owned());
    Unfinished(path.to_owned())
}

/// See [`unfinished`].
pub struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        lock().retain(|path| *path != self.0);
    }
}

fn lock() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}
