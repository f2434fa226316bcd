//! Prompt-lookup speculation: where a text repeats itself, what came next then is drafted, and the
//! draft is verified in one pass.
//!
//! In: a decoder, and the tokens so far. Out: the tokens that greedy decoding gives, one or more a
//! pass. A wrong draft costs reads, never a result.
//!
//! Saxena, "Prompt Lookup Decoding", 2023; Leviathan et al., "Fast Inference from Transformers via
//! Speculative Decoding", 2023, with the text itself as the draft model.

use crate::decode::Decoder;
use crate::decode::error::StepError;
use crate::read::probe::Probe;
use crate::slices;
use ripple_hal::BlockDevice;

/// What a match must exceed before a token is drafted: a match of `n` tokens is trusted for
/// `n - DOUBT` more.
///
/// A pass reads what any of its positions needs, and two positions share little beyond the hot
/// prefix: a draft that is right three times in four just pays for itself where only the FFN is
/// read. Text that goes on repeating itself makes its matches longer, and so its drafts. On the
/// demo models (greedy, 10 prompts each, drafts of 4, 2026-11-21) 3 instead of 2 takes up to 5 points
/// more of the bytes without drafts and nowhere 1 point less; 1 takes from 6 points less to 4 points
/// more, and drafts the most wrong tokens.
const DOUBT: usize = 2;

/// Tokens of a match beyond which more say nothing.
const LONGEST: usize = 64;

/// Greedy decoding, several tokens a pass where the text repeats itself.
#[derive(Debug)]
pub struct Speculation<'h> {
    /// The last `count` tokens, then room for a draft.
    history: &'h mut [u32],
    count: usize,
    most: usize,
    drafted: u32,
    accepted: u32,
}

impl<'h> Speculation<'h> {
    /// Looks back as far as `history` has places (at least 2), drafts at most `most` tokens a pass.
    ///
    /// A pass takes no more than [`Decoder::batch`] tokens, the one before the draft among them.
    pub fn new(history: &'h mut [u32], most: u32) -> Self {
        let most = (most as usize).min(history.len().saturating_sub(2));
        Self { history, count: 0, most, drafted: 0, accepted: 0 }
    }

    /// Adds a token: those of the prompt, and the one chosen after it.
    pub fn accept(&mut self, token: u32) {
        self.make_room(1);
        if let Some(place) = self.history.get_mut(self.count) {
            *place = token;
            self.count += 1;
        }
    }

    /// Feeds the last token, which `decoder` has not seen yet, and a draft; returns the tokens after
    /// it: at least one, and as many more as were drafted right, `wanted` at most. All of them are
    /// accepted.
    ///
    /// # Errors
    /// As [`Decoder::verify`]. Nothing has changed then, and the step can be repeated.
    pub fn step<D: BlockDevice, P: Probe>(
        &mut self,
        decoder: &mut Decoder<'_, D, P>,
        wanted: u32,
    ) -> Result<&[u32], StepError<D::Error>> {
        let position = decoder.position();
        let room = wanted.min(decoder.batch()).min(decoder.room());
        self.make_room(1 + self.most);
        let most = self.most.min(room.saturating_sub(1) as usize);
        let drafted = draft(self.history, self.count, most);
        let last = self.count.saturating_sub(1);
        let tokens = self.history.get_mut(last..).unwrap_or_default();
        let fed = tokens.get(..1 + drafted).unwrap_or(&[]);
        let likeliest = decoder.verify(fed)?;
        let new = tokens.get_mut(1..).unwrap_or_default();
        let right = |(draft, token): &(&u32, &u32)| draft == token;
        let accepted = new.iter().zip(likeliest).take(drafted).take_while(right).count();
        if let (Some(place), Some(&token)) = (new.get_mut(accepted), likeliest.get(accepted)) {
            *place = token;
        }
        decoder.rewind(position + 1 + accepted as u32);
        self.count += 1 + accepted;
        self.drafted += drafted as u32;
        self.accepted += accepted as u32;
        Ok(new.get(..=accepted).unwrap_or(&[]))
    }

