//! One prompt, one text, a layer at a time: between two layers every other task has its turn.
//!
//! In: an open decoder, its tokenizer, a prompt. Out: text as it comes. The likeliest token is
//! always taken: the text is the same as on every other board.

use crate::console::Console;
use embassy_futures::yield_now;
use embassy_time::{Duration, Timer};
use ripple_app::{
    Event, Failed, Identity, Look, NOT_A_PROMPT, POLL, Recovery, Then, prompt_tokens,
};
use ripple_hal::{BlockDevice, Clock};
use ripple_kernel::text::TextStream;
use ripple_kernel::text::sample::likeliest;
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::{Decoder, StepError};

/// Tells a text that begins with `prompt`, up to the end that the model gives it or that of the
/// context. `ids`: room for the prompt's tokens.
///
/// # Errors
/// When the text could not be finished; why has been said.
pub async fn tell<D: BlockDevice>(
    decoder: &mut Decoder<'_, D>,
    identity: &mut Identity<'_>,
    tokenizer: &Tokenizer<'_>,
    prompt: &str,
    ids: &mut [u32],
    console: &mut Console,
    clock: &impl Clock,
) -> Result<(), Failed> {
    let Some(fed) = prompt_tokens(tokenizer, prompt, ids) else {
        console.say(Event::Note(NOT_A_PROMPT)).await;
        return Err(Failed::Stop);
    };
    let started = clock.now();
    decoder.rewind(0);
    console.write(prompt.as_bytes()).await;
    let batch = decoder.batch().max(1) as usize;
    let mut chunks = fed.chunks(batch).peekable();
    let mut next = None;
    while let Some(chunk) = chunks.next() {
        let wanted = chunks.peek().is_none();
        next = pass(decoder, identity, console, chunk, wanted).await?;
    }
    let prompted = clock.now();
    let (mut stream, mut tokens) = (TextStream::new(*tokenizer), 0);
    if prompt.is_empty() {
        stream = stream.from_start();
    }
    while let Some(token) = next {
        // Longer than any token of the vocabularies there are; what were longer would be left out.
        let mut arrived = heapless::String::<256>::new();
        let end = stream.push(token, |piece| _ = arrived.push_str(piece));
        console.write(arrived.as_bytes()).await;
        if end.is_some() {
            break;
        }
        tokens += 1;
        if decoder.position() >= decoder.context() {
            break;
        }
        next = pass(decoder, identity, console, &[token], true).await?;
    }
    let mut held = heapless::String::<8>::new();
    stream.finish(|piece| _ = held.push_str(piece));
    console.write(held.as_bytes()).await;
    console.write(b"\r\n").await;
    let (prompt, rest) = (prompted.since(started), clock.now().since(prompted));
    console.say(Event::Time { prompt, rest, tokens }).await;
    Ok(())
}

/// Feeds `tokens`, yielding between layers, and again when the card failed; gives the likeliest token
/// after them if it is `wanted`.
async fn pass<D: BlockDevice>(
    decoder: &mut Decoder<'_, D>,
    identity: &mut Identity<'_>,
    console: &mut Console,
    tokens: &[u32],
    wanted: bool,
) -> Result<Option<u32>, Failed> {
    let mut recovery = Recovery::default();
    loop {
        let error = match layers(decoder, tokens, wanted).await {
            Ok(next) => return Ok(next),
            Err(error) => error.kinds(),
        };
        console.say(Event::Fault { doing: "step", error: &error }).await;
        recovery.failed(&error)?;
        loop {
            let Look { event, then } = recovery.look(decoder.device_mut(), identity);
            if let Some(event) = event {
                console.say(event).await;
            }
            match then {
                Then::Repeat => break,
                Then::Wait => Timer::after(Duration::from_micros(POLL.0)).await,
                Then::GiveUp => return Err(Failed::Lost),
            }
        }
        console.say(recovery.retry()).await;
    }
}

/// The embedding, all layers and, if it is `wanted`, the head.
async fn layers<D: BlockDevice>(
    decoder: &mut Decoder<'_, D>,
    tokens: &[u32],
    wanted: bool,
) -> Result<Option<u32>, StepError<D::Error>> {
    let mut pass = decoder.begin(tokens)?;
    while pass.layer()? {
        yield_now().await;
    }
    if !wanted {
        pass.commit()?;
        return Ok(None);
    }
    pass.logits().map(|logits| Some(likeliest(logits)))
}
