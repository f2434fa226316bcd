//! Ctrl-C: long commands stop at their next step, others at once.
//!
//! In: SIGINT, or what stands for it. Out: [`requested`], for commands that [`listen`]. Knows
//! nothing of what they do.

use crate::process::failure::INTERRUPTED;
use crate::process::output::{note, remove_unfinished_and_exit};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the command stops by itself when it is asked to.
static LISTENS: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Sets the process up. The second Ctrl-C ends every command.
pub fn install() {
    // Where it cannot be set up, Ctrl-C ends the process as it always did.
    let _ = ctrlc::set_handler(|| {
        if !LISTENS.load(Ordering::Relaxed) || REQUESTED.swap(true, Ordering::Relaxed) {
            note("error: interrupted; no file was half written");
            remove_unfinished_and_exit(INTERRUPTED.into());
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
