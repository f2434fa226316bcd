//! Classes of characters, as runs of code points.
//!
//! In: bytes, a character. Out: what the character is. Knows nothing of text.

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
///
/// An empty run says of the next one what its class does not: [`PUNCTUATION`](Self::PUNCTUATION),
/// [`UNLIKE_WORD`](Self::UNLIKE_WORD), or both, [`BOTH`](Self::BOTH).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRun {
    /// Code points.
    pub length: u32,
    /// Their class.
    pub class: Class,
}

impl ClassRun {
    /// The next run is punctuation, as [`Words::Falcon`](super::Words::Falcon) cuts around.
    pub const PUNCTUATION: Self = Self { length: 0, class: Class::Letter };
    /// The next run is of words (`\w`) though it is neither of letters nor of numbers, or is not though it is.
    pub const UNLIKE_WORD: Self = Self { length: 0, class: Class::Number };
    /// Both.
    pub const BOTH: Self = Self { length: 0, class: Class::Space };
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

    pub(super) fn of(self, c: char) -> Class {
        match c {
            '\t'..='\r' | ' ' => Class::Space,
            'a'..='z' | 'A'..='Z' => Class::Letter,
            '0'..='9' => Class::Number,
            '\0'..='\x7f' => Class::Other,
            _ => self.beyond_ascii(u32::from(c)).0,
        }
    }

    /// Whether `\w` is `c`.
    pub(super) fn is_of_word(self, c: char) -> bool {
        if c.is_ascii() {
            return c.is_ascii_alphanumeric() || c == '_';
        }
        let (class, marks) = self.beyond_ascii(u32::from(c));
        matches!(class, Class::Letter | Class::Number) != (marks & 2 != 0)
    }

    /// Whether Falcon's words are cut around `c`.
    pub(super) fn is_punctuation(self, c: char) -> bool {
        if c.is_ascii() {
            c.is_ascii_punctuation()
        } else {
            self.beyond_ascii(u32::from(c)).1 & 1 != 0
        }
    }

    /// The class of a code point, and what the empty run in front of its run says.
    fn beyond_ascii(self, point: u32) -> (Class, u32) {
        let mut left = point.saturating_sub(0x80);
        let mut rest = self.runs;
        let mut marks = 0;
        while let Some((run, next)) = read_run(rest) {
            if left < run.length {
                return (run.class, marks);
            }
            marks = if run.length == 0 { run.class as u32 } else { 0 };
            left -= run.length;
            rest = next;
        }
        (Class::Other, 0)
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
