//! How a text is taken, and why it is not encoded. Names only.

/// How [`Tokenizer::encode`](super::Tokenizer::encode) takes a text. The default: [`TEXT`](Self::TEXT) but for the token in front.
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
    /// Whether the text is in the tokenizer's [`form`](super::Tokenizer::form) already.
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
