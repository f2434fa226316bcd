//! Every key of every format that is imported, and what becomes of it.
//!
//! In: the keys of a file and their values. Out: nothing, or a sentence that names the key that would
//! change the results and is not followed, and the way out. One table a format: whoever reads a key says
//! so there. Knows nothing of what a key is read into.

mod config;
mod generation;
mod gguf;
mod gguf_tokenizer;
mod special_tokens;
mod tokenizer;
mod tokenizer_config;

use anyhow::{Result, bail};
use serde_json::Value;
use std::cmp::Reverse;

/// What becomes of a key.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// It is read.
    Read,
    /// It changes nothing that is computed: why.
    Harmless(&'static str),
    /// It must have one of these values, written in JSON; why, and what to do if it has another.
    Only(&'static [&'static str], &'static str),
    /// A model that has it is not imported: why, and what to do.
    Refused(&'static str),
    /// An object, or a list of them, whose keys have rules of their own: those that begin with this.
    Inside(&'static str),
    /// The same, where an object's `type` comes between the two.
    Typed(&'static str),
    /// The text of a token, or an object, or several of them, whose keys begin with this.
    Tokens(&'static str),
}

/// Keys with one rule.
///
/// A key is written as its names with dots between. `*` stands for any one name, and for any names where
/// it is the last.
pub(crate) struct Group {
    pub rule: Rule,
    pub keys: &'static [&'static str],
}

/// The keys of a format.
pub(crate) struct Format {
    /// What its files are called.
    pub name: &'static str,
    groups: &'static [&'static [Group]],
}

/// `config.json`.
pub(crate) const CONFIG: Format = Format { name: "config.json", groups: &[config::GROUPS] };
/// `generation_config.json`.
pub(crate) const GENERATION: Format =
    Format { name: "generation_config.json", groups: &[generation::GROUPS] };
/// `tokenizer.json`.
pub(crate) const TOKENIZER: Format =
    Format { name: "tokenizer.json", groups: &[tokenizer::GROUPS] };
/// `tokenizer_config.json`.
pub(crate) const TOKENIZER_CONFIG: Format =
    Format { name: "tokenizer_config.json", groups: &[tokenizer_config::GROUPS] };
/// `special_tokens_map.json`.
pub(crate) const SPECIAL_TOKENS: Format =
    Format { name: "special_tokens_map.json", groups: &[special_tokens::GROUPS] };
/// The metadata of a GGUF file; `ARCH` stands for `general.architecture`.
pub(crate) const GGUF: Format =
    Format { name: "GGUF metadata", groups: &[gguf::GROUPS, gguf_tokenizer::GROUPS] };

const ALL: [&Format; 6] =
    [&CONFIG, &GENERATION, &TOKENIZER, &TOKENIZER_CONFIG, &SPECIAL_TOKENS, &GGUF];

impl Format {
    fn all(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().copied().flatten()
    }

    /// The rule of a key: that of the pattern with the fewest `*`, the longest of those.
    fn rule(&self, key: &str) -> Option<Rule> {
        let patterns = self.all().flat_map(|group| group.keys.iter().map(|key| (*key, group.rule)));
        let fitting = patterns.filter(|(pattern, _)| fits(pattern, key));
        let order = |pattern: &str| (pattern.matches('*').count(), Reverse(pattern.len()));
        fitting.min_by_key(|(pattern, _)| order(pattern)).map(|(_, rule)| rule)
    }

    /// Whether a key is one that is read.
    pub(crate) fn is_read(&self, key: &str) -> bool {
        matches!(self.rule(key), Some(Rule::Read | Rule::Inside(_)))
    }

    /// Refuses one key; `null` counts as absent, and what is in `allowed` is let pass.
    ///
    /// # Errors
    /// When it is not known, is refused, or does not have one of the values that it must have.
    pub(crate) fn check(&self, key: &str, value: &Value, allowed: &[String]) -> Result<()> {
        self.check_as(key, key, value, allowed)
    }

    /// The same of a key that the tables have under another `name`.
    pub(crate) fn check_as(
        &self,
        name: &str,
        key: &str,
        value: &Value,
        allowed: &[String],
    ) -> Result<()> {
        if value.is_null() || allowed.iter().any(|allowed| allowed == key) {
            return Ok(());
        }
        match self.rule(name) {
            Some(Rule::Read | Rule::Harmless(_)) => Ok(()),
            Some(Rule::Inside(prefix)) => self.check_inside(prefix, false, value, allowed),
            Some(Rule::Typed(prefix)) => self.check_inside(prefix, true, value, allowed),
            Some(Rule::Tokens(prefix)) => match value {
                Value::String(_) => Ok(()),
                Value::Array(list) => {
                    list.iter().try_for_each(|value| self.check_as(name, key, value, allowed))
                }
                object => self.check_inside(prefix, false, object, allowed),
            },
            Some(Rule::Only(values, _)) if values.iter().any(|known| same(known, value)) => Ok(()),
            Some(Rule::Only(values, why)) => {
                bail!("`{key}` is {}, expected {}: {why}", short(value), values.join(" or "))
            }
            Some(Rule::Refused(why)) => {
                bail!("`{key}` is {}, which is not supported: {why}", short(value))
            }
            None => bail!(
                "`{key}` is {}: a key that is not known, and may change the results; if it does not, \
                 import with --allow-key {key}",
                short(value)
            ),
        }
    }

    /// Refuses the first key of an object that [`check`](Self::check) refuses.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn check_object(
        &self,
        object: &serde_json::Map<String, Value>,
        allowed: &[String],
    ) -> Result<()> {
        object.iter().try_for_each(|(key, value)| self.check(key, value, allowed))
    }

    fn check_inside(
        &self,
        prefix: &str,
        typed: bool,
        value: &Value,
        allowed: &[String],
    ) -> Result<()> {
        match value {
            Value::Array(list) => {
                list.iter().try_for_each(|value| self.check_inside(prefix, typed, value, allowed))
            }
            Value::Object(object) => {
                let kind = object.get("type").and_then(Value::as_str).filter(|_| typed);
                object.iter().try_for_each(|(name, value)| {
                    let key = match kind {
                        Some(kind) => format!("{prefix}.{kind}.{name}"),
                        None => format!("{prefix}.{name}"),
                    };
                    self.check(&key, value, allowed)
                })
            }
            other => bail!("`{prefix}` is {}, expected an object", short(other)),
        }
    }

    fn markdown(&self) -> String {
        use std::fmt::Write;
        let mut out = format!("**{}**\n\n| what becomes of it | keys |\n|---|---|\n", self.name);
        for group in self.all() {
            let rule = match group.rule {
                Rule::Read => "read".to_owned(),
                Rule::Harmless(why) => format!("harmless: {why}"),
                Rule::Only(values, why) => {
                    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
                    format!("refused unless {}: {why}", values.join(" or "))
                }
                Rule::Refused(why) => format!("refused: {why}"),
                Rule::Inside(prefix) => format!("an object, whose keys are those of `{prefix}.*`"),
                Rule::Typed(prefix) => {
                    format!("an object, whose keys are those of `{prefix}.TYPE.*`")
                }
                Rule::Tokens(prefix) => {
                    format!("read: a text, or an object, whose keys are those of `{prefix}.*`")
                }
            };
            let keys: Vec<_> = group.keys.iter().map(|key| format!("`{key}`")).collect();
            // A pipe would end the cell.
            let row = [rule, keys.join(", ")].map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(out, "| {} | {} |", row[0], row[1]);
        }
        out
    }
}

/// All keys, as tables in Markdown.
pub fn markdown() -> String {
    ALL.map(Format::markdown).join("\n")
}

/// Whether `pattern` stands for `key`.
fn fits(pattern: &str, key: &str) -> bool {
    let (mut pattern, mut key) = (pattern.split('.'), key.split('.'));
    loop {
        match (pattern.next(), key.next()) {
            (Some("*"), Some(_)) if pattern.clone().next().is_none() => return true,
            (Some("*"), Some(_)) => {}
            (Some(expected), Some(found)) if expected == found => {}
            (expected, found) => return expected.is_none() && found.is_none(),
        }
    }
}

/// Whether `value` is what `json` says; numbers are compared as numbers.
fn same(json: &str, value: &Value) -> bool {
    let Ok(known) = serde_json::from_str::<Value>(json) else { return false };
    match (known.as_f64(), value.as_f64()) {
        (Some(known), Some(value)) => known == value,
        _ => known == *value,
    }
}

/// A value in a message, cut where it is long.
fn short(value: &Value) -> String {
    const MOST: usize = 120;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    const SAMPLE: Format = Format {
        name: "sample",
        groups: &[&[
            Group { rule: Rule::Read, keys: &["a", "x.*.read"] },
            Group { rule: Rule::Harmless("it is a name"), keys: &["x.*"] },
            Group { rule: Rule::Only(&["1", "\"one\""], "no other"), keys: &["b"] },
            Group { rule: Rule::Refused("take it out"), keys: &["c", "stage.Cut.c"] },
            Group { rule: Rule::Typed("stage"), keys: &["stages"] },
            Group { rule: Rule::Inside("stage.Cut"), keys: &["cuts"] },
            Group { rule: Rule::Tokens("stage.Cut"), keys: &["token"] },
            Group { rule: Rule::Read, keys: &["stage.Cut.type", "stage.name"] },
        ]],
    };

    fn said(key: &str, value: Value) -> String {
        SAMPLE
            .check(key, &value, &["let".to_owned()])
            .err()
            .map_or(String::new(), |e| e.to_string())
    }

    #[test]
    fn a_key_is_read_harmless_or_refused_by_name() {
        for (key, value) in [
            ("a", json!(5)),
            ("x.y", json!([])),
            ("x.y.z", json!(1)),
            ("b", json!(1.0)),
            ("b", json!("one")),
            ("c", json!(null)),
            ("let", json!(1)),
            ("token", json!("<s>")),
            ("token", json!(["<s>", {"type": "<s>"}])),
            ("stages", json!([{"type": "Cut"}, {"name": 1}])),
        ] {
            assert_eq!(said(key, value), "", "{key}");
        }
        assert_eq!(said("b", json!(2)), "`b` is 2, expected 1 or \"one\": no other");
        assert_eq!(said("c", json!(2)), "`c` is 2, which is not supported: take it out");
        assert!(said("d", json!(2)).contains("`d` is 2: a key that is not known"));
        assert!(said("stages", json!([{"type": "Cut", "c": 0}])).contains("`stage.Cut.c` is 0"));
        assert!(said("stages", json!({"type": "Cut", "e": 0})).contains("`stage.Cut.e` is 0"));
        assert!(said("cuts", json!([{"type": "Cut"}, {"c": 0}])).contains("`stage.Cut.c` is 0"));
        assert!(said("stages", json!(3)).contains("expected an object"));
        assert!(said("token", json!([3])).contains("expected an object"));
        assert!(said("token", json!({"c": 0})).contains("`stage.Cut.c` is 0"));
        assert!(said("x", json!(3)).contains("not known"));
    }

    #[test]
    fn no_key_has_two_rules() {
        for format in ALL {
            let mut seen = BTreeSet::new();
            for key in format.all().flat_map(|group| group.keys) {
                assert!(seen.insert(key), "{}: {key}", format.name);
            }
            for group in format.all() {
                if let Rule::Only(values, _) = group.rule {
                    for value in values {
                        assert!(serde_json::from_str::<Value>(value).is_ok(), "{value}");
                    }
                }
            }
        }
    }
}
