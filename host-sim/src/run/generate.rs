//! Generates text: prompt in, tokens out as they come.
//!
//! In: an open decoder, its tokenizer, a sampler. Out: pieces of text, and how many tokens were fed.
//! The prompt is fed in chunks; greedy decoding may draft what comes next. A text can be gone on with.

use crate::machine::damaged;
use crate::model::text::encode;
use crate::process::interrupt;
use crate::run::chat::Rendered;
use anyhow::{Result, anyhow, ensure};
use ripple_hal::WriteDevice;
use ripple_kernel::image::Header;
use ripple_kernel::text::sample::{Sampler, SamplerOptions};
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use ripple_kernel::text::{End as TextEnd, TextStream};
use ripple_kernel::{Decoder, Probe, SlideError, Speculation, StepError};

/// Positions that the repetition penalty looks back.
const RECENT: usize = 64;

/// What is generated.
#[derive(Clone, Debug)]
pub struct Request {
    /// Text to go on from.
    pub prompt: String,
    /// A chat in the place of the prompt: special tokens that its template names are tokens, nothing is put
    /// in front, and it is not part of what is shown.
    pub chat: Option<Rendered>,
    /// Most tokens to generate.
    pub tokens: u32,
    /// How they are chosen.
    pub sampler: SamplerOptions,
    /// Most tokens drafted a pass; used where the sampler is greedy and penalises nothing.
    pub speculate: u32,
    /// Strings that end the text; they are not part of it.
    pub stop: Vec<String>,
    /// What is done when the KV cache is full.
    pub overflow: Overflow,
    /// Whether the token that ends a text is never chosen.
    pub ignore_eos: bool,
}

/// What is done when the KV cache is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The text ends.
    #[default]
    Stop,
    /// Of the positions behind the first `sinks` the oldest go, a quarter.
    Window {
        /// Attention sinks: positions that stay.
        sinks: u32,
    },
    /// The oldest positions go to the card, while there is room.
    Spill,
}

impl Request {
    /// Whether tokens are drafted: the likeliest token must be the one that is chosen.
    pub fn speculates(&self) -> bool {
        let SamplerOptions { temperature, repetition_penalty, .. } = self.sampler;
        // What is drafted is verified by the likeliest token of all.
        self.speculate > 0 && temperature == 0.0 && repetition_penalty == 1.0 && !self.ignore_eos
    }

    /// The tokens of the prompt at the beginning of a text.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn prompt_tokens(&self, tokenizer: &Tokenizer<'_>) -> Result<Vec<u32>> {
        let tokens = match &self.chat {
            // A chat template brings the token that begins a text.
            Some(chat) => chat.tokens(tokenizer)?,
            None => encode(tokenizer, &self.prompt, EncodeOptions::TEXT)?,
        };
        ensure!(
            !tokens.is_empty(),
            "{}",
            match self.chat {
                Some(_) => "the chat template renders to nothing",
                None =>
                    "the prompt has no tokens, and this model puts none in front of a text; expected a prompt",
            }
        );
        Ok(tokens)
    }

    /// The same, further on.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn more_tokens(&self, tokenizer: &Tokenizer<'_>) -> Result<Vec<u32>> {
        let options = EncodeOptions { continues: true, ..Default::default() };
        encode(tokenizer, &self.prompt, options)
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    /// Tokens of the prompt, the beginning of text among them.
    pub prompt: Vec<u32>,
    /// Tokens generated, the end of text not among them.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub end: End,
    /// Passes after the prompt.
    pub passes: u32,
    /// Tokens drafted.
    pub drafted: u32,
    /// Of these, the ones that were right.
    pub accepted: u32,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All the tokens asked for were generated.
    #[default]
    Tokens,
    /// The model ended it.
    EndOfText,
    /// A stop string was complete.
    StopString,
    /// The KV cache was full.
    Context,
    /// The user stopped it.
    Interrupted,
}

impl Generated {
    /// Tokens that went through the model.
    pub fn fed(&self) -> u64 {
        // The last token generated is not fed, save where the model then ended the text.
        let last = usize::from(self.end != End::EndOfText);
        (self.prompt.len() + self.tokens.len().saturating_sub(last)) as u64
    }
}

