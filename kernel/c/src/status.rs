//! What every call answers with: a number, and a message for it.

use core::ffi::{CStr, c_char};
use ripple_hal::{DeviceError, ErrorKind};
use ripple_kernel::image::ImageError;
use ripple_kernel::{OpenError, Region, StepError};

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum RippleStatus {
    /// It did what it should.
    Ok,
    /// A null pointer, one that is not aligned, or an option out of range.
    Argument,
    /// The decoder or sampler was never opened, or opening it failed.
    NotOpen,
    /// The device: no answer in time. The call may be repeated.
    Timeout,
    /// The device: a transfer arrived damaged. The call may be repeated.
    Corrupted,
    /// The device: no card. The call may be repeated once it is back.
    NoCard,
    /// The device: a read beyond its end.
    OutOfRange,
    /// The device: anything else.
    Device,
    /// What the device holds, or the front that was given, is not an image.
    NotAnImage,
    /// An image of another format version: pack the model again.
    Version,
    /// The header of the image goes on behind the bytes that were given.
    HeaderLength,
    /// A model that this version cannot run.
    Unsupported,
    /// A model that needs a feature which this library was built without.
    MissingFeature,
    /// A checksum is wrong: copy the image again.
    Damaged,
    /// The device ends before the image does.
    Truncated,
    /// The mapped bytes are not the front of the image on the device.
    MappedDiffers,
    /// The work region is smaller than planned.
    MemoryWork,
    /// The staging region is smaller than planned.
    MemoryStaging,
    /// The cache region is smaller than planned.
    MemoryCache,
    /// The index region is smaller than planned.
    MemoryIndex,
    /// The KV region is smaller than planned.
    MemoryKv,
    /// The memory to be divided is smaller than planned.
    Memory,
    /// No tokens, or more than a pass takes.
    Chunk,
    /// The context is full.
    ContextFull,
    /// No such token.
    UnknownToken,
    /// The pass was stopped between two layers.
    Stopped,
    /// The tokenizer is not in the mapped front of the image.
    NoTokenizer,
    /// There are more tokens than places for them.
    OutputFull,
    /// The text is not UTF-8.
    NotUtf8,
    /// The text may be written otherwise in the normal form that the model needs.
    NotInForm,
    /// No text has begun.
    NoText,
    /// An error that this header has no number for.
    Other,
}

use RippleStatus as S;

/// In the order of the numbers, which the assertion below checks.
const MESSAGES: [(RippleStatus, &CStr); 32] = [
    (S::Ok, c"ok"),
    (S::Argument, c"a null or misaligned pointer, or an option out of range"),
    (S::NotOpen, c"not open"),
    (S::Timeout, c"the device did not answer in time"),
    (S::Corrupted, c"a transfer arrived damaged"),
    (S::NoCard, c"no card"),
    (S::OutOfRange, c"a read beyond the end of the device"),
    (S::Device, c"the device failed"),
    (S::NotAnImage, c"not a Ripple image"),
    (S::Version, c"an image of another format version: pack the model again"),
    (S::HeaderLength, c"the header of the image goes on behind the bytes given"),
    (S::Unsupported, c"a model that this version cannot run"),
    (S::MissingFeature, c"the model needs a feature that this library was built without"),
    (S::Damaged, c"a checksum is wrong: copy the image again"),
    (S::Truncated, c"the device ends before the image does"),
    (S::MappedDiffers, c"the mapped bytes are not the front of the image on the device"),
    (S::MemoryWork, c"the work region is smaller than planned"),
    (S::MemoryStaging, c"the staging region is smaller than planned"),
    (S::MemoryCache, c"the cache region is smaller than planned"),
    (S::MemoryIndex, c"the index region is smaller than planned"),
    (S::MemoryKv, c"the KV region is smaller than planned"),
    (S::Memory, c"the memory to be divided is smaller than planned"),
    (S::Chunk, c"no tokens, or more than a pass takes"),
    (S::ContextFull, c"the context is full"),
    (S::UnknownToken, c"no such token"),
    (S::Stopped, c"the pass was stopped between two layers"),
    (S::NoTokenizer, c"the tokenizer is not in the mapped front of the image"),
    (S::OutputFull, c"more tokens than places for them"),
    (S::NotUtf8, c"the text is not UTF-8"),
    (S::NotInForm, c"the text may be written otherwise in the normal form that the model needs"),
    (S::NoText, c"no text has begun"),
    (S::Other, c"an error without a number of its own"),
];

