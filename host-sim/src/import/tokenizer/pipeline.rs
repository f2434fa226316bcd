//! `tokenizer.json`: the stages around the model.
//!
//! In: the object. Out: [`TokenizerSpec`], and the token that the post-processor puts in front of a text; or
//! which stage, option or key the kernel does not have.

use super::added::{AddedToken, check, check_beside, check_composed};
use super::bytes::{Bpe, Pair, byte_level};
use super::characters::{Text, characters};
use super::cut::Cut;
use super::json::Object;
use super::normal::{Normal, SPACE, string_pattern};
use super::roles::Front;
use crate::model::tokenizer::TokenizerSpec;
use anyhow::{Context, Result, bail, ensure};
use ripple_kernel::text::tokenizer::Prefix;
use serde_json::{Map, Value};

pub(super) fn read(file: &Map<String, Value>) -> Result<(TokenizerSpec, Front)> {
    let file = Object::new("", file);
    let added: Vec<AddedToken> = match file.get("added_tokens") {
        None => Vec::new(),
        Some(added) => serde_json::from_value(added.clone()).context("added_tokens")?,
    };
    check(&added)?;
    let stages = |key, inner| match file.get(key) {
        None => Ok(Vec::new()),
        Some(stage) => flat(key, stage, inner),
    };
    let normal = Normal::of(&stages("normalizer", "normalizers")?)?;
    let cut = Cut::of(&stages("pre_tokenizer", "pretokenizers")?, &normal)?;
    check_decoder(&stages("decoder", "decoders")?, &cut)?;
    check_composed(&added, normal.form)?;
    check_beside(&added, normal.form, normal.replace, matches!(cut, Cut::Words(_)))?;
    let front = front(&stages("post_processor", "processors")?)?;
    let model = file.get("model").with_context(|| "model is missing, expected one of type BPE")?;
    let model = Object::of("model", model)?;
    let spec = match cut {
        Cut::Words(words) => {
            ensure!(
                !model.flag("byte_fallback", false)?,
                "model.byte_fallback is true behind a ByteLevel pre_tokenizer, expected false; set it to false"
            );
            byte_level(&bpe(&model)?, &added, words, normal.form)?
        }
        Cut::Spaces { each, prefix } => {
            let prefix = if normal.prepend { prefix_of(&added, &normal, prefix)? } else { prefix };
            let byte_fallback = model.flag("byte_fallback", false)?;
            let text = Text { each_space: each, prefix, form: normal.form, byte_fallback };
            characters(&bpe(&model)?, &added, &text)?
        }
    };
    Ok((spec, front))
}

/// The stages of `value`, those of sequences one by one.
fn flat<'v>(place: &str, value: &'v Value, inner: &str) -> Result<Vec<Object<'v>>> {
    let stage = Object::of(place, value)?;
    if stage.kind() != "Sequence" {
        return Ok(vec![stage]);
    }
    let Some(Value::Array(stages)) = stage.get(inner) else {
        bail!(stage.wrong(inner, "a list of stages"));
    };
    let mut all = Vec::new();
    for (at, value) in stages.iter().enumerate() {
        all.extend(flat(&format!("{place}.{inner}[{at}]"), value, inner)?);
    }
    Ok(all)
}

/// Where the space goes that a normalizer prepends: where added tokens are `normalized`, as Llama's first
/// files have them, they are looked for behind it.
fn prefix_of(added: &[AddedToken], normal: &Normal, prefix: Prefix) -> Result<Prefix> {
    let Some(token) = added.iter().find(|token| token.normalized) else { return Ok(prefix) };
    let other =
        added.iter().find(|token| !token.normalized || token.content.contains([' ', '\u{2581}']));
    if let Some(other) = other {
        bail!(
            "added token {} {:?} has `normalized` behind a normalizer that prepends a space, and {} {:?} has it \
             not, or has a space; expected the same of all: set it to false, as later tokenizers of this kind \
             have it",
            token.id,
            token.content,
            other.id,
            other.content
        );
    }
    ensure!(
        normal.form.is_none(),
        "added token {} {:?} has `normalized` behind a normalizer that prepends a space and composes \
         characters, expected one of them; set `normalized` to false",
        token.id,
        token.content
    );
    Ok(Prefix::BeforeAdded)
}

