//! The tokenizer section of an image: a checked view of its bytes. [`emit`](super::emit) writes them,
//! [`lookup`](super::lookup) finds tokens in them.
//!
//! In: bytes. Out: a vocabulary. Knows nothing of text.
//!
//! Little-endian, unaligned, in this order:
//!
//! | part    | bytes                      | holds                                                 |
//! |---------|----------------------------|-------------------------------------------------------|
//! | header  | 44                         | u16 version, u16 flags, then as u32 the counts of     |
//! |         |                            | tokens, merges, added, special, text bytes, class     |
//! |         |                            | bytes, eos and whole, and the ids of the BOS and of   |
//! |         |                            | the unknown token, all ones where there is none       |
//! | bounds  | tokens * `T`               | where each token ends in the text                     |
//! | bytes   | 256 * `I`                  | the id of each byte, all ones where it has none       |
//! | merges  | merges * 3 `I`             | left, right, result; ascending by (left, right)       |
//! | ranks   | merges * 4, if flag 0 set  | the rank of each merge                                |
//! | added   | added * `I`                | ids of added tokens, the special ones first; with     |
//! |         |                            | flag 12 then, `I` each, the bits of a [`Beside`]      |
//! | eos     | eos * `I`                  | ids of the tokens that end a text                     |
//! | whole   | whole * `I`                | ids of the words that are never merged, by their bytes|
//! | classes | class bytes                | runs of Unicode classes, or `I` each, with flag 1,    |
//! |         |                            | ids of the characters beyond ASCII, by their bytes    |
//! | text    | text bytes                 | the tokens' bytes, joined                             |
//!
//! Flag 1: pieces are merged from characters, not from bytes. Flags 2 and 3: where text is cut, a
//! [`Words`](super::Words) or, with flag 1, a [`Spaces`](super::Spaces). Flags 4 and 5: a
//! [`Prefix`](super::Prefix), flag 10 the last of them. Flag 6: unknown tokens in a row are one. Flag 7: the BOS is put in front of a
//! text. Flags 8 and 9: a [`Form`](super::Form) that text must have. Flag 11, with flags 1 to 3 clear: the words are
//! Falcon's. Flag 12: added tokens ask something of the text beside them.
//!
//! `I` is 2 up to 65535 tokens, else 4; `T` is 2 up to 65535 text bytes, else 4. Without stored
//! ranks a merge ranks as its result's id: trainers number tokens in the order they learn them.

use super::classes::{Class, Classes};
use super::error::TokenizerError;
use super::{Beside, MOST_TOKENS, VERSION};

const HEADER_BYTES: u64 = 44;
pub(super) const RANKS_STORED: u16 = 1;
pub(super) const CHARACTERS: u16 = 2;
pub(super) const CUT_SHIFT: u16 = 2;
pub(super) const PREFIX_SHIFT: u16 = 4;
pub(super) const FUSED: u16 = 1 << 6;
pub(super) const BEGINS: u16 = 1 << 7;
pub(super) const FORM_SHIFT: u16 = 8;
/// [`Prefix::BeforeAdded`](super::Prefix::BeforeAdded), for which the two bits of the others are not enough.
pub(super) const BEFORE_ADDED: u16 = 1 << 10;
/// [`Words::Falcon`](super::Words::Falcon), for which the two bits of the others are not enough.
pub(super) const FALCON: u16 = 1 << 11;
pub(super) const BESIDE: u16 = 1 << 12;
/// The flags that this build has code for.
const KNOWN: u16 = RANKS_STORED
    | FUSED
    | BEGINS
    | if cfg!(feature = "scores") { CHARACTERS | 3 << PREFIX_SHIFT | BEFORE_ADDED } else { 0 }
    | if cfg!(any(feature = "scores", feature = "words")) { 3 << CUT_SHIFT } else { 0 }
    | if cfg!(feature = "words") { 3 << FORM_SHIFT | FALCON | BESIDE } else { 0 };
const MOST_TEXT: u32 = 1 << 28;
/// A rank that no merge has.
pub(super) const NO_RANK: u32 = u32::MAX;
/// An id that no token has.
pub(super) const NO_TOKEN: u32 = u32::MAX;

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
pub(super) struct Table<'m> {
    bytes: &'m [u8],
    wide: bool,
}

impl Table<'_> {
    pub(super) fn get(self, at: usize) -> Option<u32> {
        if self.wide {
            let bytes = self.bytes.get(at.checked_mul(4)?..)?;
            bytes.first_chunk().map(|&bytes| u32::from_le_bytes(bytes))
        } else {
            let bytes = self.bytes.get(at.checked_mul(2)?..)?;
            bytes.first_chunk().map(|&bytes| u32::from(u16::from_le_bytes(bytes)))
        }
    }

    pub(super) const fn len(self) -> usize {
        self.bytes.len() / if self.wide { 4 } else { 2 }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u32> {
        (0..self.len()).filter_map(move |at| self.get(at))
    }
}

/// The sizes that follow from the counts of a header.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub ranks_stored: bool,
    pub beside: bool,
    pub tokens: u32,
    pub merges: u32,
    pub added: u32,
    pub special: u32,
    pub text: u32,
    pub classes: u32,
    pub eos: u32,
    pub whole: u32,
}

impl Counts {
    pub const fn wide_ids(self) -> bool {
        self.tokens >= 1 << 16
    }

    pub const fn wide_bounds(self) -> bool {
        self.text >= 1 << 16
    }

