//! A text as it is generated: tokens in, characters out, until something ends it.
//!
//! In: the tokens that were chosen, one by one. Out: whole characters, and why the text ended. Joins
//! tokenizer, UTF-8 and stop strings; knows nothing of models, or of how tokens are chosen.

use super::stop::{NoStops, StopMatcher, Stops};
use super::tokenizer::{Tokenizer, Utf8Decoder};

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum End {
    /// By a token that ends a text.
    EndOfText,
    /// By the stop string of this number, which was not given.
    StopString(usize),
}

/// Turns the tokens of one text into characters, and says when the text has ended.
///
/// What [`push`](Self::push) and [`finish`](Self::finish) give is together the text that all the bytes
/// of all tokens make, as `String::from_utf8_lossy` reads them, up to a token that ends a text or the
/// first stop string. Special tokens have no characters.
#[derive(Clone, Debug)]
pub struct TextStream<'t, S = NoStops> {
    tokenizer: Tokenizer<'t>,
    utf8: Utf8Decoder,
    stops: S,
    /// Whether the space that the tokenizer put in front of the text comes next.
    space: bool,
}

impl<'t> TextStream<'t> {
    /// A text in tokens of `tokenizer`.
    pub const fn new(tokenizer: Tokenizer<'t>) -> Self {
        Self { tokenizer, utf8: Utf8Decoder::new(), stops: NoStops, space: false }
    }

    /// The same; any of the strings `stops` ends it too.
    pub const fn with_stops<S: AsRef<str>>(
        self,
        stops: &'t [S],
    ) -> TextStream<'t, StopMatcher<'t, S>> {
        let Self { tokenizer, utf8, space, .. } = self;
        TextStream { tokenizer, utf8, stops: StopMatcher::new(stops), space }
    }

    /// Says that the next token is the first of a whole text: a space that the tokenizer puts in front
    /// of every text is then no part of it.
    #[must_use]
    pub fn from_start(mut self) -> Self {
        self.space = self.tokenizer.adds_space();
        self
    }
}

impl<S: Stops> TextStream<'_, S> {
    /// Takes the next token and gives the characters that are certain with it; says if it ends the text.
    /// Behind an end nothing is held back.
    ///
    /// A token beyond the tokenizer's vocabulary has no characters.
    pub fn push(&mut self, token: u32, mut out: impl FnMut(&str)) -> Option<End> {
        if self.tokenizer.ends(token) {
            self.finish(out);
            return Some(End::EndOfText);
        }
        if self.tokenizer.is_special(token) {
            return None;
        }
        let bytes = self.tokenizer.bytes(token).unwrap_or(&[]);
        let space = core::mem::take(&mut self.space);
        let bytes = bytes.strip_prefix(b" ").filter(|_| space).unwrap_or(bytes);
        let (stops, mut found) = (&mut self.stops, None);
        self.utf8.push(bytes, |chars| {
            if found.is_none() {
                found = stops.push(chars, &mut out);
            }
        });
        found.map(|number| {
            self.utf8 = Utf8Decoder::new();
            End::StopString(number)
        })
    }

    /// Ends the text: gives what was held back.
    pub fn finish(&mut self, mut out: impl FnMut(&str)) {
        let (stops, mut found) = (&mut self.stops, None);
        self.utf8.finish(|chars| found = stops.push(chars, &mut out));
        if found.is_none() {
            stops.finish(out);
        }
    }
}
