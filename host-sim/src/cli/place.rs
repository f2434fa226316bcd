//! The subcommand that places neurons: all layers, some of them, or the parts of several machines.

use super::args::PAGE_MIB;
use crate::cost::Preset;
use crate::machine::{self, collapse_gap};
use crate::placement::admission::hot_prefix;
use crate::placement::{self, Method, Part, PlaceOptions, Placement, ReadCost, pages, refine};
use crate::process::output::{check_path, note, progress};
use crate::profile::trace::Trace;
use anyhow::{Context, Result, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, value_parser};
use ripple_hal::{BLOCK_BYTES, BlockCount};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How several machines place one model.
const ON_SEVERAL_MACHINES: &str = "\
On several machines, here with Slurm, 32 layers in four parts; the result is the same to the byte:
  sbatch --wait --array=0-3 --cpus-per-task=2 --mem=8G --wrap \\
    'a=$((SLURM_ARRAY_TASK_ID * 8)); ripple place big.trace --layers $a..$((a + 8)) -o part-$a'
  ripple place --merge part-* -o big.placement";

/// Order the neurons of each layer.
#[derive(Args)]
#[command(after_help = ON_SEVERAL_MACHINES)]
pub struct Place {
    /// Trace of profiling text.
    #[arg(required_unless_present = "merge")]
    trace: Option<PathBuf>,
    /// How to order them.
    #[arg(long, value_enum, default_value_t = Method::Coactivation)]
    method: Method,
    /// Share of all bundles to put in front of their layers, most frequent first, to be held in RAM.
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    hot: f64,
    /// Seed of the random order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Place for what reads cost on this card, and give tokens pages: copies of the bundles they are
    /// likely to need.
    #[arg(long, conflicts_with_all = ["method", "layers", "merge"], value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    card: Option<&'static Preset>,
    /// Room on the card for pages, in MiB; 0 for none.
    #[arg(long, default_value_t = PAGE_MIB, requires = "card")]
    page_mib: u32,
    /// Staging that reads will have, both halves, in blocks; without it, as `ripple run` has.
    #[arg(long, requires = "card", value_parser = value_parser!(u32).range(2..=65536))]
    staging: Option<u32>,
    /// Place only layers A to B - 1, and write a part.
    #[arg(long, value_name = "A..B", value_parser = layer_range)]
    layers: Option<Range<usize>>,
    /// Join these parts, which hold every layer once.
    #[arg(
        long,
        num_args = 1..,
        value_name = "PART",
        conflicts_with_all = ["trace", "method", "hot", "seed", "layers"]
    )]
    merge: Vec<PathBuf>,
    /// Placement file to write.
    #[arg(short, long)]
    output: PathBuf,
}

impl Place {
    pub fn run(&self) -> Result<()> {
        ensure!((0.0..=1.0).contains(&self.hot), "--hot {}: expected 0 to 1", self.hot);
        check_path(&self.output)?;
        match &self.trace {
            Some(trace) => self.place(trace),
            None => self.merge(),
        }
    }

    fn place(&self, path: &Path) -> Result<()> {
        let trace = Trace::read(path)?;
        ensure!(
            trace.tokens() > 0,
            "{}: expected at least one token, found none; trace a text",
            path.display()
        );
        let layers = self.layers.clone().unwrap_or(0..trace.layers());
        ensure!(
            layers.end <= trace.layers(),
            "--layers {}..{}: expected at most 0..{}, the layers of {}",
            layers.start,
            layers.end,
            trace.layers(),
            path.display()
        );
        let options = PlaceOptions { seed: self.seed, hot: hot_prefix(&trace, self.hot) };
        if let Some(card) = self.card {
            return self.write(&place_for_card(
                &trace,
                card,
                &options,
                self.staging.map(BlockCount),
                self.page_mib,
            )?);
        }
        let bar = progress((layers.len() * trace.neurons()) as u64, "place");
        let part = Part::place(&trace, self.method, &options, layers, &|n| bar.inc(n))?;
        bar.finish_and_clear();
        if self.layers.is_none() {
            return self.write(&Part::merge(vec![(path.display().to_string(), part)])?);
        }
        part.write(&self.output)?;
        note(&format!(
            "{}: layers {}..{} of {} by {} -> {}; join all parts with `ripple place --merge`",
            trace.model(),
            part.layers().start,
            part.layers().end,
            trace.layers(),
            self.method,
            self.output.display()
        ));
        Ok(())
    }

    fn merge(&self) -> Result<()> {
        let part = |path: &PathBuf| Ok((path.display().to_string(), Part::read(path)?));
        self.write(&Part::merge(self.merge.iter().map(part).collect::<Result<_>>()?)?)
    }

    fn write(&self, placement: &Placement) -> Result<()> {
        placement.write(&self.output)?;
        let pages = placement
            .pages()
            .map_or_else(String::new, |pages| format!(", {} bundles in pages", pages.bundles()));
        note(&format!(
            "{}: {} layers of {} neurons by {}, {} of {} hot{pages} -> {}",
            placement.model(),
            placement.layers().len(),
            placement.neurons(),
            placement.method(),
            placement.hot().iter().sum::<usize>(),
            placement.layers().len() * placement.neurons(),
            self.output.display()
        ));
        Ok(())
    }
}

/// Places for one card, with pages where the trace names its tokens.
pub fn place_for_card(
    trace: &Trace,
    card: &Preset,
    options: &PlaceOptions,
    staging: Option<BlockCount>,
    page_mib: u32,
) -> Result<Placement> {
    let stride = trace.bundle_bytes().next_multiple_of(4).max(8);
    let layer = BlockCount::for_bytes(trace.neurons() as u64 * u64::from(stride));
    let staging = staging.unwrap_or_else(|| machine::staging(card, layer));
    let gap = collapse_gap(card, staging);
    let cost = ReadCost::new(&card.timing(), stride, gap, BlockCount(staging.0 / 2));
    let bar = progress(trace.layers() as u64, "place");
    let by = |method| placement::place(trace, method, options, &|_| ());
    let starts = [by(Method::Frequency)?, by(Method::Coactivation)?];
    let placement = refine(trace, &starts.each_ref(), &cost, &|| bar.inc(1))?;
    bar.finish_and_clear();
    if page_mib == 0 || trace.ids().is_empty() {
        return Ok(placement);
    }
    let bar = progress(trace.layers() as u64, "pages");
    let blocks = u64::from(page_mib) * ((1 << 20) / BLOCK_BYTES as u64);
    let pages = pages(trace, &placement, &cost, blocks, &|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(placement.with_pages(Some(pages)))
}

/// Layers as `A..B`, B itself not among them.
fn layer_range(text: &str) -> Result<Range<usize>> {
    let range = text.split_once("..").and_then(|(first, end)| {
        let range: Range<usize> = first.parse().ok()?..end.parse().ok()?;
        (!range.is_empty()).then_some(range)
    });
    range.context("expected A..B, A less than B, as in 0..8 for layers 0 to 7")
}
