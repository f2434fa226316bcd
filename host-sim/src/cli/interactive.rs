//! `ripple run --interactive`: a text or a chat, turn by turn, in one KV cache.
//!
//! In: lines of standard input. Out: what the model makes of them, on standard output; all else goes to
//! standard error. Where standard input is not a terminal, nothing is asked and an error ends it.

use super::lines::{Line, Lines};
use crate::process::failure::Interrupted;
use crate::process::{interrupt, output};
use crate::run::chat::Chat;
use crate::run::generate::{End, Request, go_on};
use crate::run::session;
use anyhow::{Context, Result, bail};
use ripple_hal::WriteDevice;
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::{Decoder, KvKind, Probe};
use std::path::Path;

const HELP: &str = "\
A line is put behind the text, on a line of its own, and the model goes on from there;
in a chat it is the user's next message. An empty line lets the text go on.
  /reset       forget the text
  /save FILE   write the text, with its keys and values, to a file
  /load FILE   go back to what was saved; the same image only
  /help        this
  /quit        end; so does Ctrl-D
  //...        a line that begins with one slash
Ctrl-C ends the turn; what was said stays. Arrow keys edit the line and bring back earlier ones.";

/// Whether a session goes on after a line.
enum Then {
    /// The turn ended like this.
    Next(End),
    /// The session is over.
    Quit,
}

/// A text that is gone on with.
pub struct Conversation<'m, D: WriteDevice, P> {
    /// It has been fed the first of `text`, up to its position.
    pub decoder: Decoder<'m, D, P>,
    pub tokenizer: Tokenizer<'m>,
    pub text: Vec<u32>,
    /// Its prompt does not count.
    pub request: Request,
    /// Numbers of the decoder's KV cache.
    pub kv: KvKind,
    /// Which image it is.
    pub image: u32,
    /// Present where lines are messages.
    pub chat: Option<Chat>,
    /// Whether lines that are typed are kept for later sessions.
    pub keeps_lines: bool,
}

