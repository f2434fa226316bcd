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
use ripple_kernel::{Decoder, Pass, StepError};

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
    let mut token = config.eos;
    while let Some(chunk) = chunks.next() {
        let ended = pass(decoder, chunk).await?;
        if chunks.peek().is_some() {
            ended.commit()?;
        } else {
            token = likeliest(ended.logits()?);
        }
    }
    let prompted = clock.now();
    let (mut text, mut tokens) = (Utf8Decoder::new(), 0);
    loop {
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
        token = likeliest(pass(decoder, &[token]).await?.logits()?);
    }
    console.write(b"\r\n").await;
    let (prompt, rest) = (prompted.since(started), clock.now().since(prompted));
    console.say(Event::Time { prompt, rest, tokens }).await;
    Ok(())
}

/// A pass whose layers have all run, with a yield after each; tried again when the card fails in passing.
async fn pass<'d, 'm, D: BlockDevice>(
    decoder: &'d mut Decoder<'m, D>,
    tokens: &[u32],
) -> Result<Pass<'d, 'm, D>, StepError<D::Error>> {
    let mut pass = decoder.begin(tokens)?;
    let mut attempts = 1;
    loop {
        match pass.layer() {
            Ok(true) => yield_now().await,
            Ok(false) => return Ok(pass),
            // The next layer is then the first one again.
            Err(error) if error.is_transient() && attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}
