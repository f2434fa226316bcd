//! A vocabulary in raw bytes and ids.
//!
//! In: tokens, merges, how they are applied, which tokens begin and end a text. Out: the tokenizer section
//! of an image. Knows nothing of files.

use super::classes::classes;
use anyhow::{Context, Result, anyhow, bail};
use ripple_kernel::text::tokenizer::{
    Beside, Form, Merge, Prefix, Spaces, Split, Tokenizer, TokenizerError, TokenizerRepr, Words,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A vocabulary: what the tokenizer section of an image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerSpec {
    /// The bytes of each token, by id.
    pub tokens: Vec<Vec<u8>>,
    /// The id of each of the 256 bytes, if it has one.
    pub byte_ids: Vec<Option<u32>>,
    /// What stands for what has no token; without it, that is left out.
    pub unknown: Option<u32>,
    /// Whether unknown tokens in a row are one.
    pub fuse_unknown: bool,
    /// (left, right, result), the first learned first.
    pub merges: Vec<(u32, u32, u32)>,
    /// The rank of each merge, where several have the same; empty: each ranks after the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<u32>,
    /// Words that are a token as they are, whatever merging makes of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub whole: Vec<u32>,
    /// Added tokens that a text names only where its author may, such as `<|endoftext|>`.
    pub special: Vec<u32>,
    /// Added tokens that any text may name.
    pub added: Vec<u32>,
    /// What added tokens ask of the text beside them, by id; of those that are not there, nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "beside")]
    pub beside: BTreeMap<u32, Beside>,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// Whether it is put in front of a text.
    pub adds_bos: bool,
    /// The tokens that end a text; chat templates have the first.
    pub eos: Vec<u32>,
    /// What is merged, and within what.
    pub kind: Kind,
    /// Where a space is put in front.
    #[serde(with = "PrefixForm")]
    pub prefix: Prefix,
    /// The form that text must have before it is encoded.
    #[serde(with = "normal_form")]
    pub form: Option<Form>,
}

/// What a tokenizer merges, and within what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Bytes, within words.
    Bytes(#[serde(with = "WordsForm")] Words),
    /// Characters, as SentencePiece does.
    Characters(#[serde(with = "SpacesForm")] Spaces),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Words", rename_all = "snake_case")]
#[non_exhaustive]
enum WordsForm {
    Gpt2,
    Gpt2Digits,
    Qwen2,
    Llama3,
    Falcon,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Spaces", rename_all = "snake_case")]
#[non_exhaustive]
enum SpacesForm {
    Before,
    Each,
    Nowhere,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Prefix", rename_all = "snake_case")]
#[non_exhaustive]
enum PrefixForm {
    Never,
    Always,
    UnlessSpace,
    First,
    BeforeAdded,
}

/// What added tokens ask, as three flags each.
mod beside {
    use ripple_kernel::text::tokenizer::Beside;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    type Flags = BTreeMap<u32, [bool; 3]>;

    pub(super) fn serialize<S: Serializer>(
        all: &BTreeMap<u32, Beside>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let flags = |beside: &Beside| [beside.strips_left, beside.strips_right, beside.single_word];
        all.iter().map(|(&id, beside)| (id, flags(beside))).collect::<Flags>().serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(
        from: D,
    ) -> Result<BTreeMap<u32, Beside>, D::Error> {
        let beside = |[strips_left, strips_right, single_word]: [bool; 3]| Beside {
            strips_left,
            strips_right,
            single_word,
        };
        Ok(Flags::deserialize(from)?.into_iter().map(|(id, flags)| (id, beside(flags))).collect())
    }
}

/// `Option<Form>` as a word or null.
mod normal_form {
    use ripple_kernel::text::tokenizer::Form;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(form: &Option<Form>, to: S) -> Result<S::Ok, S::Error> {
        form.map(|form| match form {
            Form::Nfc => "nfc",
            Form::Nfkc => "nfkc",
        })
        .serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Form>, D::Error> {
        match Option::<String>::deserialize(from)?.as_deref() {
            None => Ok(None),
            Some("nfc") => Ok(Some(Form::Nfc)),
            Some("nfkc") => Ok(Some(Form::Nfkc)),
            Some(other) => Err(D::Error::custom(format!("form {other}, expected nfc or nfkc"))),
        }
    }
}

/// The tokenizer of a section of an image, which gives back what it is given.
///
/// # Errors
/// When it is none, or encodes a text as tokens of another one.
pub fn open(section: &[u8]) -> Result<Tokenizer<'_>> {
    let tokenizer = Tokenizer::parse(section)
        .map_err(|error| anyhow!("section `tokenizer`: {error}; pack the model again"))?;
    let shown = |id| {
        format!("token {id} {:?}", String::from_utf8_lossy(tokenizer.bytes(id).unwrap_or_default()))
    };
    let fix = "correct the vocabulary and import the model again";
    if let Some(Merge { left, right, result, .. }) = tokenizer.unfaithful_merge() {
        bail!(
            "the merge of {} and {} gives {}, expected the token of both together; {fix}",
            shown(left),
            shown(right),
            shown(result)
        );
    }
    if let Some(byte) = tokenizer.unfaithful_byte() {
        bail!(
            "the byte {byte:#04x} is encoded as a token of other bytes, expected one of its own; {fix}"
        );
    }
    Ok(tokenizer)
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

    /// A token as an error message shows it.
    pub fn shown(&self, id: u32) -> String {
        let bytes = self.tokens.get(id as usize).map(Vec::as_slice).unwrap_or_default();
        format!("token {id} {:?}", String::from_utf8_lossy(bytes))
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
        let falcon = self.kind == Kind::Bytes(Words::Falcon);
        let single_word = self.beside.values().any(|beside| beside.single_word);
        let (classes, characters) = (classes(falcon, single_word)?, self.characters());
        let mut beside = Vec::new();
        if !self.beside.is_empty() {
            let asked = |id: &u32| self.beside.get(id).copied().unwrap_or_default();
            beside.extend(self.special.iter().chain(&self.added).map(asked));
        }
        let mut whole = self.whole.clone();
        whole.sort_by(|&a, &b| self.tokens.get(a as usize).cmp(&self.tokens.get(b as usize)));
        let repr = TokenizerRepr {
            tokens: &tokens,
            byte_ids,
            unknown: self.unknown,
            fuse_unknown: self.fuse_unknown,
            merges: &merges,
            whole: &whole,
            special: &self.special,
            added: &self.added,
            beside: &beside,
            bos: self.bos,
            adds_bos: self.adds_bos,
            eos: &self.eos,
            prefix: self.prefix,
            form: self.form,
            split: match self.kind {
                Kind::Bytes(cut) => Split::Words { classes: &classes, cut },
                Kind::Characters(cut) => Split::Characters { ids: &characters, cut },
            },
        };
        let mut section = vec![0; usize::try_from(repr.encoded_bytes())?];
        repr.emit(&mut section).map_err(|error| self.refused(error, &merges))?;
        open(&section).context("the vocabulary")?;
        Ok(section)
    }

    /// What is wrong with the vocabulary, in its own terms.
    fn refused(&self, error: TokenizerError, merges: &[Merge]) -> anyhow::Error {
        let fix = "correct the vocabulary and import the model again";
        match error {
            TokenizerError::Added { at } => {
                let id = self.special.iter().chain(&self.added).nth(at as usize).copied();
                let shown = self.shown(id.unwrap_or(0));
                anyhow!("added {shown} is empty or not UTF-8, expected a text to look for; {fix}")
            }
            TokenizerError::Merge { at } => match merges.get(at as usize) {
                Some(merge) => anyhow!(
                    "the merge of {} and {} to {} is listed twice or of a token that there is not; {fix}",
                    self.shown(merge.left),
                    self.shown(merge.right),
                    self.shown(merge.result)
                ),
                None => anyhow!("the vocabulary: {error}; {fix}"),
            },
            error => anyhow!("the vocabulary: {error}; {fix}"),
        }
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
