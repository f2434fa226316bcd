//! What is done to a text before it is cut.
//!
//! In: the stages of a normalizer. Out: [`Normal`], or which stage there is none for. Knows nothing of tokens.

use super::json::Object;
use anyhow::{Result, bail};
use ripple_kernel::text::tokenizer::Form;

/// What SentencePiece writes for a space.
pub(super) const SPACE: &str = "\u{2581}";

/// What is done to a text before it is cut.
#[derive(Default)]
pub(super) struct Normal {
    pub form: Option<Form>,
    /// Whether a space is put in front of every text.
    pub prepend: bool,
    /// Whether spaces become [`SPACE`].
    pub replace: bool,
}

impl Normal {
    pub fn of(stages: &[Object<'_>]) -> Result<Self> {
        let mut normal = Self::default();
        for stage in stages {
            match stage.kind() {
                kind @ ("NFC" | "NFKC") if !normal.replace && normal.form.is_none() => {
                    normal.form = Some(if kind == "NFC" { Form::Nfc } else { Form::Nfkc });
                }
                "Prepend" if stage.text("prepend")? == Some(SPACE) && !normal.prepend => {
                    normal.prepend = true;
                }
                "Replace" if string_pattern(stage) == Some(" ") => {
                    if stage.text("content")? != Some(SPACE) {
                        bail!(stage.wrong("content", "\"\u{2581}\" for a space"));
                    }
                    normal.replace = true;
                }
                kind => bail!(
                    "{} is {kind} ({}), expected none, NFC, NFKC, or \"\u{2581}\" for spaces and in front of \
                     a text; what else changes a text before it is cut is not supported: use a tokenizer \
                     without it",
                    stage.place,
                    stage.shown()
                ),
            }
        }
        Ok(normal)
    }
}

/// The text that a stage looks for, where that is no expression.
pub(super) fn string_pattern<'v>(stage: &Object<'v>) -> Option<&'v str> {
    stage.get("pattern")?.get("String")?.as_str()
}
