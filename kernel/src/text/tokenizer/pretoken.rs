//! Cuts text into pre-tokens: the pieces within which BPE may merge.
//!
//! In: text, the classes of its characters. Out: pieces, in order, none empty, all of the text.
//! Knows nothing of tokens.

/// What the pre-tokenizer tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Class {
    /// Neither of the others: punctuation, symbols, marks, controls.
    Other = 0,
    /// `\p{L}`.
    Letter = 1,
    /// `\p{N}`.
    Number = 2,
    /// `\s`.
    Space = 3,
}

/// Consecutive code points of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRun {
    /// Code points.
    pub length: u32,
    /// Their class.
    pub class: Class,
}

/// The class of every character, as runs from U+0080 on; beyond the last run all are `Other`.
///
/// A run is `length << 2 | class` as LEB128. The table is the image's and not `core`'s: `core` has
/// no `\p{L}` (its `is_alphabetic` has exceptions), and it moves to the next Unicode with the
/// compiler, which would cut the same text differently on two boards. It takes 1.9 KB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classes<'m> {
    pub(super) runs: &'m [u8],
}

impl<'m> Classes<'m> {
    /// `None` unless the bytes are whole runs, or `other`: something else.
    pub(super) fn parse(runs: &'m [u8], other: bool) -> Option<Self> {
        let mut rest = if other { &[] } else { runs };
        while !rest.is_empty() {
            (_, rest) = read_run(rest)?;
        }
        Some(Self { runs })
    }

    fn of(self, c: char) -> Class {
        match c {
            '\t'..='\r' | ' ' => Class::Space,
            'a'..='z' | 'A'..='Z' => Class::Letter,
            '0'..='9' => Class::Number,
            '\0'..='\x7f' => Class::Other,
            _ => self.beyond_ascii(u32::from(c)),
        }
    }

    fn beyond_ascii(self, point: u32) -> Class {
        let mut left = point.saturating_sub(0x80);
        let mut rest = self.runs;
        while let Some((run, next)) = read_run(rest) {
            if left < run.length {
                return run.class;
            }
            left -= run.length;
            rest = next;
        }
        Class::Other
    }
}

/// The first run of a table and what follows it.
fn read_run(mut bytes: &[u8]) -> Option<(ClassRun, &[u8])> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let (&byte, rest) = bytes.split_first()?;
        bytes = rest;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let class = match value & 3 {
                0 => Class::Other,
                1 => Class::Letter,
                2 => Class::Number,
                _ => Class::Space,
            };
            return Some((ClassRun { length: value >> 2, class }, bytes));
        }
    }
    None
}

/// A run as LEB128: the bytes and how many of them count.
pub(super) fn write_run(run: ClassRun) -> ([u8; 4], usize) {
    // Four groups of seven bits are more than there are code points.
    let mut value = run.length.min((1 << 26) - 1) << 2 | run.class as u32;
    let mut bytes = [0; 4];
    let mut len = 0;
    for byte in &mut bytes {
        len += 1;
        *byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, len)
}

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
    /// In front of spaces: a piece is some spaces and what follows up to the next.
    BeforeSpaces,
    /// In front of each space.
    EachSpace,
    /// A text is one piece.
    Nowhere,
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
