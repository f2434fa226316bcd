//! Text to tokens, and tokens to bytes, by the tokenizer of the open image.

use crate::decoder::RippleDecoder;
use crate::pointer::{values, values_mut, write};
use crate::status::RippleStatus;
use ripple_kernel::text::tokenizer::EncodeOptions;

/// Writes the tokens of `bytes` bytes of UTF-8 at `text` to the front of `ids`, and says in `count` how
/// many there are; never more than bytes. The token that begins a text is not among them.
///
/// `special`: whether `<|endoftext|>` spelled out in the text is the special token (a trusted
/// template) or its letters (what a user typed). Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TOKENIZER`,
/// `_OUTPUT_FULL`, `_NOT_UTF8`.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_encode(
    decoder: *mut RippleDecoder,
    text: *const u8,
    bytes: usize,
    special: bool,
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
            let options = EncodeOptions { parse_special: special };
            let ids = values_mut(ids, room)?;
            let written =
                tokenizer.encode(text, options, ids).map_err(|_| RippleStatus::OutputFull)?;
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
