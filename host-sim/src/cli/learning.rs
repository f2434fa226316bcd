//! The arguments that say what is trained and how: of `ripple tune`, and of `ripple plan --tune`.
//!
//! In: arguments, a model's geometry. Out: [`TuneOptions`] that fit, or what is needed and given.

use super::arm::Arm;
use crate::machine::adapter::Saved;
use crate::process::failure::ensure_usage;
use anyhow::Result;
use clap::{Args, ValueEnum, value_parser};
use ripple_hal::BlockCount;
use ripple_kernel::adapter::{Target, Targets};
use ripple_kernel::image::Geometry;
use ripple_tune::{Gradients, Optimiser, TuneOptions, TunePlan};

/// What is trained, and how.
#[derive(Args, Clone, Debug, PartialEq)]
#[group(skip)]
pub struct Learning {
    /// Memory that there is for it, all together, in bytes, or with K or M behind; without it, what it takes.
    #[arg(long, value_parser = size)]
    pub arena: Option<u64>,
    /// Rank of the adapters.
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=256))]
    pub rank: u32,
    /// What they count, times the rank; without it, twice the rank.
    #[arg(long)]
    pub alpha: Option<f32>,
    /// Which matrices of attention have one: letters of q, k, v, o.
    #[arg(long, default_value = "qv", value_parser = targets)]
    pub targets: Targets,
    /// What is kept of the forward pass.
    #[arg(long, value_enum, default_value_t = Arm::Exact)]
    pub arm: Arm,
    /// How adapters follow their gradients.
    #[arg(long, value_enum, default_value_t = Follow::Adamw)]
    pub optimiser: Follow,
    /// Let each layer follow its gradients at once, so that those of one layer are held alone.
    #[arg(long)]
    pub by_layer: bool,
    /// What a number loses of itself in a step, times the rate; adamw only.
    #[arg(long, default_value_t = 0.0)]
    pub decay: f32,
    /// Staging, both halves, in blocks of 512 bytes; raised to what the largest record needs.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(..=65536))]
    pub staging: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Follow {
    /// Two moments of each number are kept.
    Adamw,
    /// Nothing is kept.
    Sgd,
}

impl Learning {
    /// What holds where nothing is said.
    pub fn unsaid() -> Self {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            learning: Learning,
        }
        <Alone as clap::Parser>::parse_from(["ripple"]).learning
    }

    /// Options for steps of `tokens`, or, where that is not said, of as many as fit, 128 at most; `start`: adapters
    /// to go on from, whose shape is taken.
    ///
    /// # Errors
    /// When they do not fit the arena, or the model's context.
    pub fn options(
        &self,
        geometry: &Geometry,
        collapse_gap: BlockCount,
        tokens: Option<u32>,
        start: Option<&Saved>,
    ) -> Result<TuneOptions> {
        let mut options = self.arm.apply(self.shape(collapse_gap, start), geometry);
        options.tokens = tokens.unwrap_or(128);
        let context = geometry.config.context;
        ensure_usage!(
            tokens.unwrap_or(1) <= context,
            "--tokens {}: expected at most {context}, the model's context",
            options.tokens
        );
        options.tokens = options.tokens.min(context);
        let Some(arena) = self.arena else { return Ok(options) };
        let most = TunePlan::most_tokens::<f32>(geometry, &options, arena);
        let needed = |tokens| {
            let options = TuneOptions { tokens, ..options };
            TunePlan::for_model::<f32>(geometry, &options).lent_bytes()
        };
        ensure_usage!(
            most > 0,
            "--arena {arena}: a text of one token needs {} bytes; give more, or a lower --rank, \
             fewer --targets, --optimiser sgd, --by-layer",
            needed(1)
        );
        match tokens {
            Some(tokens) => {
                ensure_usage!(
                    tokens <= most,
                    "--arena {arena}: {tokens} tokens need {} bytes; it holds {most} tokens, more with \
                     --arm lean",
                    needed(tokens)
                );
            }
            None => options.tokens = options.tokens.min(most),
        }
        Ok(options)
    }

    /// All but the tokens and the arm.
    pub fn shape(&self, collapse_gap: BlockCount, start: Option<&Saved>) -> TuneOptions {
        let optimiser = match self.optimiser {
            Follow::Sgd => Optimiser::Sgd,
            Follow::Adamw => {
                Optimiser::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: self.decay }
            }
        };
        let mut options = TuneOptions {
            rank: self.rank,
            alpha: self.alpha.unwrap_or(2.0 * self.rank as f32),
            targets: self.targets,
            optimiser,
            gradients: if self.by_layer { Gradients::Layer } else { Gradients::Whole },
            staging: BlockCount(self.staging),
            collapse_gap,
            ..TuneOptions::DEFAULT
        };
        if let Some(Saved { shape, .. }) = start {
            (options.rank, options.alpha, options.targets) =
                (shape.rank, shape.alpha, shape.targets);
        }
        options
    }
}

fn targets(text: &str) -> Result<Targets, String> {
    let mut found = Vec::new();
    for letter in text.chars() {
        let target = Target::ALL.into_iter().find(|target| target.letter() == letter);
        found.push(
            target.ok_or_else(|| format!("expected letters of q, k, v, o, found `{letter}`"))?,
        );
    }
    if found.is_empty() {
        Err("expected letters of q, k, v, o".to_owned())
    } else {
        Ok(Targets::of(&found))
    }
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.trim_end_matches(['K', 'M', 'k', 'm']) {
        digits if digits.len() + 1 == text.len() => {
            (digits, if text.ends_with(['K', 'k']) { 1 << 10 } else { 1 << 20 })
        }
        _ => (text, 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number
        .ok_or_else(|| format!("expected bytes, or KiB or MiB with K or M behind, found `{text}`"))
}
