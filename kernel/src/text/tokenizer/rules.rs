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
    /// Falcon's: runs of punctuation apart, and what is between as GPT-2 has it; in those, runs of bytes that
    /// are numbers in GPT-2's characters for bytes (`0` to `9`, and six beyond ASCII), and of these each three
    /// digits.
    Falcon = 4,
}

/// What an added token asks of the text beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Beside {
    /// Whether it takes in the spaces in front of it.
    pub strips_left: bool,
    /// Whether it takes in the spaces behind it.
    pub strips_right: bool,
    /// Whether it is one only where no character of a word (`\w`) is beside it.
    pub single_word: bool,
}

impl Beside {
    /// Asks nothing: the token is one wherever its bytes are.
    pub const ANYTHING: Self = Self { strips_left: false, strips_right: false, single_word: false };

    pub(super) const fn bits(self) -> u32 {
        self.strips_left as u32 | (self.strips_right as u32) << 1 | (self.single_word as u32) << 2
    }

    pub(super) const fn of_bits(bits: u32) -> Option<Self> {
        if bits > 7 {
            return None;
        }
        Some(Self {
            strips_left: bits & 1 != 0,
            strips_right: bits & 2 != 0,
            single_word: bits & 4 != 0,
        })
    }
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
