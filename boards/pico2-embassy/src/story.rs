//! One prompt, one text, a layer at a time: between two layers every other task has its turn.
//!
//! In: an open decoder, its tokenizer, a prompt. Out: text as it comes. The likeliest token is
//! always taken: the text is the same as on every other board.

use crate::console::Console;
use embassy_futures::yield_now;
use ripple_app::{Event, prompt_tokens};
use ripple_hal::{BlockDevice, Clock};
use ripple_kernel::text::sample::likeliest;
use ripple_kernel::text::tokenizer::{Tokenizer, Utf8Decoder};
use ripple_kernel::{Decoder, StepError};

/// Times that a pass is tried when the card fails in passing.
const ATTEMPTS: u32 = 4;

/// Tells a text that begins with `prompt`, up to the end that the model gives it or that of the
/// context. `ids`: room for the prompt's tokens.
///
/// # Errors
/// When a pass failed and failed again.
pub async fn tell<D: BlockDevice>(
    decoder: &mut Decoder<'_, D>,
    tokenizer: &Tokenizer<'_>,
    prompt: &str,
    ids: &mut [u32],
    console: &mut Console,
    clock: &impl Clock,
) -> Result<(), StepError<D::Error>> {
    let config = decoder.header().geometry.config;
    let Some(fed) = prompt_tokens(tokenizer, prompt, config.bos, ids) else {
        console.say(Event::Note("the prompt is too long")).await;
        return Ok(());
    };
    let started = clock.now();
    decoder.rewind(0);
    console.write(prompt.as_bytes()).await;
    let batch = decoder.batch().max(1) as usize;
    let mut chunks = fed.chunks(batch).peekable();
    while let Some(chunk) = chunks.next() {
        pass(decoder, chunk).await?;
        if chunks.peek().is_some() {
            decoder.commit();
        }
    }
    let prompted = clock.now();
    let (mut text, mut tokens) = (Utf8Decoder::new(), 0);
    loop {
        let token = likeliest(decoder.logits()?);
        if token == config.eos {
            break;
        }
        tokens += 1;
        // Longer than any token of the vocabularies there are; what were longer would be left out.
        let mut arrived = heapless::String::<256>::new();
        text.push(tokenizer.bytes(token).unwrap_or_default(), |piece| {
            _ = arrived.push_str(piece);
        });
        console.write(arrived.as_bytes()).await;
        if decoder.position() >= decoder.context() {
            break;
        }
        pass(decoder, &[token]).await?;
    }
    console.write(b"\r\n").await;
    let (prompt, rest) = (prompted.since(started), clock.now().since(prompted));
    console.say(Event::Time { prompt, rest, tokens }).await;
    Ok(())
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
