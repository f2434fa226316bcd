//! What is in a tag of a template, written so that minijinja does what Python does.
//!
//! In: the inside of a tag. Out: the same with strings without Python's escapes, slices as calls, and what
//! [`environment`](super::environment) counts or spells marked by calls. Knows nothing of what is between
//! tags.

use super::environment::{DIVIDE, HOLD, KEEP, SPELL, TUPLE};
use super::methods::SLICE;
use std::collections::BTreeMap;

/// A token of an expression: where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Word,
    Text,
    Number,
    Operator,
}

/// The token at or behind `at`; `None` for a string without an end.
pub(super) fn token(text: &str, at: usize) -> Option<Token> {
    let rest = &text[at..];
    let start = at + rest.len() - rest.trim_start().len();
    let rest = &text[start..];
    let Some(first) = rest.chars().next() else {
        return Some(Token { kind: Kind::Operator, start, end: start });
    };
    let while_ = |is: fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
    let (kind, length) = match first {
        '"' | '\'' => {
            let mut escaped = false;
            let end = rest.char_indices().skip(1).find(|&(_, c)| {
                let ends = !escaped && c == first;
                escaped = !escaped && c == '\\';
                ends
            });
            (Kind::Text, end?.0 + 1)
        }
        c if c.is_alphabetic() || c == '_' => {
            (Kind::Word, while_(|c| c.is_alphanumeric() || c == '_'))
        }
        c if c.is_ascii_digit() => {
            (Kind::Number, while_(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.'))
        }
        c => {
            let twice =
                ["//", "**", "==", "!=", "<=", ">="].iter().any(|two| rest.starts_with(two));
            (Kind::Operator, if twice { 2 } else { c.len_utf8() })
        }
    };
    Some(Token { kind, start, end: start + length })
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut all = Vec::new();
    let mut at = 0;
    loop {
        let token = token(text, at)?;
        if token.start == token.end {
            return Some(all);
        }
        at = token.end;
        all.push(token);
    }
}

/// Names of a macro's parameters.
pub(super) fn parameters(inner: &str) -> Vec<&str> {
    let all = tokens(inner).unwrap_or_default();
    let text = |token: &Token| &inner[token.start..token.end];
    if all.first().map(text) != Some("macro") {
        return Vec::new();
    }
    let mut depth = 0;
    let mut found = Vec::new();
    for pair in all.windows(2) {
        match text(&pair[0]) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 1 && ["(", ","].contains(&text(&pair[0])) && pair[1].kind == Kind::Word {
            found.push(text(&pair[1]));
        }
    }
    found
}

/// What is in a tag, with the calls that mark what is concatenated and what is kept.
pub(super) fn expression(inner: &str, block: bool) -> Result<String, ()> {
    let all = tokens(inner).ok_or(())?;
    let text = |at: usize| all.get(at).map_or("", |token| &inner[token.start..token.end]);
    // Calls by the token that they begin in front of, or end behind.
    let (mut begin, mut end) = (BTreeMap::<usize, String>::new(), BTreeMap::<usize, String>::new());
    let mut call = |range: (usize, usize), open: &str, close: &str| {
        begin.entry(range.0).or_default().push_str(open);
        end.entry(range.1).or_default().insert_str(0, close);
    };
    if block && text(0) == "set" {
        let mut depth = 0;
        let assigned = (1..all.len()).find(|&at| {
            match text(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            depth == 0 && text(at) == "="
        });
        if let Some(at) = assigned.filter(|at| at + 1 < all.len()) {
            // What is in a namespace lasts, and may be anything that there is.
            let keep = if text(2) == "." { HOLD } else { KEEP };
            call((at + 1, all.len() - 1), &format!("{keep}(("), "))");
        }
    }
    let first = usize::from(block);
    let mut spelt = Vec::new();
    for at in (0..all.len()).filter(|&at| text(at) == "~") {
        spelt.extend([
            operand(&all, inner, at, first, false, &[]),
            operand(&all, inner, at, first, true, &[]),
        ]);
    }
    spelt.dedup();
    spelt.into_iter().flatten().for_each(|range| call(range, &format!("{SPELL}("), ")"));
    let mut written = slices(&all, inner);
    // The last of a chain is the outermost call.
    for at in (0..all.len()).rev() {
        let Some(name) = ["//", "%"].iter().position(|operator| *operator == text(at)) else {
            continue;
        };
        let left = operand(&all, inner, at, first, false, &[]);
        let right = operand(&all, inner, at, first, true, &["*", "/", "//", "%"]);
        if let (Some((from, _)), Some((_, to))) = (left, right) {
            call((from, to), &format!("{}(", DIVIDE[name]), ")");
            written.insert(at, ",".to_owned());
        }
    }
    for (open, close) in tuples(&all, inner) {
        call((open, close), &format!("{TUPLE}("), ")");
        written.insert(open, "[".to_owned());
        written.insert(close, "]".to_owned());
    }
    let mut out = String::with_capacity(inner.len());
    let mut copied = 0;
    for (at, token) in all.iter().enumerate() {
        out.push_str(&inner[copied..token.start]);
        out.push_str(begin.get(&at).map_or("", String::as_str));
        match token.kind {
            _ if written.contains_key(&at) => out.push_str(&written[&at]),
            Kind::Text => {
                literal(&python_string(&inner[token.start + 1..token.end - 1]), &mut out);
                out.extend(text(at).chars().filter(|&c| c == '\n'));
            }
            _ => out.push_str(text(at)),
        }
        out.push_str(end.get(&at).map_or("", String::as_str));
        copied = token.end;
    }
    out.push_str(&inner[copied..]);
    Ok(out)
}

/// The parentheses around tuples, by token: those that hold a comma, or nothing, and are neither of a call nor
/// of names that are assigned.
fn tuples(all: &[Token], inner: &str) -> Vec<(usize, usize)> {
    let text = |at: usize| all.get(at).map_or("", |token| &inner[token.start..token.end]);
    let mut found = Vec::new();
    // Brackets that are open, and whether each has a comma.
    let mut open: Vec<(usize, bool)> = Vec::new();
    for at in 0..all.len() {
        match text(at) {
            "(" | "[" | "{" => open.push((at, false)),
            "," => open.iter_mut().next_back().into_iter().for_each(|(_, comma)| *comma = true),
            ")" | "]" | "}" => {
                let Some((begin, comma)) = open.pop() else { continue };
                let before = begin.checked_sub(1).map(|before| (text(before), all[before].kind));
                let value = match before {
                    None => true,
                    Some((word, Kind::Word)) => {
                        ["in", "if", "else", "elif", "and", "or", "not"].contains(&word)
                    }
                    Some((sign, Kind::Operator)) => ![")", "]", "}"].contains(&sign),
                    Some(_) => false,
                };
                if text(begin) == "(" && value && (comma || begin + 1 == at) {
                    found.push((begin, at));
                }
            }
            _ => {}
        }
    }
    found
}

/// What is written for the brackets and colons of slices, by token: `x[a:b]` is `x.slice(a, b, none)`.
fn slices(all: &[Token], inner: &str) -> BTreeMap<usize, String> {
    let text = |at: usize| all.get(at).map_or("", |token| &inner[token.start..token.end]);
    let missing = |at: usize| if [":", "]"].contains(&text(at + 1)) { "none" } else { "" };
    let mut written = BTreeMap::new();
    // Brackets that are open, with the colons found in each.
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    for at in 0..all.len() {
        match text(at) {
            "(" | "[" | "{" => open.push((at, Vec::new())),
            ":" => {
                if let Some((_, colons)) = open.last_mut() {
                    colons.push(at);
                }
            }
            ")" | "]" | "}" => {
                let Some((begin, colons)) = open.pop() else { continue };
                if text(begin) != "[" || colons.is_empty() {
                    continue;
                }
                let first = if text(begin + 1) == ":" { "none" } else { "" };
                // Apart from a number, whose point it would be.
                written.insert(begin, format!(" .{SLICE}({first}"));
                for &colon in &colons {
                    written.insert(colon, format!(", {}", missing(colon)));
                }
                let step = if colons.len() == 1 { ", none" } else { "" };
                written.insert(at, format!("{step})"));
            }
            _ => {}
        }
    }
    written
}

/// The tokens, first and last, of the operand before or after the operator at `tilde`, which binds no less than
/// `~`; those in `ends` end it too.
fn operand(
    all: &[Token],
    inner: &str,
    tilde: usize,
    first: usize,
    after: bool,
    ends: &[&str],
) -> Option<(usize, usize)> {
    let text = |at: usize| all.get(at).map_or("", |token| &inner[token.start..token.end]);
    let mut depth = 0;
    let mut at = tilde;
    let mut last = tilde;
    loop {
        at = if after { at + 1 } else { at.checked_sub(1)? };
        if at >= all.len() || at < first {
            break;
        }
        match text(at) {
            "(" | "[" | "{" => depth += if after { 1 } else { -1 },
            ")" | "]" | "}" => depth += if after { -1 } else { 1 },
            _ => {}
        }
        let is_end = |at: usize| {
            let keyword = ["not", "and", "or", "in", "if", "else", "is"].contains(&text(at));
            all[at].kind != Kind::Operator && !keyword || [")", "]", "}"].contains(&text(at))
        };
        let behind_is = at > 0 && text(at - 1) == "is";
        let binary = at > first && is_end(at - 1);
        let bound = match text(at) {
            "~" | "," | ":" | "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "and" | "or" | "if"
            | "else" => true,
            "in" | "not" => !(behind_is || at > 1 && text(at - 2) == "is"),
            "+" | "-" => binary,
            other => ends.contains(&other),
        };
        if depth < 0 || depth == 0 && bound {
            break;
        }
        last = at;
        if at == 0 && !after {
            break;
        }
    }
    (last != tilde).then_some(if after { (tilde + 1, last) } else { (last, tilde - 1) })
}

/// What the characters of a string literal stand for: Python's `unicode-escape`.
fn python_string(inside: &str) -> String {
    let mut out = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let code = |from: usize, digits: usize, radix: u32| {
            let found = u32::from_str_radix(rest.get(from..from + digits)?, radix).ok();
            found.and_then(char::from_u32).map(|c| (c, from + digits))
        };
        let octal = rest.find(|c: char| !('0'..='7').contains(&c)).unwrap_or(rest.len()).min(3);
        let found = match c {
            'n' => Some(('\n', 1)),
            't' => Some(('\t', 1)),
            'r' => Some(('\r', 1)),
            'a' => Some(('\x07', 1)),
            'b' => Some(('\x08', 1)),
            'f' => Some(('\x0C', 1)),
            'v' => Some(('\x0B', 1)),
            '\\' | '\'' | '"' => Some((c, 1)),
            'x' => code(1, 2, 16),
            'u' => code(1, 4, 16),
            'U' => code(1, 8, 16),
            '0'..='7' => code(0, octal, 8),
            _ => None,
        };
        match found {
            Some((stands_for, length)) => {
                out.push(stands_for);
                rest = &rest[length..];
            }
            // A newline behind a backslash is not part of the string; others keep the backslash.
            None if c == '\n' => rest = &rest[1..],
            None => out.push('\\'),
        }
    }
    out.push_str(rest);
    out
}

/// Writes a string literal that minijinja reads as `text`.
pub(super) fn literal(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('"');
}
