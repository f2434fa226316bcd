//! Byte-level BPE and SentencePiece's BPE, worked in place on the bytes of an image section.
//!
//! In: the tokenizer section of an image, text. Out: token ids, and the bytes of a token id. Knows
//! nothing of the model, the image around the section, or where it is stored.
//!
//! The ids are those of a Hugging Face `tokenizers` BPE model behind its `ByteLevel` pre-tokenizer
//! (no prefix space), with the words of GPT-2 (Radford et al., "Language models are unsupervised
//! multitask learners", 2019), Llama 3, Qwen 2 or Falcon. Or those of a SentencePiece BPE model, whose pieces are
//! merged from characters, by `tokenizers`' list of merges or the best score first: a score is a rank, and a
//! piece the merge of any two that make it.

mod added;
mod classes;
mod emit;
mod encode;
mod error;
mod lookup;
mod merge;
mod options;
mod pretoken;
mod rules;
mod section;
mod symbols;
mod utf8;

pub use classes::{Class, ClassRun};
pub use emit::{Split, TokenizerRepr};
pub use error::TokenizerError;
pub use options::{EncodeError, EncodeOptions};
pub use rules::{Beside, Form, Prefix, Spaces, Words};
pub use section::Merge;
pub use utf8::Utf8Decoder;

use section::Sections;

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

    /// The first merge whose result has not the bytes of its two parts, so that text would come back changed.
    /// It can be encoded with all the same: whoever makes or accepts an image refuses it, not the board. Merges
    /// that spell the name of a byte's token, such as `<0x41>`, are as their makers have them.
    pub fn unfaithful_merge(&self) -> Option<Merge> {
        let mut merges = (0..self.sections.merge_count).filter_map(|at| self.sections.merge_at(at));
        let bytes = |id| self.bytes(id).unwrap_or_default();
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + (nibble - 10) };
        let name = |byte| [b'<', b'0', b'x', digit(byte >> 4), digit(byte & 15), b'>'];
        merges.find(|merge| {
            let both = || bytes(merge.left).iter().chain(bytes(merge.right));
            let result = bytes(merge.result);
            let spelled = matches!(result, [byte] if both().eq(&name(*byte)));
            !spelled && !both().eq(result)
        })
    }

    /// The first byte whose token is not that byte alone: as [`unfaithful_merge`](Self::unfaithful_merge).
    pub fn unfaithful_byte(&self) -> Option<u8> {
        (0..=u8::MAX).find(|&byte| {
            let token = self.sections.byte_id(byte).filter(|&id| Some(id) != self.sections.unknown);
            token.is_some_and(|id| self.bytes(id) != Some(&[byte]))
        })
    }

    /// Whether a space may be put in front of what follows an added token.
    pub const fn adds_space_inside(&self) -> bool {
        matches!(self.sections.prefix(), Prefix::Always | Prefix::UnlessSpace)
    }
}
