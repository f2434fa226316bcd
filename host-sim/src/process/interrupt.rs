//! Ctrl-C: long commands stop at their next step, a turn of a session ends, others end at once. SIGTERM and
//! SIGHUP are the same to them, but that a session ends with its turn.
//!
//! In: these signals. Out: [`requested`], for commands that [`listen`] and for turns. Knows nothing of what
//! they do.

use crate::process::failure::INTERRUPTED;
use crate::process::output::{note, remove_unfinished_and_exit};
use crate::process::terminal;
#[cfg(unix)]
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// The process ends at once.
const ENDS: u8 = 0;
/// The command stops by itself when it is asked to; asked again, the process ends.
const LISTENS: u8 = 1;
/// A turn stops by itself, and the process goes on.
const TURN: u8 = 2;

static MODE: AtomicU8 = AtomicU8::new(ENDS);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Sets the process up.
pub fn install() {
    // Where it cannot be set up, these signals end the process as they always did.
    #[cfg(unix)]
    if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) {
        let wait = move || signals.forever().for_each(|signal| take(signal == SIGINT));
        let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
    }
    #[cfg(not(unix))]
    let _ = ctrlc::set_handler(|| take(true));
}

/// What a signal does; `typed`: whether somebody at a terminal asks for it, who may want to go on with the
/// session.
fn take(typed: bool) {
    let ends = match MODE.load(Ordering::Relaxed) {
        ENDS => true,
        TURN => !typed,
        _ => REQUESTED.load(Ordering::Relaxed),
    };
    if ends {
        // Nothing is requested: a turn that stopped for it would begin to edit a line, in a terminal that is to be as
        // it was.
        terminal::restore();
        note("error: interrupted; no file was half written");
        remove_unfinished_and_exit(INTERRUPTED.into());
    }
    REQUESTED.store(true, Ordering::Relaxed);
}

/// From now on, the command looks at [`requested`] by itself. The second Ctrl-C ends it all the same.
pub fn listen() {
    MODE.store(LISTENS, Ordering::Relaxed);
}

/// Does one turn of a session, which looks at [`requested`]. What was asked for during it is forgotten at
/// its end; between turns, an interrupt ends the process.
pub fn turn<T>(work: impl FnOnce() -> T) -> T {
    REQUESTED.store(false, Ordering::Relaxed);
    MODE.store(TURN, Ordering::Relaxed);
    let done = work();
    between_turns();
    done
}

/// From now on, until the next turn, an interrupt ends the process.
pub fn between_turns() {
    MODE.store(ENDS, Ordering::Relaxed);
    REQUESTED.store(false, Ordering::Relaxed);
}

/// Whether the command or the turn is to stop at its next step.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