/// Refuses decoders that make another text of tokens than their bytes.
fn check_decoder(stages: &[Object<'_>], cut: &Cut) -> Result<()> {
    let known: &[&str] = match cut {
        Cut::Words(_) => &["ByteLevel"],
        Cut::Spaces { .. } => &["Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"],
    };
    for stage in stages {
        let kind = stage.kind();
        let expected = match cut {
            Cut::Words(_) => "ByteLevel",
            Cut::Spaces { .. } => "what undoes \"\u{2581}\" for a space and bytes for characters",
        };
        let strips = kind == "Strip"
            && !(stage.text("content")? == Some(" ")
                && stage.get("start") == Some(&1.into())
                && stage.get("stop") == Some(&0.into()));
        let replaces = kind == "Replace"
            && !(string_pattern(stage) == Some(SPACE) && stage.text("content")? == Some(" "));
        ensure!(
            known.contains(&kind) && !strips && !replaces,
            "{} is {kind} ({}), expected {expected}",
            stage.place,
            stage.shown()
        );
    }
    Ok(())
}

/// The token that a post-processor puts in front of a text.
fn front(stages: &[Object<'_>]) -> Result<Front> {
    let mut front = Front::default();
    for stage in stages {
        match stage.kind() {
            "ByteLevel" => {}
            "TemplateProcessing" if !front.said => {
                front = Front { said: true, token: template(stage)? };
            }
            kind => bail!(
                "{} is {kind} ({}), expected none, ByteLevel or one TemplateProcessing; take it out, or have \
                 a TemplateProcessing put the token in front that begins a text",
                stage.place,
                stage.shown()
            ),
        }
    }
    Ok(front)
}

fn template(stage: &Object<'_>) -> Result<Option<u32>> {
    let Some(Value::Array(parts)) = stage.get("single") else {
        bail!(stage.wrong("single", "a list of parts"));
    };
    let (mut front, mut text) = (Vec::new(), false);
    for part in parts {
        if part.get("Sequence").is_some_and(|sequence| sequence["id"] == "A") && !text {
            text = true;
            continue;
        }
        let name = part.get("SpecialToken").and_then(|token| token["id"].as_str());
        let ids =
            name.and_then(|name| stage.get("special_tokens")?.get(name)?.get("ids")?.as_array());
        let (Some(name), Some(ids)) = (name, ids) else {
            bail!(
                stage.wrong("single", "special tokens with ids in `special_tokens`, then the text")
            );
        };
        ensure!(
            !text,
            "{} puts {name:?} behind a text, expected nothing there: a text that has ended is not gone on \
             with; take it out of `single`",
            stage.place
        );
        for id in ids {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            front.push(id.with_context(|| stage.wrong("special_tokens", "ids of tokens"))?);
        }
    }
    ensure!(
        text && front.len() <= 1,
        "{} puts {} tokens in front of a text, expected one at most; take them out of `single`, and begin \
         prompts with them",
        stage.place,
        front.len()
    );
    Ok(front.first().copied())
}

/// The model, refused where an option changes which ids a text has and the kernel has not got it.
fn bpe(model: &Object<'_>) -> Result<Bpe> {
    // Old files name no type and have merges.
    let is_bpe =
        model.kind() == "BPE" || model.get("type").is_none() && model.get("merges").is_some();
    ensure!(
        is_bpe,
        "model is {}, expected BPE; only those can be imported: look for the model with a BPE tokenizer",
        model.kind()
    );
    if model.get("dropout").is_some_and(|dropout| dropout.as_f64() != Some(0.0)) {
        bail!(
            model.wrong("dropout", "none: it would cut a text otherwise each time; set it to null")
        );
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if !model.text(key)?.unwrap_or("").is_empty() {
            bail!(model.wrong(key, "none; only BPE without it can be imported"));
        }
    }
    let part =
        |key: &str, expected| model.get(key).cloned().with_context(|| model.wrong(key, expected));
    let vocab =
        serde_json::from_value(part("vocab", "an object of ids")?).context("model.vocab")?;
    let merges: Vec<Pair> =
        serde_json::from_value(part("merges", "a list of pairs")?).context("model.merges")?;
    let mut bpe = Bpe {
        vocab,
        merges,
        unknown: None,
        fuse_unknown: model.flag("fuse_unk", false)?,
        ignore_merges: model.flag("ignore_merges", false)?,
    };
    if let Some(unknown) = model.text("unk_token")? {
        let id = bpe.vocab.get(unknown).copied();
        bpe.unknown = Some(id.with_context(|| model.wrong("unk_token", "a token of model.vocab"))?);
    }
    Ok(bpe)
}
