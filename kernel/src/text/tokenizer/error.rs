//! Why bytes are not a tokenizer section, or a vocabulary cannot be one.

use super::{MOST_TOKENS, VERSION};

/// A tokenizer section that cannot be used or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TokenizerError {
    /// Fewer bytes than the section takes.
    #[error("tokenizer section of {given} bytes, expected {needed}")]
    Size {
        /// Bytes it takes.
        needed: u64,
        /// Bytes given.
        given: u64,
    },
    /// A format that this kernel does not read.
    #[error("tokenizer section of version {found}, expected {VERSION}")]
    Version {
        /// What the header says; this kernel reads 2.
        found: u16,
    },
    /// Flags that this kernel does not know, or was built without: the features `scores` and `words`.
    #[error("tokenizer section with flags {found:#x}, not known or left out of this build")]
    Flags {
        /// The header's flags.
        found: u16,
    },
    /// No tokens, or more than 1048576.
    #[error("tokenizer section of {found} tokens, expected 1 to {MOST_TOKENS}")]
    TokenCount {
        /// How many.
        found: u32,
    },
    /// Too many merges, added tokens, special ones among them, bytes of text, tokens that end one, or
    /// words that are not merged (none without the feature `words`).
    #[error("tokenizer section with a count of {found}, expected at most {most}")]
    Count {
        /// How many.
        found: u32,
        /// How many there may be.
        most: u32,
    },
    /// A token whose bytes are not within the text.
    #[error("bytes of token {id} are not within the text of the tokenizer section")]
    Token {
        /// Its id.
        id: u32,
    },
    /// A byte whose token is not in the vocabulary.
    #[error("the token of byte {byte} is not in the vocabulary")]
    ByteToken {
        /// The byte.
        byte: u8,
    },
    /// A token that begins or ends a text, is unknown or not merged, and is not in the vocabulary.
    #[error(
        "token {id} begins or ends a text, is unknown or a whole word, and is not in the vocabulary"
    )]
    NoToken {
        /// Its id.
        id: u32,
    },
    /// A merge of or to a token that is not in the vocabulary, out of (left, right) order, or of rank
    /// 4294967295.
    #[error("merge {at} is out of order or of no token")]
    Merge {
        /// Its place in (left, right) order.
        at: u32,
    },
    /// An added token that is not in the vocabulary, empty, or not UTF-8.
    #[error("added token {at} is not in the vocabulary, is empty, or is not UTF-8")]
    Added {
        /// Its place in the list.
        at: u32,
    },
    /// Runs of Unicode classes that end inside a run, or a character of no token.
    #[error("the table of characters ends inside an entry or is of no token")]
    Classes,
}