const _: () = {
    let mut i = 0;
    while i < MESSAGES.len() {
        #[allow(clippy::indexing_slicing, reason = "const evaluation; the bound is the condition")]
        let (status, _) = MESSAGES[i];
        assert!(status as usize == i);
        i += 1;
    }
    assert!(S::Other as usize + 1 == i);
};

/// A status in words, never null; one line, in static memory. Takes any number.
#[unsafe(no_mangle)]
pub extern "C" fn ripple_message(status: i32) -> *const c_char {
    let message = usize::try_from(status).ok().and_then(|at| MESSAGES.get(at));
    message.map_or(c"no such status", |(_, message)| message).as_ptr()
}

impl RippleStatus {
    /// The status of a result.
    pub(crate) fn of(result: Result<(), Self>) -> Self {
        match result {
            Ok(()) => Self::Ok,
            Err(status) => status,
        }
    }

    /// What a device's function returned, as the kernel knows it.
    pub(crate) fn device(code: i32) -> Result<(), ErrorKind> {
        match MESSAGES.get(usize::try_from(code).unwrap_or(usize::MAX)) {
            Some((Self::Ok, _)) => Ok(()),
            Some((Self::Timeout, _)) => Err(ErrorKind::Timeout),
            Some((Self::Corrupted, _)) => Err(ErrorKind::Corrupted),
            Some((Self::NoCard, _)) => Err(ErrorKind::NoCard),
            Some((Self::OutOfRange, _)) => Err(ErrorKind::OutOfRange),
            _ => Err(ErrorKind::Other),
        }
    }
}

impl From<ErrorKind> for RippleStatus {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::Corrupted => Self::Corrupted,
            ErrorKind::NoCard => Self::NoCard,
            ErrorKind::OutOfRange => Self::OutOfRange,
            _ => Self::Device,
        }
    }
}

impl From<ImageError> for RippleStatus {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Magic { .. } => Self::NotAnImage,
            ImageError::Version { .. } => Self::Version,
            ImageError::HeaderLength { .. } => Self::HeaderLength,
            ImageError::Config(_) => Self::Unsupported,
            ImageError::Feature { .. } => Self::MissingFeature,
            ImageError::Truncated { .. } => Self::Truncated,
            _ => Self::Damaged,
        }
    }
}

impl<E: DeviceError> From<OpenError<E>> for RippleStatus {
    fn from(error: OpenError<E>) -> Self {
        match error {
            OpenError::Device { source, .. } => source.kind().into(),
            OpenError::Image(error) => error.into(),
            OpenError::MappedDiffers { .. } => Self::MappedDiffers,
            OpenError::Corrupt { .. } => Self::Damaged,
            OpenError::Memory(error) => match error.region {
                Region::Work => Self::MemoryWork,
                Region::Staging => Self::MemoryStaging,
                Region::Cache => Self::MemoryCache,
                Region::Index => Self::MemoryIndex,
                Region::Kv => Self::MemoryKv,
                _ => Self::Memory,
            },
            _ => Self::Other,
        }
    }
}

impl<E: DeviceError> From<StepError<E>> for RippleStatus {
    fn from(error: StepError<E>) -> Self {
        match error {
            StepError::Device { source, .. } => source.kind().into(),
            StepError::Corrupt { .. } => Self::Corrupted,
            StepError::Chunk { .. } => Self::Chunk,
            StepError::ContextFull { .. } => Self::ContextFull,
            StepError::UnknownToken { .. } => Self::UnknownToken,
            // Nothing in C gives positions.
            StepError::Position { .. } => Self::Argument,
            _ => Self::Other,
        }
    }
}
