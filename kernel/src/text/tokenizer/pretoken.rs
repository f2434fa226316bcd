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
    /// In front of spaces: a piece is some spaces and what follows up to the next.
    BeforeSpaces,
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
            Cut::WordsAndDigits if cfg!(feature = "digits") => {
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
            Cut::BeforeSpaces if cfg!(feature = "scores") => {
                let word = self.rest.trim_start_matches(' ');
                let end = word.find(' ').unwrap_or(word.len());
                self.rest.len() - word.len() + end
            }
            _ => self.first_match(self.rest),
        }
    }

    /// Bytes of the first match in `text`, which is not empty.
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
        let spaces = self.run_len(text, Class::Space);
        let last = text.get(..spaces).and_then(|run| run.chars().next_back());
        let last = last.map_or(0, char::len_utf8);
        // `\s+(?!\S)` leaves the last space to the word that follows, `\s+` takes a lone one.
        if spaces == text.len() || spaces == last { spaces } else { spaces - last }
    }

    /// Bytes of the longest front of `text` that is of one class.
    fn run_len(&self, text: &str, class: Class) -> usize {
        text.find(|c| self.classes.of(c) != class).unwrap_or(text.len())
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
