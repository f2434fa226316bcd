//! `ripple trace`: which neurons a text makes active; of all of it, or of a part on each of several machines.

use super::args::quants;
use super::range::range;
use super::source::open_model;
use crate::model::Model;
use crate::model::text::{read_tokens, windows};
use crate::predictor::{Format, PredictorChoice};
use crate::process::failure::{Interrupted, bad_input, ensure_usage};
use crate::process::interrupt;
use crate::process::output::{check_path, note, progress};
use crate::profile::record::record;
use crate::profile::trace::{Part, Trace};
use anyhow::{Context, Result};
use clap::{Args, value_parser};
use ripple_kernel::image::{Quant, Quants, SectionKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Example:
  ripple trace my.model --text profile.txt -o my.trace

On several machines, here with Slurm, a text of 64 windows (of the model's context each) in four parts; the
result is the same to the byte as that of `ripple trace my.model --text big.txt`:
  sbatch --wait --array=0-3 --cpus-per-task=8 --wrap \\
    'a=$((SLURM_ARRAY_TASK_ID * 16)); ripple trace my.model --text big.txt --windows $a..$((a + 16)) -o part-$a'
  ripple trace --merge part-* -o my.trace";

/// Record which neurons a text makes active.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TraceArgs {
    /// Model file or Hugging Face directory.
    #[arg(required_unless_present = "merge")]
    model: Option<PathBuf>,
    /// Text to read.
    #[arg(long, required_unless_present = "merge")]
    text: Option<PathBuf>,
    /// Most tokens to read.
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    tokens: Option<u32>,
    /// Rows of the neurons in the image to come: what a bundle takes is noted for placing.
    #[arg(long, value_parser = quants(), default_value = Quant::Q8.name())]
    ffn: Quant,
    /// Read only windows A to B - 1 of the text, each as long as the model's context, and write a part.
    #[arg(long, value_name = "A..B", value_parser = range)]
    windows: Option<Range<usize>>,
    /// Join these parts, which are of every window once.
    #[arg(
        long,
        num_args = 1..,
        value_name = "PART",
        conflicts_with_all = ["model", "text", "tokens", "windows"]
    )]
    merge: Vec<PathBuf>,
    /// Trace file to write.
    #[arg(short, long)]
    output: PathBuf,
}

impl TraceArgs {
    pub fn run(&self) -> Result<()> {
        check_path(&self.output)?;
        let (Some(model), Some(text)) = (&self.model, &self.text) else { return self.merge() };
        interrupt::listen();
        let model = open_model(model)?.model;
        let quants = Quants::Q8.with(&[SectionKind::Ffn], self.ffn);
        let format = Format::new(&PredictorChoice::Exact, quants);
        let bundle_bytes = format.geometry(&model).bundle_layout().stride();
        let trace = self.trace(&model, text)?.of_bundles(bundle_bytes);
        if interrupt::requested() {
            note(&format!(
                "traced {} tokens of {} before the interrupt; nothing was written",
                trace.tokens(),
                text.display()
            ));
            return Err(Interrupted.into());
        }
        trace.write(&self.output)?;
        let density: Vec<String> =
            (0..trace.layers()).map(|l| format!("{:.1}", 100.0 * trace.density(l))).collect();
        note(&format!(
            "{}: {} tokens, active {} % by layer -> {}",
            trace.model(),
            trace.tokens(),
            density.join(" / "),
            self.output.display()
        ));
        Ok(())
    }

    /// Traces a text file, or some windows of it, with a progress bar.
    fn trace(&self, model: &Model, path: &Path) -> Result<Trace> {
        let tokens = read_tokens(model, path)?;
        let most = self.tokens.map_or(usize::MAX, |most| most as usize);
        let (mut tokens, mut part) = (&tokens[..tokens.len().min(most)], None);
        if let Some(some) = &self.windows {
            let (of, context) =
                (windows(tokens, model.config.context).len(), model.config.context as usize);
            ensure_usage!(
                some.end <= of,
                "--windows {}..{}: expected at most 0..{of}, the windows of {context} tokens that {} has",
                some.start,
                some.end,
                path.display()
            );
            tokens = &tokens[some.start * context..tokens.len().min(some.end * context)];
            part = Some(Part { windows: some.clone(), of });
        }
        let bar = progress(tokens.len() as u64, "trace");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let trace = record(model, &name, tokens, &|n| bar.inc(n));
        bar.finish_and_clear();
        Ok(match part {
            Some(part) => trace.of_part(part),
            None => trace,
        })
    }

    fn merge(&self) -> Result<()> {
        let part = |path: &PathBuf| Ok((path.display().to_string(), Trace::read(path)?));
        let parts = self.merge.iter().map(part).collect::<Result<Vec<_>>>()?;
        let (count, tokens) =
            (parts.len(), parts.iter().map(|(_, part)| part.tokens()).sum::<usize>());
        Trace::write_merged(&self.output, parts).context("--merge").map_err(bad_input)?;
        note(&format!("{count} parts, {tokens} tokens -> {}", self.output.display()));
        Ok(())
    }
}