    /// Tokens drafted so far.
    pub fn drafted(&self) -> u32 {
        self.drafted
    }

    /// Of these, the ones that were right.
    pub fn accepted(&self) -> u32 {
        self.accepted
    }

    /// Forgets the oldest half where fewer than `places` are left.
    fn make_room(&mut self, places: usize) {
        let most = self.history.len().saturating_sub(places);
        if self.count > most {
            let keep = most.min(self.count.div_ceil(2));
            slices::copy_within(self.history, self.count - keep, 0, keep);
            self.count = keep;
        }
    }
}

/// Writes a draft of at most `most` tokens behind the first `count` of `history`; returns its length.
///
/// The draft is what followed the most recent of the longest earlier matches of the last tokens. It
/// may overlap itself: after a run of one token comes more of it.
fn draft(history: &mut [u32], count: usize, most: usize) -> usize {
    let Some((last, before)) = history.get(..count).and_then(<[u32]>::split_last) else { return 0 };
    let (mut longest, mut from) = (0, 0);
    for end in (1..=before.len()).rev() {
        let earlier = before.get(..end).unwrap_or(&[]).iter().rev();
        let here = core::iter::once(last).chain(before.iter().rev());
        let matching = earlier.zip(here).take(LONGEST).take_while(|(a, b)| a == b).count();
        if matching > longest {
            (longest, from) = (matching, end);
        }
    }
    let room = history.len() - count;
    let length = most.min(longest.saturating_sub(DOUBT)).min(room);
    // One token after the other: what was copied can be copied on.
    slices::copy_within(history, from, count, length);
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn drafted(text: &[u32], most: usize) -> Vec<u32> {
        let mut history = [text, &[0; 8]].concat();
        let length = draft(&mut history, text.len(), most);
        history[text.len()..][..length].to_vec()
    }

    #[test]
    fn a_match_is_trusted_as_far_as_it_is_long() {
        assert_eq!(drafted(&[], 8), []);
        assert_eq!(drafted(&[1, 2, 9, 1, 2], 8), []);
        assert_eq!(drafted(&[1, 2, 3, 9, 8, 1, 2, 3], 8), [9]);
        assert_eq!(drafted(&[1, 2, 3, 4, 9, 8, 1, 2, 3, 4], 8), [9, 8]);
        assert_eq!(drafted(&[1, 2, 3, 4, 9, 8, 1, 2, 3, 4], 1), [9]);
    }

    #[test]
    fn of_equally_long_matches_the_most_recent_counts() {
        let text = [1, 2, 3, 4, 7, 1, 2, 3, 4, 8, 1, 2, 3, 4];
        assert_eq!(drafted(&text, 8), [8, 1]);
        // A longer one is better than a recent one.
        let text = [5, 1, 2, 3, 4, 7, 7, 1, 2, 3, 4, 8, 5, 1, 2, 3, 4];
        assert_eq!(drafted(&text, 8), [7, 7, 1]);
    }

    #[test]
    fn a_draft_may_overlap_itself() {
        assert_eq!(drafted(&[6, 6, 6, 6, 6, 6], 2), [6, 6]);
        assert_eq!(drafted(&[1, 2, 1, 2, 1, 2, 1, 2], 3), [1, 2, 1]);
    }

    #[test]
    fn a_short_history_forgets_its_oldest_tokens() {
        let mut history = [0; 6];
        let mut speculation = Speculation::new(&mut history, 99);
        assert_eq!(speculation.most, 4);
        for token in 0..40 {
            speculation.accept(token);
            assert_eq!(speculation.history[speculation.count - 1], token);
        }
        speculation.make_room(5);
        assert_eq!((speculation.count, speculation.history[0]), (1, 39));
    }
}
