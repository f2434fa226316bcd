//! What special tokens are for: which begins a text, and whether it is put in front of one; which end it.
//!
//! In: `tokenizer_config.json`, `special_tokens_map.json`, `config.json`, `generation_config.json`. Out: the
//! parts of a [`TokenizerSpec`] that say so. Knows nothing of how text is cut.
//!
//! As `transformers` has it: a post-processor or `add_bos_token` says whether the BOS is in front; where both
//! are silent, Llama's and Gemma's tokenizers put it there, and others do not. Without a
//! `tokenizer_config.json` a BOS that `config.json` names is in front.

use super::added::{AddedToken, check_beside, check_composed};
use super::json::{self, Object};
use crate::import::keys::{SPECIAL_TOKENS, TOKENIZER_CONFIG};
use crate::model::tokenizer::{Kind, TokenizerSpec};
use anyhow::{Context, Result, bail, ensure};
use ripple_kernel::text::tokenizer::{Beside, Prefix};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What the files say.
#[derive(Default)]
pub(super) struct Roles {
    directory: PathBuf,
    /// Whether there is a `tokenizer_config.json`.
    described: bool,
    class: String,
    add_bos: Option<bool>,
    pub add_prefix_space: Option<bool>,
    bos: Option<String>,
    eos: Option<String>,
    /// Other special tokens.
    others: Vec<String>,
    /// `added_tokens_decoder`.
    pub added: Vec<AddedToken>,
    bos_id: Option<u32>,
    eos_ids: Vec<u32>,
}

/// What a post-processor puts in front of a text.
#[derive(Clone, Copy, Default)]
pub(super) struct Front {
    /// Whether there is one that says.
    pub said: bool,
    pub token: Option<u32>,
}

impl Roles {
    pub(super) fn read(directory: &Path, allowed: &[String]) -> Result<Self> {
        let mut roles = Self { directory: directory.to_owned(), ..Self::default() };
        let open = |name: &str, take: &mut dyn FnMut(&Object<'_>) -> Result<()>| {
            let path = directory.join(name);
            if !path.exists() {
                return Ok(false);
            }
            let taken =
                json::read(&path).and_then(|map: Map<String, Value>| take(&Object::new("", &map)));
            taken.map(|()| true).with_context(|| path.display().to_string())
        };
        open(SPECIAL_TOKENS.name, &mut |map| {
            SPECIAL_TOKENS.check_object(map.map, allowed)?;
            roles.names(map)
        })?;
        let described = open("tokenizer_config.json", &mut |map| {
            TOKENIZER_CONFIG.check_object(map.map, allowed)?;
            roles.config(map)
        })?;
        for name in ["config.json", "generation_config.json"] {
            open(name, &mut |map| roles.ids(map))?;
        }
        roles.described = described;
        Ok(roles)
    }

    /// The names that tokens have by their roles.
    fn names(&mut self, map: &Object<'_>) -> Result<()> {
        for (key, role) in [("bos_token", &mut self.bos), ("eos_token", &mut self.eos)] {
            *role = name(map, key)?.or(role.take());
        }
        for key in ["unk_token", "pad_token", "sep_token", "cls_token", "mask_token"] {
            self.others.extend(name(map, key)?);
        }
        for key in ["additional_special_tokens", "extra_special_tokens"] {
            if let Some(Value::Array(list)) = map.get(key) {
                self.others.extend(list.iter().filter_map(content).map(str::to_owned));
            }
        }
        Ok(())
    }

    fn config(&mut self, map: &Object<'_>) -> Result<()> {
        self.class = map.text("tokenizer_class")?.unwrap_or_default().to_owned();
        let flag = |key| map.get(key).map(|_| map.flag(key, false)).transpose();
        self.add_bos = flag("add_bos_token")?;
        self.add_prefix_space = flag("add_prefix_space")?;
        // Null says that there is none.
        let named = |key, role: &mut Option<String>| -> Result<()> {
            if map.has(key) {
                *role = name(map, key)?;
            }
            Ok(())
        };
        named("bos_token", &mut self.bos)?;
        named("eos_token", &mut self.eos)?;
        let (bos, eos) = (self.bos.clone(), self.eos.clone());
        self.names(map)?;
        (self.bos, self.eos) = (bos, eos);
        let Some(Value::Object(added)) = map.get("added_tokens_decoder") else { return Ok(()) };
        for (id, token) in added {
            let mut token = token.clone();
            let id: u32 = id.parse().with_context(|| {
                format!("added_tokens_decoder has {id:?}, expected ids of tokens")
            })?;
            token["id"] = id.into();
            self.added.push(serde_json::from_value(token).context("added_tokens_decoder")?);
        }
        Ok(())
    }

    /// The ids that the model's files name.
    fn ids(&mut self, map: &Object<'_>) -> Result<()> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        if let Some(value) = map.get("bos_token_id") {
            let found =
                id(value).with_context(|| map.wrong("bos_token_id", "the id of a token"))?;
            self.bos_id.get_or_insert(found);
        }
        let values = match map.get("eos_token_id") {
            None => &[],
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        for value in values {
            let id = id(value).with_context(|| {
                map.wrong("eos_token_id", "the id of a token, or a list of them")
            })?;
            if !self.eos_ids.contains(&id) {
                self.eos_ids.push(id);
            }
        }
        Ok(())
    }

