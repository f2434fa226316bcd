//! Methods of Python's strings and lists, where those of `minijinja_contrib::pycompat` differ or end.
//!
//! In: a value, a method, arguments. Out: what Python gives. Knows nothing of templates.

use super::python::{check_length, fails, str};
use super::tuple::{is_tuple, tuple, tuples};
use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, State};
use minijinja_contrib::pycompat::unknown_method_callback;

/// The method that slices are written as: start, stop, step.
pub(super) const SLICE: &str = "ripple_slice";

pub(super) fn call(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if method == SLICE {
        return slice(value, args);
    }
    let found = match value.as_str() {
        Some(text) => string(text, method, args)?,
        None if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) => {
            list(value, method, args)?
        }
        None => None,
    };
    match found {
        Some(found) => {
            check_length(found.as_str().map_or(0, str::len))?;
            Ok(found)
        }
        None if method == "items" => tuples(&unknown_method_callback(state, value, method, args)?),
        None => unknown_method_callback(state, value, method, args),
    }
}

/// `value[start:stop:step]`.
fn slice(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let (start, stop, step): (Option<i64>, Option<i64>, Option<i64>) = from_args(args)?;
    let text: Option<Vec<char>> = value.as_str().map(|text| text.chars().collect());
    let items: Vec<Value> = match value.kind() {
        ValueKind::String => Vec::new(),
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.collect(),
        // A place that there is not.
        ValueKind::None | ValueKind::Number | ValueKind::Bool => return Ok(Value::UNDEFINED),
        kind => return Err(fails(format!("a value of type {kind} cannot be sliced"))),
    };
    let length = text.as_ref().map_or(items.len(), Vec::len) as i64;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(fails("a slice with a step of 0"));
    }
    // From the one end to the other; backwards, that is in front of the first.
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |at: i64| (if at < 0 { at.saturating_add(length) } else { at }).clamp(low, high);
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (mut at, end) = (start.map_or(first, place), stop.map_or(last, place));
    let mut chosen = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        chosen.push(at as usize);
        at = at.saturating_add(step);
    }
    Ok(match text {
        Some(text) => {
            Value::from(chosen.into_iter().filter_map(|at| text.get(at)).collect::<String>())
        }
        None => {
            let chosen = chosen.into_iter().filter_map(|at| items.get(at).cloned()).collect();
            if is_tuple(value) { tuple(&chosen)? } else { chosen }
        }
    })
}

fn list(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    if method != "index" {
        return Ok(None);
    }
    let (wanted,): (&Value,) = from_args(args)?;
    let at = value.try_iter()?.position(|item| item == *wanted);
    at.map(|at| Some(Value::from(at))).ok_or_else(|| fails("list.index: not in the list"))
}

fn string(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let all = |is: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(is));
    let cased = |other: fn(char) -> bool| {
        let letters = || text.chars().filter(|c| c.is_lowercase() || c.is_uppercase());
        Value::from(letters().next().is_some() && !letters().any(other))
    };
    Ok(Some(match method {
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(char::is_whitespace),
        "islower" => cased(char::is_uppercase),
        "isupper" => cased(char::is_lowercase),
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let last = method == "rpartition";
            let parts = if last { text.rsplit_once(separator) } else { text.split_once(separator) };
            let parts = match parts {
                Some((before, after)) => [before, separator, after],
                None if last => ["", "", text],
                None => [text, "", ""],
            };
            tuple(&parts.into_iter().map(Value::from).collect())?
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            let most =
                most.and_then(|most| usize::try_from(most).ok()).map_or(usize::MAX, |n| n + 1);
            let Some(separator) = separator else {
                if most != usize::MAX {
                    return Err(fails("str.rsplit: expected a separator where there is a limit"));
                }
                return Ok(Some(text.split_whitespace().map(Value::from).collect()));
            };
            let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
            parts.reverse();
            parts.into_iter().map(Value::from).collect()
        }
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(args)?;
            lines(text, keep.unwrap_or(false))
        }
        "find" | "rfind" | "index" | "rindex" => find(text, method, args)?,
        "count" => {
            let (wanted,): (&str,) = from_args(args)?;
            Value::from(text.matches(wanted).count())
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            Value::from(join(text, items, false)?)
        }
        "replace" => {
            let (old, new, most): (&str, &str, Option<i64>) = from_args(args)?;
            Value::from(replace(text, old, new, most)?)
        }
        "title" => Value::from(title(text)),
        "swapcase" => text
            .chars()
            .map(|c| match c.is_uppercase() {
                true => c.to_lowercase().collect::<String>(),
                false => c.to_uppercase().collect(),
            })
            .collect::<String>()
            .into(),
        "casefold" => Value::from(text.to_lowercase()),
        "ljust" | "rjust" | "center" | "zfill" => padded(text, method, args)?,
        _ => return Ok(None),
    }))
}

/// Positions are counted in characters.
fn find(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (wanted, from): (&str, Option<usize>) = from_args(args)?;
    let skipped = text.char_indices().nth(from.unwrap_or(0)).map_or(text.len(), |(at, _)| at);
    let rest = &text[skipped..];
    let found = if method.starts_with('r') { rest.rfind(wanted) } else { rest.find(wanted) };
    match found {
        Some(at) => Ok(Value::from(text[..skipped + at].chars().count())),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(fails(format!("str.{method}: substring not found"))),
    }
}

/// Splits where Python says that a line ends.
fn lines(text: &str, keep: bool) -> Value {
    let mut found = Vec::new();
    let mut rest = text;
    let ends =
        ['\n', '\r', '\x0B', '\x0C', '\x1C', '\x1D', '\x1E', '\u{85}', '\u{2028}', '\u{2029}'];
    while let Some(at) = rest.find(ends) {
        let end = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(0, char::len_utf8)
        };
        found.push(Value::from(&rest[..if keep { at + end } else { at }]));
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        found.push(Value::from(rest));
    }
    Value::from(found)
}

fn padded(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, fill): (usize, Option<&str>) = from_args(args)?;
    check_length(width)?;
    let missing = width.saturating_sub(text.chars().count());
    let fill = fill.unwrap_or(if method == "zfill" { "0" } else { " " });
    // Where both sides differ, Python has the longer on the left of a text of even width.
    let left = match method {
        "ljust" => 0,
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let sign = text.starts_with(['+', '-']).then(|| text.split_at(1)).filter(|_| method == "zfill");
    let (sign, text) = sign.unwrap_or(("", text));
    Ok(Value::from(format!("{sign}{}{text}{}", fill.repeat(left), fill.repeat(missing - left))))
}

/// A letter behind none is a capital.
fn title(text: &str) -> String {
    let mut behind_letter = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match behind_letter {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        behind_letter = c.is_alphabetic();
    }
    out
}

pub(super) fn replace(
    text: &str,
    old: &str,
    new: &str,
    most: Option<i64>,
) -> Result<String, Error> {
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let times = text.matches(old).count().min(most);
    check_length(text.len().saturating_add(times.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, most))
}

/// Joins items, which a method wants to be texts; the filter of that name spells others.
pub(super) fn join(separator: &str, items: &Value, spell: bool) -> Result<String, Error> {
    let mut out = String::new();
    for (at, item) in items.try_iter()?.enumerate() {
        out.push_str(if at > 0 { separator } else { "" });
        match item.as_str() {
            None if !spell => {
                return Err(fails(format!("str.join: expected strings, found {}", item.kind())));
            }
            _ => out.push_str(&str(&item)?),
        }
        check_length(out.len())?;
    }
    Ok(out)
}
