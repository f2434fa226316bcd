//! One prompt, one text: feed, then step after step, each repeated if the card fails.
//!
//! In: an open decoder, its tokenizer, a prompt. Out: text as it comes, or a line a step. The
//! likeliest token is always taken, so that the same prompt gives the same text on every board.

use crate::console::Console;
use crate::counted::Traffic;
use crate::event::Event;
use crate::recover::{Failed, Identity, attempt, crc32};
use crate::session::{Out, Settings};
use crate::storage::{Made, Served};
use ripple_hal::{BlockDevice, Clock, ErrorKind};
use ripple_kernel::text::TextStream;
use ripple_kernel::text::sample::likeliest;
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use ripple_kernel::{Probe, StepError};
use zerocopy::IntoBytes;

/// What is told.
pub(crate) struct Story<'s, 'm, D: BlockDevice, P> {
    pub tokenizer: &'s Tokenizer<'m>,
    pub text: &'s str,
    pub settings: Settings,
    /// See [`Storage::make_room`](crate::Storage::make_room).
    pub make_room: fn(&mut Served<'_, D, P>) -> Made<D>,
}

/// Tells `story`. `ids`: room for its tokens.
///
/// # Errors
/// When the text could not be finished; why has been said.
pub(crate) fn tell<D: BlockDevice, P: Probe>(
    decoder: &mut Served<'_, D, P>,
    identity: &mut Identity<'_>,
    out: &mut Out<'_, impl Console, impl Clock>,
    story: Story<'_, '_, D, P>,
    ids: &mut [u32],
) -> Result<(), Failed> {
    let Story { tokenizer, text, settings, make_room } = story;
    let Some(prompt) = prompt_tokens(tokenizer, text, ids) else {
        out.say(Event::Note(NOT_A_PROMPT));
        return Err(Failed::Stop);
    };
    if prompt.len() > decoder.context() as usize {
        let error = StepError::<ErrorKind>::ContextFull { context: decoder.context() };
        out.say(Event::Fault { doing: "prompt", error: &error });
        return Err(Failed::Stop);
    }

    decoder.rewind(0);
    let (started, before) = (out.now(), decoder.device_mut().traffic());
    let batch = decoder.batch().max(1) as usize;
    let (mut done, mut next) = (0, None);
    for chunk in prompt.chunks(batch) {
        done += chunk.len();
        while (decoder.room() as usize) < chunk.len() {
            attempt(decoder, identity, out, make_room)?;
        }
        if done < prompt.len() {
            attempt(decoder, identity, out, |decoder| decoder.feed(chunk))?;
        } else {
            next = Some(attempt(decoder, identity, out, |decoder| {
                decoder.prefill(chunk).map(|logits| choose(logits, settings.trace))
            })?);
        }
        let traffic = decoder.device_mut().traffic().since(before);
        out.say(Event::Prompt { done, all: prompt.len(), traffic });
    }
    let Some(mut next) = next else { return Err(Failed::Stop) };
    let (prompted, before) = (out.now(), decoder.device_mut().traffic());

    let (mut stream, mut tokens) = (TextStream::new(*tokenizer), 0);
    if text.is_empty() {
        stream = stream.from_start();
    }
    // A trace shows the bytes of each token instead.
    let show = |out: &mut Out<'_, _, _>, piece: &str| {
        if !settings.trace {
            out.text(piece);
        }
    };
    show(out, text);
    let why = loop {
        if settings.trace {
            let bytes = tokenizer.bytes(next.token).unwrap_or(&[]);
            let position = decoder.position();
            out.say(Event::Step { position, token: next.token, crc: next.crc, bytes });
        }
        let end = stream.push(next.token, |piece| show(out, piece));
        if end.is_some() {
            break "end of text";
        }
        tokens += 1;
        if tokens >= settings.tokens {
            break "as many as asked for";
        }
        if decoder.position() >= decoder.context() {
            break "the context is full";
        }
        if decoder.room() == 0 {
            attempt(decoder, identity, out, make_room)?;
        }
        let fed = next.token;
        next = attempt(decoder, identity, out, |decoder| {
            decoder.step(fed).map(|logits| choose(logits, settings.trace))
        })?;
    };
    stream.finish(|piece| show(out, piece));
    show(out, "\r\n");
    let traffic: Traffic = decoder.device_mut().traffic().since(before);
    out.say(Event::End { why, tokens, traffic });
    let (prompt, rest) = (prompted.since(started), out.now().since(prompted));
    out.say(Event::Time { prompt, rest, tokens });
    Ok(())
}

/// Why there are no [`prompt_tokens`].
pub const NOT_A_PROMPT: &str = "the prompt is too long, or of no tokens";

/// The tokens of a prompt, which a console sends in the normal form that most texts have. `ids`: room for
/// them, two more than `text` has bytes at most; nothing if there is less than they need, or no token to
/// begin with.
pub fn prompt_tokens<'i>(
    tokenizer: &Tokenizer<'_>,
    text: &str,
    ids: &'i mut [u32],
) -> Option<&'i [u32]> {
    let options = EncodeOptions { in_form: true, ..EncodeOptions::TEXT };
    let count = tokenizer.encode(text, options, ids).ok()?;
    ids.get(..count).filter(|ids| !ids.is_empty())
}

/// A token that was chosen.
struct Choice {
    token: u32,
    /// CRC-32 of the logits, if they are traced.
    crc: u32,
}

/// Chooses the likeliest token.
fn choose(logits: &[f32], trace: bool) -> Choice {
    ripple_marks::region::<7>();
    // The bits, little-endian like every core this runs on.
    let crc = if trace { crc32(logits.as_bytes()) } else { 0 };
    Choice { token: likeliest(logits), crc }
}