    /// Bytes of bounds, bytes, merges, ranks, added, eos, whole, classes, text.
    const fn parts(self) -> [u64; 9] {
        let id = if self.wide_ids() { 4 } else { 2 };
        let bound = if self.wide_bounds() { 4 } else { 2 };
        [
            self.tokens as u64 * bound,
            256 * id,
            self.merges as u64 * 3 * id,
            if self.ranks_stored { self.merges as u64 * 4 } else { 0 },
            self.added as u64 * id * if cfg!(feature = "words") && self.beside { 2 } else { 1 },
            self.eos as u64 * id,
            self.whole as u64 * id,
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
            (self.eos, self.tokens),
            (self.whole, if cfg!(feature = "words") { self.tokens } else { 0 }),
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
    pub(super) flags: u16,
    pub(super) merge_count: usize,
    pub(super) special_count: usize,
    pub(super) bounds: Table<'m>,
    pub(super) byte_ids: Table<'m>,
    pub(super) merges: Table<'m>,
    /// Empty where the result's id is the rank.
    pub(super) ranks: Table<'m>,
    pub(super) added: Table<'m>,
    /// Bits of a [`Beside`] for each added token, or empty.
    pub(super) beside: Table<'m>,
    pub(super) eos: Table<'m>,
    pub(super) whole: Table<'m>,
    pub(super) bos: Option<u32>,
    pub(super) unknown: Option<u32>,
    pub(super) text: &'m [u8],
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
        let twice = BEFORE_ADDED & KNOWN != 0
            && flags & BEFORE_ADDED != 0
            && flags >> PREFIX_SHIFT & 3 != 0;
        let cut_twice = FALCON & KNOWN != 0
            && flags & FALCON != 0
            && flags & (CHARACTERS | 3 << CUT_SHIFT) != 0;
        if flags & !KNOWN != 0 || twice || cut_twice {
            return Err(TokenizerError::Flags { found: flags });
        }
        let mut header = (1..=10).map(|at| header.get(at).ok_or(short));
        let mut next = || header.next().unwrap_or(Err(short));
        let counts = Counts {
            ranks_stored: flags & RANKS_STORED != 0,
            beside: flags & BESIDE != 0,
            tokens: next()?,
            merges: next()?,
            added: next()?,
            special: next()?,
            text: next()?,
            classes: next()?,
            eos: next()?,
            whole: next()?,
        };
        let named = |id| (id != NO_TOKEN).then_some(id);
        let (bos, unknown) = (named(next()?), named(next()?));
        counts.check()?;
        let size = TokenizerError::Size { needed: counts.bytes(), given };
        let mut rest = bytes.get(HEADER_BYTES as usize..).ok_or(size)?;
        let mut parts: [&[u8]; 9] = [&[]; 9];
        for (part, len) in parts.iter_mut().zip(counts.parts()) {
            let len = usize::try_from(len).map_err(|_| size)?;
            (*part, rest) = rest.split_at_checked(len).ok_or(size)?;
        }
        let [bounds, byte_ids, merges, ranks, added, eos, whole, classes, text] = parts;
        let ids = |bytes| Table { bytes, wide: counts.wide_ids() };
        let flags = flags & KNOWN;
        let (added, beside) = if cfg!(feature = "words") && counts.beside {
            added.split_at_checked(added.len() / 2).ok_or(size)?
        } else {
            (added, [].as_slice())
        };
        // Not runs, but the table of `character`.
        let characters = cfg!(feature = "scores") && flags & CHARACTERS != 0;
        let sections = Self {
            tokens: counts.tokens,
            classes: Classes::parse(classes, characters).ok_or(TokenizerError::Classes)?,
            flags,
            merge_count: counts.merges as usize,
            special_count: counts.special as usize,
            bounds: Table { bytes: bounds, wide: counts.wide_bounds() },
            byte_ids: ids(byte_ids),
            merges: ids(merges),
            ranks: Table { bytes: ranks, wide: true },
            added: ids(added),
            beside: ids(beside),
            eos: ids(eos),
            whole: ids(whole),
            bos,
            unknown,
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
            if self.byte_id(byte).is_some_and(|id| id >= self.tokens) {
                return Err(TokenizerError::ByteToken { byte });
            }
        }
        let named = self.eos.iter().chain(self.bos).chain(self.unknown).chain(self.whole.iter());
        if let Some(id) = named.into_iter().find(|&id| id >= self.tokens) {
            return Err(TokenizerError::NoToken { id });
        }
        if self.characters() && self.character_table().iter().any(|id| id >= self.tokens) {
            return Err(TokenizerError::Classes);
        }
        let mut previous = None;
        for at in 0..self.merge_count {
            let refused = TokenizerError::Merge { at: at as u32 };
            let merge = self.merge_at(at).ok_or(refused)?;
            let pair = Some((merge.left, merge.right));
            let highest = merge.left.max(merge.right).max(merge.result);
            if highest >= self.tokens || pair <= previous || merge.rank == NO_RANK {
                return Err(refused);
            }
            previous = pair;
        }
        for at in 0..self.added.len() {
            let bytes = self.added.get(at).and_then(|id| self.token(id)).unwrap_or_default();
            if bytes.is_empty() || core::str::from_utf8(bytes).is_err() {
                return Err(TokenizerError::Added { at: at as u32 });
            }
        }
        if cfg!(feature = "words")
            && let Some(at) = self.beside.iter().position(|bits| Beside::of_bits(bits).is_none())
        {
            return Err(TokenizerError::Added { at: at as u32 });
        }
        Ok(())
    }

    /// The tokens of one character beyond ASCII, where pieces are merged from characters.
    pub(super) const fn character_table(&self) -> Table<'m> {
        Table { bytes: self.classes.runs, wide: self.byte_ids.wide }
    }
}

const _: () = assert!(Class::Space as u32 == 3);
