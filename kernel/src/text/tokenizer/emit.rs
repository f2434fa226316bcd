//! Writes the tokenizer section of an image, on a host: see [`section`](super::section) for its bytes.
//!
//! In: a vocabulary. Out: bytes that the section's reader accepts, or why it would not.

use super::classes::{ClassRun, write_run};
use super::error::TokenizerError;
use super::section::{
    BEFORE_ADDED, BEGINS, BESIDE, CHARACTERS, CUT_SHIFT, Counts, FALCON, FORM_SHIFT, FUSED, Merge,
    NO_TOKEN, PREFIX_SHIFT, RANKS_STORED, Sections,
};
use super::{Beside, Form, Prefix, Spaces, VERSION, Words};

/// A vocabulary to be written as a section.
#[derive(Clone, Copy, Debug)]
pub struct TokenizerRepr<'a> {
    /// The bytes of each token, by id.
    pub tokens: &'a [&'a [u8]],
    /// The id of each byte, if it has one.
    pub byte_ids: &'a [Option<u32>; 256],
    /// What stands for what has no token; without it, that is left out.
    pub unknown: Option<u32>,
    /// Whether unknown tokens in a row are one.
    pub fuse_unknown: bool,
    /// Ascending by (left, right), no pair twice.
    pub merges: &'a [Merge],
    /// Words that are a token as they are, whatever merging makes of them: ascending by their bytes.
    pub whole: &'a [u32],
    /// Added tokens that are special: only [`EncodeOptions::parse_special`] finds them in a text.
    ///
    /// [`EncodeOptions::parse_special`]: super::EncodeOptions::parse_special
    pub special: &'a [u32],
    /// Added tokens that are not special.
    pub added: &'a [u32],
    /// What each of `special` and then of `added` asks of the text beside it; empty: nothing.
    pub beside: &'a [Beside],
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// Whether it is put in front of a text that does not bring its own.
    pub adds_bos: bool,
    /// The tokens that end a text, the one that a writer of texts would use first.
    pub eos: &'a [u32],
    /// Where a space is put in front.
    pub prefix: Prefix,
    /// The form that text must have before it is encoded.
    pub form: Option<Form>,
    /// What is merged, and within what.
    pub split: Split<'a>,
}

/// What a tokenizer merges, and where text is cut before it does.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Split<'a> {
    /// Bytes, within words.
    Words {
        /// The Unicode classes from U+0080 on.
        classes: &'a [ClassRun],
        /// What a word is.
        cut: Words,
    },
    /// Characters, within words that begin with their spaces; bytes where a character is no token
    /// (SentencePiece: Kudo and Richardson, 2018).
    Characters {
        /// Tokens of one character beyond ASCII, ascending by their bytes. Those within are the
        /// tokens of their bytes.
        ids: &'a [u32],
        /// What a word is.
        cut: Spaces,
    },
}

