//! What a vocabulary says of bytes, ids and pairs of ids.
//!
//! In: a checked section. Out: tokens, merges, added tokens in a text. Knows nothing of how text is cut.

use super::pretoken::Cut;
use super::section::{
    BEFORE_ADDED, BEGINS, CHARACTERS, CUT_SHIFT, FALCON, FORM_SHIFT, FUSED, Merge, PREFIX_SHIFT,
    Sections, Table,
};
use super::{Beside, Form, Prefix};
use core::cmp::Ordering;

/// An added token found in a text.
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) len: usize,
    pub(super) special: bool,
    pub(super) beside: Beside,
}

impl<'m> Sections<'m> {
    pub(super) fn token(&self, id: u32) -> Option<&'m [u8]> {
        let id = id as usize;
        let end = self.bounds.get(id)?;
        let start = match id.checked_sub(1) {
            Some(previous) => self.bounds.get(previous)?,
            None => 0,
        };
        self.text.get(start as usize..end as usize)
    }

    /// The id of a byte, if it has one.
    pub(super) fn byte_id(&self, byte: u8) -> Option<u32> {
        let id = self.byte_ids.get(usize::from(byte))?;
        let none = if self.tokens >= 1 << 16 { u32::MAX } else { u32::from(u16::MAX) };
        (id != none).then_some(id)
    }

    /// Where text is cut into the pieces that are merged apart.
    pub(super) const fn cut(&self) -> Cut {
        let cut = self.flags >> CUT_SHIFT & 3;
        if self.characters() {
            match cut {
                0 => Cut::BeforeSpaces,
                1 => Cut::EachSpace,
                _ => Cut::Nowhere,
            }
        } else {
            match cut {
                _ if cfg!(feature = "words") && self.flags & FALCON != 0 => Cut::Falcon,
                1 if cfg!(feature = "words") => Cut::WordsAndDigits,
                2 if cfg!(feature = "words") => Cut::Lines { digits: 1 },
                3 if cfg!(feature = "words") => Cut::Lines { digits: 3 },
                _ => Cut::Words,
            }
        }
    }

    /// Whether pieces are merged from characters rather than from bytes.
    pub(super) const fn characters(&self) -> bool {
        cfg!(feature = "scores") && self.flags & CHARACTERS != 0
    }

    /// Where a space is put in front.
    pub(super) const fn prefix(&self) -> Prefix {
        if cfg!(feature = "scores") && self.flags & BEFORE_ADDED != 0 {
            return Prefix::BeforeAdded;
        }
        match self.flags >> PREFIX_SHIFT & 3 {
            1 if cfg!(feature = "scores") => Prefix::Always,
            2 if cfg!(feature = "scores") => Prefix::UnlessSpace,
            3 if cfg!(feature = "scores") => Prefix::First,
            _ => Prefix::Never,
        }
    }

    /// The form that text must have.
    pub(super) const fn form(&self) -> Option<Form> {
        match self.flags >> FORM_SHIFT & 3 {
            1 if cfg!(feature = "words") => Some(Form::Nfc),
            2 if cfg!(feature = "words") => Some(Form::Nfkc),
            _ => None,
        }
    }

    /// Whether unknown tokens in a row are one.
    pub(super) const fn fused(&self) -> bool {
        self.flags & FUSED != 0
    }

    /// Whether the BOS is put in front of a text.
    pub(super) const fn begins(&self) -> bool {
        self.flags & BEGINS != 0
    }

    /// The id in `table`, which is ascending by the tokens' bytes, whose bytes they are.
    fn find(&self, table: Table<'m>, bytes: &[u8]) -> Option<u32> {
        let (mut from, mut to) = (0, table.len());
        while from < to {
            let middle = from.midpoint(to);
            let id = table.get(middle)?;
            match self.token(id)?.cmp(bytes) {
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
                Ordering::Equal => return Some(id),
            }
        }
        None
    }

    /// The id of a character beyond ASCII that is a token.
    pub(super) fn character(&self, character: &[u8]) -> Option<u32> {
        self.find(self.character_table(), character)
    }

    /// The id of a word that is never merged.
    pub(super) fn whole_word(&self, word: &[u8]) -> Option<u32> {
        if cfg!(feature = "words") { self.find(self.whole, word) } else { None }
    }

    pub(super) fn merge_at(&self, at: usize) -> Option<Merge> {
        let first = at.checked_mul(3)?;
        let [left, right, result] =
            [self.merges.get(first)?, self.merges.get(first + 1)?, self.merges.get(first + 2)?];
        let rank = if self.ranks.len() == 0 { result } else { self.ranks.get(at)? };
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

    /// Whether `id` is a special token.
    pub(super) fn is_special(&self, id: u32) -> bool {
        self.added.iter().take(self.special_count).any(|special| special == id)
    }

    /// The bytes that added tokens begin with, one bit each.
    pub(super) fn added_starts(&self) -> [u32; 8] {
        let mut starts = [0; 8];
        for id in self.added.iter() {
            let bytes = self.token(id).unwrap_or_default();
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
        for (at, id) in self.added.iter().enumerate() {
            let len = self.token(id)?.len();
            if longest.as_ref().is_none_or(|longest| len > longest.len)
                && rest.starts_with(self.token(id)?)
            {
                let beside = match self.beside.get(at) {
                    Some(bits) if cfg!(feature = "words") => Beside::of_bits(bits)?,
                    _ => Beside::ANYTHING,
                };
                longest = Some(Added { id, len, special: at < self.special_count, beside });
            }
        }
        longest
    }
}
