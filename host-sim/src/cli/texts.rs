//! What policies are judged on: models with a profile and a held-out text, or traces of both.
//!
//! In: the options that `ripple bench` and `ripple report` share. Out: a [`Traced`] for each model.

use super::source::{Found, open_model};
use crate::bench::Case;
use crate::import::demo;
use crate::model::Model;
use crate::model::text::read_tokens;
use crate::process::output::progress;
use crate::profile::record::record;
use crate::profile::trace::Trace;
use anyhow::{Context, Result, ensure};
use clap::{Args, value_parser};
use std::path::{Path, PathBuf};

/// What is read: texts by each model, or traces of one.
#[derive(Args)]
pub struct Texts {
    /// Text to place with; without it, profile.txt beside each model.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Text to replay; without it, held-out.txt beside each model.
    #[arg(long, value_name = "FILE")]
    held_out: Option<PathBuf>,
    /// Most tokens to place with.
    #[arg(long, default_value_t = 32 * 1024, value_parser = value_parser!(u32).range(1..))]
    profile_tokens: u32,
    /// Most tokens to replay.
    #[arg(long, default_value_t = 4096, value_parser = value_parser!(u32).range(1..))]
    tokens: u32,
    /// Trace to place with, instead of models and texts; as `ripple trace` writes it.
    #[arg(long, value_name = "TRACE", requires = "test_trace", conflicts_with_all = ["profile", "held_out", "profile_tokens", "tokens"])]
    profile_trace: Option<PathBuf>,
    /// Trace to replay.
    #[arg(long, value_name = "TRACE", requires = "profile_trace")]
    test_trace: Option<PathBuf>,
    /// Size of a neuron bundle on the card; without it, what the traces say.
    #[arg(long, requires = "profile_trace", value_parser = value_parser!(u32).range(8..))]
    bundle_bytes: Option<u32>,
}

/// A model and its traces.
pub struct Traced {
    pub name: String,
    pub model: Option<Model>,
    pub profile: Trace,
    pub test: Trace,
    pub bundle_bytes: u32,
}

/// A model, and the name and tokens of its texts.
struct ModelTexts {
    model: Model,
    profile: (String, Vec<u32>),
    test: (String, Vec<u32>),
}

impl Texts {
    /// The text to measure with, where one is named.
    pub fn held_out(&self) -> Option<&Path> {
        self.held_out.as_deref()
    }

    /// Reads or records the traces, all before the first is replayed: what is missing is missed
    /// early.
    pub fn traced(&self, models: &[PathBuf]) -> Result<Vec<Traced>> {
        if let (Some(profile), Some(test)) = (&self.profile_trace, &self.test_trace) {
            return Ok(vec![read_traces(profile, test, self.bundle_bytes)?]);
        }
        let paths = match models {
            [] => demo::list().into_iter().map(demo::path).collect::<Result<_>>()?,
            paths => paths.to_vec(),
        };
        let mut texts = Vec::new();
        for path in &paths {
            let text = self.read(path)?;
            ensure!(
                texts.iter().all(|other: &ModelTexts| other.model.name != text.model.name),
                "{}: a second model called `{}`; rename one, their rows could not be told apart",
                path.display(),
                text.model.name
            );
            texts.push(text);
        }
        let all: usize = texts.iter().map(|text| text.profile.1.len() + text.test.1.len()).sum();
        let bar = progress(all as u64, "trace");
        let traced = texts.into_iter().map(|text| text.trace(&|tokens| bar.inc(tokens))).collect();
        bar.finish_and_clear();
        Ok(traced)
    }

    fn read(&self, path: &Path) -> Result<ModelTexts> {
        let Found { model, folder } = open_model(path)?;
        let tokens = |given: &Option<PathBuf>, default: &str, option: &str, most: u32| {
            let file = given.clone().unwrap_or_else(|| folder.join(default));
            let mut tokens = read_tokens(&model, &file).with_context(|| {
                format!("--{option}: expected a text for `{}`; give one", model.name)
            })?;
            tokens.truncate(most as usize);
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok::<_, anyhow::Error>((name, tokens))
        };
        let profile = tokens(&self.profile, "profile.txt", "profile", self.profile_tokens)?;
        let test = tokens(&self.held_out, "held-out.txt", "held-out", self.tokens)?;
        Ok(ModelTexts { model, profile, test })
    }
}

impl ModelTexts {
    fn trace(self, done: &(dyn Fn(u64) + Sync)) -> Traced {
        let Self { model, profile, test } = self;
        let profile = record(&model, &profile.0, &profile.1, done);
        let test = record(&model, &test.0, &test.1, done);
        let bundle_bytes = test.bundle_bytes();
        Traced { name: model.name.clone(), model: Some(model), profile, test, bundle_bytes }
    }
}

impl Traced {
    /// What was read, in words.
    pub fn texts(&self) -> String {
        let Self { profile, test, .. } = self;
        format!(
            "placed by {} ({} tokens), replayed on {} ({} tokens)",
            profile.text(),
            profile.tokens(),
            test.text(),
            test.tokens()
        )
    }

    /// As a case of the bench.
    pub fn case(&self) -> Case<'_> {
        let Self { name, model, profile, test, bundle_bytes } = self;
        Case { name, model: model.as_ref(), profile, test, bundle_bytes: *bundle_bytes }
    }
}

fn read_traces(profile: &Path, test: &Path, bundle_bytes: Option<u32>) -> Result<Traced> {
    let traces = [Trace::read(profile)?, Trace::read(test)?];
    for (trace, path) in traces.iter().zip([profile, test]) {
        let path = path.display();
        ensure!(
            trace.tokens() > 0,
            "{path}: expected at least one token, found none; trace a text"
        );
    }
    let [profile, test_trace] = traces;
    ensure!(
        (profile.layers(), profile.neurons()) == (test_trace.layers(), test_trace.neurons()),
        "{}: expected {} layers of {} neurons as in the profile's trace, found {} of {}; trace the \
         same model",
        test.display(),
        profile.layers(),
        profile.neurons(),
        test_trace.layers(),
        test_trace.neurons()
    );
    let bundle_bytes = bundle_bytes.unwrap_or(test_trace.bundle_bytes());
    let name = test_trace.model().to_owned();
    Ok(Traced { name, model: None, profile, test: test_trace, bundle_bytes })
}
