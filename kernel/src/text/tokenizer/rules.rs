//! What vocabularies do differently: where text is cut, where a space is put, which form it must have.
//!
//! Names only; how each is computed is where text is encoded.

/// The words within which bytes are merged; the expressions are those of `tokenizers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Words {
    /// GPT-2's: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    Gpt2 = 0,
    /// Each number a word of its own, and what is between as GPT-2 has it.
    Gpt2Digits = 1,
    /// Qwen 2's: Llama 3's with `\p{N}`.
    Qwen2 = 2,
    /// Llama 3's:
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
    Llama3 = 3,
}

/// The words within which characters are merged. U+2581 is a space here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Spaces {
    /// A word begins with all its spaces. No token may have a space behind anything else.
    Before = 0,
    /// Each space begins a word.
    Each = 1,
    /// A text is one word.
    Nowhere = 2,
}

/// Where a space is put in front: of a text, and of what follows an added token in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Prefix {
    /// Nowhere.
    Never = 0,
    /// Of both.
    Always = 1,
    /// Of both, unless they begin with one.
    UnlessSpace = 2,
    /// Of a text that begins neither with one nor with an added token.
    First = 3,
    /// Of a text, before added tokens are looked for: one is found only behind a space, which it takes in.
    BeforeAdded = 4,
}

/// A normal form of Unicode (Standard Annex 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Form {
    /// Canonical composition.
    Nfc,
    /// Compatibility composition.
    Nfkc,
}

impl Form {
    /// The first character that is not the same in every text of this form: all below it may stand in
    /// any text as they are.
    pub(super) const fn first_changed(self) -> char {
        match self {
            Self::Nfc => '\u{300}',
            Self::Nfkc => '\u{a0}',
        }
    }
}
