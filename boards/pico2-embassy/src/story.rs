//! One prompt, one text, a layer at a time: between two layers every other task has its turn.
//!
//! In: an open decoder, its tokenizer, a prompt. Out: text as it comes. The likeliest token is
//! always taken: the text is the same as on every other board.

use crate::console::Console;
use core::fmt;
use embassy_futures::yield_now;
use ripple_app::MountError;
use ripple_hal::{BlockDevice, DeviceError};
use ripple_kernel::sample::{Sampler, SamplerOptions};
use ripple_kernel::tokenizer::{EncodeError, EncodeOptions, Tokenizer, Utf8Decoder};
use ripple_kernel::{Decoder, OpenError, StepError};

/// Times that a step is repeated when the card fails in passing.
const ATTEMPTS: u32 = 3;

/// Why there is no text, or no more of it.
pub enum Why<E> {
    /// The image was not found.
    Mount(MountError),
    /// It cannot be opened.
    Open(OpenError<E>),
    /// Its tokenizer is not in its mapped front.
    Tokenizer,
    /// A step failed.
    Step(StepError<E>),
}

impl<E: DeviceError> fmt::Display for Why<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(error) => error.fmt(f),
            Self::Open(error) => error.fmt(f),
            Self::Tokenizer => f.write_str("the image has no tokenizer in its front"),
            Self::Step(error) => error.fmt(f),
        }
    }
}

/// Tells a text that begins with `prompt`, up to the end that the model gives it or that of the
/// context.
///
/// # Errors
/// When a step failed and failed again.
pub async fn tell<D: BlockDevice>(
    decoder: &mut Decoder<'_, D>,
    tokenizer: &Tokenizer<'_>,
    prompt: &str,
    ids: &mut [u32],
    console: &mut Console,
) -> Result<(), StepError<D::Error>> {
    let config = decoder.header().geometry.config;
    let Ok(mut sampler) = Sampler::new(SamplerOptions::GREEDY, &mut []) else { return Ok(()) };
    let Some((first, rest)) = ids.split_first_mut() else { return Ok(()) };
    *first = config.bos;
    let count = match tokenizer.encode(prompt, EncodeOptions::default(), rest) {
        Ok(count) => count,
        Err(EncodeError::OutputFull { .. }) => {
            console.say(format_args!("the prompt is too long\r\n")).await;
            return Ok(());
        }
    };
    decoder.rewind(0);
    console.write(prompt).await;
    let batch = decoder.batch().max(1) as usize;
    let mut chunks = ids.get(..=count).unwrap_or_default().chunks(batch).peekable();
    while let Some(chunk) = chunks.next() {
        pass(decoder, chunk).await?;
        if chunks.peek().is_some() {
            decoder.commit();
        }
    }
    let mut text = Utf8Decoder::new();
    loop {
        let token = sampler.sample(decoder.logits()?);
        if token == config.eos || decoder.position() >= decoder.context() {
            return Ok(());
        }
        // Longer than any token of the vocabularies there are; what were longer would be left out.
        let mut arrived = heapless::String::<256>::new();
        text.push(tokenizer.bytes(token).unwrap_or_default(), |piece| {
            _ = arrived.push_str(piece);
        });
        console.write(&arrived).await;
        pass(decoder, &[token]).await?;
    }
}

/// Feeds `tokens`, yielding between layers; begins again when the card fails in passing.
async fn pass<D: BlockDevice>(
    decoder: &mut Decoder<'_, D>,
    tokens: &[u32],
) -> Result<(), StepError<D::Error>> {
    let mut attempts = 1;
    loop {
        match layers(decoder, tokens).await {
            Err(error) if error.is_transient() && attempts < ATTEMPTS => attempts += 1,
            result => return result,
        }
    }
}

/// The embedding and all layers.
async fn layers<D: BlockDevice>(
    decoder: &mut Decoder<'_, D>,
    tokens: &[u32],
) -> Result<(), StepError<D::Error>> {
    decoder.begin(tokens)?;
    while decoder.forward_layer()? {
        yield_now().await;
    }
    Ok(())
}
