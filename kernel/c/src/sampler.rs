//! Logits to tokens: the likeliest, or one drawn.

use crate::pointer::{value, value_mut, values, values_mut, write};
use crate::status::RippleStatus;
use core::mem::{MaybeUninit, needs_drop};
use ripple_kernel::text::sample::{Sampler, SamplerOptions, likeliest};

/// Words of a sampler, of 64 bits.
pub const RIPPLE_SAMPLER_WORDS: usize = 12;

/// A sampler. Its contents are the library's; all zeroes is a sampler that is not open.
#[derive(Debug)]
#[repr(C)]
pub struct RippleSampler {
    words: [u64; RIPPLE_SAMPLER_WORDS],
}

/// How a token is chosen: filters apply in this order, but the penalty first.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RippleSamplerOptions {
    /// Divides the logits; at 0 the token of the highest logit is taken.
    pub temperature: f32,
    /// Keeps the `top_k` likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the fewest tokens that are together at least `top_p`; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least `min_p` times as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divides the positive and multiplies the negative logits of recent tokens; 1 leaves them.
    pub repetition_penalty: f32,
    /// Chooses the stream of random numbers; the same seed gives the same tokens on every target.
    pub seed: u64,
}

/// What lies in the words of a [`RippleSampler`].
#[repr(C)]
struct Handle {
    /// [`OPEN`], or it is not.
    open: u64,
    sampler: MaybeUninit<Sampler<'static>>,
}

const OPEN: u64 = 0x5269_7070;

const _: () = assert!(size_of::<Handle>() <= size_of::<RippleSampler>());
const _: () = assert!(align_of::<Handle>() <= align_of::<RippleSampler>());
// So that there is nothing to close.
const _: () = assert!(!needs_drop::<Sampler<'static>>());

impl RippleSampler {
    /// The sampler in it.
    ///
    /// # Safety
    /// Null, misaligned, or a sampler that nothing else uses while it is borrowed.
    unsafe fn open<'a>(this: *mut Self) -> Result<&'a mut Sampler<'static>, RippleStatus> {
        // SAFETY: as promised; the assertions above say that a handle lies in it.
        let handle = unsafe { value_mut(this.cast::<Handle>()) }?;
        if handle.open != OPEN {
            return Err(RippleStatus::NotOpen);
        }
        // SAFETY: only `ripple_sampler_open` sets `open`, once there is a sampler.
        Ok(unsafe { handle.sampler.assume_init_mut() })
    }
}

/// The options to start from: the likeliest token, always.
#[unsafe(no_mangle)]
pub extern "C" fn ripple_default_sampler_options() -> RippleSamplerOptions {
    let SamplerOptions { temperature, top_k, top_p, min_p, repetition_penalty, seed } =
        SamplerOptions::GREEDY;
    RippleSamplerOptions { temperature, top_k, top_p, min_p, repetition_penalty, seed }
}

/// Opens a sampler whose repetition penalty sees `count` tokens back; `recent` has places for them.
/// Errors: `_ARGUMENT`.
///
/// # Safety
/// Pointers are null or good for what they are called; `recent` is the sampler's while it is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_sampler_open(
    sampler: *mut RippleSampler,
    options: *const RippleSamplerOptions,
    recent: *mut u32,
    count: usize,
) -> RippleStatus {
    let open = || -> Result<(), RippleStatus> {
        // SAFETY: as promised.
        let (handle, options, recent) = unsafe {
            (value_mut(sampler.cast::<Handle>())?, *value(options)?, values_mut(recent, count)?)
        };
        handle.open = 0;
        let RippleSamplerOptions { temperature, top_k, top_p, min_p, repetition_penalty, seed } =
            options;
        let options = SamplerOptions { temperature, top_k, top_p, min_p, repetition_penalty, seed };
        let sampler = Sampler::new(options, recent).map_err(|_| RippleStatus::Argument)?;
        handle.sampler.write(sampler);
        handle.open = OPEN;
        Ok(())
    };
    RippleStatus::of(open())
}

/// Remembers a token for the repetition penalty: each that is fed, those of the prompt too. Errors:
/// `_ARGUMENT`, `_NOT_OPEN`.
///
/// # Safety
/// `sampler` is null or a sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_accept(sampler: *mut RippleSampler, token: u32) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe { RippleSampler::open(sampler) }.map(|sampler| sampler.accept(token)))
}

/// Says in `token` which to take by its `count` logits, which are used up. Errors: `_ARGUMENT`,
/// `_NOT_OPEN`.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_sample(
    sampler: *mut RippleSampler,
    logits: *mut f32,
    count: usize,
    token: *mut u32,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        RippleSampler::open(sampler).and_then(|sampler| {
            let logits = values_mut(logits, count)?;
            write(token, sampler.sample(logits))
        })
    })
}

/// The likeliest token by its `count` logits, without a sampler; 0 where there are none.
///
/// # Safety
/// `logits` is null or good for `count` floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_likeliest(logits: *const f32, count: usize) -> u32 {
    // SAFETY: as promised.
    unsafe { values(logits, count) }.map_or(0, likeliest)
}
