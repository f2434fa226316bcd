//! Byte-level BPE and SentencePiece's BPE, worked in place on the bytes of an image section.
//!
//! In: the tokenizer section of an image, text. Out: token ids, and the bytes of a token id. Knows
//! nothing of the model, the image around the section, or where it is stored.
//!
//! The ids are those of a Hugging Face `tokenizers` BPE model behind its `ByteLevel` pre-tokenizer
//! (`use_regex`, no prefix space), as in GPT-2: Radford et al., "Language models are unsupervised
//! multitask learners", 2019. Or those of a SentencePiece BPE model, whose pieces are merged from
//! characters, the best score first: a score is a rank, and a piece the merge of any two that make it.

mod emit;
mod error;
mod pretoken;
mod section;
mod utf8;

pub use emit::{Split, TokenizerRepr};
pub use error::TokenizerError;
pub use pretoken::{Class, ClassRun};
pub use section::Merge;
pub use utf8::Utf8Decoder;

use crate::slices;
use pretoken::Pretokens;
use section::Sections;

/// Bytes of the longest pre-token that is merged on the stack; longer ones are merged in the output.
const SHORT: usize = 48;

/// The format of the section that this code reads and writes.
const VERSION: u16 = 1;
/// As many tokens as a model may have.
const MOST_TOKENS: u32 = 1 << 20;

/// A checked tokenizer section: text to ids, ids to bytes.
///
/// Every id it returns is less than [`tokens`](Self::tokens).
#[derive(Clone, Copy, Debug)]
pub struct Tokenizer<'m> {
    sections: Sections<'m>,
}

/// What [`Tokenizer::encode`] makes of added tokens spelled out in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EncodeOptions {
    /// Whether `<|endoftext|>` in the text is the special token (true: a trusted template) or its
    /// letters (false: what a user typed). Added tokens that are not special always count as
    /// tokens.
    pub parse_special: bool,
}

/// Why a text was not encoded. What the output holds is then unspecified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EncodeError {
    /// The ids do not fit the output.
    #[error("{needed} tokens are needed to get past byte {at}, there is room for {given}")]
    OutputFull {
        /// Bytes of the text that did fit.
        at: usize,
        /// Ids that the output must hold for the encoding to get past `at`.
        needed: usize,
        /// Ids that it holds.
        given: usize,
    },
}

impl<'m> Tokenizer<'m> {
    /// A view of a tokenizer section; bytes behind its end are ignored.
    ///
    /// Reads the whole section once, so that nothing has to be refused later.
    ///
    /// # Errors
    /// The first thing in the section that is not as [`TokenizerRepr::emit`] writes it.
    pub fn parse(bytes: &'m [u8]) -> Result<Self, TokenizerError> {
        Sections::parse(bytes).map(|sections| Self { sections })
    }

    /// Tokens in the vocabulary.
    pub const fn tokens(&self) -> u32 {
        self.sections.tokens
    }

    /// Whether a space is put in front of a text: the first generated token then begins with one that is
    /// no part of the text, if nothing was put in front of it.
    pub const fn adds_space(&self) -> bool {
        self.sections.prefix()
    }

