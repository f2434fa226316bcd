//! Cuts text into pre-tokens: the pieces within which BPE may merge.
//!
//! In: text, the classes of its characters. Out: pieces, in order, none empty, all of the text.
//! Knows nothing of tokens, and of classes only what [`classes`](super::classes) says of a character.

use super::classes::{Class, Classes};

/// Where text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Into the matches of GPT-2's expression, which together are all of the text:
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    Words,
    /// Around each `\p{N}`, then what is between as [`Words`](Self::Words).
    WordsAndDigits,
    /// Into the matches of Llama 3's expression, or, with one digit a piece, of Qwen 2's:
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
    Lines {
        /// Most numbers in a piece.
        digits: usize,
    },
    /// Around each run of punctuation, then what is between as [`Words`](Self::Words), then around the
    /// numbers among its bytes: see [`part`](Self::part).
    Falcon,
    /// In front of spaces: a piece is some spaces and what follows up to the next.
    BeforeSpaces,
    /// In front of each space.
    EachSpace,
    /// A text is one piece.
    Nowhere,
}

impl Cut {
    /// The first part of the bytes of a piece within which BPE may merge, and what is behind it. All of them but
    /// for [`Falcon`](Self::Falcon), which may cut within a character: numbers are those among GPT-2's characters
    /// for bytes, and each three digits of a run of them are a part.
    pub(super) fn part(self, piece: &[u8]) -> (&[u8], &[u8]) {
        if !cfg!(feature = "words") || !matches!(self, Self::Falcon) {
            return (piece, &[]);
        }
        let number = |byte: &u8| matches!(byte, b'0'..=b'9' | 0xb2 | 0xb3 | 0xb9 | 0xbc..=0xbe);
        let digits = |bytes: &[u8]| bytes.len() == 3 && bytes.iter().all(u8::is_ascii_digit);
        let first = piece.first().is_some_and(number);
        let run = piece.iter().position(|byte| number(byte) != first).unwrap_or(piece.len());
        let threes = piece.get(..run).unwrap_or_default().windows(3);
        let len = match threes.enumerate().find(|(_, bytes)| digits(bytes)) {
            Some((0, _)) => 3,
            Some((at, _)) => at,
            None => run,
        };
        piece.split_at_checked(len).unwrap_or((piece, &[]))
    }
}

/// What SentencePiece writes for a space, and reads as one.
pub(super) const LOWER_BLOCK: char = '\u{2581}';

/// Whether a vocabulary of characters takes `c` for a space.
pub(super) const fn is_space(c: char) -> bool {
    matches!(c, ' ' | LOWER_BLOCK)
}

/// The pieces of a text.
pub(super) struct Pretokens<'t, 'm> {
    rest: &'t str,
    /// Bytes of `rest` up to the next cut around a digit, or 0 where that is not known.
    part: usize,
    cut: Cut,
    classes: Classes<'m>,
}

impl<'t, 'm> Pretokens<'t, 'm> {
    pub(super) const fn new(text: &'t str, cut: Cut, classes: Classes<'m>) -> Self {
        Self { rest: text, part: 0, cut, classes }
    }

    /// Bytes of the first piece of `rest`, which is not empty.
    fn first_len(&mut self) -> usize {
        match self.cut {
            Cut::WordsAndDigits if cfg!(feature = "words") => {
                if self.part == 0 {
                    let number = |c| self.classes.of(c) == Class::Number;
                    self.part = match self.rest.find(number) {
                        Some(0) => self.rest.chars().next().map_or(0, char::len_utf8),
                        Some(at) => at,
                        None => self.rest.len(),
                    };
                }
                let len = self.first_match(self.rest.get(..self.part).unwrap_or(self.rest));
                self.part = self.part.saturating_sub(len);
                len
            }
            Cut::Falcon if cfg!(feature = "words") => {
                if self.part == 0 {
                    let mut chars = self.rest.chars();
                    let first = chars.next().map(|c| self.classes.is_punctuation(c));
                    let other = |c| Some(self.classes.is_punctuation(c)) != first;
                    self.part = self.rest.find(other).unwrap_or(self.rest.len());
                }
                let len = self.first_match(self.rest.get(..self.part).unwrap_or(self.rest));
                self.part = self.part.saturating_sub(len);
                len
            }
            Cut::Lines { digits } if cfg!(feature = "words") => {
                self.first_of_lines(self.rest, digits)
            }
            Cut::BeforeSpaces if cfg!(feature = "scores") => {
                let word = self.rest.trim_start_matches(is_space);
                let end = word.find(is_space).unwrap_or(word.len());
                self.rest.len() - word.len() + end
            }
            Cut::EachSpace if cfg!(feature = "scores") => {
                let mut places = self.rest.char_indices().skip(1);
                places.find(|&(_, c)| is_space(c)).map_or(self.rest.len(), |(at, _)| at)
            }
            Cut::Nowhere if cfg!(feature = "scores") => self.rest.len(),
            _ => self.first_match(self.rest),
        }
    }

