//! A template as Jinja2 reads it, written so that minijinja does the same.
//!
//! In: a template. Out: one whose whitespace is already cut (`trim_blocks`, `lstrip_blocks`, signs), with
//! all text in expressions, `{% generation %}` blocks as scopes, and what is in its tags as
//! [`expression`](super::expression) writes it. Lines stay where they are. Knows nothing of values.

use super::environment::KEEP;
use super::expression::{expression, literal, parameters, token};
use std::fmt::Write;

/// Rewrites a template; see above.
///
/// # Errors
/// When a tag, a comment or a string does not end: which, and in which line it began.
pub(super) fn rewrite(template: &str) -> Result<String, String> {
    let template = template.replace("\r\n", "\n").replace('\r', "\n");
    let source = template.strip_suffix('\n').unwrap_or(&template);
    let mut scanner = Scanner { source, at: 0, out: String::with_capacity(2 * source.len()) };
    while scanner.tag()? {}
    Ok(scanner.out)
}

struct Scanner<'s> {
    source: &'s str,
    at: usize,
    out: String,
}

/// What stands in front of the end of a tag, and is cut behind it.
#[derive(Clone, Copy)]
enum Cut {
    Nothing,
    Newline,
}

impl<'s> Scanner<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or("")
    }

    fn fails<T>(&self, start: usize, what: &str) -> Result<T, String> {
        let line = 1 + self.source.get(..start).unwrap_or("").matches('\n').count();
        Err(format!("line {line}: {what} does not end"))
    }

    /// Writes what comes before the next tag, and the tag; `false` when there was none.
    fn tag(&mut self) -> Result<bool, String> {
        let rest = self.rest();
        let opens = |from: usize| rest.get(from..).and_then(|rest| rest.chars().nth(1));
        let mut open = rest.match_indices('{').map(|(at, _)| at);
        let Some(text) = open.find(|&at| matches!(opens(at), Some('%' | '{' | '#'))) else {
            self.text(rest);
            self.at = self.source.len();
            return Ok(false);
        };
        let kind = opens(text).unwrap_or('{');
        let begin = self.at + text;
        let sign = self.source[begin + 2..].chars().next().filter(|sign| "-+".contains(*sign));
        self.text_before(&rest[..text], sign, kind != '{');
        self.at = begin + 2 + usize::from(sign.is_some());
        match kind {
            '#' => {
                let Some(end) = self.rest().find("#}") else {
                    return self.fails(begin, "a comment");
                };
                let comment = &self.rest()[..end];
                self.lines(comment);
                self.at += end + 2;
                self.cut_behind(comment.chars().last(), Cut::Newline);
            }
            '{' => {
                let (inner, sign) = self.inner(begin, "}}")?;
                let inner = expression(inner, false).or_else(|_| self.fails(begin, "a string"))?;
                let _ = write!(self.out, "{{{{ {inner} }}}}");
                self.cut_behind(sign, Cut::Nothing);
            }
            _ => self.block(begin)?,
        }
        Ok(true)
    }

    fn block(&mut self, begin: usize) -> Result<(), String> {
        let (inner, sign) = self.inner(begin, "%}")?;
        let name = inner.trim();
        match name {
            "raw" => {
                self.lines(inner);
                self.cut_behind(sign, Cut::Nothing);
                return self.raw(begin);
            }
            "generation" | "endgeneration" => {
                let scope = if name == "generation" { "with" } else { "endwith" };
                self.lines(inner);
                let _ = write!(self.out, "{{% {scope} %}}");
            }
            _ => {
                let block = expression(inner, true).or_else(|_| self.fails(begin, "a string"))?;
                let _ = write!(self.out, "{{% {block} %}}");
                // Each turn of a recursion hands on no more than what may be kept.
                for parameter in parameters(inner) {
                    let _ = write!(self.out, "{{% set {parameter} = {KEEP}({parameter}) %}}");
                }
            }
        }
        self.cut_behind(sign, Cut::Newline);
        Ok(())
    }

    /// What is between `{% raw %}` and its end is text.
    fn raw(&mut self, begin: usize) -> Result<(), String> {
        let (start, rest) = (self.at, self.rest());
        for (at, _) in rest.match_indices("{%") {
            let tag = &rest[at + 2..];
            let sign = tag.chars().next().filter(|sign| "-+".contains(*sign));
            let tag = &tag[usize::from(sign.is_some())..];
            let Some(after) = tag.trim_start().strip_prefix("endraw") else { continue };
            let Some(end) = after.find("%}") else { continue };
            let before = &after[..end];
            if !["", "-", "+"].contains(&before.trim()) {
                continue;
            }
            self.text_before(&rest[..at], sign, true);
            self.at = start + (rest.len() - after.len()) + end + 2;
            self.cut_behind(before.chars().last(), Cut::Newline);
            return Ok(());
        }
        self.fails(begin, "{% raw %}")
    }

    /// What is in a tag up to its end, behind which the scanner is then; and the sign there.
    fn inner(&mut self, begin: usize, end: &str) -> Result<(&'s str, Option<char>), String> {
        let rest = self.rest();
        let mut depth = 0u32;
        let mut at = 0;
        while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
            let tight = here.trim_start();
            at += here.len() - tight.len();
            let here = tight;
            let sign = here.chars().next().filter(|sign| "-+".contains(*sign));
            let signed = &here[usize::from(sign.is_some())..];
            if depth == 0 && (here.starts_with(end) || sign.is_some() && signed.starts_with(end)) {
                let sign = sign.filter(|_| !here.starts_with(end));
                self.at += at + usize::from(sign.is_some()) + end.len();
                return Ok((&rest[..at], sign));
            }
            let Some(token) = token(rest, at) else { return self.fails(begin, "a string") };
            match &rest[token.start..token.end] {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            at = token.end;
        }
        self.fails(begin, "a tag")
    }

    /// `text` without what a tag behind it cuts off: with `-` all whitespace, else, in front of a block or
    /// comment, that which a line begins with.
    fn cut(&self, text: &'s str, sign: Option<char>, block: bool) -> &'s str {
        match sign {
            Some('-') => return text.trim_end(),
            None if block => {}
            _ => return text,
        }
        let line = text.rfind('\n').map_or(0, |newline| newline + 1);
        let starts = line > 0 || self.at == 0 || self.source[..self.at].ends_with('\n');
        let blank = text[line..].chars().all(char::is_whitespace);
        if starts && blank { &text[..line] } else { text }
    }

    /// Goes on behind what the end of a tag cuts off, given the last character in it.
    fn cut_behind(&mut self, sign: Option<char>, cut: Cut) {
        let rest = self.rest();
        let kept = match (sign, cut) {
            (Some('-'), _) => rest.trim_start(),
            (Some('+'), _) | (_, Cut::Nothing) => rest,
            (_, Cut::Newline) => rest.strip_prefix('\n').unwrap_or(rest),
        };
        let cut = &rest[..rest.len() - kept.len()];
        self.lines(cut);
        self.at += cut.len();
    }

    /// Writes `text`, which the scanner is at, but for what the tag behind it cuts off.
    fn text_before(&mut self, text: &'s str, sign: Option<char>, block: bool) {
        let kept = self.cut(text, sign, block);
        self.text(kept);
        self.lines(&text[kept.len()..]);
    }

    /// Writes text, as an expression that has its lines.
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.out.push_str("{{ ");
        literal(text, &mut self.out);
        self.lines_inside(text);
        self.out.push_str(" }}");
    }

    fn lines_inside(&mut self, text: &str) {
        self.out.extend(text.chars().filter(|&c| c == '\n'));
    }

    /// Keeps the numbers of lines behind text that is not written.
    fn lines(&mut self, text: &str) {
        if text.contains('\n') {
            self.out.push_str("{#");
            self.lines_inside(text);
            self.out.push_str("#}");
        }
    }
}
