//! The terminal as it was: while a line is edited it is in another mode, which the process must not leave it in.
//!
//! In: who edits a line. Out: the terminal's mode again, whatever ends the process by way of
//! [`restore`]. Knows nothing of lines.

#[cfg(unix)]
mod unix {
    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    /// The mode in front of the line that is being edited.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    fn before() -> std::sync::MutexGuard<'static, Option<Termios>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn raw<T>(edit: impl FnOnce() -> T) -> T {
        *before() = tcgetattr(std::io::stdin()).ok();
        let done = edit();
        before().take();
        done
    }

    pub fn restore() {
        if let Some(mode) = before().take() {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &mode);
            // The editor is told where pastes begin and end, which a shell may not understand.
            let screen = std::fs::File::options().write(true).open("/dev/tty");
            let _ = screen.and_then(|mut screen| screen.write_all(b"\x1b[?2004l\n"));
        }
    }
}

#[cfg(not(unix))]
mod unix {
    pub fn raw<T>(edit: impl FnOnce() -> T) -> T {
        edit()
    }

    pub const fn restore() {}
}

/// Edits a line: until it is done, [`restore`] brings back the terminal's mode of now.
pub fn raw<T>(edit: impl FnOnce() -> T) -> T {
    unix::raw(edit)
}

/// Brings back the terminal's mode where a line is being edited.
pub fn restore() {
    unix::restore();
}
