//! JSON objects, whose values have names in messages.
//!
//! In: a file, or an object of one. Out: values of the types that were expected, or which key is not what it
//! should be. Knows nothing of tokenizers.

use crate::import::json;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};
use std::path::Path;

/// An object, and what it is called in a message.
#[derive(Clone)]
pub(super) struct Object<'v> {
    pub place: String,
    pub map: &'v Map<String, Value>,
}

/// Reads a file that holds one object.
pub(super) fn read(path: &Path) -> Result<Map<String, Value>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = std::fs::read(path).context("cannot be read")?;
    let value =
        json::parse(&bytes).with_context(|| format!("not a whole {name}; fetch the file again"))?;
    match value {
        Value::Object(map) => Ok(map),
        other => bail!("not a whole {name} but {}; fetch the file again", short(&other)),
    }
}

impl<'v> Object<'v> {
    pub(super) fn new(place: &str, map: &'v Map<String, Value>) -> Self {
        Self { place: place.to_owned(), map }
    }

    /// `value` as an object called `place`.
    pub(super) fn of(place: &str, value: &'v Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self::new(place, map)),
            other => bail!("{place} is {}, expected an object", short(other)),
        }
    }

    /// The name of `key` of this object.
    pub(super) fn at(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) }
    }

    /// The value of `key`; `null` counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'v Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether there is `key`, be it `null`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(super) fn wrong(&self, key: &str, expected: &str) -> anyhow::Error {
        let found = self.get(key).map_or_else(|| "missing".to_owned(), short);
        anyhow!("{} is {found}, expected {expected}", self.at(key))
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'v str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// All of it, as a message shows it.
    pub(super) fn shown(&self) -> String {
        short(&Value::Object(self.map.clone()))
    }

    /// What `type` says, or what is there instead.
    pub(super) fn kind(&self) -> &'v str {
        self.get("type").and_then(Value::as_str).unwrap_or("without a type")
    }
}

/// A value as a message shows it.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{} ...", &text[..at]),
        None => text,
    }
}
