//! What a board that writes text calls, and no more: how large a firmware is before its own code.
//!
//! A file on a FAT card, calibration, the tokenizer, prefill and steps, the likeliest token.

use crate::io::{self, Timer, blocks, bytes, give, word, words};
use ripple_hal::{BlockCount, ExtentDevice, FatFile, Micros, calibrate};
use ripple_kernel::text::sample::{Sampler, SamplerOptions};
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer, Utf8Decoder};
use ripple_kernel::{Decoder, KvKind, Memory, Options};

/// Writes on.
#[inline(never)]
pub fn run() -> Option<()> {
    let staging = blocks();
    let mut card = io::Device;
    let file = FatFile::<16>::resolve(&mut card, "MODEL.RPL", staging).ok()?;
    let mut device = ExtentDevice::new(card, file);
    let calibration = calibrate(&mut device, &Timer, staging, Micros(100_000)).ok()?;
    let memory = Memory { work: words(), staging, cache: words(), index: words(), kv: words() };
    let options = Options {
        kv: KvKind::Q8,
        staging: BlockCount(word()),
        cache_bytes: word(),
        collapse_gap: calibration.collapse_gap(),
        ..Options::DEFAULT
    };
    let mut decoder = Decoder::open(device, bytes(), memory, &options, ()).ok()?;
    let tokenizer = Tokenizer::parse(decoder.image().tokenizer()?).ok()?;
    let mut sampler = Sampler::new(SamplerOptions::GREEDY, &mut []).ok()?;
    let tokens = words();
    let count = tokenizer.encode(io::text(), EncodeOptions::TEXT, tokens).ok()?;
    let mut token = sampler.sample(decoder.prefill(tokens.get(..count)?).ok()?);
    let mut text = Utf8Decoder::new();
    loop {
        text.push(tokenizer.bytes(token)?, |piece| piece.bytes().for_each(|b| give(b.into())));
        token = sampler.sample(decoder.step(token).ok()?);
    }
}
