//! Classes of characters, as the tokenizer section of an image has them.
//!
//! In: what a tokenizer tells apart. Out: runs from U+0080 on. Knows nothing of vocabularies.

use anyhow::{Result, bail};
use regex_syntax::hir::{Class as Hir, HirKind};
use ripple_kernel::text::tokenizer::{Class, ClassRun};
use unicode_categories::UnicodeCategories;

/// The first character that is not ASCII.
const FIRST: u32 = 0x80;

/// The classes of GPT-2's expression from U+0080 on, by the Unicode version of `regex-syntax`; with
/// `punctuation`, what `tokenizers` takes for that, and with `words`, what `\w` is.
///
/// `tokenizers` 0.23 has the same class for every character (`tokenizer_reference.rs`).
pub(super) fn classes(punctuation: bool, words: bool) -> Result<Vec<ClassRun>> {
    let classes = [(r"\p{L}", Class::Letter), (r"\p{N}", Class::Number), (r"\s", Class::Space)];
    let sets: Vec<_> = classes.iter().map(|(set, _)| ranges(set)).collect::<Result<_>>()?;
    let punctuation = if punctuation { punctuations() } else { Vec::new() };
    let of_words = if words { ranges(r"\w")? } else { Vec::new() };
    let of = |point| {
        let class = classes.iter().zip(&sets).find(|(_, set)| holds(set, point));
        let class = class.map_or(Class::Other, |((_, class), _)| *class);
        let like_word = matches!(class, Class::Letter | Class::Number);
        (class, holds(&punctuation, point), words && holds(&of_words, point) != like_word)
    };
    let all = sets.iter().chain([&punctuation, &of_words]).flatten();
    let mut points: Vec<u32> = all.flat_map(|&(first, last)| [first, last + 1]).collect();
    points.push(FIRST);
    points.sort_unstable();
    points.dedup();
    let mut runs = Vec::new();
    let mut before = None;
    for pair in points.windows(2) {
        let (kind, length) = (of(pair[0]), pair[1] - pair[0]);
        if let Some(run) = runs.last_mut().filter(|_| before == Some(kind)) {
            let ClassRun { length: run, .. } = run;
            *run += length;
            continue;
        }
        before = Some(kind);
        let (class, punctuation, unlike) = kind;
        match (punctuation, unlike) {
            (false, false) => {}
            (true, false) => runs.push(ClassRun::PUNCTUATION),
            (false, true) => runs.push(ClassRun::UNLIKE_WORD),
            (true, true) => runs.push(ClassRun::BOTH),
        }
        runs.push(ClassRun { length, class });
    }
    Ok(runs)
}

/// Whether ascending ranges hold a character.
fn holds(ranges: &[(u32, u32)], point: u32) -> bool {
    let at = ranges.partition_point(|&(_, last)| last < point);
    ranges.get(at).is_some_and(|&(first, _)| first <= point)
}

/// First and last characters of the ranges of a class beyond ASCII.
fn ranges(pattern: &str) -> Result<Vec<(u32, u32)>> {
    let HirKind::Class(Hir::Unicode(chars)) = regex_syntax::parse(pattern)?.into_kind() else {
        bail!("{pattern} is not a class of characters");
    };
    let beyond_ascii = chars.iter().filter(|range| u32::from(range.end()) >= FIRST);
    Ok(beyond_ascii.map(|r| (u32::from(r.start()).max(FIRST), r.end().into())).collect())
}

/// What `tokenizers` takes for punctuation beyond ASCII: of an older Unicode than the classes are.
fn punctuations() -> Vec<(u32, u32)> {
    let all = (FIRST..=char::MAX as u32).filter_map(char::from_u32);
    let all = all.filter(|c| c.is_punctuation()).map(u32::from);
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for point in all {
        match ranges.last_mut().filter(|(_, last)| *last + 1 == point) {
            Some((_, last)) => *last = point,
            None => ranges.push((point, point)),
        }
    }
    ranges
}