    /// Bytes of the first match of GPT-2's expression in `text`, which is not empty.
    fn first_match(&self, text: &str) -> usize {
        const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
        if let Some(contraction) = CONTRACTIONS.iter().find(|c| text.starts_with(**c)) {
            return contraction.len();
        }
        let word = text.strip_prefix(' ').unwrap_or(text);
        if let Some(class) = word.chars().next().map(|c| self.classes.of(c))
            && class != Class::Space
        {
            return text.len() - word.len() + self.run_len(word, class);
        }
        self.spaces(text)
    }

    /// Bytes of the first match of Llama 3's expression in `text`, which is not empty.
    fn first_of_lines(&self, text: &str, digits: usize) -> usize {
        if let Some(len) = contraction(text) {
            return len;
        }
        let mut chars = text.chars();
        let Some(first) = chars.next() else { return 0 };
        let (class, rest) = (self.classes.of(first), chars.as_str());
        let leads = !matches!(first, '\r' | '\n') && class != Class::Number;
        let letter = |c| self.classes.of(c) == Class::Letter;
        if class == Class::Letter || leads && chars.next().is_some_and(letter) {
            return first.len_utf8() + self.run_len(rest, Class::Letter);
        }
        if class == Class::Number {
            let numbers = text.chars().take(digits).take_while(|&c| self.classes.of(c) == class);
            return numbers.map(char::len_utf8).sum();
        }
        let word = text.strip_prefix(' ').unwrap_or(text);
        let (_, behind) =
            word.split_at_checked(self.run_len(word, Class::Other)).unwrap_or((word, ""));
        if behind.len() < word.len() {
            return text.len() - behind.trim_start_matches(['\r', '\n']).len();
        }
        let spaces = text.get(..self.run_len(text, Class::Space)).unwrap_or_default();
        // `\s*[\r\n]+` ends with the last line end of the spaces.
        spaces.rfind(['\r', '\n']).map_or_else(|| self.spaces(text), |last| last + 1)
    }

    /// Bytes of the spaces at the front of `text`: `\s+(?!\S)` leaves the last one to the word that follows,
    /// `\s+` takes a lone one.
    fn spaces(&self, text: &str) -> usize {
        let spaces = self.run_len(text, Class::Space);
        let last = text.get(..spaces).and_then(|run| run.chars().next_back());
        let last = last.map_or(0, char::len_utf8);
        if spaces == text.len() || spaces == last { spaces } else { spaces - last }
    }

    /// Bytes of the longest front of `text` that is of one class.
    fn run_len(&self, text: &str, class: Class) -> usize {
        text.find(|c| self.classes.of(c) != class).unwrap_or(text.len())
    }
}

/// Bytes of the contraction at the front of `text`, in letters of either case: `(?i:'s|'t|'re|'ve|'m|'ll|'d)`,
/// where a long s is an s.
fn contraction(text: &str) -> Option<usize> {
    let mut chars = text.strip_prefix('\'')?.chars();
    let (first, second) = (chars.next()?, chars.next());
    let second = second.map(|c| c.to_ascii_lowercase());
    match (first.to_ascii_lowercase(), second) {
        ('s' | 't' | 'm' | 'd' | '\u{17f}', _) => Some(1 + first.len_utf8()),
        ('r' | 'v', Some('e')) | ('l', Some('l')) => Some(3),
        _ => None,
    }
}

impl<'t> Iterator for Pretokens<'t, '_> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        if self.rest.is_empty() {
            return None;
        }
        let (piece, rest) = self.rest.split_at_checked(self.first_len())?;
        self.rest = rest;
        Some(piece)
    }
}
