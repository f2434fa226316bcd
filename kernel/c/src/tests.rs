//! What C can do wrong is answered, and never followed.

use crate::*;
use core::ffi::{CStr, c_void};
use core::ptr::{null, null_mut};

fn closed() -> RippleDecoder {
    // SAFETY: words may be zero.
    unsafe { core::mem::zeroed() }
}

extern "C" fn zeroes(_: *mut c_void, _: u32, dst: *mut u8, count: u32) -> i32 {
    // SAFETY: `dst` has room for `count` blocks.
    unsafe { dst.write_bytes(0, count as usize * RIPPLE_BLOCK_BYTES) };
    RippleStatus::Ok as i32
}

extern "C" fn no_card(_: *mut c_void, _: u32, _: *mut u8, _: u32) -> i32 {
    RippleStatus::NoCard as i32
}

extern "C" fn nonsense(_: *mut c_void, _: u32, _: *mut u8, _: u32) -> i32 {
    -7
}

#[test]
fn every_number_has_a_message() {
    let message = |status| {
        // SAFETY: never null.
        unsafe { CStr::from_ptr(ripple_message(status)) }.to_str().unwrap()
    };
    assert_eq!(message(RippleStatus::Ok as i32), "ok");
    assert_eq!(message(RippleStatus::NotUtf8 as i32), "the text is not UTF-8");
    assert_eq!((message(-1), message(1000)), ("no such status", "no such status"));
}

#[test]
fn what_is_not_open_says_so() {
    let mut decoder = closed();
    let mut logits = null_mut();
    // SAFETY: the pointers are null or good.
    unsafe {
        assert_eq!(ripple_step(&mut decoder, 0, &mut logits), RippleStatus::NotOpen);
        assert_eq!(ripple_rewind(&mut decoder, 0), RippleStatus::NotOpen);
        assert_eq!(ripple_position(&mut decoder), 0);
        assert_eq!(ripple_rewind(null_mut(), 0), RippleStatus::Argument);
        let odd = (&raw mut decoder).cast::<u8>().wrapping_add(1).cast();
        assert_eq!(ripple_rewind(odd, 0), RippleStatus::Argument);
        assert_eq!(ripple_accept(null_mut(), 0), RippleStatus::Argument);
        let mut end = RippleEnd::None;
        let begun = ripple_text_begin(&mut decoder, null(), 0, 1);
        assert_eq!(begun, RippleStatus::NotOpen);
        let pushed = ripple_text_push(&mut decoder, 0, None, null_mut(), &mut end);
        assert_eq!(pushed, RippleStatus::NotOpen);
        assert_eq!(ripple_text_finish(null_mut(), None, null_mut()), RippleStatus::Argument);
        assert_eq!(ripple_likeliest(null(), 5), 0);
    }
}

#[test]
fn opening_says_what_is_wrong() {
    #[repr(align(64))]
    struct Arena([u8; 32768]);
    let mut arena = Arena([0; 32768]);
    let mut memory = RippleMemory {
        work: RippleRegion { start: null_mut(), bytes: 0 },
        staging: RippleRegion { start: null_mut(), bytes: 0 },
        cache: RippleRegion { start: null_mut(), bytes: 0 },
        index: RippleRegion { start: null_mut(), bytes: 0 },
        kv: RippleRegion { start: null_mut(), bytes: 0 },
    };
    let start = arena.0.as_mut_ptr().cast();
    let plan = RipplePlan { staging: 16384, work: 4096, ..RipplePlan::default() };
    // SAFETY: the pointers are good.
    unsafe {
        assert_eq!(ripple_divide(&plan, start, 20479, &mut memory), RippleStatus::Memory);
        assert_eq!(ripple_divide(&plan, start, 20480, &mut memory), RippleStatus::Ok);
    }
    assert_eq!(memory.work.start, start.wrapping_byte_add(16384));

    let mut decoder = closed();
    let mut open = |read, memory: &RippleMemory, options: &RippleOptions| {
        let device = RippleDevice {
            context: null_mut(),
            blocks: 100,
            read: Some(read),
            start: None,
            finish: None,
        };
        // SAFETY: the pointers are good, the memory is used by nothing else.
        unsafe { ripple_open(&mut decoder, &device, null(), 0, memory, options) }
    };
    let options = ripple_default_options();
    assert_eq!(open(zeroes, &memory, &options), RippleStatus::NotAnImage);
    assert_eq!(open(no_card, &memory, &options), RippleStatus::NoCard);
    assert_eq!(open(nonsense, &memory, &options), RippleStatus::Device);
    for odd in
        [RippleOptions { verify: 2, ..options }, RippleOptions { read_ahead: 255, ..options }]
    {
        assert_eq!(open(zeroes, &memory, &odd), RippleStatus::Argument);
    }
    let unknown = RippleOptions { kv: 9, ..options };
    assert_eq!(open(zeroes, &memory, &unknown), RippleStatus::Argument);
    let mut odd = memory;
    odd.staging.start = odd.staging.start.wrapping_byte_add(4);
    assert_eq!(open(zeroes, &odd, &options), RippleStatus::Argument);
}

#[test]
fn a_sampler_draws_as_the_kernel_does() {
    // SAFETY: words may be zero.
    let mut sampler: RippleSampler = unsafe { core::mem::zeroed() };
    let (mut recent, mut logits, mut token) = ([0; 4], [0.0, 3.0, 1.0], 9);
    let mut options = ripple_default_sampler_options();
    // SAFETY: the pointers are good.
    unsafe {
        let status = ripple_sampler_open(&mut sampler, &options, recent.as_mut_ptr(), 4);
        assert_eq!(status, RippleStatus::Ok);
        let status = ripple_sample(&mut sampler, logits.as_mut_ptr(), 3, &mut token);
        assert_eq!((status, token), (RippleStatus::Ok, 1));
        options.top_p = 0.0;
        let status = ripple_sampler_open(&mut sampler, &options, recent.as_mut_ptr(), 4);
        assert_eq!(status, RippleStatus::Argument);
        assert_eq!(ripple_accept(&mut sampler, 1), RippleStatus::NotOpen);
    }
}