/// Runs `request` from the beginning of a text; `piece` gets the prompt and each piece of text as soon
/// as its characters are whole, `prompt_progress` the decoder and the tokens of the prompt done and to
/// do.
///
/// Ends also when [`interrupt::requested`].
///
/// # Errors
/// When the prompt does not fit, an option is out of range, or the device fails.
pub fn generate<D: WriteDevice, P: Probe>(
    decoder: &mut Decoder<'_, D, P>,
    tokenizer: &Tokenizer<'_>,
    request: &Request,
    piece: impl FnMut(&str),
    prompt_progress: impl FnMut(&mut Decoder<'_, D, P>, usize, usize),
) -> Result<Generated> {
    let mut text = request.prompt_tokens(tokenizer)?;
    go_on(decoder, tokenizer, &mut text, request, piece, prompt_progress)
}

/// Goes on with `text`: feeds the tokens that `decoder` has not seen, those from its position on, of
/// which there must be one, and adds what is generated. `piece` gets `request.prompt`, which is what
/// they say, when they are fed.
///
/// Ends at the end-of-text token, which is not added; at a stop string, whose tokens are; when the KV
/// cache is full; or after `request.tokens`. The last token need not have been fed then. Where a window
/// slid, `text` has lost the same tokens as the decoder.
///
/// # Errors
/// As [`generate`].
pub fn go_on<D: WriteDevice, P: Probe>(
    decoder: &mut Decoder<'_, D, P>,
    tokenizer: &Tokenizer<'_>,
    text: &mut Vec<u32>,
    request: &Request,
    mut piece: impl FnMut(&str),
    prompt_progress: impl FnMut(&mut Decoder<'_, D, P>, usize, usize),
) -> Result<Generated> {
    let config = decoder.header().geometry.config;
    let mut recent = [0; RECENT];
    let mut sampler = Sampler::new(request.sampler, &mut recent)
        .map_err(|e| anyhow!("{}: expected {}, found {}", e.field, e.expected, e.found))?;
    text.iter().for_each(|&token| sampler.accept(token));
    let prompt = text.get(decoder.position() as usize..).unwrap_or(&[]).to_vec();
    let ends = (0..tokenizer.tokens()).filter(|&id| request.ignore_eos && tokenizer.ends(id));
    let banned: Vec<usize> = ends.map(|id| id as usize).collect();
    let choose = |sampler: &mut Sampler<'_>, logits: &mut [f32]| {
        for &id in &banned {
            if let Some(logit) = logits.get_mut(id) {
                *logit = f32::NEG_INFINITY;
            }
        }
        sampler.sample(logits)
    };
    let first = feed(decoder, text, request.overflow, prompt_progress, |logits| {
        choose(&mut sampler, logits)
    });
    let Some(first) = first? else {
        let fed = prompt.len().saturating_sub(text.len() - decoder.position() as usize);
        let prompt = prompt.get(..fed).unwrap_or(&[]).to_vec();
        return Ok(Generated { prompt, end: End::Interrupted, ..Generated::default() });
    };
    let mut new = vec![first];
    new.truncate(request.tokens as usize);
    if request.chat.is_none() && !request.prompt.is_empty() {
        piece(&request.prompt);
    }

    let most = if request.speculates() { request.speculate } else { 0 };
    let mut history = vec![0; config.context as usize + most as usize + 1];
    let mut speculation = Speculation::new(&mut history, most);
    text.iter().chain(&new).for_each(|&token| speculation.accept(token));
    let mut stream = TextStream::new(*tokenizer);
    if text.len() == 1 && prompt.len() == 1 && tokenizer.begin() == Some(text[0]) {
        stream = stream.from_start();
    }
    let mut stream = stream.with_stops(&request.stop);
    let mut out = Generated { prompt, ..Generated::default() };
    'text: loop {
        for &token in &new {
            let end = stream.push(token, &mut piece);
            if end == Some(TextEnd::EndOfText) {
                out.end = End::EndOfText;
                break 'text;
            }
            out.tokens.push(token);
            text.push(token);
            sampler.accept(token);
            if end.is_some() {
                out.end = End::StopString;
                break 'text;
            }
        }
        if out.tokens.len() >= request.tokens as usize {
            break;
        }
        if interrupt::requested() {
            out.end = End::Interrupted;
            break;
        }
        if !make_room(decoder, text, request.overflow)? {
            out.end = End::Context;
            break;
        }
        let at = decoder.position();
        let last = text.last().copied().unwrap_or(0);
        let wanted = request.tokens - out.tokens.len() as u32;
        let step = match most {
            0 => decoder.step(last).map(|logits| vec![choose(&mut sampler, logits)]),
            _ => speculation.step(decoder, wanted).map(<[u32]>::to_vec),
        };
        new = step.map_err(|error| failed(decoder.header(), at, error))?;
        out.passes += 1;
    }
    // What was drafted right behind the end of the text.
    decoder.rewind(text.len() as u32);
    stream.finish(&mut piece);
    (out.drafted, out.accepted) = (speculation.drafted(), speculation.accepted());
    Ok(out)
}

