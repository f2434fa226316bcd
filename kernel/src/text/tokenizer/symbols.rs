//! The ids that merging begins with: one for each byte of a piece, or for each character.
//!
//! In: a piece. Out: ids, and what stands for those that are not known. Knows nothing of merges.

use super::Tokenizer;
use super::pretoken::LOWER_BLOCK;
use super::section::Sections;

impl Tokenizer<'_> {
    /// Writes the ids of the bytes of a piece to the front of `ids`, and returns how many there are.
    pub(super) fn fill_bytes(&self, piece: &[u8], ids: &mut [u32]) -> usize {
        let ids_of_bytes = piece.iter().map(|&byte| self.sections.byte_id(byte));
        fill(ids, Known { ids: ids_of_bytes, sections: &self.sections, unknown: false })
    }

    /// Writes the ids of the characters of a piece behind `prefix`, or of the bytes of those that are no
    /// token, to the front of `ids`, and returns how many there are.
    pub(super) fn fill_characters(&self, prefix: &str, piece: &str, ids: &mut [u32]) -> usize {
        let characters = prefix.chars().chain(piece.chars()).flat_map(|c| {
            let mut bytes = [0; 4];
            let c = if c == LOWER_BLOCK { ' ' } else { c };
            let bytes_of = c.encode_utf8(&mut bytes).as_bytes();
            let whole = if c.is_ascii() { None } else { self.sections.character(bytes_of) };
            let all = bytes_of.iter().all(|&byte| self.sections.byte_id(byte).is_some());
            // One id, or one for each byte.
            let count = if whole.is_some() || !all { 1 } else { bytes_of.len() };
            bytes.into_iter().take(count).map(move |byte| {
                whole.or_else(|| if all { self.sections.byte_id(byte) } else { None })
            })
        });
        fill(ids, Known { ids: characters, sections: &self.sections, unknown: false })
    }
}

/// Ids of which some are not known, with what stands for those.
struct Known<'s, 'm, I> {
    ids: I,
    sections: &'s Sections<'m>,
    /// Whether the last id was not known.
    unknown: bool,
}

impl<I: Iterator<Item = Option<u32>>> Iterator for Known<'_, '_, I> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            let id = self.ids.next()?;
            let again = core::mem::replace(&mut self.unknown, id.is_none());
            match id.or(self.sections.unknown) {
                Some(id) if !(again && self.unknown && self.sections.fused()) => return Some(id),
                _ => {}
            }
        }
    }
}

/// Writes what fits to the front of `out`, and counts it.
pub(super) fn fill(out: &mut [u32], ids: impl Iterator<Item = u32>) -> usize {
    let mut count = 0;
    for (place, id) in out.iter_mut().zip(ids) {
        *place = id;
        count += 1;
    }
    count
}
