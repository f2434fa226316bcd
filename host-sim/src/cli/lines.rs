//! Lines that somebody types, or that a program sends.
//!
//! In: standard input. Out: a line at a time. At a terminal, with what people expect there: the line can be
//! edited, those before it come back with the arrow keys, and those of earlier sessions, which a file keeps:
//! where that cannot be read or written, they do not. Knows nothing of what lines say.

use crate::process::terminal;
use anyhow::{Context, Result};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Behavior, Config, Editor};
use std::env;
use std::io::{BufRead, IsTerminal, StdinLock};
use std::path::PathBuf;

/// Lines that are kept from session to session.
const MOST_KEPT: usize = 1000;

/// Where lines come from.
pub enum Lines {
    /// A terminal; and the file that keeps what is typed.
    Typed(Box<Editor<(), FileHistory>>, Option<PathBuf>),
    /// A file or a pipe.
    Sent(StdinLock<'static>),
}

/// What came.
pub enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C: what was typed is to be forgotten.
    Cancelled,
    /// Nothing comes any more.
    End,
}

impl Lines {
    /// Those of standard input; `keeps`: whether lines are kept from session to session, in a file of the
    /// user's own.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub fn of_input(keeps: bool) -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Sent(std::io::stdin().lock()));
        }
        // The prompt goes to the terminal itself: standard output is the text's.
        let config = Config::builder()
            .behavior(Behavior::PreferTerm)
            .auto_add_history(true)
            .history_ignore_space(true)
            .max_history_size(MOST_KEPT)
            .and_then(|config| config.history_ignore_dups(true));
        let config = config.context("the terminal")?.build();
        let editor = Editor::with_history(config.clone(), FileHistory::with_config(&config));
        let mut editor = editor.context("the terminal")?;
        let file = history_file().filter(|_| keeps);
        if let Some(file) = &file {
            // Not there yet, or not to be read: it begins anew.
            let _ = editor.load_history(file);
        }
        Ok(Self::Typed(Box::new(editor), file))
    }

    /// Whether somebody is there.
    pub fn typed(&self) -> bool {
        matches!(self, Self::Typed(..))
    }

    /// The next line; asks for it with `prompt` where somebody is there.
    ///
    /// # Errors
    /// When standard input cannot be read, or is not UTF-8.
    pub fn next(&mut self, prompt: &str) -> Result<Line> {
        match self {
            Self::Typed(editor, file) => match terminal::raw(|| editor.readline(prompt)) {
                Ok(line) => {
                    if let Some(file) = file {
                        let _ = editor.append_history(file);
                    }
                    Ok(Line::Text(line))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Cancelled),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(error).context("standard input"),
            },
            Self::Sent(lines) => {
                let mut line = String::new();
                if lines.read_line(&mut line).context("standard input")? == 0 {
                    return Ok(Line::End);
                }
                Ok(Line::Text(line.trim_end_matches(['\n', '\r']).to_owned()))
            }
        }
    }
}

/// Where lines are kept, in a folder that is there then: `ripple/history` in `$XDG_STATE_HOME`, or in
/// `~/.local/state`.
fn history_file() -> Option<PathBuf> {
    let folder =
        |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    let own = state.join("ripple");
    std::fs::create_dir_all(&own).ok()?;
    Some(own.join("history"))
}
