//! Values as Python spells them: `str`, `repr` and `json.dumps`.
//!
//! In: a value of the template engine. Out: text, or why there is none: a value that is nested too deep or
//! too long. Knows nothing of templates.

use super::tuple::is_tuple;
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};
use std::fmt::Write;

/// Most bytes of a text that a template makes.
pub(super) const MOST_BYTES: usize = 16 << 20;
/// Most levels of lists in lists.
const MOST_LEVELS: usize = 64;

pub(super) fn fails(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// Refuses a text of so many bytes.
pub(super) fn check_length(bytes: usize) -> Result<(), Error> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    Err(fails(format!("a text of more than {MOST_BYTES} bytes")))
}

/// `str(value)`; what is undefined is nothing.
pub(super) fn str(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        check_length(text.len())?;
        return Ok(text.to_owned());
    }
    if value.is_undefined() {
        return Ok(String::new());
    }
    let mut out = String::new();
    repr(value, MOST_LEVELS, &mut out)?;
    Ok(out)
}

/// Refuses what is too long or nested too deep to be kept in a variable; and namespaces where it is kept
/// in one, which could then hold itself.
pub(super) fn check_kept(value: &Value, in_namespace: bool) -> Result<(), Error> {
    let is_namespace = |value: &Value| {
        value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"))
    };
    let mut bytes = 0;
    let mut inside = vec![(value.clone(), MOST_LEVELS)];
    while let Some((value, levels)) = inside.pop() {
        bytes += 16 + value.as_str().map_or(0, str::len);
        check_length(bytes)?;
        if in_namespace && is_namespace(&value) {
            return Err(fails("a namespace in a namespace, which could then hold itself"));
        }
        let list = match value.kind() {
            ValueKind::Map => false,
            ValueKind::Seq | ValueKind::Iterable => true,
            _ => continue,
        };
        let levels = levels.checked_sub(1).ok_or_else(too_deep)?;
        for item in value.try_iter()? {
            bytes += 16;
            check_length(bytes)?;
            let item = if list { item } else { value.get_item(&item)? };
            inside.push((item, levels));
        }
    }
    Ok(())
}

fn too_deep() -> Error {
    fails(format!("lists nested more than {MOST_LEVELS} levels deep"))
}

/// `repr(value)`.
fn repr(value: &Value, levels: usize, out: &mut String) -> Result<(), Error> {
    check_length(out.len())?;
    let inside = || levels.checked_sub(1).ok_or_else(too_deep);
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => quote(value.as_str().unwrap_or(""), out),
        ValueKind::Map => {
            out.push('{');
            for (at, key) in value.try_iter()?.enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                repr(&key, inside()?, out)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, inside()?, out)?;
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let (open, close) = if is_tuple(value) { ('(', ')') } else { ('[', ']') };
            out.push(open);
            for (at, item) in value.try_iter()?.enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                repr(&item, inside()?, out)?;
            }
            if open == '(' && value.len() == Some(1) {
                out.push(',');
            }
            out.push(close);
        }
        kind => return Err(fails(format!("a value of type {kind} cannot be written"))),
    }
    Ok(())
}

/// `repr` of a string.
fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote || c == '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xFF => write!(out, "\\x{code:02x}"),
                    0x100..=0xFFFF => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

fn printable(c: char) -> bool {
    // Marks that combine are escaped by `escape_debug` at the front of a text only.
    !c.is_whitespace()
        && !c.is_control()
        && "a".chars().chain([c]).collect::<String>().escape_debug().count() == 2
}

/// `repr` of a number: floats as short as they can be.
fn number(value: &Value) -> String {
    let float = match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => float,
        _ => return value.to_string(),
    };
    if !float.is_finite() {
        return if float.is_nan() {
            "nan"
        } else if float > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{float}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// How `json.dumps` writes.
pub(super) struct Json {
    /// Spaces of a level, or a text; `None`: all in one line.
    pub(super) indent: Option<String>,
    /// Between items, between a key and its value.
    pub(super) separators: (String, String),
    pub(super) ensure_ascii: bool,
    pub(super) sort_keys: bool,
}

impl Json {
    /// `json.dumps(value)`.
    pub(super) fn dumps(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.value(value, 0, &mut out)?;
        Ok(out)
    }

    fn value(&self, value: &Value, level: usize, out: &mut String) -> Result<(), Error> {
        check_length(out.len())?;
        if level > MOST_LEVELS {
            return Err(too_deep());
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(match number(value).as_str() {
                "nan" => "NaN",
                "inf" => "Infinity",
                "-inf" => "-Infinity",
                number => number,
            }),
            ValueKind::String => self.text(value.as_str().unwrap_or(""), out),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.all(&keys, '{', '}', level, out, &|key, out| {
                    let name = match key.kind() {
                        ValueKind::String => key.as_str().unwrap_or("").to_owned(),
                        ValueKind::None => "null".to_owned(),
                        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
                        ValueKind::Number => number(key),
                        kind => return Err(fails(format!("a key of type {kind} in JSON"))),
                    };
                    self.text(&name, out);
                    out.push_str(&self.separators.1);
                    self.value(&value.get_item(key)?, level + 1, out)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.all(&items, '[', ']', level, out, &|item, out| {
                    self.value(item, level + 1, out)
                })?;
            }
            kind => {
                return Err(fails(format!("an object of type {kind} is not JSON serializable")));
            }
        }
        Ok(())
    }

    fn all(
        &self,
        items: &[Value],
        open: char,
        close: char,
        level: usize,
        out: &mut String,
        write: &dyn Fn(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        let line = |level: usize, out: &mut String| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                out.push_str(&indent.repeat(level));
            }
        };
        for (at, item) in items.iter().enumerate() {
            out.push_str(if at > 0 { &self.separators.0 } else { "" });
            line(level + 1, out);
            write(item, out)?;
        }
        if !items.is_empty() {
            line(level, out);
        }
        out.push(close);
        Ok(())
    }

    fn text(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x08' => out.push_str("\\b"),
                '\x0C' => out.push_str("\\f"),
                c if c < ' ' || self.ensure_ascii && !c.is_ascii() => {
                    for unit in c.encode_utf16(&mut [0; 2]).iter() {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}
