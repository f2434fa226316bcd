//! Why a command failed, as far as its exit code tells.
//!
//! In: an error. Out: the exit code. Knows nothing of what was tried.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

/// What the exit codes mean, for `--help`.
pub const CODES: &str = "\
Exit codes:
  0    all was done
  1    it could not be done: a full disk, a model that does not fit, a difference found
  2    the command line is wrong
  3    a file that was to be read is not there, not what was expected, or damaged
  130  interrupted; what was done so far was printed, no file was half written";

/// Exit code of a wrong command line: that of clap.
pub const USAGE: u8 = 2;
/// Exit code of a wrong input file.
pub const BAD_INPUT: u8 = 3;
/// Exit code after an interrupt: 128 + SIGINT.
pub const INTERRUPTED: u8 = 130;

/// An error in a file that was read: it says what its cause says.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BadInput(#[from] anyhow::Error);

/// Marks an error as one in a file that was read.
pub fn bad_input(error: anyhow::Error) -> anyhow::Error {
    if error.is::<BadInput>() { error } else { BadInput(error).into() }
}

/// Refuses a path at which there is nothing.
///
/// # Errors
/// When there is nothing.
pub fn check_there(path: &Path) -> anyhow::Result<()> {
    match std::fs::metadata(path).map_err(|error| error.kind()) {
        Err(ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(bad_input(anyhow::anyhow!("{}: no such file", path.display())))
        }
        _ => Ok(()),
    }
}

/// A value on the command line that is wrong: it says what its cause says.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BadUsage(#[from] anyhow::Error);

/// Marks an error as one of the command line.
pub fn bad_usage(error: anyhow::Error) -> anyhow::Error {
    BadUsage(error).into()
}

/// As [`anyhow::ensure`], of what stands on the command line.
macro_rules! ensure_usage {
    ($holds:expr, $($words:tt)*) => {
        let holds: bool = $holds;
        if !holds {
            return Err($crate::process::failure::bad_usage(anyhow::anyhow!($($words)*)));
        }
    };
}
pub(crate) use ensure_usage;

/// The user stopped the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The exit code of a command that failed with `error`.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let any = |is: fn(&(dyn std::error::Error + 'static)) -> bool| error.chain().any(is);
    if any(|cause| cause.is::<Interrupted>()) {
        ExitCode::from(INTERRUPTED)
    } else if any(|cause| cause.is::<BadUsage>()) {
        ExitCode::from(USAGE)
    } else if any(|cause| cause.is::<BadInput>()) {
        ExitCode::from(BAD_INPUT)
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::{BadInput, bad_input};
    use anyhow::{Context, anyhow};

    #[test]
    fn a_mark_changes_no_word_and_is_found_below_others() {
        let plain = || anyhow!("no tensor").context("model.safetensors");
        let marked = Err::<(), _>(bad_input(plain())).context("import").unwrap_err();
        assert_eq!(format!("{marked:#}"), format!("{:#}", plain().context("import")));
        assert!(marked.chain().any(|cause| cause.is::<BadInput>()));
    }
}
