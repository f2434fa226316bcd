//! The decoder, in memory that C lends: open, feed, step, go back.

use crate::device::{Device, RippleDevice};
use crate::memory::{RippleMemory, RippleOptions};
use crate::pointer::{value, value_mut, values, write};
use crate::status::RippleStatus;
use crate::text::Text;
use core::ffi::c_void;
use core::mem::{MaybeUninit, needs_drop};
use ripple_hal::{BlockCount, ErrorKind};
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::{Decoder, StepError};

/// Words of a decoder, as large as pointers.
pub const RIPPLE_DECODER_WORDS: usize = 288;

/// A decoder. Its contents are the library's; all zeroes is a decoder that is not open.
///
/// Neither it nor what it was opened with may move or be used otherwise while it is open. It has
/// nothing to close. Two threads must not call it at once.
#[derive(Debug)]
#[repr(C)]
pub struct RippleDecoder {
    words: [usize; RIPPLE_DECODER_WORDS],
}

/// What an open model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RippleInfo {
    /// Tokens in the vocabulary: logits of a position.
    pub vocab: u32,
    /// Positions that the decoder can hold.
    pub context: u32,
    /// Most tokens of a pass.
    pub batch: u32,
    /// Transformer layers.
    pub layers: u32,
    /// Blocks of the image.
    pub blocks: u32,
}

/// What lies in the words of a [`RippleDecoder`].
#[repr(C)]
struct Handle {
    /// [`OPEN`], or it is not.
    open: usize,
    model: MaybeUninit<Model>,
}

/// An open model, the lent memory and the image it reads.
pub(crate) struct Model {
    pub decoder: Decoder<'static, Device>,
    pub tokenizer: Option<Tokenizer<'static>>,
    /// The text that has begun.
    pub text: Option<Text>,
}

const OPEN: usize = 0x5269_7070;

const _: () = assert!(size_of::<Handle>() <= size_of::<RippleDecoder>());
const _: () = assert!(align_of::<Handle>() <= align_of::<RippleDecoder>());
// So that there is nothing to close.
const _: () = assert!(!needs_drop::<Model>());

impl RippleDecoder {
    /// The model in it.
    ///
    /// # Safety
    /// Null, misaligned, or a decoder that nothing else uses while it is borrowed.
    pub(crate) unsafe fn model<'a>(this: *mut Self) -> Result<&'a mut Model, RippleStatus> {
        // SAFETY: as promised; the assertions above say that a handle lies in it.
        let handle = unsafe { value_mut(this.cast::<Handle>()) }?;
        if handle.open != OPEN {
            return Err(RippleStatus::NotOpen);
        }
        // SAFETY: only `ripple_open` sets `open`, once there is a model.
        Ok(unsafe { handle.model.assume_init_mut() })
    }
}

/// Opens the image on `device`, in `decoder`, which is not open if this fails.
///
/// `mapped`: the first `mapped_bytes` bytes of the same image where they can be addressed (flash,
/// RAM); none may be. `memory`: what `ripple_plan` says, or more. `device`, `memory` and `options` are
/// copied. Errors: `_ARGUMENT`, those of a device, of an image and of memory.
///
/// # Safety
/// Pointers are null or good for what they are called. The mapped bytes, the regions and what the
/// device's functions use are the decoder's until it is opened again or no longer used. The device's
/// functions keep their word.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_open(
    decoder: *mut RippleDecoder,
    device: *const RippleDevice,
    mapped: *const u8,
    mapped_bytes: usize,
    memory: *const RippleMemory,
    options: *const RippleOptions,
) -> RippleStatus {
    let open = || -> Result<(), RippleStatus> {
        // SAFETY: as promised.
        let (handle, device, mapped, memory, options) = unsafe {
            (
                value_mut(decoder.cast::<Handle>())?,
                *value(device)?,
                values(mapped, mapped_bytes)?,
                value(memory)?,
                value(options)?.parse()?,
            )
        };
        handle.open = 0;
        if device.read.is_none() || device.start.is_some() != device.finish.is_some() {
            return Err(RippleStatus::Argument);
        }
        // SAFETY: as promised.
        let memory = unsafe { memory.lend() }?;
        let decoder: Decoder<'static, _> =
            Decoder::open(Device(device), mapped, memory, &options, ())?;
        let tokenizer = match decoder.image().tokenizer().map(Tokenizer::parse) {
            Some(Ok(tokenizer)) => Some(tokenizer),
            Some(Err(_)) => return Err(RippleStatus::Damaged),
            None => None,
        };
        handle.model.write(Model { decoder, tokenizer, text: None });
        handle.open = OPEN;
        Ok(())
    };
    RippleStatus::of(open())
}

