//! Byte-level BPE and SentencePiece's BPE, worked in place on the bytes of an image section.
//!
//! In: the tokenizer section of an image, text. Out: token ids, and the bytes of a token id. Knows
//! nothing of the model, the image around the section, or where it is stored.
//!
//! The ids are those of a Hugging Face `tokenizers` BPE model behind its `ByteLevel` pre-tokenizer
//! (no prefix space), with the words of GPT-2 (Radford et al., "Language models are unsupervised
//! multitask learners", 2019), Llama 3 or Qwen 2. Or those of a SentencePiece BPE model, whose pieces are
//! merged from characters, by `tokenizers`' list of merges or the best score first: a score is a rank, and a
//! piece the merge of any two that make it.

mod emit;
mod error;
mod lookup;
mod merge;
mod pretoken;
mod rules;
mod section;
mod utf8;

pub use emit::{Split, TokenizerRepr};
pub use error::TokenizerError;
pub use pretoken::{Class, ClassRun};
pub use rules::{Form, Prefix, Spaces, Words};
pub use section::Merge;
pub use utf8::Utf8Decoder;

use crate::slices;
use core::ops::Range;
use lookup::Added;
use merge::{Pairs, merge_in_passes};
use pretoken::{LOWER_BLOCK, Pretokens, is_space};
use section::Sections;

/// Bytes of the longest pre-token that is merged on the stack; longer ones are merged in the output.
const SHORT: usize = 48;

/// The format of the section that this code reads and writes.
const VERSION: u16 = 2;
/// As many tokens as a model may have.
const MOST_TOKENS: u32 = 1 << 20;

/// A checked tokenizer section: text to ids, ids to bytes.
///
/// Every id it returns is less than [`tokens`](Self::tokens).
#[derive(Clone, Copy, Debug)]
pub struct Tokenizer<'m> {
    sections: Sections<'m>,
}

/// How [`Tokenizer::encode`] takes a text. The default: [`TEXT`](Self::TEXT) but for the token in front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EncodeOptions {
    /// Whether `<|endoftext|>` in the text is the special token (true: a trusted template) or its
    /// letters (false: what a user typed). Added tokens that are not special always count as
    /// tokens.
    pub parse_special: bool,
    /// Whether the token that begins a text, if the tokenizer puts one there, is put in front.
    pub begin: bool,
    /// Whether the text goes on with one that was encoded before: no space is put in front of it.
    pub continues: bool,
    /// Whether the text is in the tokenizer's [`form`](Tokenizer::form) already.
    pub in_form: bool,
}

