//! Added tokens: what is looked for in a text before it is cut into words.
//!
//! In: `added_tokens`. Out: their ids and what they ask of the text beside them, checked that one search for
//! the longest finds what `tokenizers` finds, which looks first for those that are not `normalized`, then for
//! the others.

use anyhow::{Result, bail, ensure};
use ripple_kernel::text::tokenizer::{Beside, Form};
use serde::Deserialize;
use std::iter::once;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{compose, is_combining_mark};

#[derive(Clone, Default, Deserialize)]
pub(crate) struct AddedToken {
    pub id: u32,
    pub content: String,
    /// Whether it is none within a word.
    #[serde(default)]
    single_word: bool,
    /// Whether it takes in the spaces in front of it.
    #[serde(default)]
    lstrip: bool,
    /// Whether it takes in the spaces behind it.
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    pub normalized: bool,
    #[serde(default)]
    pub special: bool,
}

impl AddedToken {
    /// One that is found wherever its `content` is.
    pub(crate) fn new(id: u32, content: &str, special: bool) -> Self {
        Self { id, content: content.to_owned(), special, ..Self::default() }
    }

    pub(super) fn beside(&self) -> Beside {
        Beside {
            strips_left: self.lstrip,
            strips_right: self.rstrip,
            single_word: self.single_word,
        }
    }

    /// The first of its flags by which more is looked at than its content.
    fn flag(&self) -> Option<&'static str> {
        let flags =
            [("single_word", self.single_word), ("lstrip", self.lstrip), ("rstrip", self.rstrip)];
        flags.iter().find(|(_, set)| *set).map(|(flag, _)| *flag)
    }
}

/// Refuses tokens that are looked for in the normal form `form` of a text, and that a text can have there and
/// not as it is written, or the other way round: an image does not say of which the first is true.
pub(super) fn check_composed(added: &[AddedToken], form: Option<Form>) -> Result<()> {
    let Some(form) = form else { return Ok(()) };
    for token in added.iter().filter(|token| token.normalized) {
        let content = token.content.as_str();
        let same = match form {
            Form::Nfc => content.nfc().eq(content.chars()),
            Form::Nfkc => content.nfkc().eq(content.chars()),
        };
        // What composes is of a word, and so keeps a word beside it from being one.
        let edges = content.chars().next().zip(content.chars().next_back());
        let edges = edges.filter(|_| !token.single_word);
        let composes = edges.is_some_and(|(first, last)| {
            let marks =
                [first, last].into_iter().any(is_combining_mark) || once(last).nfd().ne(once(last));
            let beside = |c| compose(c, first).or_else(|| compose(last, c)).is_some();
            marks || ('\0'..=char::MAX).any(beside)
        });
        ensure!(
            same && !composes,
            "added token {} {content:?} has `normalized` behind a normalizer {form:?}, which composes it with \
             characters beside it or writes it otherwise, expected one of them; set `normalized` to false if \
             texts have no such characters beside it",
            token.id
        );
    }
    Ok(())
}

/// Refuses what added tokens ask of the text beside them where that text is another than the one that they
/// are looked for in: `form` is its normal form, `respaced` whether a normalizer writes its spaces otherwise,
/// and `classes` whether it is cut by the classes of characters.
pub(super) fn check_beside(
    added: &[AddedToken],
    form: Option<Form>,
    respaced: bool,
    classes: bool,
) -> Result<()> {
    for token in added {
        let Some(flag) = token.flag() else { continue };
        let why = if form == Some(Form::Nfkc) {
            "a normalizer NFKC, which may make spaces of other characters"
        } else if respaced && token.normalized {
            "`normalized`, behind a normalizer that writes spaces as \"\u{2581}\""
        } else if token.single_word && !classes {
            "a vocabulary of characters, which has no table of those that words are made of"
        } else {
            continue;
        };
        bail!(
            "added token {} {:?} has {flag} and {why}, expected one of them; set {flag} to false if texts do not \
             spell this token out",
            token.id,
            token.content
        );
    }
    Ok(())
}

/// Refuses added tokens that are matched in another order than that in which they are in a text.
pub(super) fn check(added: &[AddedToken]) -> Result<()> {
    for token in added {
        ensure!(
            !token.content.is_empty(),
            "added token {} is empty, expected a text to look for; take it out of added_tokens",
            token.id
        );
    }
    let (first, second): (Vec<_>, Vec<_>) = added.iter().partition(|token| !token.normalized);
    if let Some((asks, flag)) = added.iter().find_map(|token| Some((token, token.flag()?)))
        && !(first.is_empty() || second.is_empty())
    {
        let word = second.iter().any(|token| token.single_word);
        let beside = |c: char, first: bool| {
            c.is_whitespace() || word && first && (c == '_' || c.is_alphanumeric())
        };
        let edge = |token: &&AddedToken| {
            let (front, back) = (token.content.chars().next(), token.content.chars().next_back());
            front.into_iter().chain(back).any(|c| beside(c, !token.normalized))
        };
        if let Some(other) = added.iter().find(edge) {
            bail!(
                "added token {} {:?} has {flag}, {} {:?} begins or ends with what that is about, and not all \
                 are the same in `normalized`, expected that they are; change it in the file",
                asks.id,
                asks.content,
                other.id,
                other.content
            );
        }
    }
    for a in &first {
        if let Some(b) = second.iter().find(|b| overlap(&a.content, &b.content)) {
            bail!(
                "added tokens {} {:?} and {} {:?} can overlap in a text and differ in `normalized`, expected \
                 the same for both; change it in the file",
                a.id,
                a.content,
                b.id,
                b.content
            );
        }
    }
    Ok(())
}

/// Whether a text can have both with a character in common.
fn overlap(a: &str, b: &str) -> bool {
    let ends = |a: &str, b: &str| {
        a.char_indices().skip(1).any(|(at, _)| b.starts_with(&a[at..])) || a.starts_with(b)
    };
    a.contains(b) || b.contains(a) || ends(a, b) || ends(b, a)
}
