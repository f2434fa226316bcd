//! Stop strings in text that comes in pieces.
//!
//! In: pieces of text, cut between any two characters. Out: the text in front of the first stop
//! string, as soon as no stop string can begin in it. Knows nothing of tokens.

/// What ends a text besides the model.
pub trait Stops {
    /// Takes the next piece and gives the text that is certain with it; returns the number of the stop
    /// string that is complete with it, if one is.
    fn push(&mut self, piece: &str, out: impl FnMut(&str)) -> Option<usize>;

    /// Ends the text: what was held back is part of it.
    fn finish(&mut self, out: impl FnMut(&str));
}

/// Nothing ends a text besides the model, and nothing is held back.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStops;

impl Stops for NoStops {
    fn push(&mut self, piece: &str, mut out: impl FnMut(&str)) -> Option<usize> {
        out(piece);
        None
    }

    fn finish(&mut self, _: impl FnMut(&str)) {}
}

/// Ends a text at the first of several strings, however it is cut into pieces.
///
/// Text that may be the beginning of a stop string is held back. It *is* the beginning of one, so it
/// takes no memory: it is the state of the Aho-Corasick automaton of the strings, whose next state is
/// found by comparing. That suits a few short strings.
#[derive(Clone, Debug)]
pub struct StopMatcher<'s, S> {
    stops: &'s [S],
    /// The longest end of the text so far that begins a stop string.
    held: &'s str,
}

impl<'s, S: AsRef<str>> StopMatcher<'s, S> {
    /// Stops at any of `stops`; an empty one is never found.
    pub const fn new(stops: &'s [S]) -> Self {
        Self { stops, held: "" }
    }

    /// What is held after `c`.
    fn next(&self, c: char) -> &'s str {
        let ends = self.held.char_indices().map(|(at, _)| at).chain([self.held.len()]);
        for end in ends.filter_map(|at| self.held.get(at..)) {
            for stop in self.stops.iter().map(AsRef::as_ref) {
                if stop.strip_prefix(end).is_some_and(|rest| rest.starts_with(c)) {
                    return stop.get(..end.len() + c.len_utf8()).unwrap_or("");
                }
            }
        }
        ""
    }

    /// The stop string that what is held ends with, and its length.
    fn complete(&self) -> Option<(usize, usize)> {
        let mut longest = None;
        for (number, stop) in self.stops.iter().map(AsRef::as_ref).enumerate() {
            let length = stop.len();
            let longer = longest.is_none_or(|(_, most)| length > most);
            if longer && length > 0 && self.held.ends_with(stop) {
                longest = Some((number, length));
            }
        }
        longest
    }
}

impl<S: AsRef<str>> Stops for StopMatcher<'_, S> {
    /// The first to end counts, and of those that end together the longest. It and what comes behind
    /// it are not given, and the matcher is as new.
    fn push(&mut self, piece: &str, mut out: impl FnMut(&str)) -> Option<usize> {
        let before = self.held;
        let (mut end, mut found) = (0, None);
        for c in piece.chars() {
            end += c.len_utf8();
            self.held = self.next(c);
            found = self.complete();
            if found.is_some() {
                break;
            }
        }
        let kept = found.map_or(self.held.len(), |(_, length)| length);
        let given = before.len() + end - kept;
        for text in
            [before.get(..given.min(before.len())), piece.get(..given.saturating_sub(before.len()))]
        {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                out(text);
            }
        }
        let (number, _) = found?;
        self.held = "";
        Some(number)
    }

    fn finish(&mut self, mut out: impl FnMut(&str)) {
        let held = core::mem::take(&mut self.held);
        if !held.is_empty() {
            out(held);
        }
    }
}
