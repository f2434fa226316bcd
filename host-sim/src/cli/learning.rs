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
    /// Let each layer follow its gradients at once, so that those of one layer are held alone; without it, where
    /// --arena holds a longer text then.
    #[arg(long)]
    pub by_layer: bool,
    /// Share of the blocks of tokens that attention keeps, in percent, in arms that leave some out; without it
    /// their own.
    #[arg(long, value_parser = value_parser!(u32).range(0..=100))]
    pub keep: Option<u32>,
    /// What a number loses of itself in a step, times the rate; adamw only.
    #[arg(long, default_value_t = 0.0)]
    pub decay: f32,
    /// Staging, both halves, in blocks of 512 bytes; raised to what the largest record needs. Without it 64, and
    /// 16 where --arena holds a longer text then.
    #[arg(long, value_parser = value_parser!(u32).range(..=65536))]
    pub staging: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Follow {
    /// Two moments of each number are kept.
    Adamw,
    /// Nothing is kept.
    Sgd,
}

/// Blocks of staging: at first, and where memory is short.
const STAGING: [u32; 2] = [64, 16];

/// What else there is to what is trained.
pub struct Course<'a> {
    /// The model's.
    pub geometry: &'a Geometry,
    /// The collapse gap that goes with so much staging.
    pub gap: &'a dyn Fn(BlockCount) -> BlockCount,
    /// Texts of a step.
    pub texts: u32,
    /// Adapters to go on from, whose shape is taken.
    pub start: Option<&'a Saved>,
}

/// How gradients are held and reads staged.
#[derive(Clone, Copy)]
struct Way {
    gradients: Gradients,
    staging: BlockCount,
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

    /// What `arm` takes of an arena of `bytes`, with the longest text that it holds: tokens, and options with
    /// them. Gradients are held, and reads staged, as is said, or so that the longest text fits.
    pub fn longest(&self, arm: Arm, course: &Course<'_>, bytes: u64) -> (u32, TuneOptions) {
        self.longest_up_to(arm, course, bytes, u32::MAX)
    }

    /// The same; of the ways in which as many as `wanted` tokens fit, the first.
    fn longest_up_to(
        &self,
        arm: Arm,
        course: &Course<'_>,
        bytes: u64,
        wanted: u32,
    ) -> (u32, TuneOptions) {
        let wanted = wanted.min(course.geometry.config.context);
        let mut best: Option<(u32, TuneOptions)> = None;
        for way in self.ways(course.texts) {
            let options = self.shape(arm, course, way);
            let tokens = TunePlan::most_tokens::<f32>(course.geometry, &options, bytes);
            if best.is_none_or(|(most, _)| most < wanted && tokens > most) {
                best = Some((tokens, options));
            }
        }
        best.unwrap_or_else(|| (0, self.shape(arm, course, self.first_way())))
    }

    /// Options for steps of `tokens`, or, where that is not said, of as many as fit, 128 at most.
    ///
    /// # Errors
    /// When they do not fit the arena, or the model's context.
    pub fn options(&self, course: &Course<'_>, tokens: Option<u32>) -> Result<TuneOptions> {
        let context = course.geometry.config.context;
        let wanted = tokens.unwrap_or(128);
        ensure_usage!(
            tokens.unwrap_or(1) <= context,
            "--tokens {wanted}: expected at most {context}, the model's context"
        );
        let wanted = wanted.min(context);
        let Some(arena) = self.arena else {
            let options = self.shape(self.arm, course, self.first_way());
            self.check_keep(&options)?;
            return Ok(TuneOptions { tokens: wanted, ..options });
        };
        let (most, options) = self.longest_up_to(self.arm, course, arena, wanted);
        self.check_keep(&options)?;
        let needed = |tokens| {
            let options = TuneOptions { tokens, ..options };
            TunePlan::for_model::<f32>(course.geometry, &options).lent_bytes()
        };
        ensure_usage!(
            most > 0,
            "--arena {arena}: a text of one token needs {} bytes; give more, or a lower --rank, \
             fewer --targets, --optimiser sgd, --by-layer",
            needed(1)
        );
        if tokens.is_some() {
            ensure_usage!(
                wanted <= most,
                "--arena {arena}: {wanted} tokens need {} bytes; it holds {most} tokens, more with \
                 --arm lean",
                needed(wanted)
            );
        }
        Ok(TuneOptions { tokens: wanted.min(most), ..options })
    }

    /// Options of `arm`, to compare with steps that have `options`: as many tokens, gradients held and reads staged
    /// as there, whatever memory that takes.
    pub fn beside(&self, arm: Arm, course: &Course<'_>, options: &TuneOptions) -> TuneOptions {
        let gradients = match options.gradients {
            Gradients::Layer => Gradients::Layer,
            Gradients::Whole | Gradients::Sampled { .. } => self.first_way().gradients,
        };
        let way = Way { gradients, staging: options.staging };
        TuneOptions { tokens: options.tokens, ..self.shape(arm, course, way) }
    }

    fn check_keep(&self, options: &TuneOptions) -> Result<()> {
        ensure_usage!(
            self.keep.is_none() || options.arms.elimination.is_some(),
            "--keep: --arm {} leaves no blocks out; expected scored, position, recency or another that does",
            self.arm.name()
        );
        Ok(())
    }

    /// How gradients are held and reads staged where nothing asks for less memory.
    fn first_way(&self) -> Way {
        let gradients = if self.by_layer { Gradients::Layer } else { Gradients::Whole };
        Way { gradients, staging: BlockCount(self.staging.unwrap_or(STAGING[0])) }
    }

    /// All ways that may be taken, those that are said alone where they are said.
    fn ways(&self, texts: u32) -> Vec<Way> {
        let first = self.first_way();
        let mut gradients = vec![first.gradients];
        // Gradients of one layer are of one text.
        if !self.by_layer && texts == 1 {
            gradients.push(Gradients::Layer);
        }
        let staging = self.staging.map_or_else(|| STAGING.to_vec(), |blocks| vec![blocks]);
        let of = |gradients| {
            let way = move |blocks| Way { gradients, staging: BlockCount(blocks) };
            staging.iter().copied().map(way).collect::<Vec<_>>()
        };
        gradients.into_iter().flat_map(of).collect()
    }

    /// All but the tokens.
    fn shape(&self, arm: Arm, course: &Course<'_>, way: Way) -> TuneOptions {
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
            gradients: way.gradients,
            staging: way.staging,
            collapse_gap: (course.gap)(way.staging),
            ..TuneOptions::DEFAULT
        };
        if let Some(Saved { shape, .. }) = course.start {
            (options.rank, options.alpha, options.targets) =
                (shape.rank, shape.alpha, shape.targets);
        }
        let mut options = arm.apply(options, course.geometry);
        if let (Some(percent), Some(e)) = (self.keep, &mut options.arms.elimination) {
            e.keep_permille = 10 * percent;
        }
        options
    }

    /// What was chosen because of the arena, as it would be said; nothing where all was said.
    pub fn chosen(&self, options: &TuneOptions) -> Vec<String> {
        let first = self.first_way();
        let mut chosen = Vec::new();
        if options.gradients == Gradients::Layer && first.gradients != Gradients::Layer {
            chosen.push("--by-layer".to_owned());
        }
        if options.staging != first.staging {
            chosen.push(format!("--staging {}", options.staging.0));
        }
        chosen
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
