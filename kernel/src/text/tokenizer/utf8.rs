//! Joins the bytes of tokens into characters.
//!
//! In: bytes, cut anywhere. Out: whole characters. Knows nothing of tokens.

use core::str;

/// Turns a stream of bytes into the text that `String::from_utf8_lossy` makes of the whole stream.
///
/// A character cut by the end of a token is held back, at most 3 bytes of it, until the rest
/// arrives; what can no longer become UTF-8 is replaced by U+FFFD.
#[derive(Clone, Debug, Default)]
pub struct Utf8Decoder {
    /// `held[..len]` is the beginning of a character, and `len` at most 3.
    held: [u8; 4],
    len: usize,
}

impl Utf8Decoder {
    /// Nothing held back.
    pub const fn new() -> Self {
        Self { held: [0; 4], len: 0 }
    }

    /// Takes the next bytes and gives the text that is complete with them, in pieces.
    pub fn push(&mut self, bytes: &[u8], mut piece: impl FnMut(&str)) {
        let rest = self.complete(bytes, &mut piece);
        let mut chunks = rest.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            if !chunk.valid().is_empty() {
                piece(chunk.valid());
            }
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            if chunks.peek().is_none() && may_continue(invalid) {
                for (place, &byte) in self.held.iter_mut().zip(invalid) {
                    *place = byte;
                    self.len += 1;
                }
            } else {
                piece("\u{fffd}");
            }
        }
    }

    /// Ends the stream: a character that never became whole is one U+FFFD.
    pub fn finish(&mut self, mut piece: impl FnMut(&str)) {
        if self.len > 0 {
            self.len = 0;
            piece("\u{fffd}");
        }
    }

    /// Ends the character held back, if there is one, and returns the bytes behind it.
    fn complete<'b>(&mut self, mut bytes: &'b [u8], piece: &mut impl FnMut(&str)) -> &'b [u8] {
        while self.len > 0
            && let Some((&byte, rest)) = bytes.split_first()
        {
            if let Some(place) = self.held.get_mut(self.len) {
                *place = byte;
            }
            let held = self.held.get(..=self.len).unwrap_or_default();
            match str::from_utf8(held) {
                Ok(whole) => {
                    piece(whole);
                    self.len = 0;
                }
                Err(error) if error.error_len().is_none() => self.len += 1,
                // What was held is a valid beginning, so it is the new byte that does not belong.
                Err(_) => {
                    piece("\u{fffd}");
                    self.len = 0;
                    return bytes;
                }
            }
            bytes = rest;
        }
        bytes
    }
}

/// Whether bytes that are not UTF-8 are the beginning of a character.
fn may_continue(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
