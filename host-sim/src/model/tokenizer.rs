//! A vocabulary in raw bytes and ids.
//!
//! In: tokens, merges and how they are applied. Out: the tokenizer section of an image. Knows nothing of
//! files; which token begins or ends a text is the model configuration's.

use anyhow::{Context, Result, anyhow, bail};
use regex_syntax::hir::{Class as Hir, HirKind};
use ripple_kernel::text::tokenizer::{Class, ClassRun, Merge, Split, TokenizerRepr};
use serde::{Deserialize, Serialize};

/// A vocabulary: what the tokenizer section of an image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerSpec {
    /// The bytes of each token, by id.
    pub tokens: Vec<Vec<u8>>,
    /// The id of each of the 256 bytes.
    pub byte_ids: Vec<u32>,
    /// (left, right, result), the first learned first.
    pub merges: Vec<(u32, u32, u32)>,
    /// The rank of each merge, where several have the same; empty: each ranks after the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<u32>,
    /// Added tokens that a text names only where its author may, such as `<|endoftext|>`.
    pub special: Vec<u32>,
    /// Added tokens that any text may name.
    pub added: Vec<u32>,
    /// What is merged, and within what.
    pub kind: Kind,
}

/// What a tokenizer merges, and within what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Bytes, within GPT-2's words.
    ByteLevel {
        /// Whether every digit is a word of its own.
        digits: bool,
    },
    /// Characters, as SentencePiece does.
    SentencePiece {
        /// Whether a space is put in front of a text.
        prefix: bool,
    },
}

impl TokenizerSpec {
    /// Tokens in the vocabulary.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokenizer section of an image.
    ///
    /// # Errors
    /// When the fields do not fit together; what [`import`](crate::import) reads does.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let tokens: Vec<&[u8]> = self.tokens.iter().map(Vec::as_slice).collect();
        let byte_ids = self.byte_ids.as_slice().try_into().with_context(|| {
            format!("tokenizer: {} byte tokens, expected 256", self.byte_ids.len())
        })?;
        let rank = |at: u32| self.ranks.get(at as usize).copied().unwrap_or(at);
        let mut merges: Vec<Merge> = (0..)
            .zip(&self.merges)
            .map(|(at, &(left, right, result))| Merge { left, right, rank: rank(at), result })
            .collect();
        merges.sort_unstable_by_key(|merge| (merge.left, merge.right));
        let (classes, characters) = (classes()?, self.characters());
        let repr = TokenizerRepr {
            tokens: &tokens,
            byte_ids,
            merges: &merges,
            special: &self.special,
            added: &self.added,
            split: match self.kind {
                Kind::ByteLevel { digits } => Split::Words { classes: &classes, digits },
                Kind::SentencePiece { prefix } => Split::Characters { ids: &characters, prefix },
            },
        };
        let mut section = vec![0; usize::try_from(repr.encoded_bytes())?];
        repr.emit(&mut section)
            .map_err(|e| anyhow!("tokenizer: {e:?}; import tokenizer.json again"))?;
        Ok(section)
    }

    /// Tokens of one character beyond ASCII that text can be made of, ascending by their bytes.
    fn characters(&self) -> Vec<u32> {
        let single = |bytes: &[u8]| {
            let mut chars = std::str::from_utf8(bytes).unwrap_or_default().chars();
            chars.next().is_some_and(|c| !c.is_ascii()) && chars.next().is_none()
        };
        let named = |id: &u32| self.special.contains(id) || self.added.contains(id);
        let mut ids: Vec<u32> = (0..)
            .zip(&self.tokens)
            .filter(|(id, bytes)| single(bytes) && !named(id))
            .map(|(id, _)| id)
            .collect();
        ids.sort_by(|&a, &b| self.tokens[a as usize].cmp(&self.tokens[b as usize]));
        ids
    }
}

/// The classes of GPT-2's expression from U+0080 on, by the Unicode version of `regex-syntax`.
///
/// `tokenizers` 0.23 has the same class for every character (`tokenizer_reference.rs`).
fn classes() -> Result<Vec<ClassRun>> {
    let mut ranges: Vec<(u32, u32, Class)> = Vec::new();
    for (pattern, class) in
        [(r"\p{L}", Class::Letter), (r"\p{N}", Class::Number), (r"\s", Class::Space)]
    {
        let HirKind::Class(Hir::Unicode(chars)) = regex_syntax::parse(pattern)?.into_kind() else {
            bail!("{pattern} is not a class of characters");
        };
        let beyond_ascii = chars.iter().filter(|range| range.end() >= '\u{80}');
        ranges
            .extend(beyond_ascii.map(|r| (u32::from(r.start()).max(0x80), r.end().into(), class)));
    }
    ranges.sort_unstable_by_key(|&(first, ..)| first);
    let mut runs = Vec::new();
    let mut next = 0x80;
    for (first, last, class) in ranges {
        if first > next {
            runs.push(ClassRun { length: first - next, class: Class::Other });
        }
        runs.push(ClassRun { length: last + 1 - first, class });
        next = last + 1;
    }
    Ok(runs)
}