/// Feeds what `decoder` has not seen of `text`, and gives `choose` the logits after it; `None` when
/// [`interrupt::requested`] before.
fn feed<D: WriteDevice, P: Probe>(
    decoder: &mut Decoder<'_, D, P>,
    text: &mut Vec<u32>,
    overflow: Overflow,
    mut progress: impl FnMut(&mut Decoder<'_, D, P>, usize, usize),
    mut choose: impl FnMut(&mut [f32]) -> u32,
) -> Result<Option<u32>> {
    let header = *decoder.header();
    let (context, most) = (decoder.context(), header.geometry.config.context);
    let wider = match context < most {
        true => format!(", or give it up to {most} positions with --context"),
        false => String::new(),
    };
    ensure!(
        text.len() <= context as usize || matches!(overflow, Overflow::Window { .. }),
        "the prompt has {} tokens, the context is {context}; shorten the prompt{wider}",
        text.len()
    );
    let all = text.len().saturating_sub(decoder.position() as usize);
    let mut done = 0;
    loop {
        make_room(decoder, text, overflow)?;
        let at = decoder.position();
        let count = (all - done).min(decoder.batch().min(decoder.room()) as usize);
        let chunk = text.get(at as usize..).and_then(|rest| rest.get(..count)).unwrap_or(&[]);
        done += count;
        if done == all {
            let logits = decoder.prefill(chunk).map_err(|error| failed(&header, at, error))?;
            let token = choose(logits);
            progress(decoder, all, all);
            return Ok(Some(token));
        }
        if interrupt::requested() {
            return Ok(None);
        }
        decoder.feed(chunk).map_err(|error| failed(&header, at, error))?;
        progress(decoder, done, all);
    }
}

/// Lets the window slide where the KV cache is full; `false` where it must not.
fn make_room<D: WriteDevice, P: Probe>(
    decoder: &mut Decoder<'_, D, P>,
    text: &mut Vec<u32>,
    overflow: Overflow,
) -> Result<bool> {
    let (at, context) = (decoder.position(), decoder.context());
    if decoder.room() > 0 {
        return Ok(true);
    }
    let sinks = match overflow {
        Overflow::Window { sinks } => sinks,
        Overflow::Spill if at < context => {
            decoder.spill().map_err(|error| anyhow!("token {at}: {error}"))?;
            return Ok(true);
        }
        Overflow::Spill | Overflow::Stop => return Ok(false),
    };
    let evicted = (context.saturating_sub(sinks) / 4).max(1);
    decoder.slide(sinks, evicted).map_err(|error| match error {
        SlideError::Range { .. } => {
            anyhow!("{sinks} attention sinks fill the context of {context}; keep fewer")
        }
        error => anyhow!("{error}; end the text there instead"),
    })?;
    text.drain(sinks as usize..(sinks + evicted) as usize);
    Ok(true)
}

/// Says what failed.
fn failed<E: std::fmt::Debug>(header: &Header, at: u32, error: StepError<E>) -> anyhow::Error {
    match error {
        StepError::Corrupt { table, slot } => damaged(header, table, slot),
        error => anyhow!("token {at}: {error}"),
    }
}
