//! Text to tokens and back, and the choice of the next one.

use core::hint::black_box;

use crate::io::{bytes, coin, give, text, words};
#[cfg(feature = "sampler")]
use crate::io::{float, floats, word};
#[cfg(feature = "sampler")]
use ripple_kernel::text::sample::{Sampler, SamplerOptions};
#[cfg(feature = "tokenizer")]
use ripple_kernel::text::tokenizer::{EncodeError, EncodeOptions, Tokenizer, Utf8Decoder};

/// All of the tokenizer.
#[cfg(feature = "tokenizer")]
#[inline(never)]
pub fn tokenizer() {
    let Ok(tokenizer) =
        black_box(Tokenizer::parse as fn(_) -> Result<Tokenizer<'static>, _>)(bytes())
    else {
        return give(1);
    };
    give(tokenizer.tokens());
    let tokens = words();
    let options =
        EncodeOptions { parse_special: coin(), begin: coin(), continues: coin(), in_form: coin() };
    match black_box(Tokenizer::encode as fn(_, _, _, &mut _) -> _)(
        &tokenizer,
        text(),
        options,
        tokens,
    ) {
        Ok(count) => tokens.iter().take(count).for_each(|token| give(*token)),
        Err(EncodeError::OutputFull { at, .. }) => give(at as u32),
        Err(_) => give(2),
    }
    let mut decoder = Utf8Decoder::new();
    let mut piece = |piece: &str| piece.bytes().for_each(|byte| give(byte.into()));
    while let Some(bytes) = tokenizer.bytes(crate::io::word()) {
        decoder.push(bytes, &mut piece);
    }
    decoder.finish(piece);
}

/// All of the sampler; or greedy alone, as a board that has room for no more has it.
#[cfg(feature = "sampler")]
#[inline(never)]
pub fn sampler() {
    let options = SamplerOptions {
        temperature: float(),
        top_k: word(),
        top_p: float(),
        min_p: float(),
        repetition_penalty: float(),
        seed: word().into(),
    };
    let Ok(mut sampler) =
        black_box(Sampler::new as fn(_, _) -> Result<Sampler<'static>, _>)(options, words())
    else {
        return give(1);
    };
    while coin() {
        let token = black_box(Sampler::sample as fn(_, _) -> _)(&mut sampler, floats());
        sampler.accept(token);
        give(token);
    }
}