    /// Every name of a special token.
    pub(super) fn special(&self) -> impl Iterator<Item = &str> {
        self.bos.iter().chain(&self.eos).chain(&self.others).map(String::as_str)
    }

    /// Sets what begins and ends a text.
    pub(super) fn apply(&self, spec: &mut TokenizerSpec, front: Front) -> Result<()> {
        let config = self.config_path();
        self.add(spec)?;
        self.check_prefix(spec)?;
        let named = |role: &Option<String>, what: &str| -> Result<Option<u32>> {
            let Some(name) = role else { return Ok(None) };
            let all = spec.special.iter().chain(&spec.added).copied();
            let id = all
                .chain(0..spec.len() as u32)
                .find(|&id| spec.tokens[id as usize] == name.as_bytes());
            id.map(Some).with_context(|| {
                format!(
                    "{}: {what} is {name:?}, which the vocabulary does not have, expected \
                     one of its tokens; save the tokenizer again, or correct the name",
                    config.display()
                )
            })
        };
        let (bos, eos) = (named(&self.bos, "bos_token")?, named(&self.eos, "eos_token")?);
        if let (Some(front), Some(bos)) = (front.token, bos)
            && front != bos
        {
            bail!(
                "{}: bos_token is {}, but tokenizer.json puts {} in front of a text; expected one token",
                config.display(),
                spec.shown(bos),
                spec.shown(front)
            );
        }
        let begins = ["Llama", "CodeLlama", "Gemma"].iter().any(|family| {
            let name = self.class.strip_prefix(family);
            name.is_some_and(|rest| rest == "Tokenizer" || rest == "TokenizerFast")
        });
        spec.adds_bos = match self.add_bos {
            Some(false) if front.token.is_some() && !begins => bail!(
                "{}: add_bos_token is false, but tokenizer.json puts {} in front of a text; set it as the model \
                 was trained, or take the token out of post_processor",
                config.display(),
                spec.shown(front.token.unwrap_or(0))
            ),
            Some(adds) => adds,
            None if front.said => front.token.is_some(),
            None if self.described => begins,
            None => self.bos_id.is_some(),
        };
        let from_config = !self.described || spec.adds_bos;
        spec.bos = front.token.or(bos).or(self.bos_id.filter(|_| from_config));
        ensure!(
            spec.bos.is_some() || !spec.adds_bos,
            "{}: add_bos_token is true, but there is no bos_token, expected its name",
            config.display()
        );
        spec.eos = eos.into_iter().collect();
        spec.eos.extend(self.eos_ids.iter().filter(|&&id| Some(id) != eos));
        let beyond = spec.bos.into_iter().chain(spec.eos.iter().copied());
        if let Some(id) = beyond.into_iter().find(|&id| id as usize >= spec.len()) {
            bail!(
                "{}: token {id} begins or ends a text, but the vocabulary has {} tokens; correct \
                 bos_token_id and eos_token_id there and in generation_config.json",
                self.directory.join("config.json").display(),
                spec.len()
            );
        }
        Ok(())
    }

    fn config_path(&self) -> PathBuf {
        self.directory.join("tokenizer_config.json")
    }

    /// Adds the tokens that `tokenizer_config.json` adds to those of the tokenizer.
    fn add(&self, spec: &mut TokenizerSpec) -> Result<()> {
        super::added::check(&self.added)?;
        let classes = matches!(spec.kind, Kind::Bytes(_));
        check_composed(&self.added, spec.form)?;
        check_beside(&self.added, spec.form, !classes, classes)?;
        for token in &self.added {
            if spec.special.contains(&token.id) || spec.added.contains(&token.id) {
                continue;
            }
            let found = spec.tokens.get(token.id as usize).map(Vec::as_slice);
            ensure!(
                found == Some(token.content.as_bytes()),
                "{}: added_tokens_decoder has {} {:?}, which the vocabulary does not have; save the tokenizer \
                 again with the tokens that were added",
                self.config_path().display(),
                token.id,
                token.content
            );
            let list = if token.special { &mut spec.special } else { &mut spec.added };
            list.push(token.id);
            if token.beside() != Beside::ANYTHING {
                spec.beside.insert(token.id, token.beside());
            }
        }
        Ok(())
    }

    /// Refuses a prefix space that the tokenizer does not put, or puts all the same.
    fn check_prefix(&self, spec: &TokenizerSpec) -> Result<()> {
        match self.add_prefix_space {
            Some(adds) if adds != (spec.prefix != Prefix::Never) => bail!(
                "{}: add_prefix_space is {adds}, but the tokenizer puts {} space in front of a text; expected \
                 the same of both: save the tokenizer again, or set it as the model was trained",
                self.config_path().display(),
                if adds { "no" } else { "a" }
            ),
            _ => Ok(()),
        }
    }
}

/// The name of a special token: a text, or an added token.
fn name(map: &Object<'_>, key: &str) -> Result<Option<String>> {
    let Some(value) = map.get(key) else { return Ok(None) };
    let found = content(value).with_context(|| map.wrong(key, "the text of a token"))?;
    Ok(Some(found.to_owned()))
}

fn content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}