impl TokenizerRepr<'_> {
    /// Bytes of the section.
    pub fn encoded_bytes(&self) -> u64 {
        self.counts().bytes()
    }

    fn counts(&self) -> Counts {
        // Counts beyond 32 bits are refused all the same when they saturate.
        let count = |len| u32::try_from(len).unwrap_or(u32::MAX);
        let text = self.tokens.iter().fold(0, |sum: usize, token| sum.saturating_add(token.len()));
        // Ranks may start anywhere: only their order matters.
        let offset = |merge: &Merge| i64::from(merge.result) - i64::from(merge.rank);
        let first = self.merges.first().map(offset);
        Counts {
            ranks_stored: self.merges.iter().any(|merge| Some(offset(merge)) != first),
            beside: !self.beside.is_empty(),
            tokens: count(self.tokens.len()),
            merges: count(self.merges.len()),
            added: count(self.special.len() + self.added.len()),
            special: count(self.special.len()),
            text: count(text),
            classes: match self.split {
                Split::Words { classes, .. } => {
                    count(classes.iter().map(|&run| write_run(run).1).sum())
                }
                Split::Characters { ids, .. } => {
                    let wide = self.tokens.len() >= 1 << 16;
                    count(ids.len().saturating_mul(if wide { 4 } else { 2 }))
                }
            },
            eos: count(self.eos.len()),
            whole: count(self.whole.len()),
        }
    }

    fn flags(&self, counts: Counts) -> u16 {
        let flag = |set, flag| if set { flag } else { 0 };
        let form = match self.form {
            None => 0,
            Some(Form::Nfc) => 1,
            Some(Form::Nfkc) => 2,
        };
        let cut = match self.split {
            Split::Words { cut: Words::Falcon, .. } => FALCON,
            Split::Words { cut, .. } => (cut as u16) << CUT_SHIFT,
            Split::Characters { cut, .. } => (cut as u16) << CUT_SHIFT,
        };
        flag(counts.ranks_stored, RANKS_STORED)
            | flag(matches!(self.split, Split::Characters { .. }), CHARACTERS)
            | cut
            | flag(counts.beside, BESIDE)
            | match self.prefix {
                Prefix::BeforeAdded => BEFORE_ADDED,
                prefix => (prefix as u16) << PREFIX_SHIFT,
            }
            | flag(self.fuse_unknown, FUSED)
            | flag(self.adds_bos, BEGINS)
            | form << FORM_SHIFT
    }

    /// Writes the section to the front of `out`.
    ///
    /// # Errors
    /// [`TokenizerError::Size`] if `out` is too small; otherwise what a reader of the section
    /// would refuse.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), TokenizerError> {
        let counts = self.counts();
        counts.check()?;
        for (byte, id) in (0..=u8::MAX).zip(self.byte_ids) {
            // The marker of a byte without a token is an id too.
            if id.is_some_and(|id| id >= counts.tokens) {
                return Err(TokenizerError::ByteToken { byte });
            }
        }
        let given = out.len() as u64;
        if given < counts.bytes() {
            return Err(TokenizerError::Size { needed: counts.bytes(), given });
        }
        let mut writer = Writer { rest: &mut *out };
        writer.bytes(&VERSION.to_le_bytes());
        writer.bytes(&self.flags(counts).to_le_bytes());
        let Counts { tokens, merges, added, special, text, classes, eos, whole, .. } = counts;
        for count in [tokens, merges, added, special, text, classes, eos, whole] {
            writer.bytes(&count.to_le_bytes());
        }
        for id in [self.bos, self.unknown] {
            writer.bytes(&id.unwrap_or(NO_TOKEN).to_le_bytes());
        }
        self.emit_body(counts, &mut writer);
        Sections::parse(out).map(|_| ())
    }

    fn emit_body(&self, counts: Counts, writer: &mut Writer<'_>) {
        let mut end: u32 = 0;
        for token in self.tokens {
            end += token.len() as u32;
            writer.number(end, counts.wide_bounds());
        }
        for id in self.byte_ids {
            writer.number(id.unwrap_or(NO_TOKEN), counts.wide_ids());
        }
        for merge in self.merges {
            for id in [merge.left, merge.right, merge.result] {
                writer.number(id, counts.wide_ids());
            }
        }
        if counts.ranks_stored {
            for merge in self.merges {
                writer.number(merge.rank, true);
            }
        }
        for &id in self.special.iter().chain(self.added) {
            writer.number(id, counts.wide_ids());
        }
        if counts.beside {
            let asked = self.beside.iter().copied().chain(core::iter::repeat(Beside::ANYTHING));
            for beside in asked.take(counts.added as usize) {
                writer.number(beside.bits(), counts.wide_ids());
            }
        }
        for &id in self.eos.iter().chain(self.whole) {
            writer.number(id, counts.wide_ids());
        }
        match self.split {
            Split::Words { classes, .. } => {
                for &run in classes {
                    let (bytes, len) = write_run(run);
                    writer.bytes(bytes.get(..len).unwrap_or_default());
                }
            }
            Split::Characters { ids, .. } => {
                ids.iter().for_each(|&id| writer.number(id, counts.wide_ids()));
            }
        }
        for token in self.tokens {
            writer.bytes(token);
        }
    }
}

/// Writes forward into bytes that were measured before.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some((front, rest)) =
            core::mem::take(&mut self.rest).split_at_mut_checked(bytes.len())
        {
            front.copy_from_slice(bytes);
            self.rest = rest;
        }
    }

    /// An id too large for its width becomes one that no vocabulary of that width has.
    fn number(&mut self, value: u32, wide: bool) {
        if wide {
            self.bytes(&value.to_le_bytes());
        } else {
            self.bytes(&u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes());
        }
    }
}
