//! Where text is cut.
//!
//! In: the stages of a pre-tokenizer. Out: [`Cut`], or which stage, option or expression the kernel does not have.
//! Knows nothing of vocabularies.

use super::json::Object;
use super::normal::{Normal, SPACE, string_pattern};
use anyhow::{Context, Result, bail, ensure};
use ripple_kernel::text::tokenizer::{Prefix, Words};
use serde_json::Value;

/// Expressions that cut text as the kernel can. The possessive ones match what the others do: what they
/// would give back begins no other alternative.
const EXPRESSIONS: [(&str, Words); 6] = [
    (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", Words::Gpt2),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Words::Llama3,
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        Words::Llama3,
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Words::Llama3,
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Words::Qwen2,
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Words::Qwen2,
    ),
];

/// Where text is cut.
pub(super) enum Cut {
    /// Into words of bytes.
    Words(Words),
    /// At spaces or nowhere, into characters.
    Spaces { each: bool, prefix: Prefix },
}

impl Cut {
    pub fn of(stages: &[Object<'_>], normal: &Normal) -> Result<Self> {
        let kinds: Vec<&str> = stages.iter().map(Object::kind).collect();
        match (kinds.as_slice(), stages) {
            (["ByteLevel"], [bytes]) => Self::bytes(bytes, true, Words::Gpt2, normal),
            (["Digits", "ByteLevel"], [digits, bytes]) => {
                if !digits.flag("individual_digits", false)? {
                    bail!(digits.wrong("individual_digits", "true: numbers are cut one by one"));
                }
                Self::bytes(bytes, true, Words::Gpt2Digits, normal)
            }
            (["Split", "ByteLevel"], [split, bytes]) => {
                Self::bytes(bytes, false, expression(split)?, normal)
            }
            (["Metaspace"], [space]) => Self::metaspace(space, normal),
            // There is no space left that it could cut at.
            (["Split"], [split]) if normal.replace && string_pattern(split) == Some(" ") => {
                Ok(Self::spaces(normal))
            }
            ([], _) if normal.replace => Ok(Self::spaces(normal)),
            ([], _) => bail!(
                "pre_tokenizer is missing, expected ByteLevel, alone or after Digits or Split, or Metaspace"
            ),
            (
                ["Punctuation", "ByteLevel", "Digits", "Split"],
                [punctuation, bytes, digits, split],
            ) => {
                falcon(punctuation, digits, split)?;
                Self::bytes(bytes, true, Words::Falcon, normal)
            }
            (kinds, _) => bail!(
                "pre_tokenizer is {} ({}), expected ByteLevel, alone or after Digits that are cut one by one or \
                 after Split, or Metaspace; only these can be imported",
                kinds.join(", "),
                stages.iter().map(Object::shown).collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// Behind a normalizer that has written spaces as SentencePiece does.
    fn spaces(normal: &Normal) -> Self {
        let prefix = if normal.prepend { Prefix::Always } else { Prefix::Never };
        Self::Spaces { each: false, prefix }
    }

    /// `regex`: whether the stage itself is to cut text.
    fn bytes(stage: &Object<'_>, regex: bool, words: Words, normal: &Normal) -> Result<Self> {
        ensure!(
            !normal.replace && !normal.prepend,
            "normalizer writes spaces as \"\u{2581}\" and pre_tokenizer is ByteLevel, expected one of them"
        );
        if stage.flag("add_prefix_space", true)? {
            bail!(stage.wrong(
                "add_prefix_space",
                "false; a prompt that begins with a space has the same tokens"
            ));
        }
        if stage.flag("use_regex", true)? != regex {
            let expected = match regex {
                true => "true: no stage before it cuts text into words",
                false => "false: the stage before it cuts text into words",
            };
            bail!(stage.wrong("use_regex", expected));
        }
        Ok(Self::Words(words))
    }

    fn metaspace(stage: &Object<'_>, normal: &Normal) -> Result<Self> {
        if stage.text("replacement")? != Some(SPACE) {
            bail!(stage.wrong("replacement", "\"\u{2581}\""));
        }
        let adds = stage.flag("add_prefix_space", true)?;
        let prefix = match stage.text("prepend_scheme")?.unwrap_or("always") {
            _ if !adds => Prefix::Never,
            "always" => Prefix::UnlessSpace,
            "first" => Prefix::First,
            "never" => Prefix::Never,
            _ => bail!(stage.wrong("prepend_scheme", "always, first or never")),
        };
        ensure!(
            !normal.prepend,
            "normalizer is Prepend and pre_tokenizer is Metaspace, expected one of them"
        );
        Ok(Self::Spaces { each: stage.flag("split", true)?, prefix })
    }
}

/// Refuses the stages around Falcon's ByteLevel where they are not as Falcon has them.
fn falcon(punctuation: &Object<'_>, digits: &Object<'_>, split: &Object<'_>) -> Result<()> {
    if punctuation.text("behavior")? != Some("Contiguous") {
        bail!(punctuation.wrong("behavior", "Contiguous, as Falcon has it"));
    }
    if digits.flag("individual_digits", false)? {
        bail!(digits.wrong("individual_digits", "false behind ByteLevel, as Falcon has it"));
    }
    let pattern = split.get("pattern").and_then(|pattern| pattern.get("Regex"));
    if pattern.and_then(Value::as_str) != Some("[0-9][0-9][0-9]") {
        bail!(split.wrong("pattern", "{\"Regex\": \"[0-9][0-9][0-9]\"}, as Falcon has it"));
    }
    match (split.text("behavior")?, split.flag("invert", false)?) {
        (Some("Isolated"), false) => Ok(()),
        _ => bail!(split.wrong("behavior", "Isolated, without `invert`")),
    }
}

/// What a Split stage makes of a text.
fn expression(stage: &Object<'_>) -> Result<Words> {
    let pattern = stage.get("pattern").and_then(|pattern| pattern.get("Regex"));
    let Some(pattern) = pattern.and_then(Value::as_str) else {
        bail!(stage.wrong("pattern", "an expression: {\"Regex\": \"...\"}"));
    };
    // The matches are all of the text, so that what does not match may as well go.
    match (stage.text("behavior")?, stage.flag("invert", false)?) {
        (Some("Isolated"), false) | (Some("Removed"), true) => {}
        _ => bail!(stage.wrong("behavior", "Isolated, or Removed with `invert`")),
    }
    let found = EXPRESSIONS.iter().find(|(known, _)| *known == pattern);
    found.map(|&(_, words)| words).with_context(|| {
        format!(
            "{} is the expression {pattern:?}, which cuts words in a way that is not supported; supported are \
             GPT-2's, Llama 3's and Qwen 2's: use a model with a tokenizer of theirs",
            stage.at("pattern")
        )
    })
}
