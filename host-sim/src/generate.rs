//! Generates text: prompt in, tokens out as they come.
//!
//! In: an open decoder, its tokenizer, a sampler. Out: pieces of text, and how many tokens were fed.

use anyhow::{Result, anyhow, ensure};
use ripple_hal::{BlockDevice, BlockIdx};
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::sample::{Sampler, SamplerOptions};
use ripple_kernel::tokenizer::{EncodeOptions, Tokenizer, Utf8Decoder};
use ripple_kernel::{Decoder, Probe, StepError};

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
}

impl Generated {
    /// Tokens that went through the model.
    pub fn fed(&self) -> u64 {
        // The last token generated is not fed, save where the model then ended the text.
        let last = usize::from(self.end != End::EndOfText);
        (self.prompt.len() + self.tokens.len()).saturating_sub(last) as u64
    }
}

/// Runs `request`; `piece` gets the prompt and each piece of text as soon as its characters are
/// whole, `prompt_progress` the tokens of the prompt done and to do.
///
/// Ends at the end-of-text token, when the KV cache is full, or after `request.tokens`.
///
/// # Errors
/// When the prompt does not fit, an option is out of range, or the device fails.
pub fn generate<D: BlockDevice, P: Probe>(
    decoder: &mut Decoder<'_, D, P>,
    tokenizer: &Tokenizer<'_>,
    request: &Request,
    mut piece: impl FnMut(&str),
    mut prompt_progress: impl FnMut(usize, usize),
) -> Result<Generated> {
    let config = decoder.header().geometry.config;
    let mut recent = [0; RECENT];
    let mut sampler = Sampler::new(request.sampler, &mut recent)
        .map_err(|e| anyhow!("{}: expected {}, found {}", e.field, e.expected, e.found))?;
    let mut prompt = vec![0; request.prompt.len() + 1];
    prompt[0] = config.bos;
    let count = tokenizer
        .encode(&request.prompt, EncodeOptions::default(), &mut prompt[1..])
        .map_err(|e| anyhow!("the prompt cannot be encoded: {e}"))?;
    prompt.truncate(1 + count);
    let too_long = |context: u32| {
        anyhow!(
            "the prompt has {} tokens, the context is {context}; shorten the prompt",
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

    let mut text = Utf8Decoder::new();
    for (i, &token) in prompt[..prompt.len() - 1].iter().enumerate() {
        prompt_progress(i, prompt.len());
        sampler.accept(token);
        decoder.advance(token).map_err(|e| failed(i, e))?;
    }
    prompt_progress(prompt.len() - 1, prompt.len());
    piece(&request.prompt);
    let mut token = *prompt.last().unwrap_or(&config.bos);
    let mut tokens = Vec::new();
    let mut end = End::Tokens;
    while tokens.len() < request.tokens as usize {
        sampler.accept(token);
        let logits = match decoder.step(token) {
            Ok(logits) => logits,
            Err(StepError::ContextFull { .. }) if !tokens.is_empty() => {
                end = End::Context;
                break;
            }
            Err(error) => return Err(failed(prompt.len() - 1 + tokens.len(), error)),
        };
        token = sampler.sample(logits);
        if token == config.eos {
            end = End::EndOfText;
            break;
        }
        tokens.push(token);
        text.push(tokenizer.bytes(token).unwrap_or(&[]), &mut piece);
    }
    text.finish(&mut piece);
    Ok(Generated { prompt, tokens, end })
}

/// Names the section of a record that arrived damaged, and the fix.
pub(crate) fn damaged(header: &Header, table: BlockIdx, slot: u32) -> anyhow::Error {
    let holds = |kind: &SectionKind| {
        let section = header.section(*kind);
        let end = section.start.0 + section.part.0 * header.parts(*kind);
        (section.start.0..end).contains(&table.0)
    };
    let Some(kind) = SectionKind::ALL.into_iter().find(holds) else {
        return anyhow!("record {slot} of the table at block {} is damaged", table.0);
    };
    let section = header.section(kind);
    let part = (table.0 - section.start.0) / section.part.0.max(1);
    let layer = if kind.per_layer() { format!(", layer {part}") } else { String::new() };
    anyhow!("section `{kind}`{layer}: record {slot} is damaged; copy the image again")
}