impl EncodeOptions {
    /// A whole text, or its beginning, as a user typed it.
    pub const TEXT: Self =
        Self { parse_special: false, begin: true, continues: false, in_form: false };
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
    /// The text may not be in the normal form that the tokenizer needs, and nobody says that it is.
    #[error(
        "the character at byte {at} may be written otherwise in the normal form of this tokenizer"
    )]
    Form {
        /// Where the first character is of which that holds.
        at: usize,
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

    /// The token to put in front of a text, if this tokenizer has its texts begin so. A chat template
    /// brings its own.
    pub const fn begin(&self) -> Option<u32> {
        if self.sections.begins() { self.sections.bos } else { None }
    }

    /// The token that chat templates call `bos_token`, whether or not texts begin with it.
    pub const fn bos(&self) -> Option<u32> {
        self.sections.bos
    }

    /// The token that chat templates call `eos_token`: of those that end a text, the first.
    pub fn eos(&self) -> Option<u32> {
        self.sections.eos.get(0)
    }

    /// Whether a text ends with the token `id`.
    pub fn ends(&self, id: u32) -> bool {
        self.sections.eos.iter().any(|eos| eos == id)
    }

    /// Whether `id` is a special token: one that controls the model and is no part of what it says.
    pub fn is_special(&self, id: u32) -> bool {
        self.sections.is_special(id)
    }

    /// Whether a space may be put in front of a text: the first generated token then begins with one that is
    /// no part of the text, if nothing was put in front of it.
    pub fn adds_space(&self) -> bool {
        self.sections.prefix() != Prefix::Never
    }

    /// The normal form that text must have before it is encoded.
    pub const fn form(&self) -> Option<Form> {
        self.sections.form()
    }

    /// The bytes of a token, or `None` beyond the vocabulary. A token may end inside a character:
    /// [`Utf8Decoder`] joins them.
    pub fn bytes(&self, id: u32) -> Option<&'m [u8]> {
        self.sections.token(id)
    }

    /// Writes the ids of `text` to the front of `out` and returns how many there are.
    ///
    /// Never more ids than bytes, and one more each for the token that begins a text, and where the tokenizer
    /// puts a space in front of a text or of what follows an added token. A pre-token (a word, a run of spaces; a whole text with
    /// [`Spaces::Nowhere`]) longer than 48 bytes is merged in `out` and needs one free place a byte there,
    /// however few ids come of it.
    ///
    /// Time, per pre-token of `n` bytes in which `d` different merges apply: `O(n log n log merges)` where it
    /// has more than 48 bytes and `out` has five free places for each, with the feature `long-words`; else
    /// `O(n d log merges)`, `d` being at most the number of merges. Added tokens are looked for where a
    /// byte is the first of one, in a time of their number.
    ///
    /// # Errors
    /// [`EncodeError::OutputFull`]; [`EncodeError::Form`] where the tokenizer has a [`form`](Self::form),
    /// `options` do not say that the text has it, and a character may be another in it.
    pub fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
        out: &mut [u32],
    ) -> Result<usize, EncodeError> {
        if let Some(form) = self.form()
            && !options.in_form
            && let Some(at) = text.find(|c| c >= form.first_changed())
        {
            return Err(EncodeError::Form { at });
        }
        let mut output = Output { ids: out, len: 0 };
        if options.begin
            && let Some(begin) = self.begin()
        {
            output.append(&[begin], 0)?;
        }
        let starts = self.sections.added_starts();
        // text[..plain] is encoded.
        let mut plain = 0;
        while let Some((at, added)) = self.next_added(text, plain, options, &starts) {
            let front = at - self.taken_in(text, plain, at);
            if self.before_added() && front == 0 && at > 0 && !options.continues {
                // The token takes in the text's own space: the one in front of the text stays.
                let mut space = [0];
                let len = self.encode_piece("", true, &mut space, &mut []);
                output.append(space.get(..len).unwrap_or_default(), 0)?;
            }
            self.encode_plain(text, plain, front, options, &mut output)?;
            output.append(&[added.id], at)?;
            plain = at + added.len;
        }
        self.encode_plain(text, plain, text.len(), options, &mut output)?;
        Ok(output.len)
    }

    /// Where the first added token is that [`encode`](Self::encode) finds behind byte `from` of a text, where
    /// one may begin: what a normal form does not change.
    pub fn first_added(
        &self,
        text: &str,
        from: usize,
        options: EncodeOptions,
    ) -> Option<Range<usize>> {
        let (at, added) = self.next_added(text, from, options, &self.sections.added_starts())?;
        Some(at - self.taken_in(text, from, at)..at + added.len)
    }

    /// Whether a space may be put in front of what follows an added token.
    pub const fn adds_space_inside(&self) -> bool {
        matches!(self.sections.prefix(), Prefix::Always | Prefix::UnlessSpace)
    }

    /// Bytes of the space that the added token at `at` takes in; none of them are in `text[..from]`.
    fn taken_in(&self, text: &str, from: usize, at: usize) -> usize {
        match text.get(from..at).and_then(|before| before.chars().next_back()) {
            Some(c @ (' ' | LOWER_BLOCK)) if self.before_added() => c.len_utf8(),
            _ => 0,
        }
    }

    /// Whether added tokens are found behind spaces only.
    const fn before_added(&self) -> bool {
        cfg!(feature = "scores") && matches!(self.sections.prefix(), Prefix::BeforeAdded)
    }

    /// The first added token in `text[at..]` that counts as one, and where it is.
    fn next_added(
        &self,
        text: &str,
        mut at: usize,
        options: EncodeOptions,
        starts: &[u32; 8],
    ) -> Option<(usize, Added)> {
        let from = at;
        while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
            let begins = at == 0 && !options.continues;
            match self.sections.added_at(text.as_bytes(), at, starts) {
                Some(_) if self.before_added() && !begins && self.taken_in(text, from, at) == 0 => {
                    at += c.len_utf8();
                }
                Some(added) if options.parse_special || !added.special => return Some((at, added)),
                Some(added) => at += added.len,
                None => at += c.len_utf8(),
            }
        }
        None
    }

    /// Encodes `text[from..to]`, in which no added token is looked for.
    fn encode_plain(
        &self,
        text: &str,
        from: usize,
        to: usize,
        options: EncodeOptions,
        output: &mut Output<'_>,
    ) -> Result<(), EncodeError> {
        let mut at = from;
        let plain = text.get(from..to).unwrap_or_default();
        let mut prefix = !(from == 0 && options.continues)
            && match self.sections.prefix() {
                Prefix::Never => false,
                Prefix::Always => true,
                Prefix::UnlessSpace => !plain.starts_with(is_space),
                Prefix::First => from == 0 && !plain.starts_with(is_space),
                Prefix::BeforeAdded => from == 0,
            };
        for piece in Pretokens::new(plain, self.sections.cut(), self.sections.classes) {
            let mut short = [0; SHORT];
            let most = piece.len() + usize::from(prefix);
            if let Some(ids) = short.get_mut(..most) {
                let len = self.encode_piece(piece, prefix, ids, &mut []);
                output.append(ids.get(..len).unwrap_or_default(), at)?;
            } else {
                let (ids, memory) = output.free(most, at)?;
                output.len += self.encode_piece(piece, prefix, ids, memory);
            }
            at += piece.len();
            prefix = false;
        }
        Ok(())
    }

    /// Writes the ids of one pre-token, after a space if there is a `prefix`, to the front of `ids`,
    /// which has a place for each byte.
    fn encode_piece(
        &self,
        piece: &str,
        prefix: bool,
        ids: &mut [u32],
        memory: &mut [u32],
    ) -> usize {
        if let Some(whole) = self.sections.whole_word(piece.as_bytes()) {
            return fill(ids, core::iter::once(whole));
        }
        let symbols = if self.sections.characters() {
            self.fill_characters(if prefix { " " } else { "" }, piece, ids)
        } else {
            self.fill_bytes(piece, ids)
        };
        let ids = ids.get_mut(..symbols).unwrap_or_default();
        let merge_of = |left, right| self.sections.merge(left, right);
        if cfg!(feature = "long-words")
            && symbols > SHORT
            && let Some(pairs) = Pairs::new(ids, memory)
        {
            return pairs.run(merge_of);
        }
        merge_in_passes(ids, merge_of)
    }

    /// Writes the ids of the bytes of a piece to the front of `ids`, and returns how many there are.
    fn fill_bytes(&self, piece: &str, ids: &mut [u32]) -> usize {
        let ids_of_bytes = piece.bytes().map(|byte| self.sections.byte_id(byte));
        fill(ids, Known { ids: ids_of_bytes, sections: &self.sections, unknown: false })
    }

    /// Writes the ids of the characters of a piece behind `prefix`, or of the bytes of those that are no
    /// token, to the front of `ids`, and returns how many there are.
    fn fill_characters(&self, prefix: &str, piece: &str, ids: &mut [u32]) -> usize {
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
        let (places, _) = self.free(ids.len(), at)?;
        slices::copy(places, ids);
        self.len += ids.len();
        Ok(())
    }

    /// The next `count` places, for the piece at byte `at` of the text, and those behind them.
    fn free(&mut self, count: usize, at: usize) -> Result<(&mut [u32], &mut [u32]), EncodeError> {
        let needed = self.len + count;
        let given = self.ids.len();
        let free = self.ids.get_mut(self.len..).and_then(|free| free.split_at_mut_checked(count));
        free.ok_or(EncodeError::OutputFull { at, needed, given })
    }
}
