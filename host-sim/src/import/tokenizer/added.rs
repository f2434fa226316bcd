//! Added tokens: what is looked for in a text before it is cut into words.
//!
//! In: `added_tokens`. Out: their ids, checked that one search for the longest finds what `tokenizers`
//! finds, which looks first for those that are not `normalized`, then for the others.

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

#[derive(Clone, Default, Deserialize)]
pub(crate) struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
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
}

/// Refuses added tokens that are matched by more than their content, or in another order.
pub(super) fn check(added: &[AddedToken]) -> Result<()> {
    for token in added {
        ensure!(
            !token.content.is_empty(),
            "added token {} is empty, expected a text to look for; take it out of added_tokens",
            token.id
        );
        let flags = [
            ("single_word", token.single_word),
            ("lstrip", token.lstrip),
            ("rstrip", token.rstrip),
        ];
        if let Some((flag, _)) = flags.iter().find(|(_, set)| *set) {
            bail!(
                "added token {} {:?} has {flag}, expected false: it would take in the spaces around it, or \
                 not be found within a word; set it to false if texts do not spell this token out",
                token.id,
                token.content
            );
        }
    }
    let (first, second): (Vec<_>, Vec<_>) = added.iter().partition(|token| !token.normalized);
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
