//! Text to tokens, and tokens to text, by the tokenizer of the open image.

use crate::decoder::RippleDecoder;
use crate::pointer::{flag, values, values_mut, write};
use crate::status::RippleStatus;
use core::ffi::c_void;
use ripple_kernel::text::stop::StopMatcher;
use ripple_kernel::text::tokenizer::{EncodeError, EncodeOptions};
use ripple_kernel::text::{End, TextStream};

/// UTF-8 in memory that C lends.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RippleString {
    /// Its first byte.
    pub start: *const u8,
    /// Bytes.
    pub bytes: usize,
}

impl AsRef<str> for RippleString {
    fn as_ref(&self) -> &str {
        // SAFETY: C promises that the bytes are there and stay; `ripple_text_begin` has read them.
        let bytes = unsafe { values(self.start, self.bytes) }.unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// A text as it is generated.
pub(crate) type Text = TextStream<'static, StopMatcher<'static, RippleString>>;

/// Takes a piece of text: whole characters of UTF-8, not ended by a zero. `context` is the caller's.
pub type RippleWrite =
    Option<unsafe extern "C" fn(context: *mut c_void, text: *const u8, bytes: usize)>;

/// Why a text goes on no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum RippleEnd {
    /// It goes on.
    None,
    /// By the token that ends a text.
    EndOfText,
    /// By a stop string, which was not given.
    StopString,
}

/// For `ripple_encode`: `<|endoftext|>` spelled out in the text is the special token (a trusted template),
/// not its letters (what a user typed).
pub const RIPPLE_ENCODE_SPECIAL: u32 = 1;
/// For `ripple_encode`: the token that begins a text is put in front, where the model has its texts begin so.
pub const RIPPLE_ENCODE_BEGIN: u32 = 2;
/// For `ripple_encode`: the text goes on with one that was encoded before; no space is put in front.
pub const RIPPLE_ENCODE_CONTINUES: u32 = 4;
/// For `ripple_encode`: the text is in the normal form of Unicode that the model needs.
pub const RIPPLE_ENCODE_IN_FORM: u32 = 8;

/// Writes the tokens of `bytes` bytes of UTF-8 at `text` to the front of `ids`, and says in `count` how
/// many there are; never more than bytes but for the token that begins a text and the spaces that some
/// tokenizers put in front. `how`: the sum of what is wanted of `RIPPLE_ENCODE_...`.
///
/// Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TOKENIZER`, `_OUTPUT_FULL`, `_NOT_UTF8`, `_NOT_IN_FORM`.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_encode(
    decoder: *mut RippleDecoder,
    text: *const u8,
    bytes: usize,
    how: u32,
    ids: *mut u32,
    room: usize,
    count: *mut usize,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleDecoder::model(decoder).and_then(|model| {
            let tokenizer = model.tokenizer.as_ref().ok_or(RippleStatus::NoTokenizer)?;
            let text =
                core::str::from_utf8(values(text, bytes)?).map_err(|_| RippleStatus::NotUtf8)?;
            let options = EncodeOptions {
                parse_special: how & RIPPLE_ENCODE_SPECIAL != 0,
                begin: how & RIPPLE_ENCODE_BEGIN != 0,
                continues: how & RIPPLE_ENCODE_CONTINUES != 0,
                in_form: how & RIPPLE_ENCODE_IN_FORM != 0,
            };
            let ids = values_mut(ids, room)?;
            let written = tokenizer.encode(text, options, ids).map_err(|error| match error {
                EncodeError::Form { .. } => RippleStatus::NotInForm,
                _ => RippleStatus::OutputFull,
            })?;
            write(count, written)
        })
    })
}

/// Says in `bytes` where the bytes of a token are, in the mapped image, and in `count` how many. A token
/// may end inside a character. Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TOKENIZER`, `_UNKNOWN_TOKEN`.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_token_bytes(
    decoder: *mut RippleDecoder,
    token: u32,
    bytes: *mut *const u8,
    count: *mut usize,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleDecoder::model(decoder).and_then(|model| {
            let tokenizer = model.tokenizer.as_ref().ok_or(RippleStatus::NoTokenizer)?;
            let found = tokenizer.bytes(token).ok_or(RippleStatus::UnknownToken)?;
            write(bytes, found.as_ptr())?;
            write(count, found.len())
        })
    })
}

/// Says in `ends` whether a text ends with `token`. Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TOKENIZER`.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_ends(
    decoder: *mut RippleDecoder,
    token: u32,
    ends: *mut bool,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleDecoder::model(decoder).and_then(|model| {
            let tokenizer = model.tokenizer.as_ref().ok_or(RippleStatus::NoTokenizer)?;
            write(ends, tokenizer.ends(token))
        })
    })
}

/// Begins a text of generated tokens, which ends at a token that ends a text or at one of `count`
/// strings at `stops`. `from_start`: 1 where the first token is the first of the whole text, so that the space
/// that some tokenizers put in front of every text is left out, 0 where it is not.
///
/// Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TOKENIZER`, `_NOT_UTF8`.
///
/// # Safety
/// Pointers are null or good for what they are called; the strings and what they point to stay as they
/// are until another text is begun.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_text_begin(
    decoder: *mut RippleDecoder,
    stops: *const RippleString,
    count: usize,
    from_start: u8,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleDecoder::model(decoder).and_then(|model| {
            let from_start = flag(from_start)?;
            let tokenizer = model.tokenizer.ok_or(RippleStatus::NoTokenizer)?;
            let stops: &'static [RippleString] = values(stops, count)?;
            for stop in stops {
                let bytes = values(stop.start, stop.bytes)?;
                core::str::from_utf8(bytes).map_err(|_| RippleStatus::NotUtf8)?;
            }
            let text = TextStream::new(tokenizer);
            let text = if from_start { text.from_start() } else { text };
            model.text = Some(text.with_stops(stops));
            Ok(())
        })
    })
}

/// Adds `token` to the text that has begun: `out` is called with each piece of text that is certain
/// with it, and `end` says whether the token ended the text. Nothing is held back then.
///
/// Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TEXT`.
///
/// # Safety
/// Pointers are null or good for what they are called; `out` does not use the decoder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_text_push(
    decoder: *mut RippleDecoder,
    token: u32,
    out: RippleWrite,
    context: *mut c_void,
    end: *mut RippleEnd,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleDecoder::model(decoder).and_then(|model| {
            let text = model.text.as_mut().ok_or(RippleStatus::NoText)?;
            let out = out.ok_or(RippleStatus::Argument)?;
            write(end, RippleEnd::None)?;
            let found = match text.push(token, |piece| out(context, piece.as_ptr(), piece.len())) {
                None => RippleEnd::None,
                Some(End::StopString(_)) => RippleEnd::StopString,
                Some(_) => RippleEnd::EndOfText,
            };
            write(end, found)
        })
    })
}

/// Ends the text that has begun: `out` is called with what was held back, because it may have begun a
/// stop string or was not yet a whole character.
///
/// Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TEXT`.
///
/// # Safety
/// As `ripple_text_push`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_text_finish(
    decoder: *mut RippleDecoder,
    out: RippleWrite,
    context: *mut c_void,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleDecoder::model(decoder).and_then(|model| {
            let out = out.ok_or(RippleStatus::Argument)?;
            let mut text = model.text.take().ok_or(RippleStatus::NoText)?;
            text.finish(|piece| out(context, piece.as_ptr(), piece.len()));
            Ok(())
        })
    })
}
