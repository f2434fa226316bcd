//! The tokenizer section of an image: a checked view of its bytes. [`emit`](super::emit) writes them.
//!
//! In: bytes. Out: a vocabulary. Knows nothing of text.
//!
//! Little-endian, unaligned, in this order:
//!
//! | part    | bytes                      | holds                                               |
//! |---------|----------------------------|-----------------------------------------------------|
//! | header  | 28                         | u16 version, u16 flags, then as u32 the counts of   |
//! |         |                            | tokens, merges, added, special, text and class bytes |
//! | ends    | tokens * `T`               | where each token ends in the text                   |
//! | bytes   | 256 * `I`                  | the id of each byte                                 |
//! | merges  | merges * 3 `I`             | left, right, result; ascending by (left, right)     |
//! | ranks   | merges * 4, if flag 0 set  | the rank of each merge                              |
//! | added   | added * `I`                | ids of added tokens, the special ones first         |
//! | classes | class bytes                | runs of Unicode classes, or `I` each, with flag 1,  |
//! |         |                            | ids of the characters beyond ASCII, by their bytes  |
//! | text    | text bytes                 | the tokens' bytes, joined                           |
//!
//! Flag 1: pieces are merged from characters, not from bytes; flag 2: numbers are cut into digits; flag 3:
//! a space is put in front of a text. `I` is 2 up to 65535 tokens, else 4; `T` is 2 up to 65535 text bytes, else 4. Without stored
//! ranks a merge ranks as its result's id: trainers number tokens in the order they learn them.

use super::error::TokenizerError;
use super::pretoken::{Class, Classes, Cut};
use super::{MOST_TOKENS, VERSION};
use core::cmp::Ordering;

const HEADER_BYTES: u64 = 28;
pub(super) const RANKS_STORED: u16 = 1;
pub(super) const CHARACTERS: u16 = 2;
pub(super) const DIGITS: u16 = 4;
pub(super) const PREFIX: u16 = 8;
/// The flags that this build has code for.
const KNOWN: u16 = RANKS_STORED
    | if cfg!(feature = "scores") { CHARACTERS | PREFIX } else { 0 }
    | if cfg!(feature = "digits") { DIGITS } else { 0 };
const MOST_TEXT: u32 = 1 << 28;

/// One merge of BPE: two neighbouring tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Merge {
    /// The token on the left.
    pub left: u32,
    /// The token on the right.
    pub right: u32,
    /// Merges of lower rank come first.
    pub rank: u32,
    /// What the two become.
    pub result: u32,
}

/// Numbers of 2 or 4 bytes each.
#[derive(Clone, Copy, Debug)]
struct Table<'m> {
    bytes: &'m [u8],
    wide: bool,
}

impl Table<'_> {
    fn get(self, at: usize) -> Option<u32> {
        if self.wide {
            let bytes = self.bytes.get(at.checked_mul(4)?..)?;
            bytes.first_chunk().map(|&bytes| u32::from_le_bytes(bytes))
        } else {
            let bytes = self.bytes.get(at.checked_mul(2)?..)?;
            bytes.first_chunk().map(|&bytes| u32::from(u16::from_le_bytes(bytes)))
        }
    }
}

/// The sizes that follow from the counts of a header.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub ranks_stored: bool,
    pub tokens: u32,
    pub merges: u32,
    pub added: u32,
    pub special: u32,
    pub text: u32,
    pub classes: u32,
}

impl Counts {
    pub const fn wide_ids(self) -> bool {
        self.tokens >= 1 << 16
    }

    pub const fn wide_ends(self) -> bool {
        self.text >= 1 << 16
    }

    /// Bytes of ends, bytes, merges, ranks, added, classes, text.
    const fn parts(self) -> [u64; 7] {
        let id = if self.wide_ids() { 4 } else { 2 };
        let end = if self.wide_ends() { 4 } else { 2 };
        [
            self.tokens as u64 * end,
            256 * id,
            self.merges as u64 * 3 * id,
            if self.ranks_stored { self.merges as u64 * 4 } else { 0 },
            self.added as u64 * id,
            self.classes as u64,
            self.text as u64,
        ]
    }

    pub fn bytes(self) -> u64 {
        HEADER_BYTES + self.parts().iter().sum::<u64>()
    }

