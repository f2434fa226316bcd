//! The decoder: every option, every method.

use crate::io::{Device, blocks, bytes, coin, give, word, words};
use core::hint::black_box;
use ripple_hal::BlockCount;
use ripple_kernel::memory::cache::{Admission, Eviction};
use ripple_kernel::{Decoder, KvKind, Memory, OpenError, Options, Pass, StepError};

type Board = Decoder<'static, Device>;

/// Opens an image and runs what the word says.
#[inline(never)]
pub fn run() {
    let mut decoder = match open() {
        Ok(decoder) => decoder,
        Err(error) => return give(code(&error)),
    };
    loop {
        match word() {
            0 => logits(decoder.step(word())),
            1 => logits(decoder.prefill(&[word(), word(), word()])),
            2 => used(decoder.feed(&[word(), word()])),
            3 => used(decoder.advance(word())),
            4 => likeliest(decoder.verify(&[word(), word(), word()])),
            5 => used(decoder.begin(&[word(), word()]).and_then(|mut pass| {
                while pass.layer()? {}
                pass.commit()
            })),
            6 => likeliest(
                decoder.begin_at(&[(word(), word()), (word(), word())]).and_then(Pass::likeliest),
            ),
            10 => decoder.rewind(word()),
            11 => decoder.clear_cache(),
            12 => give(decoder.position() + decoder.context() + decoder.batch()),
            13 => give(decoder.header().blocks.0),
            14 => give(decoder.image().tokenizer().map_or(0, |bytes| bytes.len() as u32)),
            15 => decoder.set_collapse_gap(BlockCount(word())),
            16 => give(decoder.hot(word())),
            17 => decoder.usage().iter().for_each(|usage| give(usage.peak + usage.planned)),
            18 => crate::io::device(decoder.device_mut()),
            _ => return,
        }
    }
}

#[inline(never)]
fn open() -> Result<Board, OpenError<ripple_hal::ErrorKind>> {
    let memory =
        Memory { work: words(), staging: blocks(), cache: words(), index: words(), kv: words() };
    let options = Options {
        context: word(),
        spill: word(),
        kv: if coin() { KvKind::F16 } else { KvKind::Q8 },
        staging: BlockCount(word()),
        page_buffer: BlockCount(word()),
        cache_bytes: word(),
        hot_permille: word(),
        admission: Admission { long_run: word(), one_in: word() },
        eviction: if coin() { Eviction::Lru } else { Eviction::S3Fifo },
        collapse_gap: BlockCount(word()),
        batch: word(),
        read_ahead: coin(),
        verify: coin(),
    };
    black_box(Board::open as fn(_, _, _, _, _) -> _)(Device, bytes(), memory, &options, ())
}

fn code(error: &OpenError<ripple_hal::ErrorKind>) -> u32 {
    match error {
        OpenError::Device { at, .. } | OpenError::MappedDiffers { at } => at.0,
        OpenError::Image(_) => 1,
        OpenError::Corrupt { slot, .. } => *slot,
        OpenError::Memory(error) => error.needed,
        _ => 2,
    }
}

fn logits(result: Result<&mut [f32], StepError<ripple_hal::ErrorKind>>) {
    used(result.map(|logits| logits.iter().for_each(|x| give(x.to_bits()))));
}

fn likeliest(result: Result<&[u32], StepError<ripple_hal::ErrorKind>>) {
    used(result.map(|tokens| tokens.iter().for_each(|token| give(*token))));
}

#[inline(never)]
fn used<T>(result: Result<T, StepError<ripple_hal::ErrorKind>>) {
    give(result.err().is_some_and(|error| error.is_transient()).into());
}
