//! Generates text: prompt in, tokens out as they come.
//!
//! In: an open decoder, its tokenizer, a sampler. Out: pieces of text, and how many tokens were fed.
//! The prompt is fed in chunks; greedy decoding may draft what comes next.

use crate::failure::bad_input;
use crate::interrupt;
use anyhow::{Result, anyhow, ensure};
use ripple_hal::{BlockDevice, BlockIdx};
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::sample::{Sampler, SamplerOptions};
use ripple_kernel::tokenizer::{EncodeOptions, Tokenizer, Utf8Decoder};
use ripple_kernel::{Decoder, Probe, Speculation, StepError};

/// Positions that the repetition penalty looks back.
const RECENT: usize = 64;

/// What is generated.
#[derive(Clone, Debug)]
pub struct Request {
    /// Text to go on from.
    pub prompt: String,
    /// Most tokens to generate.
    pub tokens: u32,
    /// How they are chosen.
    pub sampler: SamplerOptions,
    /// Most tokens drafted a pass; used where the sampler is greedy and penalises nothing.
    pub speculate: u32,
}

impl Request {
    /// Whether tokens are drafted: the likeliest token must be the one that is chosen.
    pub fn speculates(&self) -> bool {
        let SamplerOptions { temperature, repetition_penalty, .. } = self.sampler;
        self.speculate > 0 && temperature == 0.0 && repetition_penalty == 1.0
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

/// Runs `request`; `piece` gets the prompt and each piece of text as soon as its characters are
/// whole, `prompt_progress` the decoder and the tokens of the prompt done and to do.
///
/// Ends at the end-of-text token, when the KV cache is full, after `request.tokens`, or when
/// [`interrupt::requested`].
///
/// # Errors
/// When the prompt does not fit, an option is out of range, or the device fails.
pub fn generate<D: BlockDevice, P: Probe>(
    decoder: &mut Decoder<'_, D, P>,
    tokenizer: &Tokenizer<'_>,
    request: &Request,
    mut piece: impl FnMut(&str),
    mut prompt_progress: impl FnMut(&mut Decoder<'_, D, P>, usize, usize),
) -> Result<Generated> {
    let config = decoder.header().geometry.config;
    let mut recent = [0; RECENT];
    let mut sampler = Sampler::new(request.sampler, &mut recent)
        .map_err(|e| anyhow!("{}: expected {}, found {}", e.field, e.expected, e.found))?;
    // A space may come in front of the text, and of what follows each special token.
    let mut prompt = vec![0; 2 * request.prompt.len() + 2];
    prompt[0] = config.bos;
    let count = tokenizer
        .encode(&request.prompt, EncodeOptions::default(), &mut prompt[1..])
        .map_err(|e| anyhow!("the prompt cannot be encoded: {e}"))?;
    prompt.truncate(1 + count);
    let too_long = |context: u32| {
        let wider = match context < config.context {
            true => format!(", or give it up to {} positions with --context", config.context),
            false => String::new(),
        };
        anyhow!(
            "the prompt has {} tokens, the context is {context}; shorten the prompt{wider}",
            prompt.len()
        )
    };
    ensure!(prompt.len() <= config.context as usize, too_long(config.context));
    let header = *decoder.header();
    let failed = |at: usize, error: StepError<D::Error>| match error {
        StepError::ContextFull { context } => too_long(context),
        StepError::Corrupt { table, slot } => damaged(&header, table, slot),
        error => anyhow!("token {at}: {error}"),
    };

    let batch = decoder.batch() as usize;
    let last = (prompt.len() - 1) / batch * batch;
    for (i, chunk) in prompt[..last].chunks(batch).enumerate() {
        if interrupt::requested() {
            prompt.truncate(i * batch);
            return Ok(Generated { prompt, end: End::Interrupted, ..Generated::default() });
        }
        decoder.feed(chunk).map_err(|e| failed(i * batch, e))?;
        prompt_progress(decoder, (i + 1) * batch, prompt.len());
    }
    prompt.iter().for_each(|&token| sampler.accept(token));
    let logits = decoder.prefill(&prompt[last..]).map_err(|e| failed(last, e))?;
    let mut new = vec![sampler.sample(logits)];
    new.truncate(request.tokens as usize);
    prompt_progress(decoder, prompt.len(), prompt.len());
    piece(&request.prompt);

    let most = if request.speculates() { request.speculate } else { 0 };
    let mut history = vec![0; config.context as usize + most as usize + 1];
    let mut speculation = Speculation::new(&mut history, most);
    prompt.iter().chain(&new).for_each(|&token| speculation.accept(token));
    let mut text = Utf8Decoder::new();
    let mut out = Generated { prompt, ..Generated::default() };
    'text: loop {
        for &token in &new {
            if token == config.eos {
                out.end = End::EndOfText;
                break 'text;
            }
            out.tokens.push(token);
            let bytes = tokenizer.bytes(token).unwrap_or(&[]);
            // The space that stands in front of every text is not a part of it.
            let begins = out.tokens.len() == 1 && out.prompt.len() == 1 && tokenizer.adds_space();
            let shown = bytes.strip_prefix(b" ").filter(|_| begins).unwrap_or(bytes);
            text.push(shown, &mut piece);
            sampler.accept(token);
        }
        if out.tokens.len() >= request.tokens as usize {
            break;
        }
        if interrupt::requested() {
            out.end = End::Interrupted;
            break;
        }
        let last = new.last().copied().unwrap_or(config.bos);
        let wanted = request.tokens - out.tokens.len() as u32;
        let step = match most {
            0 => decoder.step(last).map(|logits| vec![sampler.sample(logits)]),
            _ => speculation.step(decoder, wanted).map(<[u32]>::to_vec),
        };
        new = match step {
            Ok(new) => new,
            Err(StepError::ContextFull { .. }) => {
                out.end = End::Context;
                break;
            }
            Err(error) => {
                let at = decoder.position() as usize;
                return Err(match error {
                    StepError::Corrupt { table, slot } => damaged(&header, table, slot),
                    error => anyhow!("token {at}: {error}"),
                });
            }
        };
        out.passes += 1;
    }
    text.finish(&mut piece);
    (out.drafted, out.accepted) = (speculation.drafted(), speculation.accepted());
    Ok(out)
}

/// Names the section of a record that arrived damaged, and the fix.
pub(crate) fn damaged(header: &Header, table: BlockIdx, slot: u32) -> anyhow::Error {
    bad_input(anyhow!(damage(header, table, slot)))
}

fn damage(header: &Header, table: BlockIdx, slot: u32) -> String {
    let holds = |kind: &SectionKind| {
        let section = header.section(*kind);
        let end = section.start.0 + section.part.0 * header.parts(*kind);
        (section.start.0..end).contains(&table.0)
    };
    let Some(kind) = SectionKind::ALL.into_iter().find(holds) else {
        return format!("record {slot} of the table at block {} is damaged", table.0);
    };
    let section = header.section(kind);
    let part = (table.0 - section.start.0) / section.part.0.max(1);
    let layer = if kind.per_layer() { format!(", layer {part}") } else { String::new() };
    format!("section `{kind}`{layer}: record {slot} is damaged; copy the image again")
}