    /// Refuses counts from which nothing should be computed.
    pub fn check(self) -> Result<(), TokenizerError> {
        if self.tokens == 0 || self.tokens > MOST_TOKENS {
            return Err(TokenizerError::TokenCount { found: self.tokens });
        }
        let limits = [
            (self.merges, MOST_TOKENS),
            (self.added, self.tokens),
            (self.special, self.added),
            (self.text, MOST_TEXT),
        ];
        match limits.into_iter().find(|(found, most)| found > most) {
            Some((found, most)) => Err(TokenizerError::Count { found, most }),
            None => Ok(()),
        }
    }
}

/// The checked parts of a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sections<'m> {
    pub(super) tokens: u32,
    pub(super) classes: Classes<'m>,
    flags: u16,
    merge_count: usize,
    added_count: usize,
    special_count: usize,
    ends: Table<'m>,
    byte_ids: Table<'m>,
    merges: Table<'m>,
    /// Empty where the result's id is the rank.
    ranks: Table<'m>,
    added: Table<'m>,
    text: &'m [u8],
}

/// An added token found in a text.
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) len: usize,
    pub(super) special: bool,
}

impl<'m> Sections<'m> {
    pub(super) fn parse(bytes: &'m [u8]) -> Result<Self, TokenizerError> {
        let given = bytes.len() as u64;
        let short = TokenizerError::Size { needed: HEADER_BYTES, given };
        let header = Table { bytes, wide: true };
        let (Some(&found), Some(&[low, high])) = (bytes.first_chunk(), bytes.get(2..4)) else {
            return Err(short);
        };
        let found = u16::from_le_bytes(found);
        if found != VERSION {
            return Err(TokenizerError::Version { found });
        }
        let flags = u16::from_le_bytes([low, high]);
        if flags & !KNOWN != 0 {
            return Err(TokenizerError::Flags { found: flags });
        }
        let count = |at| header.get(at).ok_or(short);
        let counts = Counts {
            ranks_stored: flags & RANKS_STORED != 0,
            tokens: count(1)?,
            merges: count(2)?,
            added: count(3)?,
            special: count(4)?,
            text: count(5)?,
            classes: count(6)?,
        };
        counts.check()?;
        let size = TokenizerError::Size { needed: counts.bytes(), given };
        let mut rest = bytes.get(HEADER_BYTES as usize..).ok_or(size)?;
        let mut parts: [&[u8]; 7] = [&[]; 7];
        for (part, len) in parts.iter_mut().zip(counts.parts()) {
            let len = usize::try_from(len).map_err(|_| size)?;
            (*part, rest) = rest.split_at_checked(len).ok_or(size)?;
        }
        let [ends, byte_ids, merges, ranks, added, classes, text] = parts;
        let ids = |bytes| Table { bytes, wide: counts.wide_ids() };
        let flags = flags & KNOWN;
        // Not runs, but the table of `character`.
        let characters = cfg!(feature = "scores") && flags & CHARACTERS != 0;
        let sections = Self {
            tokens: counts.tokens,
            classes: Classes::parse(classes, characters).ok_or(TokenizerError::Classes)?,
            flags,
            merge_count: counts.merges as usize,
            added_count: counts.added as usize,
            special_count: counts.special as usize,
            ends: Table { bytes: ends, wide: counts.wide_ends() },
            byte_ids: ids(byte_ids),
            merges: ids(merges),
            ranks: Table { bytes: ranks, wide: true },
            added: ids(added),
            text,
        };
        sections.check()?;
        Ok(sections)
    }

    /// Refuses ids that are not in the vocabulary and parts that are out of order.
    fn check(&self) -> Result<(), TokenizerError> {
        if let Some(id) = (0..self.tokens).find(|&id| self.token(id).is_none()) {
            return Err(TokenizerError::Token { id });
        }
        for byte in 0..=u8::MAX {
            if self.byte_id(byte) >= self.tokens {
                return Err(TokenizerError::ByteToken { byte });
            }
        }
        if self.characters() && (0..self.character_count()).any(|at| !self.is_character(at)) {
            return Err(TokenizerError::Classes);
        }
        let mut previous = None;
        for at in 0..self.merge_count {
            let refused = TokenizerError::Merge { at: at as u32 };
            let merge = self.merge_at(at).ok_or(refused)?;
            let pair = Some((merge.left, merge.right));
            if merge.left.max(merge.right).max(merge.result) >= self.tokens || pair <= previous {
                return Err(refused);
            }
            previous = pair;
        }
        for at in 0..self.added_count {
            let bytes = self.added.get(at).and_then(|id| self.token(id)).unwrap_or_default();
            if bytes.is_empty() || core::str::from_utf8(bytes).is_err() {
                return Err(TokenizerError::Added { at: at as u32 });
            }
        }
        Ok(())
    }