/// Says in `info` what the open model is. Errors: `_ARGUMENT`, `_NOT_OPEN`.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_info(
    decoder: *mut RippleDecoder,
    info: *mut RippleInfo,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleDecoder::model(decoder).and_then(|model| {
            let decoder = &model.decoder;
            let header = decoder.header();
            let config = &header.geometry.config;
            let found = RippleInfo {
                vocab: config.vocab,
                context: decoder.context(),
                batch: decoder.batch(),
                layers: config.layers,
                blocks: header.blocks.0,
            };
            write(info, found)
        })
    })
}

/// Calls `call` with the model, and says in `logits` where the logits that it returns are.
///
/// # Safety
/// As [`RippleDecoder::model`]; `logits` is null or good.
unsafe fn give_logits(
    decoder: *mut RippleDecoder,
    logits: *mut *mut f32,
    call: impl for<'a> FnOnce(
        &'a mut Decoder<'static, Device>,
    ) -> Result<&'a mut [f32], StepError<ErrorKind>>,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleDecoder::model(decoder).and_then(|model| {
            // Refused before a token is fed.
            value(logits)?;
            write(logits, call(&mut model.decoder)?.as_mut_ptr())
        })
    })
}

/// Feeds `token` at the current position and gives the logits of the next one: `vocab` floats, which
/// the caller may change, valid until the next call.
///
/// Errors: `_ARGUMENT`, `_NOT_OPEN`, `_CONTEXT_FULL`, `_UNKNOWN_TOKEN`, those of a device. The position
/// is then unchanged, and the step can be repeated.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_step(
    decoder: *mut RippleDecoder,
    token: u32,
    logits: *mut *mut f32,
) -> RippleStatus {
    // SAFETY: as promised.
    unsafe { give_logits(decoder, logits, |decoder| decoder.step(token)) }
}

/// Feeds `count` tokens, `batch` of them a pass, and gives the logits after the last.
///
/// Errors: as `ripple_step`, and `_CHUNK` for no tokens. When the device fails, the passes before the
/// failed one hold: feed on from `ripple_position`.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_prefill(
    decoder: *mut RippleDecoder,
    tokens: *const u32,
    count: usize,
    logits: *mut *mut f32,
) -> RippleStatus {
    // SAFETY: as promised.
    match unsafe { values(tokens, count) } {
        // SAFETY: as promised.
        Ok(tokens) => unsafe { give_logits(decoder, logits, |decoder| decoder.prefill(tokens)) },
        Err(status) => status,
    }
}

/// Feeds `count` tokens, as `ripple_prefill`, without computing logits.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_feed(
    decoder: *mut RippleDecoder,
    tokens: *const u32,
    count: usize,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleDecoder::model(decoder).and_then(|model| {
            model.decoder.feed(values(tokens, count)?).map_err(RippleStatus::from)
        })
    })
}

/// Feeds 1 to `batch` tokens in one pass, calls `between` with `context` after each layer, so that the
/// caller can do something else, and gives the logits after the last token.
///
/// `between` returns 0 to stop and anything else to go on, and does not call this decoder. Errors: as
/// `ripple_step`, `_CHUNK`, and `_STOPPED` when `between` returned 0. The position is then unchanged.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_pass(
    decoder: *mut RippleDecoder,
    tokens: *const u32,
    count: usize,
    between: Option<unsafe extern "C" fn(context: *mut c_void) -> u8>,
    context: *mut c_void,
    logits: *mut *mut f32,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleDecoder::model(decoder).and_then(|model| {
            value(logits)?;
            let mut pass = model.decoder.begin(values(tokens, count)?)?;
            while pass.layer()? {
                if between.is_some_and(|between| between(context) == 0) {
                    return Err(RippleStatus::Stopped);
                }
            }
            write(logits, pass.logits()?.as_mut_ptr())
        })
    })
}

/// Positions fed so far; 0 when it is not open.
///
/// # Safety
/// `decoder` is null or a decoder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_position(decoder: *mut RippleDecoder) -> u32 {
    // SAFETY: as promised.
    unsafe { RippleDecoder::model(decoder) }.map_or(0, |model| model.decoder.position())
}

/// Goes back to an earlier position; a later one changes nothing. Errors: `_ARGUMENT`, `_NOT_OPEN`.
///
/// # Safety
/// `decoder` is null or a decoder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_rewind(decoder: *mut RippleDecoder, position: u32) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(
        unsafe { RippleDecoder::model(decoder) }.map(|model| model.decoder.rewind(position)),
    )
}

/// Changes when neighbouring reads are merged, in blocks; no result changes with it. Errors:
/// `_ARGUMENT`, `_NOT_OPEN`.
///
/// # Safety
/// `decoder` is null or a decoder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_set_collapse_gap(
    decoder: *mut RippleDecoder,
    blocks: u32,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(
        unsafe { RippleDecoder::model(decoder) }
            .map(|model| model.decoder.set_collapse_gap(BlockCount(blocks))),
    )
}
