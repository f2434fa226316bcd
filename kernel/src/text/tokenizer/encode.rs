//! A text as ids.
//!
//! In: a text, room for ids. Out: the ids, and how many, or why not. Knows nothing of how a section is laid out.

use super::merge::{Pairs, merge_in_passes};
use super::pretoken::{Pretokens, is_space};
use super::symbols::fill;
use super::{EncodeError, EncodeOptions, Prefix, Tokenizer};
use crate::slices;

/// Bytes of the longest pre-token that is merged on the stack; longer ones are merged in the output.
const SHORT: usize = 48;

impl Tokenizer<'_> {
    /// Writes the ids of `text` to the front of `out` and returns how many there are.
    ///
    /// Never more ids than bytes, and one more each for the token that begins a text, and where the tokenizer
    /// puts a space in front of a text or of what follows an added token. A pre-token (a word, a run of spaces; a whole text with
    /// [`Spaces::Nowhere`](super::Spaces::Nowhere)) longer than 48 bytes is merged in `out` and needs one free place a byte there,
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
        // text[..plain] is encoded, and text[..searched] has no more added tokens.
        let (mut plain, mut searched) = (0, 0);
        while let Some((at, added)) = self.next_added(text, searched, options, &starts) {
            searched = at + added.len;
            let taken = added.beside.taken(text, plain, at..searched);
            let front = taken.start - self.taken_in(text, plain, taken.start);
            if self.before_added() && front == 0 && at > 0 && !options.continues {
                // The token takes in the text's own space: the one in front of the text stays.
                let mut space = [0];
                let len = self.encode_piece(&[], true, &mut space, &mut []);
                output.append(space.get(..len).unwrap_or_default(), 0)?;
            }
            self.encode_plain(text, plain, front, options, &mut output)?;
            output.append(&[added.id], at)?;
            plain = taken.end;
        }
        self.encode_plain(text, plain, text.len(), options, &mut output)?;
        Ok(output.len)
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
        let cut = self.sections.cut();
        for piece in Pretokens::new(plain, cut, self.sections.classes) {
            let mut rest = piece.as_bytes();
            while let (piece, behind) = cut.part(rest)
                && !piece.is_empty()
            {
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
                rest = behind;
            }
        }
        Ok(())
    }

    /// Writes the ids of one pre-token, after a space if there is a `prefix`, to the front of `ids`,
    /// which has a place for each byte.
    fn encode_piece(
        &self,
        piece: &[u8],
        prefix: bool,
        ids: &mut [u32],
        memory: &mut [u32],
    ) -> usize {
        if let Some(whole) = self.sections.whole_word(piece) {
            return fill(ids, core::iter::once(whole));
        }
        let symbols = if self.sections.characters() {
            // Words of characters are cut at spaces, so that they are text.
            let piece = core::str::from_utf8(piece).unwrap_or_default();
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
