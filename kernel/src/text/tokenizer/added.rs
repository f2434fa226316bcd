//! Added tokens in a text: where they are, and what they take of the text beside them.
//!
//! In: a text. Out: the next of them. Knows nothing of how the rest of a text is cut or merged.

use super::lookup::Added;
use super::pretoken::LOWER_BLOCK;
use super::rules::Beside;
use super::{EncodeOptions, Prefix, Tokenizer};
use core::ops::Range;

impl Tokenizer<'_> {
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

    /// Bytes of the space that the added token at `at` takes in; none of them are in `text[..from]`.
    pub(super) fn taken_in(&self, text: &str, from: usize, at: usize) -> usize {
        match text.get(from..at).and_then(|before| before.chars().next_back()) {
            Some(c @ (' ' | LOWER_BLOCK)) if self.before_added() => c.len_utf8(),
            _ => 0,
        }
    }

    /// Whether added tokens are found behind spaces only.
    pub(super) const fn before_added(&self) -> bool {
        cfg!(feature = "scores") && matches!(self.sections.prefix(), Prefix::BeforeAdded)
    }

    /// The first added token in `text[at..]` that counts as one, and where it is.
    pub(super) fn next_added(
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
                Some(added)
                    if (options.parse_special || !added.special)
                        && !self.in_word(text, at, &added) =>
                {
                    return Some((at, added));
                }
                Some(added) => at += added.len,
                None => at += c.len_utf8(),
            }
        }
        None
    }

    /// Whether a word's character is beside the added token at `at`, which must not be.
    fn in_word(&self, text: &str, at: usize, added: &Added) -> bool {
        if !cfg!(feature = "words") || !added.beside.single_word {
            return false;
        }
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let behind = text.get(at + added.len..).and_then(|behind| behind.chars().next());
        before.into_iter().chain(behind).any(|c| self.sections.classes.is_of_word(c))
    }
}

impl Beside {
    /// The added token at `token` of a text, with the spaces beside it that it takes in: in front of it none of
    /// `text[..from]`.
    pub(super) fn taken(self, text: &str, from: usize, mut token: Range<usize>) -> Range<usize> {
        if !cfg!(feature = "words") {
            return token;
        }
        if self.strips_left
            && let Some(before) = text.get(from..token.start)
        {
            token.start = from + before.trim_end().len();
        }
        if self.strips_right
            && let Some(behind) = text.get(token.end..)
        {
            token.end = text.len() - behind.trim_start().len();
        }
        token
    }
}
