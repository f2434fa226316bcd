//! A vocabulary in raw bytes and ids.
//!
//! In: tokens, merges, how they are applied, which tokens begin and end a text. Out: the tokenizer section
//! of an image. Knows nothing of files.

use anyhow::{Context, Result, anyhow, bail};
use regex_syntax::hir::{Class as Hir, HirKind};
use ripple_kernel::text::tokenizer::{
    Class, ClassRun, Form, Merge, Prefix, Spaces, Split, TokenizerError, TokenizerRepr, Words,
};
use serde::{Deserialize, Serialize};

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
        let (classes, characters) = (classes()?, self.characters());
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