    /// The bytes of a token, or `None` beyond the vocabulary. A token may end inside a character:
    /// [`Utf8Decoder`] joins them.
    pub fn bytes(&self, id: u32) -> Option<&'m [u8]> {
        self.sections.token(id)
    }

    /// Writes the ids of `text` to the front of `out` and returns how many there are.
    ///
    /// Never more ids than bytes, and one more where the tokenizer puts a space in front of a text, or of
    /// what follows a special token. A pre-token (a word, a run of spaces) longer than 48 bytes is
    /// merged in `out` and needs one free place a byte there, however few ids come of it.
    ///
    /// Time, per pre-token of `n` bytes in which `d` different merges apply: `O(n d log merges)`.
    /// Words have small `n`; a run of one character has `d` of about `log n`; the worst, a text
    /// without spaces, digits or punctuation, has `d` of at most the number of merges.
    ///
    /// # Errors
    /// [`EncodeError::OutputFull`].
    pub fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
        out: &mut [u32],
    ) -> Result<usize, EncodeError> {
        let mut output = Output { ids: out, len: 0 };
        let starts = self.sections.added_starts();
        // text[plain..at] has no added token in it and is not encoded yet.
        let (mut plain, mut at) = (0, 0);
        while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
            let Some(added) = self.sections.added_at(text.as_bytes(), at, &starts) else {
                at += c.len_utf8();
                continue;
            };
            if options.parse_special || !added.special {
                self.encode_plain(text, plain, at, &mut output)?;
                output.append(&[added.id], at)?;
                plain = at + added.len;
            }
            at += added.len;
        }
        self.encode_plain(text, plain, text.len(), &mut output)?;
        Ok(output.len)
    }

    /// Encodes `text[from..to]`, in which no added token is looked for.
    fn encode_plain(
        &self,
        text: &str,
        from: usize,
        to: usize,
        output: &mut Output<'_>,
    ) -> Result<(), EncodeError> {
        let mut at = from;
        let plain = text.get(from..to).unwrap_or_default();
        let mut prefix = self.sections.prefix();
        for piece in Pretokens::new(plain, self.sections.cut(), self.sections.classes) {
            let mut short = [0; SHORT];
            let most = piece.len() + usize::from(prefix);
            if let Some(ids) = short.get_mut(..most) {
                let len = self.encode_piece(piece, prefix, ids);
                output.append(ids.get(..len).unwrap_or_default(), at)?;
            } else {
                let len = self.encode_piece(piece, prefix, output.free(most, at)?);
                output.len += len;
            }
            at += piece.len();
            prefix = false;
        }
        Ok(())
    }

    /// Writes the ids of one pre-token, after a space if there is a `prefix`, to the front of `ids`,
    /// which has a place for each byte.
    fn encode_piece(&self, piece: &str, prefix: bool, ids: &mut [u32]) -> usize {
        let bytes = piece.as_bytes().iter().map(|&byte| self.sections.byte_id(byte));
        let given = if self.sections.characters() {
            let space = prefix.then(|| self.sections.byte_id(b' '));
            fill(ids, space.into_iter().chain(self.characters(piece)))
        } else {
            fill(ids, bytes)
        };
        let ids = ids.get_mut(..given).unwrap_or_default();
        let (mut len, mut rank) = self.merge_pass(ids, None);
        while rank.is_some() {
            (len, rank) = self.merge_pass(ids.get_mut(..len).unwrap_or_default(), rank);
        }
        len
    }

    /// The ids of the characters of a piece, or of the bytes of those that are no token.
    fn characters<'a>(&'a self, piece: &'a str) -> impl Iterator<Item = u32> + 'a {
        piece.char_indices().flat_map(|(at, c)| {
            let bytes = piece.as_bytes().get(at..at + c.len_utf8()).unwrap_or_default();
            let whole = if c.is_ascii() { None } else { self.sections.character(bytes) };
            let bytes = if whole.is_some() { &[] } else { bytes };
            whole.into_iter().chain(bytes.iter().map(|&byte| self.sections.byte_id(byte)))
        })
    }

    /// Merges the pairs of one rank from left to right; returns how many ids are left, and the
    /// lowest rank among their pairs.
    ///
    /// The order that BPE asks for is "always the leftmost pair of the lowest rank". One sweep over
    /// a rank is that order as long as no merge makes a pair of a lower or equal rank. A trained
    /// vocabulary has none; where one turns up the sweep stops merging there.
    fn merge_pass(&self, ids: &mut [u32], rank: Option<u32>) -> (usize, Option<u32>) {
        let find = |left: Option<u32>, right: Option<u32>| self.sections.merge(left?, right?);
        let (mut read, mut write) = (0, 0);
        let mut merging = true;
        let mut previous = None;
        let mut lowest = None;
        // Rank of the pair (previous, ids[read]).
        let mut ahead = None;
        while let Some(first) = ids.get(read).copied() {
            let pair = find(Some(first), ids.get(read + 1).copied());
            let (id, before, after) = match pair {
                Some(pair) if merging && Some(pair.rank) == rank => {
                    read += 2;
                    let id = pair.result;
                    let before = find(previous, Some(id)).map(|pair| pair.rank);
                    let after = find(Some(id), ids.get(read).copied()).map(|pair| pair.rank);
                    merging = [before, after].into_iter().flatten().all(|new| Some(new) > rank);
                    (id, before, after)
                }
                _ => {
                    read += 1;
                    (first, ahead, pair.map(|pair| pair.rank))
                }
            };
            lowest = [lowest, before].into_iter().flatten().min();
            ahead = after;
            previous = Some(id);
            // write < read, so the place exists.
            if let Some(place) = ids.get_mut(write) {
                *place = id;
            }
            write += 1;
        }
        (write, lowest)
    }
}

/// Writes what fits to the front of `out`, and counts it.
fn fill(out: &mut [u32], ids: impl Iterator<Item = u32>) -> usize {
    let mut count = 0;
    for (place, id) in out.iter_mut().zip(ids) {
        *place = id;
        count += 1;
    }
    count
}

/// The caller's ids, of which the first `len` are written.
struct Output<'a> {
    ids: &'a mut [u32],
    len: usize,
}

impl Output<'_> {
    /// Appends the ids of the piece at byte `at` of the text.
    fn append(&mut self, ids: &[u32], at: usize) -> Result<(), EncodeError> {
        let places = self.free(ids.len(), at)?;
        slices::copy(places, ids);
        self.len += ids.len();
        Ok(())
    }

    /// The next `count` places, for the piece at byte `at` of the text.
    fn free(&mut self, count: usize, at: usize) -> Result<&mut [u32], EncodeError> {
        let needed = self.len + count;
        let given = self.ids.len();
        self.ids.get_mut(self.len..needed).ok_or(EncodeError::OutputFull { at, needed, given })
    }
}