    pub(super) fn token(&self, id: u32) -> Option<&'m [u8]> {
        let id = id as usize;
        let end = self.ends.get(id)?;
        let start = match id.checked_sub(1) {
            Some(previous) => self.ends.get(previous)?,
            None => 0,
        };
        self.text.get(start as usize..end as usize)
    }

    /// The id of a byte; the table was measured at `parse`.
    pub(super) fn byte_id(&self, byte: u8) -> u32 {
        self.byte_ids.get(usize::from(byte)).unwrap_or(0)
    }

    /// Where text is cut into the pieces that are merged apart.
    pub(super) const fn cut(&self) -> Cut {
        if self.characters() {
            Cut::BeforeSpaces
        } else if cfg!(feature = "digits") && self.flags & DIGITS != 0 {
            Cut::WordsAndDigits
        } else {
            Cut::Words
        }
    }

    /// Whether pieces are merged from characters rather than from bytes.
    pub(super) const fn characters(&self) -> bool {
        cfg!(feature = "scores") && self.flags & CHARACTERS != 0
    }

    /// Whether a space is put in front of a text.
    pub(super) const fn prefix(&self) -> bool {
        cfg!(feature = "scores") && self.flags & PREFIX != 0
    }

    /// The tokens of one character beyond ASCII, where pieces are merged from characters.
    const fn character_table(&self) -> Table<'m> {
        Table { bytes: self.classes.runs, wide: self.byte_ids.wide }
    }

    const fn character_count(&self) -> usize {
        self.classes.runs.len() / if self.byte_ids.wide { 4 } else { 2 }
    }

    fn is_character(&self, at: usize) -> bool {
        self.character_table().get(at).is_some_and(|id| id < self.tokens)
    }

    /// The id of a character beyond ASCII that is a token.
    pub(super) fn character(&self, character: &[u8]) -> Option<u32> {
        let (mut from, mut to) = (0, self.character_count());
        while from < to {
            let middle = from.midpoint(to);
            let id = self.character_table().get(middle)?;
            match self.token(id)?.cmp(character) {
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
                Ordering::Equal => return Some(id),
            }
        }
        None
    }

    fn merge_at(&self, at: usize) -> Option<Merge> {
        let first = at.checked_mul(3)?;
        let [left, right, result] =
            [self.merges.get(first)?, self.merges.get(first + 1)?, self.merges.get(first + 2)?];
        let rank = if self.ranks.bytes.is_empty() { result } else { self.ranks.get(at)? };
        Some(Merge { left, right, rank, result })
    }

    /// The merge of two tokens, if they have one.
    pub(super) fn merge(&self, left: u32, right: u32) -> Option<Merge> {
        let (mut from, mut to) = (0, self.merge_count);
        while from < to {
            let middle = from.midpoint(to);
            let merge = self.merge_at(middle)?;
            match (merge.left, merge.right).cmp(&(left, right)) {
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
                Ordering::Equal => return Some(merge),
            }
        }
        None
    }

    /// The bytes that added tokens begin with, one bit each.
    pub(super) fn added_starts(&self) -> [u32; 8] {
        let mut starts = [0; 8];
        for at in 0..self.added_count {
            let bytes = self.added.get(at).and_then(|id| self.token(id)).unwrap_or_default();
            if let Some(&byte) = bytes.first()
                && let Some(bits) = starts.get_mut(usize::from(byte / 32))
            {
                *bits |= 1_u32 << (byte % 32);
            }
        }
        starts
    }

    /// The longest added token that begins at byte `at` of a text.
    pub(super) fn added_at(&self, text: &[u8], at: usize, starts: &[u32; 8]) -> Option<Added> {
        let rest = text.get(at..)?;
        let byte = *rest.first()?;
        if starts.get(usize::from(byte / 32))? & (1 << (byte % 32)) == 0 {
            return None;
        }
        let mut longest: Option<Added> = None;
        for at in 0..self.added_count {
            let id = self.added.get(at)?;
            let len = self.token(id)?.len();
            if longest.as_ref().is_none_or(|longest| len > longest.len)
                && rest.starts_with(self.token(id)?)
            {
                longest = Some(Added { id, len, special: at < self.special_count });
            }
        }
        longest
    }
}

const _: () = assert!(Class::Space as u32 == 3);
