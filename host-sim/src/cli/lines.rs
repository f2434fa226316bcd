//! Lines that somebody types, or that a program sends.
//!
//! In: standard input. Out: a line at a time. At a terminal, with what people expect there: the line can be
//! edited, those before it come back with the arrow keys. Knows nothing of what lines say.

use anyhow::{Context, Result};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Behavior, Config, Editor};
use std::io::{BufRead, IsTerminal, StdinLock};

/// Where lines come from.
pub enum Lines {
    /// A terminal.
    Typed(Box<Editor<(), MemHistory>>),
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
    /// Those of standard input.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub fn of_input() -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Sent(std::io::stdin().lock()));
        }
        // The prompt goes to the terminal itself: standard output is the text's.
        let config =
            Config::builder().behavior(Behavior::PreferTerm).auto_add_history(true).build();
        let editor = Editor::with_history(config.clone(), MemHistory::with_config(&config));
        Ok(Self::Typed(Box::new(editor.context("the terminal")?)))
    }

    /// Whether somebody is there.
    pub fn typed(&self) -> bool {
        matches!(self, Self::Typed(_))
    }

    /// The next line; asks for it with `prompt` where somebody is there.
    ///
    /// # Errors
    /// When standard input cannot be read, or is not UTF-8.
    pub fn next(&mut self, prompt: &str) -> Result<Line> {
        match self {
            Self::Typed(editor) => match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
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