impl<D: WriteDevice, P: Probe> Conversation<'_, D, P> {
    /// Begins with the request's prompt, if it has one, then reads lines to the end of standard input.
    ///
    /// # Errors
    /// When output fails, or, where nobody is there to try again, any turn.
    pub fn run(&mut self) -> Result<()> {
        let mut lines = Lines::of_input(self.keeps_lines)?;
        interrupt::between_turns();
        if lines.typed() {
            output::note(
                "a line is gone on with; /help says more, Ctrl-C ends a turn, /quit the session",
            );
        }
        let prompt = std::mem::take(&mut self.request.prompt);
        if !prompt.is_empty() {
            // The text is whole only with what it begins with.
            match self.chat {
                None => output::print(&prompt)?,
                Some(_) => output::note(&format!("> {prompt}")),
            }
            let done = interrupt::turn(|| self.turn(&prompt));
            self.ended(&lines, done.map(Then::Next))?;
        }
        loop {
            let done = match lines.next("> ")? {
                Line::End => return Ok(()),
                Line::Cancelled => {
                    output::note("/quit or Ctrl-D ends");
                    continue;
                }
                Line::Text(line) => interrupt::turn(|| self.line(&line)),
            };
            if let Then::Quit = self.ended(&lines, done)? {
                return Ok(());
            }
        }
    }

    /// Says how a turn ended, where that is not seen; gives whether the session goes on.
    fn ended(&self, lines: &Lines, done: Result<Then>) -> Result<Then> {
        match done {
            Ok(Then::Next(End::Context)) => output::note("the context is full: /reset"),
            Ok(Then::Next(End::Interrupted)) if lines.typed() => {
                output::note("interrupted; an empty line lets the text go on");
            }
            Ok(Then::Next(End::Interrupted)) => return Err(Interrupted.into()),
            Ok(Then::Next(_)) => {}
            Ok(Then::Quit) => return Ok(Then::Quit),
            Err(error) if lines.typed() => output::note(&format!("error: {error:#}")),
            Err(error) => return Err(error),
        }
        Ok(Then::Next(End::Tokens))
    }

    fn line(&mut self, line: &str) -> Result<Then> {
        let Some(command) = line.strip_prefix('/') else { return self.turn(line).map(Then::Next) };
        if command.starts_with('/') {
            return self.turn(command).map(Then::Next);
        }
        match command.split_once(' ').map_or((command, ""), |(name, file)| (name, file.trim())) {
            ("help", _) => output::note(HELP),
            ("quit" | "exit", _) => return Ok(Then::Quit),
            ("reset", _) => {
                self.text.clear();
                self.decoder.rewind(0);
                if let Some(chat) = &mut self.chat {
                    chat.reset();
                }
            }
            ("save", file) if !file.is_empty() => self.save(Path::new(file))?,
            ("load", file) if !file.is_empty() => self.load(Path::new(file))?,
            ("save" | "load", _) => bail!("/{command}: expected the name of a file behind it"),
            (name, _) => bail!("/{name}: no such command; /help lists them"),
        }
        Ok(Then::Next(End::Tokens))
    }

    fn save(&self, path: &Path) -> Result<()> {
        let chat = self.chat.is_some();
        anyhow::ensure!(!chat, "a chat is not saved: its messages are not part of a session");
        anyhow::ensure!(
            self.decoder.spilled() == 0,
            "{} positions are on the card, where they stay: run without --kv-spill to save",
            self.decoder.spilled()
        );
        let bytes = session::save(&self.decoder, self.kv, self.image, &self.text);
        output::write_whole(path, |out| Ok(out.write_all(&bytes)?))?;
        output::note(&format!("saved {} tokens -> {}", self.text.len(), path.display()));
        Ok(())
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let chat = self.chat.is_some();
        anyhow::ensure!(!chat, "a session is not loaded into a chat: it has no messages");
        let name = || path.display().to_string();
        let bytes = std::fs::read(path).with_context(name)?;
        self.text =
            session::restore(&mut self.decoder, self.kv, self.image, &bytes).with_context(name)?;
        output::note(&format!(
            "{} tokens from {}; the text goes on behind them",
            self.text.len(),
            name()
        ));
        Ok(())
    }

    /// Feeds a line and prints what comes after it.
    fn turn(&mut self, line: &str) -> Result<End> {
        let goes_on = line.is_empty() && self.chat.as_ref().is_some_and(Chat::has_answer);
        if self.chat.is_some() && line.is_empty() && !goes_on {
            return Ok(End::Tokens);
        }
        let before = self.text.clone();
        let mut reply = String::new();
        let done = self.answer(line, &mut reply);
        if let Some(chat) = &mut self.chat {
            match done {
                Ok(_) if goes_on => chat.went_on(&reply),
                Ok(_) => chat.answered(reply),
                Err(_) if goes_on => {}
                Err(_) => chat.withdraw(),
            }
        }
        if done.is_err() {
            // As if the line had not been said; where that is gone, what was fed.
            let fed = self.decoder.position() as usize;
            let kept = if self.text.starts_with(&before) { before.len() } else { fed };
            self.text.truncate(kept);
            self.decoder.rewind(kept as u32);
        }
        done
    }

    fn answer(&mut self, line: &str, reply: &mut String) -> Result<End> {
        let mut request = self.request.clone();
        if let Some(chat) = self.chat.as_mut().filter(|chat| !line.is_empty() || !chat.has_answer())
        {
            request.chat = Some(chat.ask(line)?);
            let all = request.prompt_tokens(&self.tokenizer)?;
            let same = all.iter().zip(&self.text).take_while(|(a, b)| a == b).count();
            self.decoder.rewind(same as u32);
            self.text = all;
        } else if self.text.is_empty() {
            request.prompt = line.to_owned();
            self.text = request.prompt_tokens(&self.tokenizer)?;
        } else if !line.is_empty() {
            request.prompt = format!("\n{line}");
            self.text.extend(request.more_tokens(&self.tokenizer)?);
        }
        // The logits after the last token are needed, whether or not it was fed before.
        self.decoder.rewind(self.text.len() as u32 - 1);
        // It has just been typed.
        request.prompt.clear();
        let mut printed = Ok(());
        let done = go_on(
            &mut self.decoder,
            &self.tokenizer,
            &mut self.text,
            &request,
            |piece| {
                reply.push_str(piece);
                if printed.is_ok() {
                    printed = output::print(piece);
                }
            },
            |_, _, _| (),
        );
        output::print("\n")?;
        printed?;
        Ok(done?.end)
    }
}
